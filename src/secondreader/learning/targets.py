"""What is true of a patch: lesions as pixels and as boxes, at the place it was cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from secondreader import geometry
from secondreader.domain import Lesion, Mask
from secondreader.learning.prepared import Prepared

__all__ = ["boxes_in", "drawn_masks", "edges_of", "painted"]

Masks = tuple[tuple[Mask, ...], ...]


def drawn_masks(images: Prepared, wanted: Callable[[Lesion], bool]) -> Masks:
    """Return the pixels of the wanted lesions of each image, once for all batches.

    Lesions without a region, and what lies outside the grid, are left out.
    """
    return tuple(
        tuple(
            mask
            for lesion in lesions
            if lesion.region is not None and wanted(lesion)
            for mask in [geometry.rasterise(lesion.region, frame.shape)]
            if mask.pixels.any()
        )
        for lesions, frame in zip(images.lesions, images.frames, strict=True)
    )


def painted(masks: Masks, where: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Return the masks as a batch of patches shows them.

    Parameters
    ----------
    masks
        Of each image, in pixels of its grid.
    where
        (n, 3) int of (image, row, col): pixel ``size // 2`` of each patch.
    size
        (rows, cols) of a patch.

    Returns
    -------
    torch.Tensor
        (n, 1, rows, cols) bool.
    """
    out = np.zeros((len(where), 1, *size), bool)
    for patch, (image, row, col) in zip(out[:, 0], where.tolist(), strict=True):
        for mask in masks[image]:
            top, left = mask.row0 - (row - size[0] // 2), mask.col0 - (col - size[1] // 2)
            r0, c0 = max(top, 0), max(left, 0)
            r1 = min(top + mask.pixels.shape[0], size[0])
            c1 = min(left + mask.pixels.shape[1], size[1])
            if r1 > r0 and c1 > c0:
                patch[r0:r1, c0:c1] |= mask.pixels[r0 - top : r1 - top, c0 - left : c1 - left]
    return torch.from_numpy(out)


def boxes_in(
    boxes: Sequence[np.ndarray], where: np.ndarray, size: tuple[int, int], least: float = 0.5
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the boxes that a batch of patches shows, clipped to them.

    Parameters
    ----------
    boxes
        Of each image, (k, 4) of (row0, col0, row1, col1) as :class:`secondreader.domain.Box` has
        them: from the centre of the first pixel to that of the last.
    where, size
        As of `painted`.
    least
        The fraction of a box's area that must lie in the patch; a box without any is never shown.

    Returns
    -------
    list of tuple
        For each patch: (m, 4) float64 boxes in its pixels, and (m,) int64, which they were.
    """
    shown = []
    for image, row, col in where.tolist():
        corner = np.array([row - size[0] // 2, col - size[1] // 2])
        own = np.asarray(boxes[image], np.float64).reshape(-1, 2, 2) - corner
        # A box reaches half a pixel past the centres of its outermost pixels.
        outer = np.array([[-0.5, -0.5], [0.5, 0.5]])
        edges = own + outer
        kept = np.clip(edges, -0.5, np.array(size) - 0.5)
        part = np.prod(kept[:, 1] - kept[:, 0], axis=1)
        fraction = part / np.prod(edges[:, 1] - edges[:, 0], axis=1)
        which = np.flatnonzero((part > 0) & (fraction >= least - 1e-9))
        inner = kept[which] - outer
        shown.append((inner.reshape(-1, 4), which))
    return shown


def edges_of(boxes: torch.Tensor, least: float = 1.0) -> torch.Tensor:
    """Turn boxes from pixel middle to pixel middle into torchvision's edges, small ones widened.

    Parameters
    ----------
    boxes
        (n, 4) of (row0, col0, row1, col1).
    least
        Pixels that a box has at least, each way.

    Returns
    -------
    torch.Tensor
        (n, 4) of (x0, y0, x1, y1), the first pixel from 0 to 1.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + 0.5
    half = ((boxes[:, 2:] - boxes[:, :2] + 1) / 2).clamp_min(least / 2)
    return torch.cat([(middle - half).flip(1), (middle + half).flip(1)], 1)
