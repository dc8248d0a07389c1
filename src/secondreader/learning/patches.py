"""Batches of pixels: patches cut at positions, and whole images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import DTypeLike

from secondreader.learning.prepared import Prepared

# Drawing belongs to a batch: whoever cuts patches finds it here too.
from secondreader.learning.sampling import balanced, generator

__all__ = ["balanced", "cut", "cut_out", "generator", "names", "whole"]


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


def cut_out(
    images: Prepared, where: np.ndarray, size: int, dtype: DTypeLike = np.float32
) -> torch.Tensor:
    """Cut a batch of patches; what lies outside an image is 0, as the background is.

    Parameters
    ----------
    images
        What ``where`` counts.
    where
        (n, 3) int of (image, row, col): pixel ``size // 2`` of each patch.
    size
        Pixels each way.
    dtype
        Of the tensor; values are taken as they are prepared. float16 halves what a device is sent.

    Returns
    -------
    torch.Tensor
        (n, 1, size, size).
    """
    out = np.empty((len(where), 1, size, size), dtype)
    for i, pixels in _opened(images, where[:, 0]):
        out[i, 0] = cut(pixels, int(where[i, 1]), int(where[i, 2]), size)
    return torch.from_numpy(out)


def whole(
    images: Prepared, numbers: np.ndarray, shape: tuple[int, int], dtype: DTypeLike = np.float32
) -> torch.Tensor:
    """Return a batch of whole images, their first pixel first; what is missing of ``shape`` is 0.

    Parameters
    ----------
    images
        What ``numbers`` counts.
    numbers
        (n,) int.
    shape
        (rows, cols) of the batch.
    dtype
        As of `cut_out`.

    Returns
    -------
    torch.Tensor
        (n, 1, rows, cols).

    Raises
    ------
    ValueError
        If an image is larger.
    """
    out = np.zeros((len(numbers), 1, *shape), dtype)
    for i, pixels in _opened(images, numbers):
        rows, cols = pixels.shape
        if rows > shape[0] or cols > shape[1]:
            raise ValueError(f"images: got one of {rows} x {cols}, expected at most {shape}")
        out[i, 0, :rows, :cols] = pixels
    return torch.from_numpy(out)


def _opened(images: Prepared, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each place of a batch with its image's pixels, image by image: each is opened once."""
    opened, pixels = -1, np.zeros((0, 0), np.float32)
    for i in np.argsort(numbers, kind="stable").tolist():
        if numbers[i] != opened:
            opened, pixels = int(numbers[i]), images.pixels(int(numbers[i]))
        yield i, pixels


def names(images: Prepared, where: np.ndarray) -> Sequence[str]:
    """Return the path of each position's image, for messages."""
    return [images.records[int(image)].path for image in where[:, 0]]
