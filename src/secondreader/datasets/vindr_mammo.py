"""VinDr-Mammo: 5,000 digital four-view exams from Vietnam with boxes and BI-RADS.

Source: PhysioNet, version 1.0.0. Licence: PhysioNet credentialed (restricted) use, not to be passed
on. Expected: 20,000 images of 5,000 exams, 4,000 for training and 1,000 for test ([1]_).

On disk: ``images/<study_id>/<image_id>.dicom`` (conversions: ``<image_id>.png`` in any folder),
``breast-level_annotations.csv`` (one row an image: laterality, view, height, width, BI-RADS,
density, split), ``finding_annotations.csv`` (one row a box: ``finding_categories`` is a list
written as text, ``xmin … ymax`` are edges in source pixels; rows of ``['No Finding']`` have no box)
and, optionally, ``metadata.csv``. One exam a woman: the study is the patient.

The set states BI-RADS, no biopsy: ``malignant`` stays unknown unless a rule is chosen by name.

References
----------
.. [1] H. T. Nguyen et al., "VinDr-Mammo: a large-scale benchmark dataset for computer-aided
   diagnosis in full-field digital mammography", Scientific Data 10:277, 2023.
   doi:10.1038/s41597-023-02100-7
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import replace

from secondreader.datasets.records import About, Choice, Expected, Problem
from secondreader.datasets.rows import RowRead, laterality, lookup, number, read_rows, view
from secondreader.datasets.shapes import shape
from secondreader.datasets.tree import Tree
from secondreader.domain import Box, ImageRecord, Kind, Lesion, Part, Refused, SecondReaderError

__all__ = ["ABOUT", "NAME", "scan"]

NAME = "vindr_mammo"
ABOUT = About(
    title="VinDr-Mammo",
    good_for="boxes of masses, calcifications, distortions and asymmetries on many digital exams, "
    "most of them normal; BI-RADS only, no biopsy",
    licence="PhysioNet restricted access: a data use agreement must be signed.",
    citation="Nguyen et al., VinDr-Mammo, Sci Data 10:277, 2023",
    ask="PhysioNet, vindr-mammo 1.0.0, doi:10.13026/br2v-7517",
    layout="images/, breast-level_annotations.csv and finding_annotations.csv",
    expected=(
        Expected("images", 20000, "Nguyen et al. 2023", "malignant=none"),
        Expected("patients", 5000, "Nguyen et al. 2023", "malignant=none"),
    ),
    choices=(
        Choice(
            "malignant",
            {
                "none": "BI-RADS says nothing of malignancy",
                "birads-4-5": "a breast of BI-RADS 4 or 5 is positive, 1 to 3 negative",
                "birads-12-45": "BI-RADS 4 or 5 positive, 1 or 2 negative, 3 left out",
            },
        ),
    ),
    splits=("official",),
)
BREASTS, FINDINGS = "breast-level_annotations.csv", "finding_annotations.csv"
_IMAGE_COLUMNS = (
    "study_id",
    "image_id",
    "laterality",
    "view_position",
    "height",
    "width",
    "breast_birads",
    "breast_density",
    "split",
)
_BOX_COLUMNS = ("image_id", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax")
_KINDS = {
    "mass": Kind.MASS,
    "suspicious calcification": Kind.CALCIFICATION_CLUSTER,
    "architectural distortion": Kind.ARCHITECTURAL_DISTORTION,
    "asymmetry": Kind.ASYMMETRY,
    "focal asymmetry": Kind.ASYMMETRY,
    "global asymmetry": Kind.ASYMMETRY,
    "suspicious lymph node": Kind.SUSPICIOUS_REGION,
    "skin thickening": Kind.SUSPICIOUS_REGION,
    "skin retraction": Kind.SUSPICIOUS_REGION,
    "nipple retraction": Kind.SUSPICIOUS_REGION,
    "no finding": None,
}
_BIRADS = {f"bi-rads {grade}": str(grade) for grade in range(7)}
_DENSITIES = {f"density {grade.lower()}": grade for grade in "ABCD"}
_PARTS = {"training": Part.TRAIN, "test": Part.TEST}


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read both tables and match their rows to images.

    Raises
    ------
    SecondReaderError
        If a table, a column or all images are missing, or a class is unknown.
    """
    rows = read_rows(tree, _only(tree, BREASTS), _IMAGE_COLUMNS)
    boxes: dict[str, list[RowRead]] = {}
    for row in read_rows(tree, _only(tree, FINDINGS), _BOX_COLUMNS):
        boxes.setdefault(row["image_id"], []).append(row)
    told = {
        row["sop_instance_uid"]: row
        for path in tree.named("metadata.csv")[:1]
        for row in read_rows(tree, path, ("sop_instance_uid",))
    }
    records, problems = [], []
    for row in rows:
        images = tree.images(row["image_id"])
        if images:
            lesions, odd = _lesions(boxes.pop(row["image_id"], []), row)
            if lesions and not _as_stated(tree, images[0], row):
                got, expected = "another size", f"{row['height']} x {row['width']}"
                remedy = "its findings have no place; convert it again, unscaled and uncropped"
                odd.append(Problem(images[0], "image-misfit", got, expected, remedy))
                lesions = tuple(replace(lesion, region=None) for lesion in lesions)
            problems += odd
            record = _record(
                images[0], row, lesions, told.get(row["image_id"]), choices["malignant"]
            )
            if record is not None:
                records.append(record)
            else:
                remedy = "left out, as the rule asks"
                got = row["breast_birads"]
                problems.append(Problem(row.where, "left-out", got, "1, 2, 4, 5", remedy, False))
        else:
            boxes.pop(row["image_id"], None)
            got = f"no image of this row ({row['split']})"
            problems.append(
                Problem(row.where, "missing-image", got, "images/…/….dicom", "fetch it again")
            )
    if not records:
        raise SecondReaderError(
            f"{tree.root}: got tables of {len(rows)} images and none of them, "
            "expected images/<study_id>/<image_id>.dicom; fetch the images"
        )
    for strangers in boxes.values():
        for row in strangers:
            remedy = "take both tables of one version"
            problems.append(
                Problem(row.where, "missing-row", "its image is in no row", BREASTS, remedy)
            )
    return records, problems


