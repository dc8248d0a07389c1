"""The one preparation, for training and reading alike: one pixel size, one noise, no background.

References
----------
Bria et al. (2014), section 2.1, equalise the noise before detection, as Karssemeijer (1993) and
McLoughlin et al. (2004) did. Theirs is a square root where values are linear in the dose; here none are:
For Processing pixels come as attenuation, their logarithm stretched to [0, 1].
"""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image
from scipy import ndimage

from secondreader import detections, geometry, imaging
from secondreader.domain import Frame, Mammogram
from secondreader.methods.mined_cnn.config import NAME, Config

__all__ = ["background", "looked_at", "noise_curve", "prepare", "refusal", "stabilised"]

_LEAST = 32  # pixels each way
_ROUNDING = 12**-0.5  # the spread of rounding, in grey levels
_SPREAD = 8.0  # noises that stand for 1 in what is prepared
_HAIR = 1e-4  # what is nearer to 0 would be taken for outside
_LEVELS = 24  # grey levels at which noise is estimated
_FEW = 500  # pixels that a level needs
_MANY = 200_000  # pixels that all levels together are estimated from


def refusal(mammogram: Mammogram, config: Config) -> tuple[str, str] | None:
    """Return why an image is not read, as (code, reason)."""
    return detections.spacing_refusal(NAME, mammogram.spacing_mm, config.coarsest_mm)


def prepare(mammogram: Mammogram, config: Config) -> tuple[np.ndarray, Frame] | None:
    """Cut the breast out, resample it, even its noise out, and take the smooth background off.

    Returns
    -------
    tuple or None
        (rows, cols) float16 in units of eight times the noise's spread, or without `Config.stabilise`
        of eight times that of the whole breast's rest, and its frame; outside the breast 0 exactly,
        inside never. ``None`` where the image is refused or holds no breast.
    """
    if refusal(mammogram, config) is not None:
        return None
    assert mammogram.spacing_mm is not None
    shape = (mammogram.pixels.shape[0], mammogram.pixels.shape[1])
    whole = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    if not whole.any():
        return None
    frame = geometry.identity(shape)
    pixels, cropped = imaging.crop_to_mask(mammogram.pixels, frame, whole, 4)
    mask, _ = imaging.crop_to_mask(whole, frame, whole, 4)
    if min(np.array(pixels.shape) * mammogram.spacing_mm) < _LEAST * config.spacing_mm:
        return None
    values, moved = imaging.to_spacing(pixels, cropped, mammogram.spacing_mm, config.spacing_mm)
    inside = imaging.to_spacing(
        mask.astype(np.float32), cropped, mammogram.spacing_mm, config.spacing_mm
    )[0] > 0.5  # fmt: skip
    if inside.sum() < _LEAST**2:
        return None
    even = values
    if config.stabilise:
        bits = mammogram.source.bits or 12
        even = stabilised(values, inside, _ROUNDING / (2**bits - 1))
    apart = even - background(even, inside, config.background_mm / config.spacing_mm)
    noise = _spread(apart[inside]) if not config.stabilise else 1.0
    scaled = np.clip(apart / (noise * _SPREAD), -60, 60)
    scaled = np.where(np.abs(scaled) < _HAIR, _HAIR, scaled)
    return np.where(inside, scaled, 0).astype(np.float16), moved


def background(values: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """Return the mean of the breast round each pixel, by a Gaussian; what lies outside has no part in it.

    On a grid of a quarter of sigma: what a Gaussian leaves holds nothing finer, and on the image's own
    grid this was half of all preparation.
    """
    step = max(int(sigma / 4), 1)
    rows, cols = values.shape
    padding = ((0, -rows % step), (0, -cols % step))

    def coarse(of: np.ndarray) -> np.ndarray:
        padded = np.pad(of.astype(np.float32), padding)
        blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
        smooth: np.ndarray = ndimage.gaussian_filter(
            blocks.mean(axis=(1, 3)), sigma / step, mode="constant"
        )
        return smooth

    weight, total = coarse(inside), coarse(np.where(inside, values, 0))
    mean = Image.fromarray((total / np.maximum(weight, 1e-3)).astype(np.float32))
    size = (mean.width * step, mean.height * step)
    return np.asarray(mean.resize(size, Image.Resampling.BILINEAR))[:rows, :cols]


def stabilised(values: np.ndarray, inside: np.ndarray, least: float = 1e-4) -> np.ndarray:
    """Return values whose noise has the spread 1 at every grey level.

    Parameters
    ----------
    values
        (rows, cols) float32.
    inside
        (rows, cols) bool: the breast.
    least
        The spread that noise has at least, such as that of rounding to whole grey levels: where an
        image of few bits is flat, the difference of two neighbours may be none.

    Returns
    -------
    numpy.ndarray
        (rows, cols) float32: ∫ dv / σ(v), σ the noise's curve.
    """
    levels, spread = noise_curve(values, inside, least)
    steps = np.linspace(0, 1, 512)
    slope = 1 / np.interp(steps, levels, spread)
    curve = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(steps))])
    even: np.ndarray = np.interp(values, steps, curve).astype(np.float32)
    return even


def noise_curve(
    values: np.ndarray, inside: np.ndarray, least: float = 1e-4
) -> tuple[np.ndarray, np.ndarray]:
    """Return grey levels (k,), ascending, and the noise's spread at each, (k,), at least `least`.

    The spread is that of what a 3 x 3 cross of differences leaves, by its median: lines and edges are
    few. Levels with few pixels say what their neighbours say.
    """
    cross = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    rough = ndimage.convolve(np.asarray(values, np.float32), cross)[inside]
    level = ndimage.uniform_filter(np.asarray(values, np.float32), 5)[inside]
    every = max(len(rough) // _MANY, 1)  # a median of more says nothing else
    rough, level = rough[::every], level[::every]
    edges = np.quantile(level, np.linspace(0, 1, _LEVELS + 1))
    middles, spreads = [], []
    for low, high in itertools.pairwise(edges):
        own = (level >= low) & (level <= high)
        if own.sum() >= _FEW and high > low:
            middles.append(float(np.median(level[own])))
            spreads.append(_spread(rough[own]))
    if not middles:
        return np.array([0.5]), np.array([max(_spread(rough), least)])
    order = np.argsort(middles)
    smooth = ndimage.uniform_filter1d(np.array(spreads)[order], 3, mode="nearest")
    return np.array(middles)[order], np.maximum(smooth, least)


def looked_at(prepared: np.ndarray, config: Config) -> np.ndarray:
    """Return where positions lie: the breast without what lies next to the skin."""
    return imaging.away_from_skin(prepared != 0, config.skin_mm / config.spacing_mm)


def _spread(values: np.ndarray) -> float:
    """Return the standard deviation that the median of absolute values stands for."""
    return float(np.median(np.abs(values))) * 1.4826 if values.size else 0.0
