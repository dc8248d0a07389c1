"""Array to array: breast mask, crop, resample in millimetres, normalise, orient.

Pixels are (rows, cols) float32 in [0, 1], larger = denser. Functions that move pixels take and
return the `Frame` that says where the grid lies in its source, so coordinates can always go back.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec

import numpy as np
from PIL import Image
from scipy import ndimage

from secondreader import geometry
from secondreader.domain import Frame

__all__ = [
    "away_from_skin",
    "breast_mask",
    "breast_within",
    "chest_wall",
    "crop",
    "crop_to_mask",
    "flip_cols",
    "looks_inverted",
    "normalise",
    "once",
    "orient",
    "resample",
    "strongest",
    "to_spacing",
]

Side = Literal["left", "right"]
P = ParamSpec("P")
Measured = Callable[Concatenate[np.ndarray, P], np.ndarray]
_LONGEST = 512
"""The mask is found on a grid whose longest side has at most this many pixels."""


def once(measure: Measured[P]) -> Measured[P]:
    """Let a function of an image remember what it last said: several readers ask the same of one image.

    Only of arrays that cannot be written to, as those of mammograms are; what it returns of them
    cannot be written to either. The image is not kept alive.
    """
    last: list[tuple[weakref.ref[np.ndarray], Any, np.ndarray]] = []

    @functools.wraps(measure)
    def remembered(pixels: np.ndarray, /, *args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        if pixels.flags.writeable:
            return measure(pixels, *args, **kwargs)
        for image, asked, answer in last[:1]:
            if image() is pixels and asked == (args, kwargs):
                return answer
        found = measure(pixels, *args, **kwargs)
        found.flags.writeable = False
        last[:] = [(weakref.ref(pixels), (args, kwargs), found)]
        return found

    return remembered


# --------------------------------------------------------------------------------- the breast


def breast_mask(pixels: np.ndarray, spacing_mm: tuple[float, float] | None = None) -> np.ndarray:
    """Find the breast, pectoral muscle included.

    Otsu's threshold on the square root of the values (fat and skin are faint), lowered towards the
    background where it is continuous with the breast; then the largest part that is no label, no
    film edge and no frame.

    Parameters
    ----------
    pixels
        (rows, cols) float32 in [0, 1], larger = denser.
    spacing_mm
        Unused: what is looked for is told by proportions, the same for every pixel size.

    Returns
    -------
    numpy.ndarray
        (rows, cols) bool; all False where there is no breast.

    References
    ----------
    Otsu, "A threshold selection method from gray-level histograms", IEEE TSMC 9 (1979).
    """
    return _mask(pixels)  # whoever asks, with or without a pixel size, is told the same


@once
def _mask(pixels: np.ndarray) -> np.ndarray:
    small = _small(pixels)
    if looks_inverted(small):
        small = float(small.max()) - small
    grey = np.sqrt(np.clip(small, 0, 1))
    bright = _white_edges(small)
    found = _breast_component(grey, bright)
    if found is None:
        return np.zeros(pixels.shape, bool)
    return _enlarge(found, (pixels.shape[0], pixels.shape[1]))


def _small(pixels: np.ndarray) -> np.ndarray:
    """Average the image down to `_LONGEST`."""
    longest = max(pixels.shape)
    if longest <= _LONGEST:
        return np.asarray(pixels, np.float32)
    rows = max(round(pixels.shape[0] * _LONGEST / longest), 1)
    cols = max(round(pixels.shape[1] * _LONGEST / longest), 1)
    step = longest // _LONGEST
    picture = Image.fromarray(np.ascontiguousarray(pixels, np.float32), "F")
    shrunk = picture.resize((cols, rows), Image.Resampling.BOX, reducing_gap=float(max(step, 1)))
    return np.asarray(shrunk)


def _enlarge(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    large = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(large) > 127


def _white_edges(small: np.ndarray) -> np.ndarray:
    """Frames, film edges and labels: flat regions at the very top of the range."""
    top = float(small.max())
    if top <= 0:
        return np.zeros(small.shape, bool)
    white = small >= 0.97 * top
    flat = ndimage.maximum_filter(small, 5) - ndimage.minimum_filter(small, 5) < 0.02 * top
    return ndimage.binary_dilation(
        ndimage.binary_propagation(white & flat, mask=white), iterations=2
    )


def _breast_component(grey: np.ndarray, bright: np.ndarray) -> np.ndarray | None:
    """Return the breast on the small grid, None where there is none."""
    from skimage.filters import threshold_otsu

    dark = grey[~bright]
    if dark.size == 0 or float(dark.max() - dark.min()) < 0.02:
        return None
    threshold = float(threshold_otsu(dark, nbins=256))
    if not _has_background(grey, bright, threshold):
        return ~bright
    below = dark[dark <= threshold]
    film = below[below > below.min() + 1e-3]
    if film.size > 0.08 * grey.size:  # a film's own base, beside the black that pads it
        below = film
    level = float(np.median(below))
    spread = 1.4826 * float(np.median(np.abs(below - level)))
    low = level + max(0.35 * (threshold - level), min(4 * spread, 0.6 * (threshold - level)))
    region = ndimage.binary_opening((grey > low) & ~bright, _disc(2))
    labels, count = ndimage.label(region)
    if count == 0:
        return None
    core = np.bincount(labels[(grey > threshold) & region].ravel(), minlength=count + 1)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    sizes[core == 0] = 0
    best = int(sizes.argmax())
    if sizes[best] < 0.02 * grey.size:
        return None
    breast = np.asarray(ndimage.binary_closing(labels == best, _disc(3))) | (labels == best)
    breast = (breast & ~bright) | _inside(bright, breast)
    filled: np.ndarray = ndimage.binary_fill_holes(breast)
    return filled


def _inside(bright: np.ndarray, breast: np.ndarray) -> np.ndarray:
    """Return the white regions that are tissue: most of their neighbourhood is breast."""
    kept = np.zeros(bright.shape, bool)
    labels, count = ndimage.label(bright)
    for number, where in enumerate(ndimage.find_objects(labels), 1):
        near = tuple(slice(max(w.start - 3, 0), w.stop + 3) for w in where)
        region = labels[near] == number
        ring = ndimage.binary_dilation(region, iterations=3) & ~region
        if count and breast[near][ring].mean() > 0.3:
            kept[near] |= region
    return kept


def _has_background(grey: np.ndarray, bright: np.ndarray, threshold: float) -> bool:
    """Say whether what lies below the threshold is air (flat) or tissue (textured)."""
    local = ndimage.uniform_filter(grey, 5)
    variance = np.maximum(ndimage.uniform_filter(grey**2, 5) - local**2, 0)
    below = (grey <= threshold) & ~bright
    above = (grey > threshold) & ~bright
    if below.sum() < 0.01 * grey.size or not above.any():
        return False
    contrast = float(np.median(grey[above]) - np.median(grey[below]))
    return float(np.median(np.sqrt(variance[below]))) < 0.1 * contrast


def _disc(radius: int) -> np.ndarray:
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside: np.ndarray = rows**2 + cols**2 <= radius**2
    return inside


def chest_wall(mask: np.ndarray) -> Side | None:
    """Tell the side of the image on which the breast is cut off by the chest wall.

    On that side the mask ends at one column over many rows; skin is curved. None when unsure.

    Parameters
    ----------
    mask
        (rows, cols) bool, as `breast_mask` gives it.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size < 8:
        return None
    inside = mask[rows]
    first = inside.argmax(axis=1)
    last = mask.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    width = max(int(last.max() - first.min()) + 1, 1)
    near = max(0.02 * width, 1.0)
    left = float(np.mean(first <= first.min() + near))
    right = float(np.mean(last >= last.max() - near))
    if abs(left - right) < 0.1:
        return None
    return "left" if left > right else "right"


