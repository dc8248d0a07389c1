"""The pixel pitch in the breast, and where it was read.

PixelSpacing where it is calibrated (its type says so, or it differs from the imager's), else
ImagerPixelSpacing divided by EstimatedRadiographicMagnificationFactor, else NominalScannedPixelSpacing
(digitised film), else unknown.

References
----------
DICOM PS3.3 10.7.1.3 (spacing calibration), C.8.11.7 (mammography image).
"""

from __future__ import annotations

import math

from pydicom import Dataset

from secondreader.domain import Step

__all__ = ["spacing_of"]

_LEAST, _MOST = 0.01, 1.0
Spacing = tuple[float, float]


def spacing_of(ds: Dataset) -> tuple[Spacing | None, Step]:
    """Return (row, col) in millimetres, ``None`` where the file does not say."""
    pixel, imager = _pair(ds, "PixelSpacing"), _pair(ds, "ImagerPixelSpacing")
    nominal = _pair(ds, "NominalScannedPixelSpacing")
    calibrated = bool(str(ds.get("PixelSpacingCalibrationType", "") or "").strip())
    if pixel and (calibrated or (imager is not None and not _same(pixel, imager))):
        return pixel, _told(pixel, "PixelSpacing (0028,0030), calibrated")
    if imager:
        factor = _number(ds.get("EstimatedRadiographicMagnificationFactor")) or 1.0
        at_breast = (imager[0] / factor, imager[1] / factor)
        return at_breast, _told(
            at_breast, f"ImagerPixelSpacing (0018,1164) / magnification {factor:g} (0018,1114)"
        )
    if nominal:
        return nominal, _told(nominal, "NominalScannedPixelSpacing (0018,2010)")
    if pixel:
        detail = f"unknown: PixelSpacing {pixel[0]:g} mm is not calibrated, nothing else is stated"
        return None, Step("spacing", detail, "PixelSpacing (0028,0030)")
    return None, Step("spacing", "unknown: the file states none")


def _told(spacing: Spacing, origin: str) -> Step:
    return Step("spacing", f"{spacing[0]:.6g} x {spacing[1]:.6g} mm", origin)


def _same(a: Spacing, b: Spacing) -> bool:
    return all(math.isclose(x, y, rel_tol=1e-4) for x, y in zip(a, b, strict=True))


def _pair(ds: Dataset, name: str) -> Spacing | None:
    value = ds.get(name)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        return None
    row, col = _number(value[0]), _number(value[1])
    return (row, col) if row and col and all(_LEAST <= s <= _MOST for s in (row, col)) else None


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
