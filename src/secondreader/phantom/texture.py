"""Random fields that tissue is made of: power-law noise, and ridges that look like fibres.

Fields are made on a torus by filtering white noise with the FFT, so that they cost one transform
and their spectrum is known.

References
----------
Burgess, Jacobson and Judy, "Human observer detection experiments with mammograms and power-law
noise", Med. Phys. 28 (2001): exponents of mammographic texture about 3.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

__all__ = ["power_law", "ridges", "smooth_field"]


def power_law(
    rng: np.random.Generator, shape: tuple[int, int], pitch_mm: float, exponent: float,
    longest_mm: float,
) -> np.ndarray:  # fmt: skip
    """Make Gaussian noise whose power falls with frequency as ``f ** -exponent``.

    Parameters
    ----------
    rng
        Its state alone decides the field.
    shape
        (rows, cols).
    pitch_mm
        Pixel of the field.
    exponent
        Of the power spectrum.
    longest_mm
        Wavelength above which the spectrum is flat.

    Returns
    -------
    numpy.ndarray
        (rows, cols) float32, zero mean, unit spread.
    """
    frequency2, size = _frequencies(shape, pitch_mm, (1.0, 1.0))
    amplitude = np.maximum(frequency2, (1 / longest_mm) ** 2) ** np.float32(-exponent / 4)
    return _filtered(rng, amplitude, size, shape)


def smooth_field(
    rng: np.random.Generator,
    shape: tuple[int, int],
    pitch_mm: float,
    scale_mm: tuple[float, float],
) -> np.ndarray:
    """Make Gaussian noise smoothed over ``scale_mm`` (down, across); zero mean, unit spread."""
    frequency2, size = _frequencies(shape, pitch_mm, scale_mm)
    amplitude = np.exp(-2 * np.pi**2 * np.minimum(frequency2, 10)).astype(np.float32)
    return _filtered(rng, amplitude, size, shape)


def ridges(field: np.ndarray, width: float) -> np.ndarray:
    """Turn a smooth field into bright lines where it crosses zero.

    Zero crossings of a smooth random field are long winding curves, as septa and fibres are; the
    lines are thin where the field is steep.

    Parameters
    ----------
    field
        (rows, cols) float32, unit spread.
    width
        Half-width of a line in units of the field.

    Returns
    -------
    numpy.ndarray
        (rows, cols) float32 in [0, 1].
    """
    # Halved where the field is flat: a line wider than its distance to the next is a blot.
    down, across = np.gradient(field)
    steep = np.sqrt(down**2 + across**2)
    evenly = steep / (steep + np.float32(0.35 * float(steep.mean()) + 1e-9))
    lines: np.ndarray = np.exp(-0.5 * (field / np.float32(width)) ** 2) * evenly
    return lines


def _frequencies(
    shape: tuple[int, int], pitch_mm: float, scale_mm: tuple[float, float]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return squared frequencies, each axis in units of 1 / scale, and the padded size."""
    size = (
        fft.next_fast_len(shape[0] + shape[0] // 8, real=True),
        fft.next_fast_len(shape[1] + shape[1] // 8, real=True),
    )
    rows = (fft.fftfreq(size[0], pitch_mm) * scale_mm[0]).astype(np.float32)[:, None]
    cols = (fft.rfftfreq(size[1], pitch_mm) * scale_mm[1]).astype(np.float32)[None, :]
    return rows**2 + cols**2, size


def _filtered(
    rng: np.random.Generator, amplitude: np.ndarray, size: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    spectrum = fft.rfft2(rng.standard_normal(size, np.float32), workers=1)
    amplitude[0, 0] = 0
    spectrum *= amplitude
    field = fft.irfft2(spectrum, size, workers=1)[: shape[0], : shape[1]]
    field -= field.mean()
    return np.asarray(field / max(float(field.std()), 1e-9), np.float32)
