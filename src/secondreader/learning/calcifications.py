"""What is known of microcalcifications in the pixels of a prepared image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from secondreader import geometry
from secondreader.domain import Kind, Lesion, Mask, Pathology, Point, Region

__all__ = ["segmented", "truth_pixels", "without_outlines"]

_PEAK_MM = 0.3  # a mark may lie so far from the brightest pixel of what it marks
_NOISES = 2.0  # a peak must stand so far out of its surroundings, in their spread


def truth_pixels(
    lesions: Sequence[Lesion],
    shape: tuple[int, int],
    *,
    spacing_mm: float,
    largest_mm: float,
    point_mm: float,
    image: np.ndarray | None = None,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Return what is known of the pixels of a prepared image.

    Calcifications up to ``largest_mm`` count; larger ones, and outlines of no known kind, are neither
    truth nor background. What is benign at sight, such as a calcified vessel, is background: a false
    alarm where it is marked.

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
    image
        The prepared image, (rows, cols): with it, a truth without an outline becomes what
        `segmented` finds at it.

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
        if lesion.region is None:
            continue
        if lesion.kind is None:
            ignored.append(_covered(lesion, shape, point_mm / spacing_mm))
            continue
        if lesion.kind is not Kind.MICROCALCIFICATION:
            continue
        if lesion.pathology is Pathology.BENIGN_WITHOUT_CALLBACK:
            continue
        covered = _covered(lesion, shape, point_mm / spacing_mm)
        if image is not None and not isinstance(lesion.region, Mask) and len(covered):
            row, col = _middle(lesion.region)
            covered = segmented(image, row, col, spacing_mm, largest_mm, otherwise=covered)
        if not len(covered):
            continue
        across = lesion.diameter_mm
        if across is None:  # few data sets give it
            across = 0.0 if _lost(lesion.region) else geometry.diameter(lesion.region) * spacing_mm
        if across > largest_mm:
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


def without_outlines(lesions: Sequence[Lesion]) -> tuple[Lesion, ...]:
    """Return lesions whose outlines are forgotten: each region becomes its middle, a point."""
    return tuple(
        lesion
        if lesion.region is None or lesion.kind is not Kind.MICROCALCIFICATION
        else replace(lesion, region=Point(*_middle(lesion.region)))
        for lesion in lesions
    )


def segmented(
    image: np.ndarray,
    row: float,
    col: float,
    spacing_mm: float,
    largest_mm: float,
    *,
    otherwise: np.ndarray,
) -> np.ndarray:
    """Return the pixels of a calcification that is known by a point only.

    The brightest pixel near the point, and all that is connected with it, not further from it than
    half of the largest size, and nearer to its brightness than to that of the surroundings.

    Parameters
    ----------
    image
        (rows, cols) prepared image.
    row, col
        The point, in pixels of the image.
    spacing_mm
        Of the image.
    largest_mm
        Of a calcification, across.
    otherwise
        (n, 2) int32: returned where nothing stands out.

    Returns
    -------
    numpy.ndarray
        (n, 2) int32.
    """
    reach = max(round(largest_mm / 2 / spacing_mm), 1)
    r0, c0 = max(round(row) - 2 * reach, 0), max(round(col) - 2 * reach, 0)
    window = np.asarray(
        image[r0 : round(row) + 2 * reach + 1, c0 : round(col) + 2 * reach + 1], np.float32
    )
    if not window.size:
        return otherwise
    smooth = ndimage.gaussian_filter(window, 0.5)
    rows, cols = np.indices(window.shape)
    near = np.hypot(rows + r0 - row, cols + c0 - col) <= max(_PEAK_MM / spacing_mm, 1)
    if not near.any():
        return otherwise
    peak = np.unravel_index(np.argmax(np.where(near, smooth, -np.inf)), window.shape)
    apart = np.hypot(rows - peak[0], cols - peak[1])
    # Around it, and of the breast: background is 0.
    around = smooth[(apart > reach) & (window > 0)]
    if around.size < reach:
        return otherwise
    base = float(np.median(around))
    spread = float(np.median(np.abs(around - base))) * 1.4826  # of a normal distribution
    height = float(smooth[peak]) - base
    if height <= max(_NOISES * spread, 1e-6):
        return otherwise
    labels, _ = ndimage.label((smooth > base + height / 2) & (apart <= reach), np.ones((3, 3)))
    return np.asarray(np.argwhere(labels == labels[peak]) + np.array([r0, c0]), np.int32)


def _lost(region: Region) -> bool:
    """Say whether a mask has lost its last pixel on a coarser grid."""
    return isinstance(region, Mask) and not region.pixels.any()


def _middle(region: Region) -> tuple[float, float]:
    """Return a region's middle; of a mask without a pixel, where it lay."""
    if isinstance(region, Mask) and _lost(region):
        return float(region.row0), float(region.col0)
    return geometry.centre(region)


def _covered(lesion: Lesion, shape: tuple[int, int], across: float) -> np.ndarray:
    """Return the pixels (n, 2) of a lesion: its outline, or a disc about its middle."""
    region = lesion.region
    assert region is not None
    if isinstance(region, Mask) and not _lost(region):
        found = np.argwhere(region.pixels) + np.array([region.row0, region.col0])
    else:
        row, col = _middle(region)
        reach = max(across / 2, 0.71)
        span = np.arange(-int(reach) - 1, int(reach) + 2)
        around = np.stack(np.meshgrid(span + round(row), span + round(col), indexing="ij"), -1)
        found = around[np.hypot(around[..., 0] - row, around[..., 1] - col) <= reach]
    inside = (found >= 0).all(axis=1) & (found < np.array(shape)).all(axis=1)
    return np.asarray(found[inside], np.int32)
