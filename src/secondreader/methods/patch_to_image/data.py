"""Patches and whole images of a set, with what is true of them.

S1 and S10 are lists of places: no patch is ever written to disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from secondreader.domain import (
    ImageRecord,
    ImageSet,
    SecondReaderError,
    abnormal,
)
from secondreader.learning import augment as moving
from secondreader.learning.fit import Batch
from secondreader.learning.patches import cut_out, names, whole
from secondreader.learning.positions import Positions, of_where
from secondreader.learning.prepared import Prepared, prepared_by
from secondreader.learning.sampling import balanced, generator
from secondreader.methods.patch_to_image.config import NAME, Config
from secondreader.methods.patch_to_image.network import CLASSES
from secondreader.methods.patch_to_image.prepare import draw_patches, prepare

__all__ = ["Patches", "Whole", "augmented", "patches", "ready", "truth"]


def ready(
    images: ImageSet,
    config: Config,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
) -> Prepared:
    """Prepare every image of a set once, in so many processes."""
    return prepared_by(
        images, prepare, config, name=f"{NAME}/1",
        depends=("size", "enlarge"), progress=progress, workers=workers,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches of a set: ``where`` runs of one position, ``label`` (n,) int64 of `CLASSES`."""

    images: Prepared
    where: Positions
    label: np.ndarray

    def batch(self, step: int, count: int, config: Config, sums: np.ndarray | None = None) -> Batch:
        """Return the batch of a step: ``image`` (n, 1, h, w), ``label`` (n,) and ``weight`` (n,).

        ``weight`` makes the classes of the batch count alike (section 3.1.2). With ``sums``, the
        cumulative weights of all patches, they are drawn by weight.
        """
        rng = generator(config.seed, step)
        if sums is None:
            pick = rng.integers(len(self.label), size=count)
        else:
            pick = np.searchsorted(sums[:-1], rng.random(count) * sums[-1], side="right")
        where, label = self.where.at(pick), self.label[pick]
        size = config.patch + moving.margin(config.augment, config.patch)
        often = np.bincount(label, minlength=len(CLASSES))
        weight = count / ((often > 0).sum() * often[label])
        return {
            "image": cut_out(self.images, where, size),
            "label": torch.from_numpy(label),
            "weight": torch.from_numpy(weight.astype(np.float32)),
            "where": names(self.images, where),
        }


def patches(own: Prepared, config: Config) -> Patches:
    """Draw the patches of a set, each image by its own generator.

    Raises
    ------
    SecondReaderError
        If no lesion of known pathology has a region.
    """
    where, labels = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for index in range(len(own)):
        rng = np.random.default_rng((config.seed, 10, index))
        breast = np.asarray(own.pixels(index)) > 0.02
        at, label = draw_patches(own.lesions[index], breast, config, rng)
        if (label > 0).any():  # images without a region give none: background comes from the others
            where.append(np.column_stack([np.full(len(at), index), at]))
            labels.append(label)
    every, label = np.concatenate(where), np.concatenate(labels)
    if not (label > 0).any():
        raise SecondReaderError(
            "patches: got no lesion with a region and a pathology, expected some to learn from; "
            "with image labels only use trains=tune and --init MODEL_FOLDER"
        )
    return Patches(own, of_where(every), label)


def truth(record: ImageRecord) -> tuple[float, float]:
    """Return whether an image is malignant, and whether there is anything abnormal; nan: unknown."""
    told = (record.malignant, abnormal(record.lesions, record.malignant))
    malignant, any_lesion = (np.nan if label is None else float(label) for label in told)
    return malignant, any_lesion


@dataclass(frozen=True, eq=False)
class Whole:
    """The whole images of a set; ``truth`` (n, 2) float32, nan where unknown."""

    images: Prepared
    truth: np.ndarray

    @classmethod
    def of(cls, images: Prepared) -> Whole:
        """Take what is known of prepared images."""
        told = np.array([truth(r) for r in images.records], np.float32).reshape(-1, 2)
        return cls(images, told)

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step, half of it malignant: ``image`` (n, 1, h, w), ``label`` (n, 2).

        Raises
        ------
        SecondReaderError
            If there is no malignant image, or none that is not.
        """
        rng = generator(config.seed, step)
        kinds = {
            "malignant images": np.flatnonzero(self.truth[:, 0] == 1),
            "images that are not malignant": np.flatnonzero(self.truth[:, 0] == 0),
        }
        classes = {
            name: of_where(np.column_stack([at, np.zeros((len(at), 2), np.int64)]))
            for name, at in kinds.items()
        }
        where, _ = balanced(classes, dict.fromkeys(classes, 0.5), rng, count)
        return self.at(where[:, 0], config)

    def at(self, numbers: np.ndarray, config: Config) -> Batch:
        """Return images by their numbers."""
        return {
            "image": whole(self.images, numbers, config.size),
            "label": torch.from_numpy(self.truth[numbers]),
            "where": [self.images.records[int(i)].path for i in numbers],
        }


def augmented(batch: Batch, where: torch.Generator, config: Config, size: int | None) -> Batch:
    """Turn, stretch, and shade a batch; ``size`` cuts patches to theirs, None keeps whole images."""
    matrices = moving.affine(config.augment, len(batch["image"]), where)
    if size is None:
        # In a square, as patches are, about the image's own middle, so that a flip moves nothing out;
        # corners that are turned out of the image are lost, as in the paper.
        rows, cols = batch["image"].shape[2:]
        side = max(rows, cols)
        top, left = (side - rows) // 2, (side - cols) // 2
        image = torch.nn.functional.pad(
            batch["image"], (left, side - cols - left, top, side - rows - top)
        )
        image = moving.geometric(image, matrices, side)[0]
        image = image[..., top : top + rows, left : left + cols]
    else:
        image, _ = moving.geometric(batch["image"], matrices, size)
    changed = moving.intensity(image, config.augment, where)
    # The background stays what it is: 0.
    return {**batch, "image": torch.where(image > 0, changed, image)}
