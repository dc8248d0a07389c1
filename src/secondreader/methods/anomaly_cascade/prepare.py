"""The one preparation, for training and reading alike."""

from __future__ import annotations

import numpy as np
import torch

from secondreader import detections, geometry, imaging
from secondreader.domain import Frame, Mammogram
from secondreader.methods.anomaly_cascade.config import NAME, Config

__all__ = ["NO_BREAST", "network_input", "prepare", "refusal"]

_LEAST = 16  # working pixels each way
NO_BREAST = ("no-breast", f"{NAME} found no breast in the image")
"""Why an image is not read that is background only, or saturated."""


def refusal(mammogram: Mammogram, config: Config) -> tuple[str, str] | None:
    """Return why an image is not read, as (code, reason); whether it holds a breast, `prepare` says."""
    refused = detections.spacing_refusal(NAME, mammogram.spacing_mm, config.coarsest_mm)
    if refused is not None or mammogram.spacing_mm is None:
        return refused
    rows, cols = np.array(mammogram.pixels.shape) * mammogram.spacing_mm
    least = _LEAST * config.spacing_mm
    if min(rows, cols) < least:
        return (
            "too-small",
            f"{NAME}: got an image of {rows:.2g} x {cols:.2g} mm, expected {least:g} mm or more each way",
        )
    return None


def prepare(mammogram: Mammogram, config: Config) -> tuple[np.ndarray, Frame] | None:
    """Cut the breast out and resample it to the working pixel (section 4.1).

    Returns
    -------
    tuple or None
        (rows, cols) in (0, 1] inside the breast and 0 outside, float16, which holds 8 bits exactly
        enough, or float32 at full depth; and its frame. ``None`` where the image is refused or holds
        no breast.
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
    kind: type[np.floating] = np.float32
    if config.depth == "8-bit":
        values, kind = np.rint(values * 255) / 255, np.float16
    kept = np.where(inside > 0.5, np.clip(values, 1e-3, 1), 0)
    return kept.astype(kind), moved


def network_input(prepared: torch.Tensor, config: Config) -> torch.Tensor:
    """Return prepared values as the network sees them: centred, scaled; the background stays one value."""
    return (prepared - 0.5) * config.input_scale
