"""What is known of microcalcifications in the pixels of a prepared image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secondreader import geometry
from secondreader.domain import Kind, Lesion, Mask, Pathology

__all__ = ["truth_pixels"]


def truth_pixels(
    lesions: Sequence[Lesion],
    shape: tuple[int, int],
    *,
    spacing_mm: float,
    largest_mm: float,
    point_mm: float,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Return what is known of the pixels of a prepared image.

    Calcifications up to ``largest_mm`` count; larger ones are neither truth nor background. What is
    benign at sight, such as a calcified vessel, is background: a false alarm where it is marked.

    Parameters
    ----------
    lesions
        With regions in pixels of the grid.
    shape
        (rows, cols) of the grid.
    spacing_mm
        Of the grid.
    largest_mm
        Larger calcifications count for nothing.
    point_mm
        Diameter of the disc that a truth without an outline becomes.

    Returns
    -------
    centres, pixels, ignored
        (n, 2) int32, the middle of each calcification; their pixels, (k, 2) int32 each; (m, 2) int32,
        the pixels that count for nothing.
    """
    centres: list[np.ndarray] = []
    own: list[np.ndarray] = []
    ignored: list[np.ndarray] = []
    for lesion in lesions:
        if lesion.kind is not Kind.MICROCALCIFICATION or lesion.region is None:
            continue
        if lesion.pathology is Pathology.BENIGN_WITHOUT_CALLBACK:
            continue
        covered = _covered(lesion, shape, point_mm / spacing_mm)
        if not len(covered):
            continue
        if (lesion.diameter_mm or 0.0) > largest_mm:
            ignored.append(covered)
        elif lesion.visible is not False:
            own.append(covered)
            centres.append(np.rint(covered.mean(axis=0, keepdims=True)).astype(np.int32))
    none = np.zeros((0, 2), np.int32)
    return (
        np.concatenate(centres) if centres else none,
        own,
        np.concatenate(ignored) if ignored else none,
    )


def _covered(lesion: Lesion, shape: tuple[int, int], across: float) -> np.ndarray:
    """Return the pixels (n, 2) of a lesion: its outline, or a disc about its middle."""
    region = lesion.region
    assert region is not None
    if isinstance(region, Mask) and region.pixels.any():
        found = np.argwhere(region.pixels) + np.array([region.row0, region.col0])
    else:
        # A mask may have lost its last pixel on a coarser grid: where it lay, it is a point.
        row, col = (
            (region.row0, region.col0) if isinstance(region, Mask) else geometry.centre(region)
        )
        reach = max(across / 2, 0.71)
        span = np.arange(-int(reach) - 1, int(reach) + 2)
        around = np.stack(np.meshgrid(span + round(row), span + round(col), indexing="ij"), -1)
        found = around[np.hypot(around[..., 0] - row, around[..., 1] - col) <= reach]
    inside = (found >= 0).all(axis=1) & (found < np.array(shape)).all(axis=1)
    return np.asarray(found[inside], np.int32)
