"""Batches of patches: which positions a step takes, and their pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from secondreader.domain import SecondReaderError
from secondreader.learning.positions import Positions, draw
from secondreader.learning.prepared import Prepared

__all__ = ["balanced", "cut", "cut_out", "generator"]


def generator(seed: int, step: int) -> np.random.Generator:
    """Return the generator of one step: a batch is a function of seed and step."""
    return np.random.default_rng((seed, step))


def balanced(
    classes: Mapping[str, Positions],
    shares: Mapping[str, float],
    rng: np.random.Generator,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch's positions, so many of each class.

    Parameters
    ----------
    classes
        Name → positions.
    shares
        Name → fraction of the batch; what rounding leaves goes to the first.
    rng
        The step's generator.
    count
        How many.

    Returns
    -------
    where, label
        (count, 3) int64 of (image, row, col), and (count,) int64, the number of the class in order.

    Raises
    ------
    SecondReaderError
        If a class that is wanted has no position.
    """
    for name, share in shares.items():
        if share > 0 and len(classes[name]) == 0:
            raise SecondReaderError(
                f"training data: got no {name}, expected at least one; give more data or another split"
            )
    numbers = [int(count * shares[name]) for name in classes]
    numbers[0] += count - sum(numbers)
    drawn = [draw(c, rng, n) for c, n in zip(classes.values(), numbers, strict=True) if n]
    labels = np.repeat(np.arange(len(numbers)), numbers)
    return np.concatenate(drawn), labels


def cut(pixels: np.ndarray, row: int, col: int, size: int, fill: float = 0.0) -> np.ndarray:
    """Return the patch of ``size`` pixels whose pixel ``size // 2`` is (row, col), filled outside."""
    top, left = row - size // 2, col - size // 2
    r0, c0 = max(top, 0), max(left, 0)
    r1, c1 = min(top + size, pixels.shape[0]), min(left + size, pixels.shape[1])
    if r1 - r0 == size and c1 - c0 == size:
        return np.asarray(pixels[r0:r1, c0:c1])
    patch = np.full((size, size), fill, pixels.dtype)
    if r1 > r0 and c1 > c0:
        patch[r0 - top : r1 - top, c0 - left : c1 - left] = pixels[r0:r1, c0:c1]
    return patch


def cut_out(images: Prepared, where: np.ndarray, size: int) -> torch.Tensor:
    """Cut a batch of patches.

    Parameters
    ----------
    images
        What ``where`` counts.
    where
        (n, 3) int of (image, row, col).
    size
        Pixels each way.

    Returns
    -------
    torch.Tensor
        (n, 1, size, size) float32.
    """
    out = np.empty((len(where), 1, size, size), np.float32)
    # Image by image: each is opened once.
    order = np.argsort(where[:, 0], kind="stable")
    opened, pixels = -1, np.zeros((0, 0), np.float32)
    for i in order:
        image, row, col = (int(value) for value in where[i])
        if image != opened:
            opened, pixels = image, images.pixels(image)
        out[i, 0] = cut(pixels, row, col, size)
    return torch.from_numpy(out)


def names(images: Prepared, where: np.ndarray) -> Sequence[str]:
    """Return the path of each position's image, for messages."""
    return [images.records[int(image)].path for image in where[:, 0]]
