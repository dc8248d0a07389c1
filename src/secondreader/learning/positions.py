"""Positions to cut patches at: tens of millions of them, held as runs of pixels, never as patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Positions", "draw", "hardest", "in_chunks", "of_masks", "of_points"]


@dataclass(frozen=True, eq=False, slots=True)
class Positions:
    """Runs of pixels in the rows of images; a single point is a run of one.

    Parameters
    ----------
    image, row, col
        (n,) int32: the image, the row, the first column of each run.
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


def of_points(points: Sequence[np.ndarray]) -> Positions:
    """Return the positions of points (n, 2) in each image, rounded to pixels."""
    image = np.repeat(np.arange(len(points)), [len(p) for p in points]).astype(np.int32)
    where = [np.asarray(p, np.float64).reshape(-1, 2) for p in points]
    flat = np.rint(np.concatenate(where)).astype(np.int32) if where else np.zeros((0, 2), np.int32)
    return Positions(image, flat[:, 0], flat[:, 1], np.arange(1, len(flat) + 1))


def of_masks(masks: Iterator[np.ndarray] | Sequence[np.ndarray]) -> Positions:
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


def in_chunks(positions: Positions, size: int) -> Iterator[np.ndarray]:
    """Yield all positions in order, (n, 3) with n at most ``size``."""
    for low in range(0, len(positions), size):
        yield positions.at(np.arange(low, min(low + size, len(positions))))


def hardest(where: np.ndarray, scores: np.ndarray, most: int, images: int) -> Positions:
    """Return the highest-scoring positions of each image: the negatives that a network likes best.

    Parameters
    ----------
    where
        (n, 3) of (image, row, col).
    scores
        (n,); of equal ones the first is taken.
    most
        How many of an image.
    images
        How many images there are.
    """
    chosen = []
    for image in range(images):
        own = np.flatnonzero(where[:, 0] == image)
        best = own[np.argsort(-scores[own], kind="stable")[:most]]
        chosen.append(where[best, 1:].astype(np.float64))
    return of_points(chosen)
