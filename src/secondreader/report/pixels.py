"""The pixels of a view that its page shows: display size, and full resolution round the findings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from secondreader import geometry, imaging
from secondreader.domain import Box, Laterality, Mammogram, ViewReading
from secondreader.report.form import whole_image

__all__ = ["PicturePart", "ViewPixels", "view_pixels"]

_EXAM_PIXELS = 6_000_000
"""Display pixels of all views of an exam together: the page stays below 25 MB."""
_CROP_PIXELS = 2_500_000
"""Full-resolution pixels of all crops of an exam together."""
_CROP = 448
_LONGEST = 1500


@dataclass(frozen=True, eq=False, slots=True)
class PicturePart:
    """Pixels (rows, cols) uint16; the outer corner of the first lies ``row0, col0`` source pixels
    into the image, ``scale`` source pixels make one of these.
    """

    pixels: np.ndarray
    row0: float
    col0: float
    scale: float


@dataclass(frozen=True, eq=False, slots=True)
class ViewPixels:
    """What a page shows of a view; ``heats`` are its heatmaps over the whole image, uint8.

    ``top`` is the value of 1.0; ``mirror`` says that the view is shown mirrored, so that chest
    walls meet; ``left_out`` counts findings without a full-resolution crop.
    """

    top: int
    parts: tuple[PicturePart, ...]
    mirror: bool
    left_out: int
    heats: tuple[np.ndarray, ...] = ()


def view_pixels(mammogram: Mammogram, view: ViewReading, images: int = 4) -> ViewPixels:
    """Take from a mammogram what its page will show.

    Parameters
    ----------
    mammogram
        The view.
    view
        Its reading: findings get crops at full resolution, highest score first.
    images
        The number of images in the exam, which share the page's budget.
    """
    pixels = mammogram.pixels
    rows, cols = pixels.shape
    top = 2 ** min(max(mammogram.source.bits or 12, 8), 12) - 1
    budget = _EXAM_PIXELS / max(images, 4)
    scale = max(1.0, max(rows, cols) / _LONGEST, math.sqrt(rows * cols / budget))
    frame = geometry.identity((rows, cols))
    shown, _ = imaging.resample(pixels, frame, (scale, scale)) if scale > 1 else (pixels, frame)
    parts = [PicturePart(_quantised(shown, top), 0.0, 0.0, scale)]
    boxes, left_out = _crops(view, images) if scale > 1 else ([], 0)
    for box in boxes:
        row0, col0 = int(box.row0), int(box.col0)
        crop = pixels[row0 : int(box.row1) + 1, col0 : int(box.col1) + 1]
        parts.append(PicturePart(_quantised(crop, top), row0, col0, 1.0))
    heats = tuple(whole_image(heatmap) for _, heatmap in view.heatmaps)
    return ViewPixels(top, tuple(parts), _mirrored(mammogram), left_out, heats)


def _crops(view: ViewReading, images: int) -> tuple[list[Box], int]:
    """Choose squares round findings, those in a chosen square already left to it."""
    most = int(_CROP_PIXELS / max(images, 4) / _CROP**2)
    boxes: list[Box] = []
    left_out = 0
    findings = [d for d in view.detections if d.finding]
    for detection in sorted(findings, key=lambda d: -d.score):
        row, col = geometry.centre(detection.region)
        if any(b.row0 + 40 < row < b.row1 - 40 and b.col0 + 40 < col < b.col1 - 40 for b in boxes):
            continue
        if len(boxes) == most:
            left_out += 1
            continue
        row0 = min(max(round(row) - _CROP // 2, 0), max(view.rows - _CROP, 0))
        col0 = min(max(round(col) - _CROP // 2, 0), max(view.cols - _CROP, 0))
        boxes.append(
            Box(row0, col0, min(row0 + _CROP, view.rows) - 1, min(col0 + _CROP, view.cols) - 1)
        )
    return boxes, left_out


def _quantised(pixels: np.ndarray, top: int) -> np.ndarray:
    quantised: np.ndarray = np.rint(np.clip(pixels, 0, 1) * top).astype(np.uint16)
    return quantised


def _mirrored(mammogram: Mammogram) -> bool:
    """Say whether the chest wall lies on the other side than the hanging wants it."""
    if mammogram.laterality is None:
        return False
    wanted = "left" if mammogram.laterality is Laterality.L else "right"
    seen = imaging.chest_wall(imaging.breast_mask(mammogram.pixels))
    return seen is not None and seen != wanted
