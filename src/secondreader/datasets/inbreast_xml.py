"""INbreast's outlines: a property list (as OsiriX writes it) for each image.

``Images[0].ROIs[]`` hold ``Name``, ``NumberOfPoints``, ``Point_px`` with texts such as
``(1126.910034, 1845.890015)``: x to the right and y down from the top-left corner of the source
image. ``Point_mm`` is all zeros and is not used.
"""

from __future__ import annotations

import math
import plistlib
import re
from dataclasses import dataclass
from xml.parsers.expat import ExpatError

from secondreader.domain import Kind, Point, Polygon, SecondReaderError

__all__ = ["Outline", "kind_of", "parse_outlines"]

_POINT = re.compile(r"\(?\s*([-+0-9.eE]+)\s*,\s*([-+0-9.eE]+)\s*\)?")
_KINDS = {
    "mass": Kind.MASS,
    "calcification": Kind.MICROCALCIFICATION,
    "calcifications": Kind.MICROCALCIFICATION,
    "cluster": Kind.CALCIFICATION_CLUSTER,
    "distortion": Kind.ARCHITECTURAL_DISTORTION,
    "asymmetry": Kind.ASYMMETRY,
    "assymetry": Kind.ASYMMETRY,
    "asymetry": Kind.ASYMMETRY,
    "spiculated region": Kind.SUSPICIOUS_REGION,
    "espiculated region": Kind.SUSPICIOUS_REGION,
}
"""The names in the files, in lower case, the owners' spellings included."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One outline: its name as written, and (row, col) points in source pixels."""

    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def region(self) -> Point | Polygon:
        """A polygon, or a point where there are too few points for one."""
        if len(self.points) < 3:
            rows, cols = zip(*self.points, strict=True)
            return Point(sum(rows) / len(rows), sum(cols) / len(cols))
        return Polygon(self.points)


def kind_of(name: str) -> Kind | None:
    """Return what a name stands for, ``None`` where it says nothing (``Unnamed``, ``Point 1``)."""
    return _KINDS.get(" ".join(name.lower().split()))


def parse_outlines(content: bytes, file: str) -> tuple[Outline, ...]:
    """Read the outlines of one image; empty ones are left out.

    Raises
    ------
    SecondReaderError
        If it is no property list, or not of that form.
    """
    if b"<!ENTITY" in content:
        raise SecondReaderError(f"{file}: got XML entities, expected a plain property list")
    try:
        images = plistlib.loads(content, fmt=plistlib.FMT_XML)["Images"]
        rois = images[0]["ROIs"] if images else []
        return tuple(
            Outline(str(roi.get("Name", "")), points)
            for roi in rois
            if (points := tuple(_point(text) for text in roi["Point_px"]))
        )
    except (plistlib.InvalidFileException, ExpatError, KeyError, TypeError, ValueError) as error:
        raise SecondReaderError(
            f"{file}: got no outlines that can be read ({type(error).__name__}), expected a "
            "property list with Images and ROIs; fetch the file again"
        ) from None


def _point(text: str) -> tuple[float, float]:
    """Return (row, col) of ``(x, y)``."""
    match = _POINT.fullmatch(text.strip())
    if match is None:
        raise ValueError("point")
    x, y = float(match[1]), float(match[2])
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError("point")
    return y, x
