"""Spots brighter than their surround, at the sizes of calcifications, measured against local noise.

Five steps: prepare (breast, working pixel), difference of Gaussians at several scales, division by
the local noise, a Hessian check that a spot is round and no line, peaks and clusters. Everything is
in millimetres, so that one setting serves film at 200 µm and detectors at 70 µm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat
from scipy import ndimage

from secondreader import detections, geometry, imaging
from secondreader.domain import (
    Frame,
    Heatmap,
    ImageReading,
    Intent,
    Mammogram,
    SecondReaderError,
)

__all__ = ["Config", "SpotFilter", "load", "prepare"]


class Config(BaseModel):
    """Settings; all are ours, chosen on films of mini-MIAS looked at in development."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Finer images are resampled to this pixel; coarser than the second are refused.
    working_mm: float = Field(default=0.1, gt=0)
    coarsest_mm: float = Field(default=0.25, gt=0)
    sigmas_mm: tuple[PositiveFloat, ...] = Field(default=(0.16, 0.25), min_length=1)  # the inner's
    surround: float = Field(default=2.0, gt=1)  # the outer Gaussian's sigma, in inner ones
    noise_mm: float = Field(default=6.0, gt=0)  # side of the window that local noise is measured in
    roundness: float = Field(default=0.35, ge=0, le=1)  # least ratio of the Hessian's eigenvalues
    skin_mm: float = Field(default=5.0, ge=0)  # nothing is looked for nearer to skin or film edge
    apart_mm: float = Field(default=0.4, gt=0)  # peaks closer than this are one
    # Least response, in local noise: far below any operating point, so that curves are whole.
    threshold: float = Field(default=3.25, gt=0)
    most: int = Field(default=300, gt=0)  # spots kept in an image
    least: int = Field(default=3, gt=1)  # calcifications of a cluster ...
    area_mm2: float = Field(default=100.0, gt=0)  # ... within this area


