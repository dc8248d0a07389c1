"""What a model's training images look like, and how far another image is from that; no torch here.

A few features of the pixels alone, chosen for what tells kinds of images apart: air that is not dark
(inverted polarity, frames), how grey values spread (windowing, processing of a maker), noise and texture
at several scales (film, digital detectors, synthetic views), the shape and size of what is seen (other
body parts, magnification). The distance is Mahalanobis's to the nearest maker's middle, by one spread
of all makers, shrunk (Ledoit and Wolf) since training images are few.

References
----------
Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
Multivariate Analysis 88 (2004). Lee et al., "A simple unified framework for detecting out-of-distribution
samples", NeurIPS (2018): Mahalanobis's distance to class means under a shared covariance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from secondreader import geometry, imaging
from secondreader.domain import Mammogram, SecondReaderError

__all__ = ["CODE", "FEATURES", "FILE", "Likeness", "features", "fitted", "loaded"]

CODE = "unlike-training"
FILE = "likeness.json"
SCHEMA = "secondreader.likeness/1"
_PIXEL_MM = 0.2  # of the grid that texture is measured on: the coarsest film at hand
_BANDS = (0.2, 0.4, 0.8, 1.6, 3.2)  # mm
_FEW = 5  # images that a maker's middle needs
_LEAST_IMAGES = 12
# Beyond the threshold lie most films of mini-MIAS for a model trained on film phantoms, which reads
# them well all the same (benchmarks/unlike_training.py, the README of anomaly_cascade): a woman is no
# phantom. What is refused lies half as far again.
_SLACK = 1.5
# Each with the difference that says nothing: no spread is taken for smaller, however alike the
# training images are.
_LEAST = {
    "grey value of air": 0.02,
    "noise of air": 0.15,
    "darkest tissue": 0.04,
    "dark tissue": 0.04,
    "middle tissue": 0.04,
    "bright tissue": 0.04,
    "brightest tissue": 0.04,
    "share of white": 0.02,
    "share of black": 0.02,
    "fall towards the skin": 0.05,
    "share of the image": 0.05,
    "length of the chest wall": 0.1,
    "fullness of the outline": 0.05,
    "area": 0.1,
    **{f"texture at {band:g} mm": 0.05 for band in _BANDS},
    "skewness at 0.4 mm": 0.1,
    "skewness at 1.6 mm": 0.1,
}
FEATURES = tuple(_LEAST)
"""Their names, in order."""


def features(mammogram: Mammogram) -> np.ndarray:
    """Return the features of an image, (len(FEATURES),) float64; NaN for those that it cannot have.

    Texture and area need a pixel size, the background some air; an image without a breast has none.
    """
    return _features(mammogram.pixels, mammogram.spacing_mm)


@imaging.once
def _features(pixels: np.ndarray, spacing_mm: tuple[float, float] | None) -> np.ndarray:
    found = dict.fromkeys(FEATURES, math.nan)
    mask = imaging.breast_mask(pixels, spacing_mm)
    if mask.any():
        found |= _background(pixels, mask)
        found |= _grey(pixels, mask)
        found |= _outline(mask, spacing_mm)
        if spacing_mm is not None:
            found |= _texture(pixels, mask, spacing_mm)
    return np.array([found[name] for name in FEATURES])


def _background(pixels: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    step = max(int(math.sqrt(mask.size / 200_000)), 1)
    air = pixels[::step, ::step][~mask[::step, ::step]]
    if air.size < 0.02 * mask.size / step**2:
        return {}
    rough = np.diff(pixels[::step], axis=1)[~(mask[::step, 1:] | mask[::step, :-1])]
    noise = float(np.median(np.abs(rough))) if rough.size else 0.0
    return {"grey value of air": float(np.median(air)), "noise of air": math.log10(noise + 1e-3)}


def _grey(pixels: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    step = max(int(math.sqrt(mask.sum() / 100_000)), 1)
    inside = pixels[::step, ::step][mask[::step, ::step]]
    names = ("darkest", "dark", "middle", "bright", "brightest")
    levels = np.quantile(inside, (0.05, 0.25, 0.5, 0.75, 0.99))
    small, breast = _shrunk(pixels, 256), _shrunk(mask.astype(np.float32), 256) > 0.5
    rows = max(int(np.count_nonzero(breast.any(axis=1))), 1)
    deep = imaging.away_from_skin(breast, 0.08 * rows)
    rim = breast & ~imaging.away_from_skin(breast, 0.04 * rows)
    fall = math.nan
    if deep.any() and rim.any():
        spread = max(float(levels[4] - levels[0]), 1e-3)
        fall = float(np.median(small[deep]) - np.median(small[rim])) / spread
    return {
        **{f"{name} tissue": float(level) for name, level in zip(names, levels, strict=True)},
        "share of white": float(np.mean(inside >= 0.99)),
        "share of black": float(np.mean(inside <= 0.01)),
        "fall towards the skin": fall,
    }


def _outline(mask: np.ndarray, spacing_mm: tuple[float, float] | None) -> dict[str, float]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    high, wide = int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1
    near = max(round(0.02 * wide), 1)
    left = mask[rows[0] : rows[-1] + 1, cols[0] : cols[0] + near].any(axis=1).mean()
    right = mask[rows[0] : rows[-1] + 1, cols[-1] - near + 1 : cols[-1] + 1].any(axis=1).mean()
    area = int(np.count_nonzero(mask))
    found = {
        "share of the image": area / mask.size,
        "length of the chest wall": float(max(left, right)),
        "fullness of the outline": area / (high * wide),
    }
    if spacing_mm is not None:
        found["area"] = math.log10(area * spacing_mm[0] * spacing_mm[1])
    return found


def _texture(
    pixels: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float]
) -> dict[str, float]:
    """Measure octave bands, each against the spread of grey values, which a window changes too."""
    frame = geometry.identity((pixels.shape[0], pixels.shape[1]))
    own, cropped = imaging.crop_to_mask(pixels, frame, mask)
    part, _ = imaging.crop_to_mask(mask, frame, mask)
    if min(np.array(own.shape) * spacing_mm) < 16 * _BANDS[-1]:
        return {}
    values, _ = imaging.to_spacing(own, cropped, spacing_mm, _PIXEL_MM)
    inside, _ = imaging.to_spacing(part.astype(np.float32), cropped, spacing_mm, _PIXEL_MM)
    breast = inside > 0.5
    spread = max(float(np.ptp(np.quantile(values[breast], (0.05, 0.95)))), 1e-3)
    found = {}
    for band in _BANDS:
        smooth = ndimage.gaussian_filter(values, 1.0)
        deep = imaging.away_from_skin(breast, 4)
        if not deep.any():
            break
        detail = (values - smooth)[deep]
        size = 1.4826 * float(np.median(np.abs(detail - np.median(detail))))
        found[f"texture at {band:g} mm"] = math.log10(size / spread + 1e-4)
        if f"skewness at {band:g} mm" in _LEAST:
            capped = np.clip(detail / max(size, 1e-6), -5, 5)
            found[f"skewness at {band:g} mm"] = float(np.mean(capped**3))
        shape = (smooth.shape[0] // 2 * 2, smooth.shape[1] // 2 * 2)
        values, breast = (
            smooth[: shape[0] : 2, : shape[1] : 2],
            breast[: shape[0] : 2, : shape[1] : 2],
        )
    return found


def _shrunk(values: np.ndarray, longest: int) -> np.ndarray:
    step = max(max(values.shape) / longest, 1.0)
    size = (max(round(values.shape[1] / step), 1), max(round(values.shape[0] / step), 1))
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32), "F")
    return np.asarray(picture.resize(size, Image.Resampling.BOX, reducing_gap=max(step // 2, 1.0)))


# ------------------------------------------------------------------------------------ distance


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a model was trained on, as features see it.

    Parameters
    ----------
    names
        The features used: (k,) of `FEATURES`.
    scale
        (k,) the robust spread of each within makers.
    middles
        Makers' middles, each (k,).
    covariance
        (k, k), of features in units of `scale` about their maker's middle, shrunk.
    threshold
        The distance beyond which an image is unlike; ``share`` of ``images`` validation images lie
        below.
    share, images, trained
        See above; ``trained`` is the number of training images it was fitted to.
    """

    names: tuple[str, ...]
    scale: tuple[float, ...]
    middles: tuple[tuple[float, ...], ...]
    covariance: tuple[tuple[float, ...], ...]
    threshold: float
    share: float
    images: int
    trained: int

    def distance(self, found: np.ndarray) -> tuple[float, tuple[str, ...]] | None:
        """Return how far an image is, and the two features that say so most; None without features.

        Where an image lacks some, the distance is that of the others, as large as all would have made it.
        """
        own = found[[FEATURES.index(name) for name in self.names]]
        known = np.isfinite(own)
        if not known.any():
            return None
        inverse = np.linalg.inv(np.array(self.covariance)[np.ix_(known, known)])
        apart = ((own - np.array(self.middles)) / np.array(self.scale))[:, known]
        shares = apart * (apart @ inverse)
        nearest = shares[int(shares.sum(axis=1).argmin())]
        squared = max(float(nearest.sum()), 0.0) * len(known) / int(known.sum())
        order = np.flatnonzero(known)[np.argsort(-nearest, kind="stable")]
        return math.sqrt(squared), tuple(self.names[i] for i in order[:2])

    @property
    def limit(self) -> float:
        """The distance beyond which an image is refused."""
        return _SLACK * self.threshold

    def unlike(self, mammogram: Mammogram, model: str) -> tuple[str, str] | None:
        """Return why an image is not read, as (code, reason); None for one like the training images."""
        got = self.distance(features(mammogram))
        if got is None or got[0] <= self.limit:
            return None
        return CODE, (
            f"{model} was trained on other images: this one lies at {got[0]:.3g}, most by "
            f"{' and '.join(got[1])}; {self.share:.0%} of its validation images lie below "
            f"{self.threshold:.3g}, beyond {self.limit:.3g} none is read (--accept {CODE})"
        )

    def text(self) -> str:
        """Return what is kept in a model folder."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"


def fitted(
    train: np.ndarray, makers: Sequence[str | None], held: np.ndarray, share: float = 0.99
) -> Likeness:
    """Fit what training images look like, and choose the threshold on validation images.

    Parameters
    ----------
    train
        (n, len(FEATURES)) of training images.
    makers
        (n,) whose system each was made by; makers of fewer than five images are taken together.
    held
        (m, len(FEATURES)) of validation images.
    share
        Of validation images that lie below the threshold, at least.

    Raises
    ------
    SecondReaderError
        If there are too few images.
    """
    used = np.isfinite(train).mean(axis=0) > 0.9
    rows = np.isfinite(train[:, used]).all(axis=1) if used.any() else np.zeros(len(train), bool)
    if rows.sum() < _LEAST_IMAGES or not len(held):
        raise SecondReaderError(
            f"likeness: got {int(rows.sum())} training and {len(held)} validation images, expected "
            f"{_LEAST_IMAGES} and 1 or more"
        )
    values = train[np.ix_(rows, used)]
    index, middles = _middles(values, [m for m, r in zip(makers, rows, strict=True) if r])
    apart = values - middles[index]
    names = tuple(name for name, u in zip(FEATURES, used, strict=True) if u)
    robust = 1.4826 * np.median(np.abs(apart), axis=0)
    scale = np.maximum.reduce([robust, apart.std(axis=0) / 2, [_LEAST[name] for name in names]])
    covariance = _shrunk_covariance(np.clip(apart / scale, -6, 6))
    made = Likeness(
        names, _plain(scale), tuple(map(_plain, middles)), tuple(map(_plain, covariance)),
        math.inf, share, len(held), len(values),
    )  # fmt: skip
    distances = sorted(d[0] for row in held if (d := made.distance(row)) is not None)
    if not distances:
        raise SecondReaderError("likeness: got no validation image with a breast, expected one")
    place = min(math.ceil(share * (len(distances) + 1)), len(distances))
    return Likeness(**{**asdict(made), "threshold": distances[place - 1]})


def loaded(folder: Path) -> Likeness | None:
    """Return what a model folder says of its training images, None where it says nothing.

    Raises
    ------
    SecondReaderError
        If it cannot be understood.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if told.pop("schema") != SCHEMA or not set(told["names"]) <= set(FEATURES):
            raise ValueError("another schema")
        pairs = ("middles", "covariance")
        told |= {key: tuple(map(tuple, told[key])) for key in pairs}
        return Likeness(**told | {key: tuple(told[key]) for key in ("names", "scale")})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SecondReaderError(f"model: got {error}, expected {SCHEMA}: {file}") from None


def _middles(values: np.ndarray, makers: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each image the number of its maker's middle, and the middles."""
    names = np.array([maker or "" for maker in makers])
    kinds, counts = np.unique(names, return_counts=True)
    large = [kind for kind, count in zip(kinds, counts, strict=True) if count >= _FEW]
    index = np.array([large.index(n) if n in large else len(large) for n in names])
    used = np.unique(index)
    return np.searchsorted(used, index), np.array(
        [np.median(values[index == i], axis=0) for i in used]
    )


def _shrunk_covariance(apart: np.ndarray) -> np.ndarray:
    from sklearn.covariance import LedoitWolf  # slow to import, and reading needs none of it

    covariance: np.ndarray = LedoitWolf(assume_centered=True).fit(apart).covariance_
    return covariance


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
