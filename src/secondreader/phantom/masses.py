"""Masses, distortion and asymmetry: soft tissue with a margin, spicules, and what they pull at.

A body is star-shaped: its radius in each direction is a smooth random function, the same in every
view. The chord along the beam is integrated on a grid of a 25th of the radius, at most 0.35 mm, and
interpolated: a mass has no detail finer than that. An uneven one has texture on that grid, as
parenchyma has, finer waves in its outline, softer edges and stronger spicules.

References
----------
BI-RADS Atlas, 5th edition (2013): margins. de Sisternes et al., "A computational model to generate
simulated three-dimensional breast masses", Med. Phys. 42 (2015): random star-shaped bodies with
branching spicules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from secondreader.domain import View
from secondreader.phantom.projection import axes
from secondreader.phantom.texture import power_law

__all__ = ["MARGINS", "soft_patch"]

MARGINS = ("circumscribed", "lobulated", "ill-defined", "spiculated")
_REACH = {"spiculated": 2.3, "distortion": 2.3, "asymmetry": 1.5}  # of a patch, in radii
_EXPONENT = 3.0  # of its texture, as of parenchyma
_TEXTURE = 0.2  # spread of the logarithm of a chord, at an unevenness of 1
_FINER = 0.5  # of the outline's roughness: its finer waves, at an unevenness of 1
_SOFTER = 0.6  # by how much an edge is wider, at an unevenness of 1
_FURTHER = {  # where edges are softer, and spicules run on into the tissue
    "ill-defined": 2.4,
    "lobulated": 2.0,
    "spiculated": 3.6,
    "distortion": 3.6,
    "asymmetry": 2.8,
}


def soft_patch(
    seed: int, shape: str, radius_mm: float, view: View, pitch_mm: float, uneven: float = 0.0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Render a mass, a distortion or an asymmetry about its middle.

    Parameters
    ----------
    seed
        Everything follows from it.
    shape
        A margin, ``"distortion"`` or ``"asymmetry"``.
    radius_mm
        Of the body; spicules reach further.
    view, pitch_mm
        The grid.
    uneven
        How much its chords and its outline vary from place to place; above 0 spicules are thicker
        too, and run on into the tissue. 0: as smooth as a ball.

    Returns
    -------
    soft_mm, pull_mm
        (n, n) float32, n odd: mm of extra tissue, the middle pixel at the lesion's place; and
        (2, n, n) float32: from where, in mm relative to each pixel, tissue was pulled there.
    """
    rng = np.random.default_rng(seed)
    step = float(np.clip(radius_mm / 25, 0.1, 0.35))
    reach = (_FURTHER if uneven else _REACH).get(shape, 1.6)
    half = int(np.ceil(reach * radius_mm / step))
    u = np.arange(-half, half + 1) * step
    soft = np.zeros((u.size, u.size), np.float32)
    finer = _finer(np.random.default_rng((seed, 1))) if uneven else []
    rough, bumps, edge = {
        "circumscribed": (0.07, 2, 0.02),
        "lobulated": (0.16, 5, 0.03),
        "ill-defined": (0.16, 4, 0.16),
        "spiculated": (0.18, 5, 0.12),
        "asymmetry": (0.30, 5, 0.25),
    }.get(shape, (0.0, 0, 0.0))
    if bumps:
        waves = [(a * uneven * rough, k, phase) for a, k, phase in finer]
        body = _body(rng, radius_mm, rough, bumps, view, u, waves)
        edge *= 1 + _SOFTER * uneven
        soft += (0.55 if shape == "asymmetry" else 1.0) * _blurred(body, edge * radius_mm / step)
    if uneven:
        # As in parenchyma, texture is drawn anew in each view; a chord is never negative.
        drawn = np.random.default_rng((seed, 2, list(View).index(view)))
        field = power_law(drawn, (u.size, u.size), step, _EXPONENT, radius_mm)
        soft *= np.exp(np.float32(_TEXTURE * uneven) * field)
    pull = None
    if shape in ("spiculated", "distortion"):
        core = 0.15 if shape == "distortion" else 0.75
        soft += _spicules(rng, radius_mm, core, view, u, 1 + uneven)
        pull = _pull(radius_mm, 0.16 if shape == "distortion" else 0.10, u)
    fine = 2 * int(np.ceil(half * step / pitch_mm)) + 1
    return _regridded(soft, step, fine, pitch_mm), (
        None if pull is None else np.stack([_regridded(p, step, fine, pitch_mm) for p in pull])
    )


_Wave = tuple[float, np.ndarray, float]  # amplitude, wave vector on the unit sphere, phase