def away_from_skin(inside: np.ndarray, steps: float) -> np.ndarray:
    """Return the breast without what lies within so many pixels of the skin.

    Parameters
    ----------
    inside
        (rows, cols) bool: the breast. The image's own border is no skin.
    steps
        Pixels.
    """
    wide = np.pad(inside, 1, mode="edge")
    deep: np.ndarray = ndimage.distance_transform_edt(wide)[1:-1, 1:-1] > steps
    return deep


def looks_inverted(pixels: np.ndarray) -> bool:
    """Say whether air is bright: large flat regions lie at the top of the range, not the bottom."""
    small = _small(pixels)
    low, high = float(small.min()), float(small.max())
    if high - low < 1e-6:
        return False
    scaled = (small - low) / (high - low)
    flat = ndimage.maximum_filter(scaled, 5) - ndimage.minimum_filter(scaled, 5) < 0.03
    dark = int(np.count_nonzero(flat & (scaled < 0.3)))
    bright = int(np.count_nonzero(flat & (scaled > 0.85)))
    return bright > 0.05 * small.size and bright > 1.5 * dark


# ----------------------------------------------------------------------------- moving pixels


def crop(
    pixels: np.ndarray, frame: Frame, row0: int, col0: int, rows: int, cols: int
) -> tuple[np.ndarray, Frame]:
    """Cut ``rows x cols`` pixels out, from (row0, col0) of the grid on; it must lie inside.

    Raises
    ------
    ValueError
        If the crop has no pixel or reaches outside.
    """
    if row0 < 0 or col0 < 0 or row0 + rows > pixels.shape[0] or col0 + cols > pixels.shape[1]:
        raise ValueError(
            f"crop: got {rows} x {cols} from ({row0}, {col0}), expected it inside {pixels.shape}"
        )
    new = geometry.crop(frame, row0, col0, rows, cols)
    return pixels[row0 : row0 + rows, col0 : col0 + cols], new


def flip_cols(pixels: np.ndarray, frame: Frame) -> tuple[np.ndarray, Frame]:
    """Mirror left and right."""
    return pixels[:, ::-1], geometry.flip_cols(frame)


def orient(pixels: np.ndarray, frame: Frame, side: Side | None) -> tuple[np.ndarray, Frame]:
    """Bring the chest wall to the left; ``None`` (unsure) leaves the image as it is."""
    return flip_cols(pixels, frame) if side == "right" else (pixels, frame)


