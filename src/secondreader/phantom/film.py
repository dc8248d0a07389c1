"""Screen, film and scanner: the characteristic curve, grain, and what else lies on a film."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from secondreader.phantom.vendors import Film, Vendor

__all__ = ["film_values"]


def film_values(
    exposure: np.ndarray, breast: np.ndarray, vendor: Vendor, rng: np.random.Generator
) -> np.ndarray:
    """Expose, develop and scan a film.

    Parameters
    ----------
    exposure
        (rows, cols) float32, 1 where exposure control aims.
    breast
        (rows, cols) bool: where no mark is laid.
    vendor
        A film system.
    rng
        Of exposure, grain and dirt.

    Returns
    -------
    numpy.ndarray
        (rows, cols) uint16, larger = denser tissue, ``vendor.bits`` bits.
    """
    film = vendor.film
    assert film is not None
    density = _developed(exposure, film, rng)
    density += _grain(density, film, vendor.pitch_mm, rng)
    shown = 1 - np.clip(density / film.scanned, 0, 1)
    _add_dirt(shown, vendor.pitch_mm, rng)
    _add_marks(shown, breast, vendor.pitch_mm, rng)
    stored: np.ndarray = np.rint(np.clip(shown, 0, 1) * (2**vendor.bits - 1)).astype(np.uint16)
    return stored


def _developed(exposure: np.ndarray, film: Film, rng: np.random.Generator) -> np.ndarray:
    """Return optical density (Hurter and Driffield's curve as a logistic of log exposure)."""
    wanted = float(rng.uniform(1.3, 2.0))  # automatic exposure aims at a density, not exactly
    slope = film.slope * float(rng.uniform(0.9, 1.1))
    share = (wanted - film.base) / film.span
    speed = -np.log(share / (1 - share)) / slope
    log = np.log10(np.maximum(exposure, 1e-4))
    density = film.base + film.span / (1 + np.exp(-slope * np.log(10) / 2.3 * (log - speed)))
    return np.asarray(density, np.float32)


def _grain(
    density: np.ndarray, film: Film, pitch_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """Return grain: its spread falls with the aperture and grows with density (Selwyn 1935)."""
    spread = film.grain * min(0.05 / pitch_mm, 1.0)
    white = rng.standard_normal(density.shape, np.float32)
    if pitch_mm < 0.08:
        white = ndimage.gaussian_filter(white, 0.5) / 0.62
    return np.asarray(white * spread * np.sqrt(np.maximum(density, 0.05) / 1.5), np.float32)


def _add_dirt(shown: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> None:
    """Add dust (white, since it keeps light from the film), hairs and scratches, in place."""
    rows, cols = shown.shape
    for _ in range(int(rng.poisson(4))):
        row, col = int(rng.integers(rows)), int(rng.integers(cols))
        size = max(int(rng.lognormal(np.log(0.18), 0.5) / pitch_mm), 1)
        spot = shown[row : row + size, col : col + max(size + int(rng.integers(-1, 2)), 1)]
        spot += np.float32(rng.uniform(0.08, 0.5))
    for _ in range(int(rng.poisson(0.5))):
        length = int(rng.uniform(8, 60) / pitch_mm)
        down, across, angle = rng.uniform(0, (rows, cols, np.pi))
        steps = np.arange(length)
        r = np.rint(down + steps * np.sin(angle)).astype(int)
        c = np.rint(across + steps * np.cos(angle)).astype(int)
        keep = (r >= 0) & (c >= 0) & (r < rows) & (c < cols)
        shown[r[keep], c[keep]] += np.float32(rng.uniform(0.03, 0.12))


def _add_marks(
    shown: np.ndarray, breast: np.ndarray, pitch_mm: float, rng: np.random.Generator
) -> None:
    """Add what technicians and scanners leave: a lead label, a number, a film edge; in place."""
    rows, cols = shown.shape
    if rng.random() < 0.6:
        high, wide = round(rng.uniform(9, 20) / pitch_mm), round(rng.uniform(9, 13) / pitch_mm)
        top = round(rng.uniform(0, 12) / pitch_mm)
        left = cols - wide - round(rng.uniform(1, 12) / pitch_mm)
        place = np.s_[max(top, 0) : top + high, max(left, 0) : max(left, 0) + wide]
        words = str(rng.choice(["R\nML", "L\nML", "R CC", "L CC", "MED", "L\nOBL"]))
        label = _lettered(shown[place].shape, words, inked=rng.random() < 0.7)
        if label.size and not breast[place].any():
            shown[place] = np.maximum(shown[place], label)
    if rng.random() < 0.35:  # the light of the scanner's bed, past the edge of the film
        strip = max(round(rng.uniform(0.4, 3) / pitch_mm), 1)
        lean = np.rint(np.linspace(0, rng.uniform(-1, 1) / pitch_mm, rows)).astype(int)
        edge = np.arange(cols)[None, :] >= cols - strip + lean[:, None]
        shown[edge & ~breast] = np.float32(rng.uniform(0.88, 1.0))


def _lettered(shape: tuple[int, ...], words: str, *, inked: bool) -> np.ndarray:
    """Return a label (rows, cols) float32: black letters on white, or white ones alone."""
    if min(shape, default=0) < 8:
        return np.zeros((0, 0), np.float32)
    small = Image.new("L", (30, 40), 0)
    ImageDraw.Draw(small).multiline_text((2, 4), words, fill=255)
    letters = np.asarray(small.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) / 255
    label: np.ndarray = 0.97 * (1 - letters) if inked else 0.75 * letters
    return label.astype(np.float32)
