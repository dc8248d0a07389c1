"""Phantom exams as ``secondreader phantom`` wrote them: synthetic, with exact truth.

Source: this program. Licence: this program's. Expected: as many exams as were asked for
(``phantom.json`` beside them).

On disk: a folder an exam with DICOM files and ``truth.json`` (schema ``secondreader.truth/2``):
``exam_id``, ``patient_id``, ``vendor``, ``spacing_mm``, optionally ``part``, ``age`` and ``density``,
and ``images``, each with ``file``, ``laterality``, ``view``, ``malignant`` and ``lesions``. A lesion has
``lesion_id`` (the same in both views of an exam), ``kind``, ``region`` (a point, a circle, a polygon
or a mask in run lengths, in pixels of its image) or none, and optionally ``pathology``, ``part_of``,
``visible``, ``descriptor`` and ``diameter_mm``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from secondreader.datasets.records import About, Problem
from secondreader.datasets.tree import Tree
from secondreader.domain import (
    Circle,
    ImageRecord,
    Kind,
    Laterality,
    Lesion,
    Mask,
    Part,
    Pathology,
    Point,
    Polygon,
    Region,
    SecondReaderError,
    View,
)
from secondreader.geometry import from_run_lengths

__all__ = ["ABOUT", "NAME", "SCHEMA", "scan"]

NAME = "phantom"
SCHEMA = "secondreader.truth/2"
ABOUT = About(
    title="Phantom exams",
    good_for="trying everything in minutes, and tests with known truth; no evidence for women",
    licence="This program's own.",
    citation="This program, with its version, the seed and the vendor.",
    ask="Nobody: secondreader phantom OUT --exams N",
    layout="folders with truth.json and DICOM files, as secondreader phantom writes them",
    splits=("official",),
)


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read every exam's truth and match its images.

    Raises
    ------
    SecondReaderError
        If there is no truth, one is not as expected, or no image is there.
    """
    del choices  # there are none
    files = tree.named("truth.json")
    if not files:
        raise SecondReaderError(f"{tree.root}: got no truth.json, expected {ABOUT.layout}")
    records, problems = [], []
    for file in sorted(files):
        try:
            truth = json.loads(tree.text(file))
            if truth["schema"] != SCHEMA:
                raise SecondReaderError(
                    f"{file}: got schema {str(truth['schema'])[:40]!r}, expected {SCHEMA}; "
                    "write the exams again with this version"
                )
            images = [_record(file, truth, image) for image in truth["images"]]
        except (ValueError, KeyError, TypeError) as error:
            raise SecondReaderError(
                f"{file}: got no truth that can be read ({type(error).__name__} {error}), "
                f"expected {SCHEMA}; write the exam again"
            ) from None
        for record in images:
            if record.path in tree.files:
                records.append(record)
            else:
                got, remedy = f"no {record.path.rpartition('/')[2]}", "write the exam again"
                problems.append(Problem(file, "missing-image", got, "a DICOM file", remedy))
    if not records:
        raise SecondReaderError(
            f"{tree.root}: got no image of {len(files)} exams; write them again"
        )
    return records, problems


def _record(file: str, truth: Mapping[str, Any], image: Mapping[str, Any]) -> ImageRecord:
    folder = file.rpartition("/")[0]
    row, col = truth["spacing_mm"]
    patient = str(truth["patient_id"])
    part = truth.get("part")
    malignant = image.get("malignant")
    return ImageRecord(
        dataset=NAME,
        path=f"{folder}/{image['file']}" if folder else str(image["file"]),
        patient_id=patient,
        exam_id=str(truth["exam_id"]),
        part=Part(part) if part else None,
        laterality=Laterality(image["laterality"]) if image["laterality"] else None,
        view=View(image["view"]) if image["view"] else None,
        spacing_mm=(float(row), float(col)),
        vendor=str(truth["vendor"]),
        density=str(truth["density"]) if "density" in truth else None,
        age=float(truth["age"]) if "age" in truth else None,
        malignant=None if malignant is None else bool(malignant),
        lesions=tuple(_lesion(patient, lesion) for lesion in image["lesions"]),
        extra=(("bits", str(int(image["bits"]))),) if "bits" in image else (),
    )


def _lesion(patient: str, lesion: Mapping[str, Any]) -> Lesion:
    """Return a lesion; its ids are unique within an exam, so the woman's goes before them."""
    pathology, part_of, region = (lesion.get(key) for key in ("pathology", "part_of", "region"))
    diameter = lesion.get("diameter_mm")
    visible = lesion.get("visible")
    return Lesion(
        lesion_id=f"{patient}/{lesion['lesion_id']}",
        kind=Kind(lesion["kind"]) if lesion.get("kind") else None,
        region=_region(region) if region else None,
        part_of=f"{patient}/{part_of}" if part_of else None,
        visible=None if visible is None else bool(visible),
        pathology=Pathology(pathology) if pathology else None,
        descriptor=lesion.get("descriptor"),
        diameter_mm=None if diameter is None else float(diameter),
    )


def _region(plain: Mapping[str, Any]) -> Region:
    ((name, value),) = plain.items()
    match name:
        case "point":
            return Point(float(value[0]), float(value[1]))
        case "circle":
            return Circle(*(float(number) for number in value))
        case "polygon":
            return Polygon(tuple((float(row), float(col)) for row, col in value))
        case "mask":
            shape = int(value["rows"]), int(value["cols"])
            pixels = from_run_lengths(np.array(value["runs"], np.int64), shape)
            return Mask(pixels, int(value["row0"]), int(value["col0"]))
    raise ValueError(f"region {name}")
