"""Phantom lesions in real images, scaled to each image's own contrast, blur and noise.

A real image is a display of attenuation: log exposure, bent by a film's or a maker's curve. What one
unit of attenuation is worth in its values cannot be read off it, but texture tells: breast tissue
spreads about as far in attenuation in all women, so the spread of an image's texture is the scale of
its contrast, and how that spread changes with grey level is the bend of its curve. In dark and in
saturated regions the curve is flat and a lesion leaves no mark, as it would not.

References
----------
Burgess, Jacobson and Judy, Med. Phys. 28 (2001), and Elangovan et al., "Design and validation of
realistic breast models for use in multiple alternative forced choice virtual clinical trials", Phys.
Med. Biol. 62 (2017): lesions added to images in the log domain after the system's blur.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from secondreader import geometry, imaging
from secondreader.domain import Lesion, Mammogram, SecondReaderError, Step, View
from secondreader.phantom.lesions import Abnormality, Layers, Truth, layers, mirrored
from secondreader.phantom.materials import CARCINOMA, Material, attenuation

__all__ = ["contrast_to_noise", "insert", "places"]

TEXTURE_SPREAD = 0.052
"""Spread of attenuation between 1 and 4 mm in breast tissue: the median over the film phantoms of
`benchmarks/phantom_realism.py`, whose texture is matched to real films'."""
_ENERGY_KEV = 19.0
_SKIN_MM = 5.0
_LEVELS = 12


def insert(
    mammogram: Mammogram,
    lesion: Abnormality,
    rng: np.random.Generator,
    *,
    at: tuple[float, float] | None = None,
) -> tuple[Mammogram, tuple[Lesion, ...]]:
    """Put a lesion into an image.

    Parameters
    ----------
    mammogram
        A real image, or any; it needs a pixel size.
    lesion
        What; its ``place_mm`` is not used.
    rng
        Draws the place, and the quantum noise that the lesion's shadow adds.
    at
        Its middle (row, col) in source pixels; drawn from `places` if ``None``.

    Returns
    -------
    Mammogram, tuple of Lesion
        The image, the same bit for bit outside of the lesion; its truth in source pixels.

    Raises
    ------
    SecondReaderError
        If the pixel size is unknown, or there is no room.
    """
    if mammogram.spacing_mm is None:
        raise SecondReaderError("insert: got an image without a pixel size, expected one")
    shape = (mammogram.pixels.shape[0], mammogram.pixels.shape[1])
    breast = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    if at is None:
        free = places(mammogram, breast, lesion.radius_mm)
        spots = np.argwhere(free)
        if not len(spots):
            raise SecondReaderError("insert: got no room for the lesion in the breast")
        row, col = spots[int(rng.integers(len(spots)))]
        at = (float(row), float(col))
    flipped = imaging.chest_wall(breast) == "right"
    pixels = mammogram.pixels[:, ::-1] if flipped else mammogram.pixels
    mask = breast[:, ::-1] if flipped else breast
    hung_at = (at[0], shape[1] - 1 - at[1]) if flipped else at
    view = mammogram.view if mammogram.view in (View.CC, View.MLO) else View.MLO
    layer = layers(lesion, view, mammogram.spacing_mm[0], hung_at)
    changed = _with_layer(pixels, mask, layer, mammogram, rng)
    truth = [mirrored(t, shape) for t in layer.truth] if flipped else list(layer.truth)
    step = Step("insertion", f"{lesion.descriptor} of {lesion.radius_mm:.1f} mm", "phantom")
    source = replace(mammogram.source, steps=(*mammogram.source.steps, step))
    out = np.ascontiguousarray(changed[:, ::-1] if flipped else changed, np.float32)
    return replace(mammogram, pixels=out, source=source), tuple(_lesion(t) for t in truth)


def places(mammogram: Mammogram, breast: np.ndarray, radius_mm: float) -> np.ndarray:
    """Return where the middle of a lesion may lie, (rows, cols) bool.

    All of it inside the breast, 5 mm from the skin and the film's border, not in the pectoral
    muscle or on a label, and where the image's curve is not flat.
    """
    assert mammogram.spacing_mm is not None
    pitch = mammogram.spacing_mm[0]
    step = max(round(0.8 / pitch), 1)
    small, inside = mammogram.pixels[::step, ::step], breast[::step, ::step]
    smooth = ndimage.gaussian_filter(small, 2)
    tissue = inside & (smooth < 0.93) & (smooth > 0.12)
    if mammogram.view is not View.CC:
        tissue &= ~_muscle(smooth, inside)
    deep = ndimage.distance_transform_edt(np.pad(tissue, 1)) * step * pitch
    free = deep[1:-1, 1:-1] > max(min(radius_mm, 12.0) * 0.8, _SKIN_MM)
    grown = np.zeros(breast.shape, bool)
    rows, cols = np.nonzero(free)
    grown[rows * step, cols * step] = True
    return grown


def contrast_to_noise(
    before: np.ndarray, after: np.ndarray, lesion: Lesion, spacing_mm: tuple[float, float]
) -> float:
    """Return how far a lesion stands out: its mean change, in the fine noise of what surrounds it."""
    assert lesion.region is not None
    mask = geometry.rasterise(lesion.region, (before.shape[0], before.shape[1]))
    rows, cols = mask.pixels.shape
    here = np.s_[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols]
    change = float((after - before)[here][mask.pixels].mean())
    reach = int(5 / spacing_mm[0])
    near = np.s_[
        max(mask.row0 - reach, 0) : mask.row0 + rows + reach,
        max(mask.col0 - reach, 0) : mask.col0 + cols + reach,
    ]
    fine = before[near] - ndimage.gaussian_filter(before[near], 1.5)
    return change / max(1.4826 * float(np.median(np.abs(fine - np.median(fine)))), 1e-6)


