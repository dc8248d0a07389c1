"""The truth of an exam as plain JSON: what ``truth.json`` holds, schema ``secondreader.truth/2``.

A region is one of ``{"point": [row, col]}``, ``{"circle": [row, col, radius]}``, ``{"polygon":
[[row, col], …]}`` and ``{"mask": {"row0", "col0", "rows", "cols", "runs"}}``, in pixels of its image;
runs are the lengths of runs read row by row, beginning with one of zeros.
"""

from __future__ import annotations

from typing import Any

from secondreader.domain import Box, Circle, Lesion, Mask, Point, Polygon, Region
from secondreader.geometry import run_lengths
from secondreader.phantom.lesions import Truth

__all__ = ["SCHEMA", "lesion_json"]

SCHEMA = "secondreader.truth/2"


def lesion_json(truth: Truth | Lesion) -> dict[str, Any]:
    """Return one lesion, or one calcification, of one image."""
    assert truth.diameter_mm is not None and truth.region is not None  # phantoms know
    plain: dict[str, Any] = {
        "lesion_id": truth.lesion_id,
        "kind": str(truth.kind),
        "pathology": str(truth.pathology),
        "descriptor": truth.descriptor,
        "diameter_mm": round(truth.diameter_mm, 3),
        "visible": truth.visible,
        "region": _region_json(truth.region),
    }
    if truth.part_of is not None:
        plain["part_of"] = truth.part_of
    return plain


def _region_json(region: Region) -> dict[str, Any]:
    match region:
        case Point(row, col):
            return {"point": _rounded(row, col)}
        case Circle(row, col, radius):
            return {"circle": _rounded(row, col, radius)}
        case Polygon(points):
            return {"polygon": [_rounded(r, c) for r, c in points]}
        case Mask():
            rows, cols = region.pixels.shape
            place = {"row0": region.row0, "col0": region.col0, "rows": rows, "cols": cols}
            return {"mask": {**place, "runs": run_lengths(region.pixels).tolist()}}
        case Box():
            raise ValueError("region: got a box, expected what a phantom has: no lesion is one")


def _rounded(*values: float) -> list[float]:
    return [round(float(value), 3) for value in values]
