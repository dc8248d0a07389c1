"""Positions to cut patches at: tens of millions of them, held as runs of pixels, never as patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from secondreader import geometry
from secondreader.domain import Region

__all__ = [
    "Positions",
    "away_from",
    "draw",
    "of_masks",
    "of_points",
    "of_where",
    "thinned",
]

_AT_ONCE = 1_000_000  # positions


@dataclass(frozen=True, eq=False, slots=True)
class Positions:
    """Runs of pixels in the rows of images; a single point is a run of one.

    Twenty bytes a run, whatever its length; all positions are on the images' grids.

    Parameters
    ----------
    image, row, col
        (n,) int32: the image (in ascending order), the row, the first column of each run.
    ends
        (n,) int64: how many positions there are up to the end of each run.
    """

    image: np.ndarray
    row: np.ndarray
    col: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.ends.size else 0

    def at(self, numbers: np.ndarray) -> np.ndarray:
        """Return (n, 3) int64, (image, row, col), of positions by their number."""
        run = np.searchsorted(self.ends, numbers, side="right")
        before = np.where(run > 0, self.ends[run - 1], 0)
        return np.column_stack(
            [self.image[run], self.row[run], self.col[run] + (numbers - before)]
        ).astype(np.int64)

    def of_image(self, image: int) -> range:
        """Return the numbers of an image's positions."""
        # Keys of the array's own type: for any other all of it would be copied, image after image.
        first, last = np.searchsorted(self.image, np.array([image, image + 1], self.image.dtype))
        return range(
            int(self.ends[first - 1]) if first else 0, int(self.ends[last - 1]) if last else 0
        )


def of_points(points: Sequence[np.ndarray]) -> Positions:
    """Return the positions of points (n, 2) in each image, rounded to pixels."""
    image = np.repeat(np.arange(len(points)), [len(p) for p in points]).astype(np.int32)
    where = [np.asarray(p, np.float64).reshape(-1, 2) for p in points]
    flat = np.rint(np.concatenate(where)).astype(np.int32) if where else np.zeros((0, 2), np.int32)
    return Positions(image, flat[:, 0], flat[:, 1], np.arange(1, len(flat) + 1))


def of_where(where: np.ndarray) -> Positions:
    """Return positions (n, 3), (image, row, col), in the order of their images."""
    where = np.asarray(where).reshape(-1, 3)
    return _points(where[np.argsort(where[:, 0], kind="stable")].astype(np.int32))


def of_masks(masks: Iterable[np.ndarray]) -> Positions:
    """Return every set pixel of a mask (rows, cols) bool for each image."""
    images, rows, cols, lengths = [], [], [], []
    for number, mask in enumerate(masks):
        edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
        row, start = np.nonzero(edges == 1)
        end = np.nonzero(edges == -1)[1]
        images.append(np.full(row.size, number, np.int32))
        rows.append(row.astype(np.int32))
        cols.append(start.astype(np.int32))
        lengths.append((end - start).astype(np.int64))
    if not images:
        return of_points([])
    return Positions(
        np.concatenate(images),
        np.concatenate(rows),
        np.concatenate(cols),
        np.cumsum(np.concatenate(lengths)),
    )


def away_from(
    inside: np.ndarray, regions: Iterable[Region], mm: float, pixel_mm: tuple[float, float]
) -> np.ndarray:
    """Return a mask without what lies within a distance of a region.

    Parameters
    ----------
    inside
        (rows, cols) bool, such as the breast.
    regions
        In pixels of the same grid; they may reach outside it.
    mm
        The distance from the centre of a region's nearest pixel; a pixel so far away is free.
    pixel_mm
        (row, col) pitch of the grid.

    Returns
    -------
    numpy.ndarray
        (rows, cols) bool, a new array.
    """
    free = inside.astype(bool)
    reach = tuple(int(np.ceil(mm / pitch)) for pitch in pixel_mm)
    for region in regions:
        marked = geometry.rasterise(region)
        if not marked.pixels.any():
            continue
        # Only the surroundings of each region are looked at: there may be hundreds in an image.
        wide = np.pad(marked.pixels, ((reach[0],) * 2, (reach[1],) * 2))
        away = ndimage.distance_transform_edt(~wide, sampling=pixel_mm) >= mm
        away &= ~wide
        row0, col0 = marked.row0 - reach[0], marked.col0 - reach[1]
        r0, c0 = max(row0, 0), max(col0, 0)
        r1, c1 = min(row0 + wide.shape[0], free.shape[0]), min(col0 + wide.shape[1], free.shape[1])
        if r1 > r0 and c1 > c0:
            free[r0:r1, c0:c1] &= away[r0 - row0 : r1 - row0, c0 - col0 : c1 - col0]
    return free


def draw(positions: Positions, rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw positions evenly, with replacement: (count, 3) of (image, row, col).

    Raises
    ------
    ValueError
        If there is none.
    """
    if len(positions) == 0:
        raise ValueError("positions: got none, expected at least one")
    return positions.at(rng.integers(len(positions), size=count))


def thinned(positions: Positions, count: int, seed: int) -> Positions:
    """Return so many positions, evenly spread: one drawn from each stretch of equal length, each once.

    All of them where there are no more; a hair fewer where two stretches meet in one position.
    """
    total = len(positions)
    if total <= count:
        return positions
    rng = np.random.default_rng(seed)
    parts = []
    # In parts: tens of millions of numbers and their places would take gigabytes at once.
    for low in range(0, count, _AT_ONCE):
        stretch = np.arange(low, min(low + _AT_ONCE, count))
        numbers = np.floor((stretch + rng.random(len(stretch))) * (total / count)).astype(np.int64)
        parts.append(positions.at(np.unique(np.minimum(numbers, total - 1))).astype(np.int32))
    return _points(np.concatenate(parts))


def _points(where: np.ndarray) -> Positions:
    """Return positions (n, 3) int32 in the order of their images, each column in one piece."""
    image, row, col = np.ascontiguousarray(where.T)
    return Positions(image, row, col, np.arange(1, len(where) + 1))