def resample(
    pixels: np.ndarray, frame: Frame, scale: tuple[float, float]
) -> tuple[np.ndarray, Frame]:
    """Resample with anti-aliasing (a triangle as wide as the new pixel when shrinking).

    The outer corner of the first pixel stays; a rest narrower than one new pixel is dropped.

    Parameters
    ----------
    pixels
        (rows, cols) float32.
    frame
        Where the grid lies.
    scale
        Old pixels per new pixel, (row, col).

    Raises
    ------
    ValueError
        If nothing would be left.
    """
    rows = math.floor(pixels.shape[0] / scale[0] + 1e-6)
    cols = math.floor(pixels.shape[1] / scale[1] + 1e-6)
    if rows < 1 or cols < 1:
        raise ValueError(f"resample: got scale {scale} for {pixels.shape}, expected a pixel left")
    box = (0.0, 0.0, min(cols * scale[1], pixels.shape[1]), min(rows * scale[0], pixels.shape[0]))
    picture = Image.fromarray(np.ascontiguousarray(pixels, np.float32), "F")
    resized = picture.resize((cols, rows), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized), geometry.resample(frame, (rows, cols), scale)


def strongest(values: np.ndarray, frame: Frame, longest: int = 512) -> tuple[np.ndarray, Frame]:
    """Shrink a map to at most ``longest`` pixels, keeping the highest value of each block.

    Parameters
    ----------
    values
        (rows, cols), 0 or more.
    frame
        Where the map lies.
    longest
        Pixels of the longer side.
    """
    block = max(-(-max(values.shape) // longest), 1)
    rows, cols = -(-values.shape[0] // block), -(-values.shape[1] // block)
    rest = (rows * block - values.shape[0], cols * block - values.shape[1])
    padded = np.pad(values, ((0, rest[0]), (0, rest[1])))
    highest = padded.reshape(rows, block, cols, block).max(axis=(1, 3))
    return highest, geometry.resample(frame, (rows, cols), (block, block))


def to_spacing(
    pixels: np.ndarray,
    frame: Frame,
    spacing_mm: tuple[float, float],
    target_mm: float,
) -> tuple[np.ndarray, Frame]:
    """Resample a grid of ``spacing_mm`` to square pixels of ``target_mm``."""
    scale = (target_mm / spacing_mm[0], target_mm / spacing_mm[1])
    if max(abs(s - 1) for s in scale) < 1e-6:
        return pixels, frame
    return resample(pixels, frame, scale)


def crop_to_mask(
    pixels: np.ndarray, frame: Frame, mask: np.ndarray, margin: int = 0
) -> tuple[np.ndarray, Frame]:
    """Cut out the bounding box of a mask, ``margin`` pixels wider where the image allows.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("crop_to_mask: got an empty mask, expected a breast")
    row0, row1 = max(int(rows[0]) - margin, 0), min(int(rows[-1]) + margin + 1, mask.shape[0])
    col0, col1 = max(int(cols[0]) - margin, 0), min(int(cols[-1]) + margin + 1, mask.shape[1])
    return crop(pixels, frame, row0, col0, row1 - row0, col1 - col0)


def breast_within(
    pixels: np.ndarray,
    spacing_mm: tuple[float, float] | None,
    size: tuple[int, int],
    *,
    enlarge: bool = True,
) -> tuple[np.ndarray, Frame] | None:
    """Cut the breast out and bring it into a size, its shape kept.

    Parameters
    ----------
    pixels
        (rows, cols) float32 in [0, 1].
    spacing_mm
        As of `breast_mask`.
    size
        (rows, cols) that it fits into, one of them exactly.
    enlarge
        Whether a smaller breast is enlarged to it; if not, its pixels stay what they are.

    Returns
    -------
    tuple or None
        (rows, cols) float32 in [0, 1], at most ``size``, and its frame; ``None`` for an image of
        fewer than 64 pixels each way, or without a breast.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    if min(shape) < 64:
        return None
    mask = breast_mask(pixels, spacing_mm)
    if not mask.any():
        return None
    own, cropped = crop_to_mask(pixels, geometry.identity(shape), mask, 4)
    scale = max(own.shape[0] / size[0], own.shape[1] / size[1], 0.0 if enlarge else 1.0)
    small, frame = resample(own, cropped, (scale, scale))
    rows, cols = (min(got, most) for got, most in zip(small.shape, size, strict=True))
    small, frame = crop(small, frame, 0, 0, rows, cols)
    return np.clip(small, 0, 1), frame


def normalise(
    pixels: np.ndarray, mask: np.ndarray, low: float = 1.0, high: float = 99.5
) -> np.ndarray:
    """Stretch the breast's percentiles ``low`` to ``high`` to [0, 1] and clip.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    inside = pixels[mask]
    if inside.size == 0:
        raise ValueError("normalise: got an empty mask, expected a breast")
    bottom, top = np.percentile(inside[:: max(inside.size // 200_000, 1)], [low, high])
    width = max(float(top - bottom), 1e-6)
    stretched: np.ndarray = np.clip((pixels - np.float32(bottom)) / np.float32(width), 0, 1)
    return stretched
