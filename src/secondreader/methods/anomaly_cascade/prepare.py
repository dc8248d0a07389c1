"""The one preparation, for training and reading alike, and the truth on its grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from secondreader import detections, geometry, imaging
from secondreader.domain import Frame, Kind, Lesion, Mammogram, Mask, Pathology
from secondreader.methods.anomaly_cascade.config import Config

__all__ = ["network_input", "prepare", "refusal", "truth_pixels"]

_LEAST = 16  # pixels each way


def refusal(mammogram: Mammogram, config: Config) -> tuple[str, str] | None:
    """Return why an image is not read, as (code, reason)."""
    return detections.spacing_refusal("anomaly_cascade", mammogram.spacing_mm, config.coarsest_mm)


def prepare(mammogram: Mammogram, config: Config) -> tuple[np.ndarray, Frame] | None:
    """Cut the breast out and resample it to the working pixel (section 4.1).

    Returns
    -------
    tuple or None
        (rows, cols) float16 in (0, 1] inside the breast and 0 outside, and its frame; ``None`` where
        the image is refused or holds no breast.
    """
    if refusal(mammogram, config) is not None:
        return None
    assert mammogram.spacing_mm is not None
    whole = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    if not whole.any():
        return None
    frame = geometry.identity((mammogram.pixels.shape[0], mammogram.pixels.shape[1]))
    pixels, cropped = imaging.crop_to_mask(mammogram.pixels, frame, whole, 4)
    mask, _ = imaging.crop_to_mask(whole, frame, whole, 4)
    if min(np.array(pixels.shape) * mammogram.spacing_mm) < _LEAST * config.spacing_mm:
        return None
    values, moved = imaging.to_spacing(pixels, cropped, mammogram.spacing_mm, config.spacing_mm)
    inside, _ = imaging.to_spacing(
        mask.astype(np.float32), cropped, mammogram.spacing_mm, config.spacing_mm
    )
    if config.depth == "8-bit":
        values = np.rint(values * 255) / 255
    kept = np.where(inside > 0.5, np.clip(values, 1e-3, 1), 0)
    return kept.astype(np.float16), moved


def network_input(prepared: torch.Tensor, config: Config) -> torch.Tensor:
    """Return prepared values as the network sees them: centred, scaled; the background stays one value."""
    return (prepared - 0.5) * config.input_scale


def truth_pixels(
    lesions: Sequence[Lesion], shape: tuple[int, int], config: Config
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Return what is known of the pixels of a prepared image.

    Calcifications up to ``largest_mm`` count; larger ones are neither truth nor background. What is
    benign at sight, such as a calcified vessel, is background: the paper's first stage proposes it
    all the same, and its second is there to throw it out (section 3.2).

    Parameters
    ----------
    lesions
        With regions in pixels of the grid.
    shape
        (rows, cols) of the grid.
    config
        The pixel size, and what counts.

    Returns
    -------
    centres, pixels, ignored
        (n, 2) int32, the middle of each calcification; their pixels, (k, 2) int32 each; (m, 2) int32,
        the pixels that count for nothing.
    """
    centres: list[np.ndarray] = []
    own: list[np.ndarray] = []
    ignored: list[np.ndarray] = []
    for lesion in lesions:
        if lesion.kind is not Kind.MICROCALCIFICATION or lesion.region is None:
            continue
        if lesion.pathology is Pathology.BENIGN_WITHOUT_CALLBACK:
            continue
        covered = _covered(lesion, shape, config)
        if not len(covered):
            continue
        if (lesion.diameter_mm or 0.0) > config.largest_mm:
            ignored.append(covered)
        elif lesion.visible is not False:
            own.append(covered)
            centres.append(np.rint(covered.mean(axis=0, keepdims=True)).astype(np.int32))
    none = np.zeros((0, 2), np.int32)
    return (
        np.concatenate(centres) if centres else none,
        own,
        np.concatenate(ignored) if ignored else none,
    )


def _covered(lesion: Lesion, shape: tuple[int, int], config: Config) -> np.ndarray:
    """Return the pixels (n, 2) of a lesion: its outline, or a disc about its middle."""
    region = lesion.region
    assert region is not None
    if isinstance(region, Mask) and region.pixels.any():
        found = np.argwhere(region.pixels) + np.array([region.row0, region.col0])
    else:
        # A mask may have lost its last pixel on a coarser grid: where it lay, it is a point.
        row, col = (
            (region.row0, region.col0) if isinstance(region, Mask) else geometry.centre(region)
        )
        reach = max(config.point_mm / 2 / config.spacing_mm, 0.71)
        span = np.arange(-int(reach) - 1, int(reach) + 2)
        around = np.stack(np.meshgrid(span + round(row), span + round(col), indexing="ij"), -1)
        found = around[np.hypot(around[..., 0] - row, around[..., 1] - col) <= reach]
    inside = (found >= 0).all(axis=1) & (found < np.array(shape)).all(axis=1)
    return np.asarray(found[inside], np.int32)
