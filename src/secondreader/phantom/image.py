"""From a breast to the stored values of one view.

Attenuation is summed along the beam: adipose and glandular tissue (power-law texture), skin, muscle
in MLO, a mass, calcifications. Then blur, quantum noise, and a display curve. Coefficients are
linear attenuation at about 20 keV, per mm.

References
----------
Hammerstein et al., "Absorbed radiation dose in mammography", Radiology 130 (1979): tissue
compositions; NIST XCOM: attenuation coefficients. Burgess et al., "Human observer detection
experiments with mammograms and power-law noise", Med. Phys. 28 (2001): texture exponent about 3.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from secondreader.domain import View
from secondreader.phantom.anatomy import Breast, project
from secondreader.phantom.vendors import Vendor

__all__ = ["ADIPOSE", "CALCIFICATION", "GLANDULAR", "stored_values"]

ADIPOSE, GLANDULAR, CALCIFICATION = 0.0456, 0.0802, 1.3
"""Linear attenuation per mm at 20 keV: adipose, glandular, and a calcification (hydroxyapatite)."""
_TEXTURE_EXPONENT = 3.0
_MARGIN_MM = 8.0


def stored_values(
    breast: Breast, view: View, vendor: Vendor
) -> tuple[np.ndarray, tuple[float, float]]:
    """Make one view, hung with the chest wall on the left.

    Returns
    -------
    stored
        (rows, cols) uint16, larger = denser.
    nipple
        (row, col) of the nipple in pixels.
    """
    pitch = vendor.pitch_mm
    high = breast.half_height_mm * (1.0 if view is View.CC else 1.25) + _MARGIN_MM
    rows, cols = round(2 * high / pitch), round((breast.depth_mm + 2 * _MARGIN_MM) / pitch)
    nipple_row = rows / 2 if view is View.CC else rows * 0.58
    rng = np.random.default_rng((breast.seed, 0 if view is View.CC else 1))
    down = ((np.arange(rows) - nipple_row) * pitch).astype(np.float32)[:, None]
    across = (np.arange(cols) * pitch).astype(np.float32)[None, :]

    thickness = _thickness(breast, view, down, across)
    texture = _texture(rng, (rows, cols), pitch)
    gland = _glandular(breast, texture, down, across)
    depth = thickness * (ADIPOSE + (GLANDULAR - ADIPOSE) * gland)
    depth += _skin(thickness) * (GLANDULAR - ADIPOSE)
    if view is View.MLO:
        depth += _muscle(breast, rng, down, across, thickness)
    depth += _findings(breast, view, down, across, rng, pitch)
    shown = _imaged(depth, breast, vendor, rng)
    return shown, (float(nipple_row), breast.depth_mm / pitch)


def _thickness(breast: Breast, view: View, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return tissue thickness in mm: flat under the paddle, rounded towards the skin, 0 outside."""
    half = breast.half_height_mm
    if view is View.MLO:  # the axillary side reaches up to the film's edge
        stretch = np.where(down < 0, 1.55 * half, 0.95 * half)
    else:
        stretch = np.full_like(down, half)
    reach = np.clip(1 - np.abs(down / stretch) ** 2.3, 0, None) ** 0.5 * breast.depth_mm
    inside = np.clip((reach - across) / (0.35 * breast.thickness_mm), 0, 1)
    return np.asarray(breast.thickness_mm * np.sqrt(1 - (1 - inside) ** 2), np.float32)


def _texture(rng: np.random.Generator, shape: tuple[int, int], pitch: float) -> np.ndarray:
    """Return Gaussian noise with a power-law spectrum, zero mean, unit spread."""
    size = (fft.next_fast_len(shape[0], real=True), fft.next_fast_len(shape[1], real=True))
    white = fft.rfft2(rng.standard_normal(size, np.float32), workers=1)
    rows = fft.fftfreq(size[0], pitch)[:, None].astype(np.float32)
    cols = fft.rfftfreq(size[1], pitch)[None, :].astype(np.float32)
    frequency = np.sqrt(rows**2 + cols**2)
    frequency[0, 0] = 1.0
    white *= np.maximum(frequency, 0.01) ** np.float32(-_TEXTURE_EXPONENT / 2)
    white[0, 0] = 0
    field = fft.irfft2(white, size, workers=1)[: shape[0], : shape[1]]
    return np.asarray(field / max(float(field.std()), 1e-9), np.float32)