class SpotFilter:
    """The reader; see the module."""

    name = "spot_filter"
    # It works on local contrast and is divided by local noise: any monotonic scale will do.
    intents: frozenset[Intent | None] = frozenset({*Intent, None})

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; its score is that of its best cluster, 0 where it has none."""
        refused = detections.spacing_refusal(
            self.name, mammogram.spacing_mm, self.config.coarsest_mm
        )
        prepared = None if refused else prepare(mammogram, self.config)
        if prepared is None:
            refused = refused or (
                "no-breast",
                "spot_filter found no breast in the image "
                f"(one of at least {self.config.noise_mm:g} mm each way)",
            )
            return ImageReading(mammogram.source, None, refused)
        pixels, mask, frame, spacing = prepared
        response = spot_response(pixels, mask, spacing, self.config)
        positions, scores = detections.peaks(
            response,
            threshold=self.config.threshold,
            min_distance=self.config.apart_mm / spacing,
            mask=mask,
            most=self.config.most,
        )
        assert mammogram.spacing_mm is not None
        source = geometry.to_source(frame, positions)
        found, score = detections.with_clusters(
            source,
            scores,
            mammogram.spacing_mm,
            least=self.config.least,
            area_mm2=self.config.area_mm2,
            wide_mm=self.config.apart_mm,
        )
        # 10 noises are as hot as it gets.
        highest, grid = imaging.strongest(response, frame)
        heatmap = Heatmap(np.clip(highest / 10, 0, 1).astype(np.float32), grid)
        return ImageReading(mammogram.source, score, None, found, heatmap)


def load(model_dir: Path | None) -> SpotFilter:
    """Return the reader; it has no weights and takes no folder."""
    if model_dir is not None:
        raise SecondReaderError(
            f"spot_filter: got the folder {model_dir}, expected none: it has no weights"
        )
    return SpotFilter(Config())


def prepare(
    mammogram: Mammogram, config: Config
) -> tuple[np.ndarray, np.ndarray, Frame, float] | None:
    """Crop to the breast and resample to the working pixel, never finer than the image.

    Returns
    -------
    tuple or None
        Pixels (rows, cols) float32, the mask inside which is looked (skin and film edge left out),
        their frame, and their pixel in mm; ``None`` where there is no breast, or one smaller than
        the window that noise is measured in.
    """
    assert mammogram.spacing_mm is not None
    whole = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    if not whole.any():
        return None
    frame = geometry.identity((mammogram.pixels.shape[0], mammogram.pixels.shape[1]))
    margin = int(1 / mammogram.spacing_mm[0])
    pixels, cropped = imaging.crop_to_mask(mammogram.pixels, frame, whole, margin)
    mask, _ = imaging.crop_to_mask(whole, frame, whole, margin)
    if min(np.array(pixels.shape) * mammogram.spacing_mm) < config.noise_mm:
        return None  # less than one window of noise; a pixel size that cannot be right comes here
    spacing = max(config.working_mm, *mammogram.spacing_mm)
    pixels, moved = imaging.to_spacing(pixels, cropped, mammogram.spacing_mm, spacing)
    small, _ = imaging.to_spacing(mask.astype(np.float32), cropped, mammogram.spacing_mm, spacing)
    inside = _eroded(small > 0.5, round(config.skin_mm / spacing))
    return (pixels, inside, moved, spacing) if inside.any() else None


def spot_response(
    pixels: np.ndarray, mask: np.ndarray, spacing: float, config: Config
) -> np.ndarray:
    """Return how far each pixel stands out as a round spot, in units of local noise.

    Returns
    -------
    numpy.ndarray
        (rows, cols) float32; 0 outside the mask and where the Hessian says line or edge.
    """
    best = np.zeros(pixels.shape, np.float32)
    window = max(round(config.noise_mm / spacing), 3)
    for sigma_mm in config.sigmas_mm:
        sigma = max(sigma_mm / spacing, 0.6)
        inner = ndimage.gaussian_filter(pixels, sigma)
        outer = ndimage.gaussian_filter(pixels, sigma * config.surround)
        difference = np.where(mask, inner - outer, 0)
        noise = _local_noise(difference, mask, window)
        response = difference / noise
        response[_lines(inner, config.roundness)] = 0
        np.maximum(best, response, out=best)
    best[~mask] = 0
    return best


def _local_noise(difference: np.ndarray, mask: np.ndarray, window: int) -> np.ndarray:
    """Return the local spread, spots clipped so that a cluster does not hide itself."""
    inside = difference[mask]
    spread = 1.4826 * float(np.median(np.abs(inside - np.median(inside)))) if inside.size else 0.0
    share = np.maximum(ndimage.uniform_filter(mask.astype(np.float32), window), 1e-3)

    def local(values: np.ndarray) -> np.ndarray:
        power = ndimage.uniform_filter(values**2, window)
        return np.asarray(np.sqrt(np.maximum(power, 0) / share))

    floor = max(spread, 1e-4)
    first = np.maximum(local(difference), floor)
    clipped = np.clip(difference, -2.5 * first, 2.5 * first)
    return np.asarray(np.maximum(local(clipped), floor))


def _lines(smooth: np.ndarray, roundness: float) -> np.ndarray:
    """Say where the Hessian is that of a line or an edge: eigenvalues of unlike size or sign."""
    down, across = np.gradient(smooth)
    rr, rc = np.gradient(down)
    cc = np.gradient(across, axis=1)
    trace, determinant = rr + cc, rr * cc - rc**2
    # With k the ratio of the eigenvalues, det / trace² = k / (1 + k)².
    limit = roundness / (1 + roundness) ** 2
    flat: np.ndarray = (trace >= 0) | (determinant < limit * trace**2)
    return flat


def _eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    """Take ``steps`` pixels off a mask on all sides, the image's own border not counted."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))
    eroded: np.ndarray = distance[1:-1, 1:-1] > steps
    return eroded