def _muscle(smooth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return a triangle at the upper chest side, where the muscle lies in oblique views."""
    rows, cols = np.nonzero(inside)
    if not rows.size:
        return np.zeros(inside.shape, bool)
    left = bool(np.mean(cols < inside.shape[1] / 2) > 0.5)
    wall = cols.min() if left else cols.max()
    high, wide = np.ptp(rows) + 1, np.ptp(cols) + 1
    r, c = np.indices(inside.shape)
    down, across = (r - rows.min()) / (0.62 * high), np.abs(c - wall) / (0.55 * wide)
    corner: np.ndarray = down + across < 1
    return corner


def _with_layer(
    pixels: np.ndarray,
    mask: np.ndarray,
    layer: Layers,
    mammogram: Mammogram,
    rng: np.random.Generator,
) -> np.ndarray:
    assert mammogram.spacing_mm is not None
    pitch = mammogram.spacing_mm[0]
    # Room for the blur around the lesion's own patch.
    blur = _blur_mm(pitch) / pitch
    pad = int(4 * blur) + 1
    r0, c0 = layer.row0 - pad, layer.col0 - pad
    extra = np.pad(_depth(layer), pad)
    extra = ndimage.gaussian_filter(extra, blur)
    rows, cols = extra.shape
    top, left = max(r0, 0), max(c0, 0)
    bottom, right = min(r0 + rows, pixels.shape[0]), min(c0 + cols, pixels.shape[1])
    own = np.s_[top - r0 : bottom - r0, left - c0 : right - c0]
    here = np.s_[top:bottom, left:right]
    patch = pixels[here].astype(np.float64)
    if layer.pull_mm is not None:
        pull = np.pad(layer.pull_mm, ((0, 0), (pad, pad), (pad, pad)))[(slice(None), *own)]
        at = np.indices(patch.shape) + pull / pitch
        patch = ndimage.map_coordinates(patch, at, order=1, mode="nearest")
    slope = _slope(pixels, mask, pitch)
    added = extra[own] * slope(ndimage.gaussian_filter(patch, 1.0))
    # Fewer quanta pass through: noise grows by the root of what is lost.
    fine = 1.4826 * float(np.median(np.abs(patch - ndimage.gaussian_filter(patch, 1.0))))
    louder = np.sqrt(np.clip(np.exp(extra[own]) - 1, 0, 4)) * fine
    changed = patch + added + rng.standard_normal(patch.shape) * louder
    touched = (np.abs(extra[own]) > 1e-4) & mask[here]
    if layer.pull_mm is not None:
        touched |= (np.hypot(*pull) > 0.05 * pitch) & mask[here]
    levels = 2 ** (mammogram.source.bits or 16) - 1
    out = pixels.copy()
    out[here] = np.where(touched, np.clip(np.rint(changed * levels) / levels, 0, 1), pixels[here])
    return out


def _depth(layer: Layers) -> np.ndarray:
    """Return the attenuation that a lesion adds; it displaces tissue half way from fat to gland."""
    fat = attenuation(Material.ADIPOSE, _ENERGY_KEV)
    gland = attenuation(Material.GLANDULAR, _ENERGY_KEV)
    mineral = Material.OXALATE if layer.oxalate else Material.HYDROXYAPATITE
    between = (fat + gland) / 2
    soft = layer.soft_mm * (CARCINOMA * gland - between)
    return np.asarray(soft + layer.mineral_mm * (attenuation(mineral, _ENERGY_KEV) - between))


def _blur_mm(pitch: float) -> float:
    """Return sigma of a system's blur: screens and scanners about 0.06 mm, detectors half a pixel."""
    return float(np.hypot(0.06, 0.3 * pitch))


def _slope(
    pixels: np.ndarray, mask: np.ndarray, pitch: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from grey level to display value per unit of attenuation, for one image."""
    step = max(round(0.4 / pitch), 1)
    small = ndimage.uniform_filter(pixels, step)[::step, ::step] if step > 1 else pixels
    inside = ndimage.binary_erosion(
        mask[::step, ::step], iterations=max(round(6 / (step * pitch)), 1)
    )
    unit = step * pitch
    band = ndimage.gaussian_filter(small, 0.5 / unit) - ndimage.gaussian_filter(small, 2.0 / unit)
    level = ndimage.gaussian_filter(small, 2.0 / unit)
    if inside.sum() < 500:
        return lambda grey: np.full(np.shape(grey), 0.3)
    values, spread = level[inside], band[inside]
    edges = np.quantile(values, np.linspace(0, 1, _LEVELS + 1))
    middles, slopes = [], []
    for low, high in itertools.pairwise(edges):
        own = spread[(values >= low) & (values <= high)]
        if own.size > 30:
            middles.append((low + high) / 2)
            slopes.append(1.4826 * float(np.median(np.abs(own - np.median(own)))) / TEXTURE_SPREAD)
    # Every curve ends flat, at black and at white.
    xs = np.array([0.0, *middles, 1.0])
    ys = np.array([0.0, *ndimage.gaussian_filter1d(np.array(slopes), 1.5), 0.0])
    return lambda grey: np.interp(grey, xs, ys)


def _lesion(truth: Truth) -> Lesion:
    return Lesion(
        lesion_id=truth.lesion_id,
        kind=truth.kind,
        region=truth.region,
        part_of=truth.part_of,
        visible=truth.visible,
        pathology=truth.pathology,
        descriptor=truth.descriptor,
        diameter_mm=truth.diameter_mm,
    )
