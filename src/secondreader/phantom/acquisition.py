"""From what the beam met to the stored values of one view: quanta, scatter, blur, noise, display.

References
----------
Hologic-like to film: see `secondreader.phantom.vendors`. Boone et al., "Scatter/primary in
mammography", Med. Phys. 27 (2000): scatter grows with thickness and is about 25 % after a grid at
50 mm. Williams et al., "Analysis of the detective quantum efficiency of a developmental detector
for digital mammography", Med. Phys. 26 (1999): noise is blurred with light in indirect detectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from secondreader.domain import Intent
from secondreader.phantom.film import film_values
from secondreader.phantom.lesions import Layers
from secondreader.phantom.materials import CARCINOMA, Material, attenuation
from secondreader.phantom.stroma import GRID_MM
from secondreader.phantom.tissue import Tissue
from secondreader.phantom.vendors import Vendor

__all__ = ["acquire"]

_EVEN_MM = 3.0
_COARSE_MM = 1.6
PROCESSING_BITS = 14


def acquire(
    tissue: Tissue,
    vendor: Vendor,
    layers: Sequence[Layers],
    rng: np.random.Generator,
    intent: Intent = Intent.FOR_PRESENTATION,
) -> np.ndarray:
    """Take a picture.

    Parameters
    ----------
    tissue
        What lies in the beam.
    vendor
        The system.
    layers
        What abnormalities add, on the system's pixel grid.
    rng
        Of the noise.
    intent
        For Processing gives linear detector values of 14 bits (larger = more quanta), For
        Presentation the display values.

    Returns
    -------
    numpy.ndarray
        (rows, cols) uint16, hung with the chest wall on the left.
    """
    depth, breast = _optical_depth(tissue, vendor, layers)
    quanta = vendor.quanta_mm2 * vendor.pitch_mm**2
    middle = float(np.median(depth[::4, ::4][breast[::4, ::4]])) if breast.any() else 1.0
    air = quanta * np.exp(middle)
    seen = _detected(depth, air, tissue, vendor)
    seen += _noise(seen, vendor, rng)
    if vendor.film is not None:
        # Exposure control sees the fat between the glands too, and its longest exposure is limited.
        fat = tissue.paddle * attenuation(Material.ADIPOSE, vendor.energy_kev)
        exposure = seen / air * np.exp(0.35 * middle + 0.65 * fat)
        return film_values(exposure, breast, vendor, rng)
    if intent is Intent.FOR_PROCESSING:
        full = 2**PROCESSING_BITS - 1
        linear: np.ndarray = np.clip(np.rint(50 + seen * (0.18 * full / quanta)), 0, full)
        return linear.astype(np.uint16)
    return _displayed(-np.log(np.maximum(seen, 0.5) / np.float32(air)), breast, vendor)


def _optical_depth(
    tissue: Tissue, vendor: Vendor, layers: Sequence[Layers]
) -> tuple[np.ndarray, np.ndarray]:
    """Return attenuation along the beam (rows, cols) float32 at the system's pitch, and where tissue is."""
    mu = {material: attenuation(material, vendor.energy_kev) for material in Material}
    fat = mu[Material.ADIPOSE]
    coarse = tissue.thickness * np.float32(fat)
    for part, material in (
        (tissue.glandular, Material.GLANDULAR),
        (tissue.skin, Material.SKIN),
        (tissue.muscle, Material.MUSCLE),
    ):
        coarse += part * np.float32(mu[material] - fat)
    shape = tissue.field.shape(vendor.pitch_mm)
    depth = _regridded(coarse, shape, vendor.pitch_mm)
    thickness = _regridded(tissue.thickness, shape, vendor.pitch_mm)
    breast = thickness > 1.0
    for layer in layers:
        _add(depth, thickness, layer, mu, vendor.pitch_mm)
    return depth, breast


def _regridded(values: np.ndarray, shape: tuple[int, int], pitch_mm: float) -> np.ndarray:
    """Bring a map from the tissue's grid to the system's; both begin at the same corner."""
    if shape == values.shape and pitch_mm == GRID_MM:
        return values.copy()
    box = (0.0, 0.0, min(shape[1] * pitch_mm / GRID_MM, values.shape[1]),
           min(shape[0] * pitch_mm / GRID_MM, values.shape[0]))  # fmt: skip
    picture = Image.fromarray(values, "F")
    large = picture.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)
    return np.asarray(large).copy()


def _add(
    depth: np.ndarray,
    thickness: np.ndarray,
    layer: Layers,
    mu: dict[Material, float],
    pitch_mm: float,
) -> None:
    """Add one abnormality, in place; what it displaces is the mixture that lies there."""
    rows, cols = layer.soft_mm.shape
    r0, c0 = max(layer.row0, 0), max(layer.col0, 0)
    r1, c1 = min(layer.row0 + rows, depth.shape[0]), min(layer.col0 + cols, depth.shape[1])
    if r1 <= r0 or c1 <= c0:
        return
    own = np.s_[r0 - layer.row0 : r1 - layer.row0, c0 - layer.col0 : c1 - layer.col0]
    here = depth[r0:r1, c0:c1]
    room = thickness[r0:r1, c0:c1]
    if layer.pull_mm is not None:
        here[:] = _pulled(here, layer.pull_mm[(slice(None), *own)] / np.float32(pitch_mm))
    mixture = here / np.maximum(room, 1.0)
    most = np.float32(0.8) * room
    soft = np.minimum(layer.soft_mm[own], most)
    if layer.excess:
        # What lies before and behind stays to be seen, and no dome ends in a plateau.
        even = ndimage.gaussian_filter(mixture, _EVEN_MM / pitch_mm)
        mixture = mixture + np.float32(layer.excess) * (even - mixture)
        soft = most * np.tanh(layer.soft_mm[own] / np.maximum(most, 1.0))
    mineral = Material.OXALATE if layer.oxalate else Material.HYDROXYAPATITE
    here += soft * np.maximum(CARCINOMA * mu[Material.GLANDULAR] - mixture, 0)
    here += np.where(room > 1, layer.mineral_mm[own], 0) * (mu[mineral] - mixture)


