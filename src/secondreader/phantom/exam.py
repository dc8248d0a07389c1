"""A woman's four views through one system, with the truth of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from secondreader.domain import Kind, Laterality, SecondReaderError, View
from secondreader.phantom.anatomy import Breast, project, woman
from secondreader.phantom.image import stored_values
from secondreader.phantom.vendors import VENDORS, Vendor

__all__ = ["PhantomExam", "PhantomImage", "exam"]


@dataclass(frozen=True, eq=False, slots=True)
class PhantomImage:
    """One view: stored values (rows, cols) uint16, larger = denser, and its truth.

    ``truth`` is a list of plain lesions as ``truth.json`` holds them, in pixels of this image.
    """

    laterality: Laterality
    view: View
    stored: np.ndarray
    truth: tuple[dict[str, Any], ...]
    malignant: bool


@dataclass(frozen=True, eq=False, slots=True)
class PhantomExam:
    """One woman; the same for the same seed and index, whatever else was made."""

    seed: int
    index: int
    vendor: Vendor
    thickness_mm: float
    images: tuple[PhantomImage, ...]


def exam(seed: int, index: int, *, vendor: str = "hologic") -> PhantomExam:
    """Make a four-view exam.

    Parameters
    ----------
    seed, index
        Woman number ``index`` of the set that ``seed`` names.
    vendor
        One of `VENDORS`.

    Raises
    ------
    SecondReaderError
        For a vendor that is none, or negative numbers.
    """
    if vendor not in VENDORS:
        raise SecondReaderError(f"--vendor: got {vendor!r}, expected one of {', '.join(VENDORS)}")
    if seed < 0 or index < 0:
        raise SecondReaderError(f"--seed: got {min(seed, index)}, expected 0 or more")
    right, left = woman(seed, index)
    images = tuple(
        _image(breast, view, VENDORS[vendor])
        for view in (View.CC, View.MLO)
        for breast in (right, left)
    )
    return PhantomExam(seed, index, VENDORS[vendor], right.thickness_mm, images)


def _image(breast: Breast, view: View, vendor: Vendor) -> PhantomImage:
    stored, (nipple_row, _) = stored_values(breast, view, vendor)
    mirror = breast.laterality is Laterality.R
    cols = stored.shape[1]

    def at(place: tuple[float, float, float]) -> tuple[float, float]:
        down, x = project(place, view)
        col = x / vendor.pitch_mm
        return nipple_row + down / vendor.pitch_mm, cols - 1 - col if mirror else col

    truth: list[dict[str, Any]] = []
    for finding in breast.findings:
        row, col = at(finding.place)
        lesion_id = f"{breast.laterality}-{finding.lesion_id}"
        truth.append(
            {
                "lesion_id": lesion_id,
                "kind": str(finding.kind),
                "pathology": "malignant" if finding.malignant else "benign",
                "circle": _rounded(row, col, finding.radius_mm / vendor.pitch_mm),
            }
        )
        for number, calcification in enumerate(finding.calcifications, 1):
            row, col = at(calcification.place)
            radius = calcification.diameter_mm / 2 / vendor.pitch_mm
            truth.append(
                {
                    "lesion_id": f"{lesion_id}-{number}",
                    "part_of": lesion_id,
                    "kind": str(Kind.MICROCALCIFICATION),
                    "circle": _rounded(row, col, radius),
                }
            )
    pixels = np.ascontiguousarray(stored[:, ::-1]) if mirror else stored
    malignant = any(finding.malignant for finding in breast.findings)
    return PhantomImage(breast.laterality, view, pixels, tuple(truth), malignant)


def _rounded(row: float, col: float, radius: float) -> list[float]:
    return [round(row, 3), round(col, 3), round(radius, 3)]
