"""The one preparation, for training and reading alike: oriented, at one pixel size, by the nipple.

References
----------
An et al. (2018), section 3, "Data preparation".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from secondreader import geometry, imaging
from secondreader.domain import Frame, Mammogram
from secondreader.methods.tissue_heatmap.config import NAME, Config

__all__ = ["SURE", "Nipple", "nipple", "prepare", "refusal"]

_LEAST = 64  # pixels each way
SURE = 0.5
"""Below, the nipple is not used."""


class Nipple(NamedTuple):
    """Where the breast reaches furthest from the chest wall, and how sure that is the nipple.

    ``sure`` lies between 0 (a breast that is cut off, or flat) and 1 (one clear point).
    """

    row: float
    col: float
    sure: float


def refusal(mammogram: Mammogram, config: Config) -> tuple[str, str] | None:
    """Return why an image is not read, as (code, reason)."""
    if mammogram.spacing_mm is None:
        return (
            "no-spacing",
            f"{NAME} works in millimetres: the image states no pixel size; give it with --spacing-mm",
        )
    if max(mammogram.spacing_mm) > config.coarsest_mm:
        return (
            "too-coarse",
            f"{NAME}: got pixels of {max(mammogram.spacing_mm):g} mm, expected "
            f"{config.coarsest_mm:g} mm or less",
        )
    return None


def nipple(mask: np.ndarray, pixel_mm: float) -> Nipple:
    """Find the nipple of a breast whose chest wall lies on the left.

    Parameters
    ----------
    mask
        (rows, cols) bool.
    pixel_mm
        Of the mask.

    Returns
    -------
    Nipple
        In pixels. ``sure`` is one less the share of the breast's height over which its edge lies
        within 5 mm of the furthest point, and 0 where the breast meets the image's right border.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    reach = np.array([np.flatnonzero(mask[r])[-1] for r in rows], float)
    smooth = ndimage.gaussian_filter1d(reach, max(3.0 / pixel_mm, 1), mode="nearest")
    furthest = float(smooth.max())
    near = smooth >= furthest - 5.0 / pixel_mm
    weight = np.where(near, smooth - (furthest - 5.0 / pixel_mm), 0) ** 2 + 1e-9 * near
    row = float((rows * weight).sum() / weight.sum())
    cut = float(reach.max()) >= mask.shape[1] - 2
    sure = 0.0 if cut else float(1 - near.sum() / len(rows))
    return Nipple(row, furthest, sure)


def prepare(mammogram: Mammogram, config: Config) -> tuple[np.ndarray, Frame] | None:
    """Bring the chest wall to the left, resample, and cut the canvas out.

    The canvas ends at the nipple on the right and has it in the middle of its height; where the
    nipple is not sure, the middle of the breast's edge stands for it. The paper aligns on the right
    too; its scans are flipped to one orientation.

    Returns
    -------
    tuple or None
        (rows, cols) float16 in [0, 1], 0 outside the breast, and its frame; ``None`` where the image
        is refused or holds no breast.
    """
    if refusal(mammogram, config) is not None:
        return None
    assert mammogram.spacing_mm is not None
    shape = (mammogram.pixels.shape[0], mammogram.pixels.shape[1])
    whole = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    if not whole.any():
        return None
    side = imaging.chest_wall(whole)
    frame = geometry.identity(shape)
    # Room that is still there at the working pitch: a breast without it was cut off by the image.
    room = math.ceil(4 * max(config.spacing_mm / min(mammogram.spacing_mm), 1))
    pixels, cropped = imaging.crop_to_mask(np.where(whole, mammogram.pixels, 0), frame, whole, room)
    pixels, turned = imaging.orient(pixels, cropped, side)
    if min(np.array(pixels.shape) * mammogram.spacing_mm) < _LEAST * config.spacing_mm:
        return None
    values, moved = imaging.to_spacing(pixels, turned, mammogram.spacing_mm, config.spacing_mm)
    if config.canvas_mm is not None:
        values, moved = _canvas(values, moved, config)
    return np.clip(values, 0, 1).astype(np.float16), moved


def _canvas(values: np.ndarray, frame: Frame, config: Config) -> tuple[np.ndarray, Frame]:
    assert config.canvas_mm is not None
    inside = values > 0
    if not inside.any():
        return values, frame
    size = round(config.canvas_mm / config.spacing_mm)
    found = nipple(inside, config.spacing_mm)
    rows = np.flatnonzero(inside.any(axis=1))
    row = found.row if found.sure >= SURE else (rows[0] + rows[-1]) / 2
    high, wide = min(size, values.shape[0]), min(size, values.shape[1])
    top = int(np.clip(round(row - high / 2), 0, values.shape[0] - high))
    left = int(np.clip(round(found.col) + 1 - wide, 0, values.shape[1] - wide))
    return imaging.crop(values, frame, top, left, high, wide)