def _pulled(here: np.ndarray, pull: np.ndarray) -> np.ndarray:
    at = np.indices(here.shape, np.float32) + pull
    return np.asarray(ndimage.map_coordinates(here, at, order=1, mode="nearest"), np.float32)


def _detected(depth: np.ndarray, air: float, tissue: Tissue, vendor: Vendor) -> np.ndarray:
    """Return the quanta that each pixel expects: primary, scatter, flat-field rest, blur."""
    seen = np.float32(air) * np.exp(-depth)
    step = max(round(_COARSE_MM / vendor.pitch_mm), 1)
    coarse = seen[::step, ::step]
    inside = coarse[depth[::step, ::step] > 0.3]
    most = 1.5 * float(np.median(inside)) if inside.size else 1.0
    scattered = ndimage.gaussian_filter(
        np.where(depth[::step, ::step] > 0.05, np.minimum(coarse, most), 0), 8 / _COARSE_MM
    )
    rows, cols = seen.shape
    share = vendor.scatter * tissue.paddle / 50
    # What the flat field leaves: the heel effect falls off from the chest wall to the nipple.
    down = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, cols, dtype=np.float32)[None, :]
    seen += _spread(share * scattered, (rows, cols))
    seen *= 1 - 0.012 * across - 0.006 * down**2
    if vendor.blur_mm > 0.25 * vendor.pitch_mm:
        sharp = ndimage.gaussian_filter(seen, vendor.blur_mm / vendor.pitch_mm, truncate=3)
    else:
        sharp = seen
    wide = ndimage.gaussian_filter(seen, vendor.tail_mm / vendor.pitch_mm, truncate=2.5)
    return np.asarray(sharp + np.float32(vendor.tail) * (wide - sharp), np.float32)


def _spread(coarse: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.asarray(coarse, np.float32), "F")
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _noise(seen: np.ndarray, vendor: Vendor, rng: np.random.Generator) -> np.ndarray:
    """Return quantum and electronic noise, in quanta."""
    smooth = vendor.smooth_noise
    white = rng.standard_normal(seen.shape, np.float32)
    if smooth < 0.5:
        # A little of the noise is shared with the neighbours: one filter of three taps each way.
        kernel = np.array([smooth / 2, 1.0, smooth / 2], np.float32)
        kernel /= float(np.sqrt((kernel**2).sum()))
        shaped = ndimage.convolve1d(ndimage.convolve1d(white, kernel, 0), kernel, 1)
    else:
        sigma = max(vendor.blur_mm, 0.06) / vendor.pitch_mm * 1.2
        shaped = ndimage.gaussian_filter(white, sigma, truncate=3) if sigma > 0.3 else white
        # What blur takes from the spread is lost to the picture as well: it is what a film shows.
        shaped = shaped * np.float32(smooth) + white * np.float32(1 - smooth)
    electronic = vendor.electronic * vendor.pitch_mm / 0.1
    return np.asarray(shaped * np.sqrt(np.maximum(seen, 1) + electronic**2), np.float32)


def _displayed(depth: np.ndarray, breast: np.ndarray, vendor: Vendor) -> np.ndarray:
    """Turn attenuation into display values: lift the periphery, sharpen, window."""
    curve = vendor.display
    step = max(round(1.0 / vendor.pitch_mm), 1)
    few, inside = depth[::step, ::step], breast[::step, ::step]
    full = 2**vendor.bits - 1
    if not inside.any():
        return np.zeros(depth.shape, np.uint16)
    smooth = ndimage.gaussian_filter(np.where(inside, few, 0), 2.0)
    smooth /= np.maximum(ndimage.gaussian_filter(inside.astype(np.float32), 2.0), 0.05)
    level = float(np.quantile(few[inside], 0.30))
    lifted = curve.lift * np.clip(level - smooth, 0, None)
    shown = depth + _spread(np.where(inside, lifted, 0), depth.shape)
    sharpened = ndimage.gaussian_filter(depth, curve.sharpen_mm / vendor.pitch_mm, truncate=2)
    shown += np.float32(curve.sharpen) * (depth - sharpened)
    coarse = shown[::step, ::step][inside]
    low, high = np.quantile(coarse, (0.05, 0.995))
    low -= 0.08 * (high - low)
    high = low + curve.span * (high - low)
    scaled = np.clip((shown - low) / (high - low), 0, 1)
    # A shoulder, so that the densest do not all end at white.
    bent = scaled**curve.gamma
    bent = np.where(bent > 0.8, 0.8 + 0.2 * np.tanh((bent - 0.8) / 0.2), bent)
    bent[~breast & (depth < 0.25)] = 0
    stored: np.ndarray = np.rint(bent * full).astype(np.uint16)
    return stored
