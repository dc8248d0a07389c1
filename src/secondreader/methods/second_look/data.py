"""Prepared images, the classes of their lesions, and whole images with regions to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from secondreader import geometry, imaging
from secondreader.domain import (
    Frame,
    ImageSet,
    Lesion,
    Mammogram,
    Mask,
    Pathology,
)
from secondreader.learning import augment as moving
from secondreader.learning.fit import Batch
from secondreader.learning.patches import whole
from secondreader.learning.positions import of_where
from secondreader.learning.prepared import Prepared, prepared_by
from secondreader.learning.sampling import balanced, generator
from secondreader.learning.targets import edges_of
from secondreader.methods.second_look.config import NAME, Config

__all__ = ["Regions", "class_of", "drawn", "image_classes", "moved", "prepare", "ready", "unplaced"]

_CLASSES = {
    Pathology.MALIGNANT: 1,
    Pathology.BENIGN: 2,
    Pathology.BENIGN_WITHOUT_CALLBACK: 3,
}


def prepare(mammogram: Mammogram, config: Config) -> tuple[np.ndarray, Frame] | None:
    """Bring the breast into the network's size, (rows, cols) float16 in [0, 1]; None without one.

    What is no breast by Otsu's threshold, such as labels and a film's grey background, is 0.
    """
    mask = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    alone = np.where(mask, mammogram.pixels, np.float32(0))
    made = imaging.breast_within(alone, mammogram.spacing_mm, config.size)
    return None if made is None else (made[0].astype(np.float16), made[1])


def ready(
    images: ImageSet,
    config: Config,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
) -> Prepared:
    """Prepare every image of a set once, in so many processes."""
    return prepared_by(
        images, prepare, config, name=f"{NAME}/2",
        depends=("size",), progress=progress, workers=workers,
    )  # fmt: skip


def class_of(lesion: Lesion, config: Config) -> int | None:
    """Return the class of a region, ``None`` where it is none or its pathology is unknown."""
    if lesion.kind not in config.kinds or lesion.region is None or lesion.visible is False:
        return None
    return None if lesion.pathology is None else _CLASSES[lesion.pathology]


def _seen(lesions: Sequence[Lesion], config: Config) -> list[Lesion]:
    """Return the lesions that may be regions: of kinds that are, or of unknown kind, and not hidden."""
    return [
        s for s in lesions if s.visible is not False and (s.kind is None or s.kind in config.kinds)
    ]


def unplaced(images: Prepared, index: int, config: Config) -> bool:
    """Return whether an image may hold a region, nobody knows where: no place of it is free of one."""
    own = images.lesions[index]
    nothing_told = not own and images.records[index].malignant is not False
    return nothing_told or any(s.region is None for s in _seen(own, config))


def image_classes(images: Prepared, config: Config) -> np.ndarray:
    """Return each image's class (n,) int64, that of its most severe lesion; -1 where it is unknown.

    So it is too where a lesion that may be malignant is hidden in this view (label rule ``visible``).
    """
    of = np.zeros(len(images), np.int64)
    for index, own in enumerate(images.lesions):
        kinds = [
            -1 if s.kind is None or s.pathology is None else _CLASSES[s.pathology]
            for s in _seen(own, config)
        ]
        kinds += [-1] * any(
            s.visible is False
            and (s.kind is None or s.kind in config.kinds)
            and s.pathology in (Pathology.MALIGNANT, None)
            for s in own
        )
        if not kinds and unplaced(images, index, config):
            kinds = [-1]
        of[index] = 1 if 1 in kinds else min(kinds, default=0)
    return of


def drawn(lesion: Lesion, shape: tuple[int, int]) -> Mask | None:
    """Return the pixels of a lesion with a region on a grid, ``None`` where there are none."""
    assert lesion.region is not None
    mask = geometry.rasterise(lesion.region, shape)
    return mask if mask.pixels.any() else None


@dataclass(frozen=True, eq=False)
class Regions:
    """Whole images, of each the masks and classes of its regions, and which are known to hold none."""

    images: Prepared
    masks: tuple[tuple[Mask, ...], ...]
    classes: tuple[tuple[int, ...], ...]
    free: np.ndarray

    @classmethod
    def of(cls, images: Prepared, config: Config) -> Regions:
        """Draw the regions of known pathology; circles where a set has only those."""
        masks, classes = [], []
        for lesions, frame in zip(images.lesions, images.frames, strict=True):
            both = [
                (mask, kind)
                for lesion in lesions
                if (kind := class_of(lesion, config)) is not None
                and (mask := drawn(lesion, frame.shape)) is not None
            ]
            masks.append(tuple(mask for mask, _ in both))
            classes.append(tuple(kind for _, kind in both))
        free = image_classes(images, config) == 0
        return cls(images, tuple(masks), tuple(classes), free)

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step: images, half of them with a region where there are both.

        ``image`` (n, 1, h, w), ``boxes`` (k, 4), ``labels`` (k,) and ``masks`` (k, h, w) of each.
        """
        rng = generator(config.seed, step)
        some = np.array([bool(m) for m in self.masks])
        kinds = {"images with a region": some, "images without": ~some & self.free}
        own = {
            name: of_where(np.column_stack([np.flatnonzero(m), np.zeros((m.sum(), 2), int)]))
            for name, m in kinds.items()
            if m.any() or name == "images with a region"
        }
        where, _ = balanced(own, dict.fromkeys(own, 1 / len(own)), rng, count)
        return self.at(where[:, 0], config)

    def at(self, numbers: np.ndarray, config: Config) -> Batch:
        """Return images by their numbers."""
        boxes, labels, masks = [], [], []
        for number in numbers.tolist():
            own = np.zeros((len(self.masks[number]), *config.size), bool)
            for full, mask in zip(own, self.masks[number], strict=True):
                rows, cols = mask.pixels.shape
                full[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] = mask.pixels
            corners = [[*np.argwhere(m).min(0), *np.argwhere(m).max(0)] for m in own]
            boxes.append(edges_of(torch.tensor(corners, dtype=torch.float32).reshape(-1, 4), 4.0))
            labels.append(torch.tensor(self.classes[number], dtype=torch.int64))
            masks.append(torch.from_numpy(own))
        return {
            "image": whole(self.images, numbers, config.size),
            "boxes": boxes,
            "labels": labels,
            "masks": masks,
            "where": [self.images.records[int(i)].path for i in numbers],
        }


def moved(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    """Mirror and shade a batch of whole images, their boxes and masks with them."""
    flips = torch.rand((len(batch["image"]), 2), generator=where, device=where.device) < 0.5
    images, boxes, masks = [], [], []
    rows, cols = batch["image"].shape[2:]
    for image, own, mask, (up, across) in zip(
        batch["image"], batch["boxes"], batch["masks"], flips.tolist(), strict=True
    ):
        axes = [axis for axis, on in ((-2, up), (-1, across)) if on]
        images.append(image.flip(axes))
        masks.append(mask.flip(axes))
        x0, y0, x1, y1 = own.unbind(1)
        if up:
            y0, y1 = rows - y1, rows - y0
        if across:
            x0, x1 = cols - x1, cols - x0
        boxes.append(torch.stack([x0, y0, x1, y1], 1))
    image = torch.stack(images)
    changed = moving.intensity(image, config.augment, where)
    image = torch.where(image > 0, changed.clamp(1e-3, 1), image)
    return {**batch, "image": image, "boxes": boxes, "masks": masks}