def _only(tree: Tree, name: str) -> str:
    found = tree.named(name)
    if not found:
        raise SecondReaderError(f"{tree.root}: got no {name}, expected {ABOUT.layout}")
    return found[0]


def _as_stated(tree: Tree, path: str, row: RowRead) -> bool:
    """Say whether a conversion has the size that the table states; the owner's DICOM files do."""
    if path.lower().endswith((".dicom", ".dcm")):
        return True
    try:
        return shape(tree.ref(path)) == (number(row, "height"), number(row, "width"))
    except Refused:
        return False


def _lesions(rows: list[RowRead], image: RowRead) -> tuple[tuple[Lesion, ...], list[Problem]]:
    lesions: list[Lesion] = []
    problems = []
    height, width = number(image, "height") or 0, number(image, "width") or 0
    for order, row in enumerate(rows, 1):
        kinds = _kinds(row)
        if not kinds:
            continue
        edges = [number(row, column) for column in ("ymin", "xmin", "ymax", "xmax")]
        box, misfit = None, None in edges
        if not misfit:
            row0, col0, row1, col1 = (edge if edge is not None else math.nan for edge in edges)
            misfit = not (-1 <= row0 < row1 <= height + 1 and -1 <= col0 < col1 <= width + 1)
            # Edges of pixels, so the last pixel's centre lies one before the far edge's.
            box = None if misfit else Box(row0, col0, max(row1 - 1, row0), max(col1 - 1, col0))
        if misfit:
            got = ", ".join(row[column] or "-" for column in ("xmin", "ymin", "xmax", "ymax"))
            expected, remedy = f"a box in {width:g} x {height:g}", "the finding has no place"
            problems.append(Problem(row.where, "box-misfit", got, expected, remedy))
        birads = lookup(row, "finding_birads", {**_BIRADS, "": ""}) or None
        for kind in kinds:
            name = f"{image['image_id'][:12]}-{order}" + (f"-{kind}" if len(kinds) > 1 else "")
            lesions.append(Lesion(name, kind, box, visible=True, birads=birads))
    return tuple(lesions), problems


def _kinds(row: RowRead) -> list[Kind]:
    """Return the kinds of a list-valued cell, each once."""
    try:
        names = ast.literal_eval(row["finding_categories"])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        got = row["finding_categories"][:40]
        raise SecondReaderError(
            f"{row.where}: finding_categories: got {got!r}, expected a list such as ['Mass']"
        )
    found = []
    for name in names:
        if name.lower() not in _KINDS:
            raise SecondReaderError(
                f"{row.where}: finding_categories: got {name[:40]!r}, expected one of: "
                f"{', '.join(sorted(_KINDS))}; take the owner's table, or report a new class"
            )
        kind = _KINDS[name.lower()]
        if kind is not None and kind not in found:
            found.append(kind)
    return found


def _record(
    path: str, row: RowRead, lesions: tuple[Lesion, ...], told: RowRead | None, rule: str
) -> ImageRecord | None:
    birads = lookup(row, "breast_birads", _BIRADS)
    if rule == "birads-12-45" and birads == "3":
        return None
    age = re.match(r"0*(\d+)Y?$", told["patient's_age"]) if told else None
    return ImageRecord(
        dataset=NAME,
        path=path,
        patient_id=row["study_id"],
        exam_id=row["study_id"],
        part=lookup(row, "split", _PARTS),
        laterality=laterality(row, "laterality"),
        view=view(row, "view_position"),
        vendor=(told["manufacturer"].lower() or None) if told else None,
        density=lookup(row, "breast_density", _DENSITIES),
        birads=birads,
        age=float(age[1]) if age else None,
        malignant=None if rule == "none" else birads in ("4", "5", "6"),
        lesions=lesions,
        extra=(("cols", row["width"]), ("rows", row["height"])),
    )
