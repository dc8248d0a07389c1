"""Positions of a set: the middles of calcifications, and every other pixel of the breast.

Tens of millions of positions are runs in rows, twenty bytes a run; patches are cut from
memory-mapped images when a batch wants them, and never held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from secondreader.domain import ImageSet, Mask, SecondReaderError
from secondreader.learning import augment as moving
from secondreader.learning.fit import Batch
from secondreader.learning.patches import cut_out, names
from secondreader.learning.positions import Positions, away_from, of_masks, of_points, thinned
from secondreader.learning.prepared import Prepared, prepared_by
from secondreader.learning.sampling import balanced, generator
from secondreader.methods.mined_cnn.config import NAME, Config
from secondreader.methods.mined_cnn.network import WINDOW
from secondreader.methods.mined_cnn.prepare import looked_at, prepare

__all__ = ["Data", "augmented", "data", "wanted"]


@dataclass(frozen=True, eq=False)
class Data:
    """A set's images and positions; ``centres`` (n, 2) int32 of each image's calcifications."""

    images: Prepared
    positive: Positions
    negative: Positions
    centres: tuple[np.ndarray, ...]

    def batch(
        self, step: int, count: int, config: Config, negative: Positions | None = None
    ) -> Batch:
        """Return the batch of a step: ``image`` (n, 1, h, w) and ``label`` (n,) float32.

        Parameters
        ----------
        step
            Its number, which with the seed decides what is drawn.
        count
            Of positions.
        config
            The method's settings.
        negative
            In place of the set's own: the mined ones.
        """
        rng = generator(config.seed, step)
        classes = {
            "calcifications": self.positive,
            "other positions": self.negative if negative is None else negative,
        }
        share = config.positive_share
        where, label = balanced(
            classes, dict(zip(classes, (share, 1 - share), strict=True)), rng, count
        )
        # A calcification is one at the pixels next to its middle too.
        own = label == 0
        where[own, 1:] += rng.integers(-1, 2, (int(own.sum()), 2))
        return {
            "image": cut_out(self.images, where, WINDOW + moving.margin(config.augment, WINDOW)),
            "label": torch.from_numpy(1.0 - label.astype(np.float32)),
            "where": names(self.images, where),
        }


def data(
    images: ImageSet,
    config: Config,
    *,
    makers: Collection[str] = (),
    negatives: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
) -> Data:
    """Prepare a set's images, and list their positions.

    Parameters
    ----------
    images
        The set.
    config
        The method's settings.
    makers
        Only images of makers whose name holds one of these; of all if there is none.
    negatives
        Other positions to keep, evenly drawn; all if ``None``.
    progress
        Called with the images done, and all.
    workers
        Processes that prepare.

    Returns
    -------
    Data
        Of the images that the preparation takes.

    Raises
    ------
    SecondReaderError
        If no image is of the makers.
    """
    records = [
        r
        for r in images.records
        if not makers or any(m.lower() in (r.vendor or "").lower() for m in makers)
    ]
    if images.records and not records:
        there = ", ".join(sorted({r.vendor or "unknown" for r in images.records}))
        raise SecondReaderError(
            f"makers: got images of {there}, expected some of {', '.join(makers)}"
        )
    ready = prepared_by(
        images, prepare, config, name=f"{NAME}/4",
        depends=("spacing_mm", "coarsest_mm", "stabilise", "background_mm"), records=records,
        progress=progress, workers=workers,
    )  # fmt: skip
    centres: list[np.ndarray] = []
    other = of_masks(_free(ready, config, centres))
    if negatives is not None:
        other = thinned(other, negatives, config.seed)
    return Data(ready, of_points(centres), other, tuple(centres))


def _free(ready: Prepared, config: Config, centres: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield where each image's negatives lie, (rows, cols) bool, and put its calcifications to `centres`.

    One mask at a time: those of three thousand images would take gigabytes.
    """
    pitch = (config.spacing_mm, config.spacing_mm)
    for index in range(len(ready)):
        pixels = np.asarray(ready.pixels(index))
        shape = (pixels.shape[0], pixels.shape[1])
        own, covered, ignored = config.truth(ready.lesions[index], shape)
        marked = np.concatenate([np.zeros((0, 2), np.int32), *covered, ignored])
        regions = [Mask(np.ones((1, 1), bool), int(r), int(c)) for r, c in marked]
        centres.append(own)
        yield away_from(looked_at(pixels, config), regions, config.away_mm, pitch)


def wanted(own: Data, index: int) -> np.ndarray:
    """Return where an image's negatives lie, (rows, cols) bool."""
    shape = own.images.pixels(index).shape
    mask = np.zeros((shape[0], shape[1]), bool)
    at = own.negative.at(np.asarray(own.negative.of_image(index), np.int64))
    mask[at[:, 1], at[:, 2]] = True
    return mask


def augmented(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    """Turn and mirror a batch, change its contrast, and cut it to the window."""
    matrices = moving.affine(config.augment, len(batch["image"]), where)
    image, _ = moving.geometric(batch["image"], matrices, WINDOW)
    return {**batch, "image": moving.intensity(image, config.augment, where)}