def _finer(rng: np.random.Generator) -> list[_Wave]:
    """Draw fine waves of an outline: of any direction, evenly by the logarithm of their number."""
    headings = rng.normal(size=(12, 3))
    headings /= np.linalg.norm(headings, axis=1, keepdims=True)
    numbers = np.exp(rng.uniform(np.log(3.0), np.log(9.0), 12))
    phases = rng.uniform(0, 2 * np.pi, 12)
    return [
        (_FINER / float(np.sqrt(6)), n * k, float(p))
        for n, k, p in zip(numbers, headings, phases, strict=True)
    ]


def _body(
    rng: np.random.Generator, radius: float, rough: float, bumps: int, view: View, u: np.ndarray,
    finer: Sequence[_Wave] = (),
) -> np.ndarray:  # fmt: skip
    """Return the chords through a star-shaped body, (n, n) mm."""
    squeeze = rng.uniform(0.75, 1.15, 3)
    # A sum of cosines of random directions: smooth on the sphere, the more the finer.
    waves = [
        (rng.normal(size=3) * rng.uniform(1.0, bumps), rng.uniform(0, 2 * np.pi)) for _ in range(8)
    ]
    turn = axes(view)
    depth = np.linspace(-1.35, 1.35, 33) * radius
    across = np.stack(np.meshgrid(u, u, indexing="ij"), -1)
    total = np.zeros(across.shape[:2])
    for w in depth:
        place = across @ turn[:2] + w * turn[2]
        far = np.linalg.norm(place / squeeze, axis=-1)
        unit = place / np.maximum(np.linalg.norm(place, axis=-1, keepdims=True), 1e-9)
        swell = sum(np.cos(unit @ k + phase) for k, phase in waves) / np.sqrt(len(waves) / 2)
        edge = radius * (1 + rough * swell)
        for amount, k, phase in finer:
            edge += radius * amount * np.cos(unit @ k + phase)
        # A soft step as wide as the depth's own step, or slices would show.
        total += np.clip((edge - far) / (depth[1] - depth[0]) + 0.5, 0, 1)
    return np.asarray(total * (depth[1] - depth[0]))


def _blurred(soft: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(soft, sigma) if sigma > 0.2 else soft)


def _spicules(
    rng: np.random.Generator, radius: float, core: float, view: View, u: np.ndarray, stronger: float
) -> np.ndarray:
    """Return the chords through thin tapering lines that radiate from the middle.

    ``stronger`` multiplies their lengths, their widths and their density.
    """
    turn = axes(view)
    rows, cols = np.meshgrid(u, u, indexing="ij")
    total = np.zeros(rows.shape)
    for _ in range(int(rng.integers(14, 34))):
        heading = rng.normal(size=3)
        heading /= np.linalg.norm(heading)
        long = radius * float(rng.uniform(0.6, 1.4)) * stronger
        thick = float(rng.uniform(0.18, 0.45)) * stronger
        start = turn[:2] @ (heading * radius * core)
        end = turn[:2] @ (heading * (radius * core + long) + rng.normal(0, 0.12 * radius, 3))
        line = end - start
        length = max(float(np.hypot(*line)), 1e-6)
        t = np.clip(((rows - start[0]) * line[0] + (cols - start[1]) * line[1]) / length**2, 0, 1)
        far = np.hypot(rows - start[0] - t * line[0], cols - start[1] - t * line[1])
        width = thick * (1 - 0.75 * t)
        # Seen end-on, a line is as deep as it is long.
        deep = min(long / length, 4.0)
        total += 2 * deep * np.sqrt(np.clip(width**2 - (0.6 * far) ** 2, 0, None)) * (1 - 0.5 * t)
    return np.asarray(stronger * total)


def _pull(radius: float, strength: float, u: np.ndarray) -> np.ndarray:
    """Return from where tissue was pulled, (2, n, n) mm: from further out, none at the border."""
    rows, cols = np.meshgrid(u, u, indexing="ij")
    far = np.hypot(rows, cols) / radius
    amount = strength * np.exp(-((far / 1.1) ** 2)) * np.clip(2.2 - far, 0, 1)
    return np.stack([rows * amount, cols * amount])


def _regridded(values: np.ndarray, step: float, size: int, pitch: float) -> np.ndarray:
    """Interpolate a patch about its middle onto ``size`` pixels of ``pitch``."""
    width = size * pitch / step
    low = (values.shape[0] - width) / 2
    padded, more = values, 0
    if low < 0:
        more = int(np.ceil(-low)) + 1
        padded = np.pad(values, more)
    box = (low + more, low + more, low + more + width, low + more + width)
    picture = Image.fromarray(np.asarray(padded, np.float32), "F")
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box)).copy()
