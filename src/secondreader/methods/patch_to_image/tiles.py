"""The features of an image read in overlapping tiles: the same numbers, in the memory of one tile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from secondreader import geometry
from secondreader.methods.patch_to_image.architecture import STRIDE

__all__ = ["HALO", "by_tiles"]

HALO = 256
"""Pixels round a place that its features may see: more than half of ResNet50's 427, in whole places."""


def by_tiles(features: Callable[[Tensor], Tensor], image: Tensor, tile: int) -> Tensor:
    """Return the features of an image, tile by tile.

    Parameters
    ----------
    features
        Maps (n, 1, h, w) to (n, d, h / 32, w / 32), each place from no more than `HALO` pixels round it.
    image
        (n, 1, h, w), sides multiples of 32.
    tile
        Pixels of a tile each way, a multiple of 32 larger than twice `HALO`.

    Returns
    -------
    torch.Tensor
        (n, d, h / 32, w / 32): to rounding what ``features`` gives of the whole image.
    """
    shape = (image.shape[2], image.shape[3])
    step = tile - 2 * HALO
    whole: Tensor | None = None
    for row0, col0 in geometry.tiles(shape, (tile, tile), (step, step)):
        rows, cols = min(tile, shape[0]), min(tile, shape[1])
        found = features(image[..., row0 : row0 + rows, col0 : col0 + cols])
        if whole is None:
            places = (found.shape[1], shape[0] // STRIDE, shape[1] // STRIDE)
            whole = found.new_zeros((len(image), *places)).contiguous(
                memory_format=torch.channels_last
            )
        # At a side of the image the tile sees what the image does; elsewhere its rim sees too little.
        top, left = (HALO // STRIDE if start else 0 for start in (row0, col0))
        inner = found[..., top:, left:]
        r, c = row0 // STRIDE + top, col0 // STRIDE + left
        whole[..., r : r + inner.shape[2], c : c + inner.shape[3]] = inner
    assert whole is not None
    return whole