def _glandular(
    breast: Breast, texture: np.ndarray, down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """Return the glandular fraction: most behind the nipple, least at the skin and the chest."""
    from_centre = np.hypot(
        down / (0.62 * breast.half_height_mm),
        (across - 0.52 * breast.depth_mm) / (0.5 * breast.depth_mm),
    )
    envelope = 2.2 * (breast.glandular - 0.35) + 1.1 * (1 - from_centre**2)
    fraction = 1 / (1 + np.exp(-np.clip(1.1 * texture + 1.4 * envelope - 0.6, -30, 30)))
    return np.asarray(fraction, np.float32)


def _skin(thickness: np.ndarray) -> np.ndarray:
    """Return millimetres of skin along the beam: two layers, more where the beam grazes."""
    tissue = thickness > 0.3
    grazing = np.clip(1 - thickness / max(float(thickness.max()), 1e-6), 0, 1) ** 2
    return np.asarray(np.where(tissue, 3.0 + 8.0 * grazing, 0), np.float32)


def _muscle(
    breast: Breast,
    rng: np.random.Generator,
    down: np.ndarray,
    across: np.ndarray,
    thickness: np.ndarray,
) -> np.ndarray:
    """Return the pectoral muscle's extra attenuation: a triangle at the chest wall, upwards."""
    top = float(down[0, 0])
    length, width = -top * rng.uniform(0.85, 1.1), breast.depth_mm * rng.uniform(0.35, 0.55)
    reach = np.clip(1 - (down - top) / length, 0, 1) * width + 2.0 * np.sin((down - top) / 17.0)
    inside = 1 / (1 + np.exp(np.clip((across - reach) / 0.8, -30, 30)))
    extra: np.ndarray = 0.3 * (GLANDULAR - ADIPOSE) * breast.thickness_mm * inside
    return np.where(thickness > 0, extra, 0)


def _findings(
    breast: Breast,
    view: View,
    down: np.ndarray,
    across: np.ndarray,
    rng: np.random.Generator,
    pitch: float,
) -> np.ndarray:
    """Return the extra attenuation of masses and calcifications."""
    extra = np.zeros((down.shape[0], across.shape[1]), np.float32)
    for finding in breast.findings:
        row_mm, col_mm = project(finding.place, view)
        if not finding.calcifications:
            far = np.hypot(down - row_mm, across - col_mm) / finding.radius_mm
            path = 2 * finding.radius_mm * np.sqrt(np.clip(1 - far**2, 0, None))
            extra += 0.8 * (GLANDULAR - ADIPOSE) * ndimage.gaussian_filter(path, 0.5 / pitch)
        for calcification in finding.calcifications:
            _add_sphere(
                extra,
                calcification.diameter_mm,
                project(calcification.place, view),
                float(down[0, 0]),
                pitch,
            )
    return extra


def _add_sphere(
    extra: np.ndarray, diameter_mm: float, at: tuple[float, float], top_mm: float, pitch: float
) -> None:
    """Add a calcification's path length, averaged over 5 x 5 points of each pixel."""
    reach = int(np.ceil(diameter_mm / pitch)) + 2
    row, col = (at[0] - top_mm) / pitch, at[1] / pitch
    rows = np.arange(max(round(row) - reach, 0), min(round(row) + reach + 1, extra.shape[0]))
    cols = np.arange(max(round(col) - reach, 0), min(round(col) + reach + 1, extra.shape[1]))
    if rows.size == 0 or cols.size == 0:
        return
    fine = (np.arange(5) - 2) / 5
    r = ((rows[:, None] + fine).ravel() - row) * pitch
    c = ((cols[:, None] + fine).ravel() - col) * pitch
    path = 2 * np.sqrt(np.clip((diameter_mm / 2) ** 2 - r[:, None] ** 2 - c[None] ** 2, 0, None))
    mean = path.reshape(rows.size, 5, cols.size, 5).mean(axis=(1, 3))
    extra[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] += CALCIFICATION * mean


def _imaged(
    depth: np.ndarray, breast: Breast, vendor: Vendor, rng: np.random.Generator
) -> np.ndarray:
    """Blur, add quantum noise, and spread the breast over the display range."""
    blurred = ndimage.gaussian_filter(depth, vendor.blur_mm / vendor.pitch_mm)
    quanta = vendor.quanta * (vendor.pitch_mm / 0.1) ** 2
    behind = quanta * np.exp(-(blurred - ADIPOSE * breast.thickness_mm))
    noisy = blurred + rng.standard_normal(depth.shape, np.float32) / np.sqrt(behind)
    low, high = 0.25 * ADIPOSE * breast.thickness_mm, GLANDULAR * breast.thickness_mm * 1.2
    curve = np.clip((noisy - low) / (high - low), 0, 1) ** 1.15
    curve[ndimage.minimum_filter(depth, 3) <= 0] *= 0
    if vendor.film:
        curve = 0.05 + 0.9 * curve
    full: np.ndarray = np.rint(curve * (2**vendor.bits - 1)).astype(np.uint16)
    return full
