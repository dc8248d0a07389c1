"""An in-house set: any folder of images, and one CSV that says what is known of them.

The CSV lies in the root: ``images.csv``, or the only ``.csv`` there. One row an image; an image with
several lesions has several rows, which must agree in all else. An empty cell is unknown, and unknown
is never negative.

==============  ==================================================================================
column          cell
==============  ==================================================================================
path            of the image, from the root. Needed.
patient_id      the woman. Needed: parts of a split never share one.
exam_id         images with one id are one exam; the woman's where it is missing
laterality      L, R, left or right
view            CC, MLO, ML, LM, …
spacing_mm      pixel pitch in the breast
malignant       1, 0, yes, no, true or false
density         any word; splits are stratified by it
birads          any word
age             years
vendor          any word
part            train, validation, calibration or test: the split ``official``
lesion_id       the same in both views of one lesion; made up where it is missing
kind            microcalcification, calcification_cluster, mass, architectural_distortion,
                asymmetry or suspicious_region; a row with it is a lesion
pathology       malignant, benign or benign_without_callback
row, col        centre of a lesion, 0-based from the top-left pixel's centre
radius          with row and col: a circle, in pixels; without it a point
row0 … col1     row0, col0, row1, col1: a box from its first pixel to its last
==============  ==================================================================================
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from secondreader.datasets.records import About, Problem
from secondreader.datasets.rows import (
    RowRead,
    laterality,
    lookup,
    number,
    pathology,
    read_rows,
    view,
)
from secondreader.datasets.tree import Tree
from secondreader.domain import (
    Box,
    Circle,
    ImageRecord,
    Kind,
    Lesion,
    Part,
    Pathology,
    Point,
    Region,
    SecondReaderError,
)

__all__ = ["ABOUT", "COLUMNS", "NAME", "scan"]

NAME = "table"
ABOUT = About(
    title="An in-house set with a table",
    good_for="your own images: a folder and one CSV with a row an image",
    licence="Your own.",
    citation="None.",
    ask="Nobody: write the table.",
    layout="images.csv with columns path and patient_id, and the images",
    splits=("official",),
)
_IMAGE = (
    "path",
    "patient_id",
    "exam_id",
    "laterality",
    "view",
    "spacing_mm",
    "malignant",
    "density",
    "birads",
    "age",
    "vendor",
    "part",
)
_LESION = ("lesion_id", "kind", "pathology", "row", "col", "radius", "row0", "col0", "row1", "col1")
COLUMNS = (*_IMAGE, *_LESION)
"""The columns that a table may have."""
_TRUTH = {
    "": None,
    **dict.fromkeys(("1", "yes", "true"), True),
    **dict.fromkeys(("0", "no", "false"), False),
}
_KINDS = {kind.value: kind for kind in Kind}
_PARTS: dict[str, Part | None] = {"": None, **{part.value: part for part in Part}}


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read the table and match its rows to images.

    Raises
    ------
    SecondReaderError
        If there is no table, a column or a cell is not as documented, or none of its images is there.
    """
    del choices  # there are none
    rows = read_rows(tree, _table(tree), ("path", "patient_id"))
    for column in rows[0].cells if rows else ():
        if column not in COLUMNS:
            raise SecondReaderError(
                f"{rows[0].where.rpartition(':')[0]}: got column {column!r}, "
                f"expected {', '.join(COLUMNS)}"
            )
    images: dict[str, list[RowRead]] = {}
    problems = []
    for row in rows:
        path = posixpath.normpath(row["path"].replace("\\", "/"))
        if path not in tree.files:
            remedy = "correct the path (from the root, with its suffix), or fetch the image"
            problems.append(Problem(row.where, "missing-image", "no such file", path, remedy))
        else:
            images.setdefault(path, []).append(row)
    if not images:
        raise SecondReaderError(
            f"{tree.root}: got a table of {len(rows)} rows and none of their images, "
            "expected paths from the root"
        )
    return [_record(path, found) for path, found in images.items()], problems


def _table(tree: Tree) -> str:
    here = [path for path in tree.files if "/" not in path and path.lower().endswith(".csv")]
    named = [path for path in here if path.lower() == "images.csv"]
    if not named and len(here) != 1:
        raise SecondReaderError(f"{tree.root}: got {len(here)} CSV files, expected images.csv")
    return (named or here)[0]


def _record(path: str, rows: list[RowRead]) -> ImageRecord:
    first = rows[0]
    for row in rows[1:]:
        differing = [column for column in _IMAGE if row[column] != first[column]]
        if differing:
            raise SecondReaderError(
                f"{row.where}: {differing[0]}: got another value than in {first.where}, "
                "expected the same: one image, two rows"
            )
    if not first["patient_id"]:
        raise SecondReaderError(f"{first.where}: patient_id: got nothing, expected the woman's id")
    spacing = number(first, "spacing_mm")
    if spacing is not None and not 0 < spacing <= 5:
        raise SecondReaderError(f"{first.where}: spacing_mm: got {spacing:g}, expected 0 to 5")
    return ImageRecord(
        dataset=NAME,
        path=path,
        patient_id=first["patient_id"],
        exam_id=first["exam_id"] or first["patient_id"],
        part=lookup(first, "part", _PARTS),
        laterality=laterality(first, "laterality") if first["laterality"] else None,
        view=view(first, "view") if first["view"] else None,
        spacing_mm=(spacing, spacing) if spacing else None,
        vendor=first["vendor"] or None,
        density=first["density"] or None,
        birads=first["birads"] or None,
        age=number(first, "age"),
        malignant=_malignant(rows),
        lesions=tuple(_lesion(path, i, row) for i, row in enumerate(rows, 1) if row["kind"]),
    )


def _malignant(rows: list[RowRead]) -> bool | None:
    said = lookup(rows[0], "malignant", _TRUTH)
    found = [pathology(row, "pathology") for row in rows if row["pathology"]]
    if Pathology.MALIGNANT in found:
        if said is False:
            raise SecondReaderError(
                f"{rows[0].where}: malignant: got no, expected yes: one of its lesions is malignant"
            )
        return True
    return said


def _lesion(path: str, order: int, row: RowRead) -> Lesion:
    return Lesion(
        lesion_id=row["lesion_id"] or f"{path}#{order}",
        kind=lookup(row, "kind", _KINDS),
        region=_region(row),
        pathology=pathology(row, "pathology") if row["pathology"] else None,
    )


def _region(row: RowRead) -> Region | None:
    box = [number(row, column) for column in ("row0", "col0", "row1", "col1")]
    spot = [number(row, column) for column in ("row", "col")]
    radius = number(row, "radius")
    match (*box, *spot):
        case (None, None, None, None, None, None) if radius is None:
            return None
        case (None, None, None, None, float(r), float(c)):
            return Point(r, c) if radius is None else Circle(r, c, radius)
        case (float(r0), float(c0), float(r1), float(c1), None, None) if r0 <= r1 and c0 <= c1:
            return Box(r0, c0, r1, c1)
    raise SecondReaderError(
        f"{row.where}: got a place that is none, expected row and col (and radius), or "
        "row0, col0, row1, col1 with the first pixel before the last"
    )
