"""CMMD: 5,202 digital images of 1,775 Chinese women, each breast with its biopsy.

Source: The Cancer Imaging Archive, the Chinese Mammography Database. Licence: CC BY 4.0. Expected:
5,202 images of 1,775 patients (the collection's page).

On disk: DICOM files below a folder named after the patient (``D1-0001/…/1-1.dcm``), side and view in
their headers, and ``CMMD_clinicaldata_revision.xlsx`` (or saved as ``.csv``): one row a **breast**
with ``ID1``, ``LeftRight``, ``Age``, ``number``, ``abnormality`` (mass, calcification, both),
``classification`` (Benign, Malignant), ``subtype``. Pathology is of the breast: every image of it
has it, and its lesions have no place. A breast without a row is unknown, not negative.

References
----------
.. [1] C. Cui et al., "The Chinese Mammography Database (CMMD)", The Cancer Imaging Archive, 2021.
   doi:10.7937/tcia.eqde-4b16
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from secondreader import formats
from secondreader.datasets.records import About, Expected, Problem
from secondreader.datasets.rows import RowRead, laterality, lookup, number, pathology, read_rows
from secondreader.datasets.tree import Tree
from secondreader.domain import (
    ImageRecord,
    Kind,
    Laterality,
    Lesion,
    Pathology,
    Refused,
    SecondReaderError,
)
from secondreader.formats.source import Header, ReadOptions

__all__ = ["ABOUT", "NAME", "scan"]

NAME = "cmmd"
ABOUT = About(
    title="Chinese Mammography Database",
    good_for="whether a breast has cancer, by biopsy, on digital images; no outlines, no normal women",
    licence="CC BY 4.0; cite the collection.",
    citation="Cui et al., The Chinese Mammography Database (CMMD), TCIA, 2021",
    ask="The Cancer Imaging Archive, collection CMMD, doi:10.7937/tcia.eqde-4b16",
    layout="CMMD_clinicaldata_revision.xlsx (or .csv) and the DICOM folders D1-0001 … D2-0749",
    expected=(
        Expected("images", 5202, "the collection's page"),
        Expected("patients", 1775, "the collection's page"),
    ),
)
_COLUMNS = ("id1", "leftright", "age", "abnormality", "classification")
_KINDS = {
    "mass": (Kind.MASS,),
    "calcification": (Kind.CALCIFICATION_CLUSTER,),
    "both": (Kind.MASS, Kind.CALCIFICATION_CLUSTER),
}
_PATIENT = re.compile(r"D[12]-\d{4}", re.IGNORECASE)
Breast = tuple[str, Laterality]


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read the table, and side and view of every image from its header.

    Raises
    ------
    SecondReaderError
        If the table, a column or all images are missing, or a class is unknown.
    """
    del choices  # there are none
    tables = [
        path
        for suffix in (".csv", ".xlsx")
        for path in tree.ending(suffix)
        if path.rpartition("/")[2].lower().startswith("cmmd_clinicaldata")
    ]
    if not tables:
        raise SecondReaderError(
            f"{tree.root}: got no CMMD_clinicaldata_revision.xlsx, expected {ABOUT.layout}"
        )
    rows: dict[Breast, list[RowRead]] = {}
    for row in read_rows(tree, tables[0], _COLUMNS):
        rows.setdefault((row["id1"].upper(), laterality(row, "leftright")), []).append(row)
    problems: list[Problem] = []
    records = [
        record
        for path in tree.image_paths()
        if (record := _record(tree, path, rows, problems)) is not None
    ]
    if not records:
        raise SecondReaderError(
            f"{tree.root}: got a table of {len(rows)} breasts and no image of them, "
            "expected DICOM files in folders D1-0001 and so on; fetch the images"
        )
    there = {record.patient_id for record in records}
    for patient in sorted({breast[0] for breast in rows} - there):
        where = next(found[0].where for breast, found in rows.items() if breast[0] == patient)
        got, remedy = f"no image of {patient}", "fetch them"
        problems.append(Problem(where, "missing-image", got, f"a folder {patient}", remedy))
    return records, problems


def _record(
    tree: Tree, path: str, rows: Mapping[Breast, list[RowRead]], problems: list[Problem]
) -> ImageRecord | None:
    try:
        header = formats.header(tree.ref(path), ReadOptions(accept=formats.ACCEPTABLE))
    except Refused as refused:
        problems.append(Problem(path, "unreadable", refused.reason, "an image", "fetch it again"))
        return None
    patient = _patient(path, header)
    if patient is None:
        remedy = "keep the folders named after patients"
        got = "no patient D1-0001 … in its header or path"
        problems.append(Problem(path, "unknown-patient", got, "a patient of the table", remedy))
        return None
    found = rows.get((patient, header.laterality), []) if header.laterality else []
    if header.laterality is None:
        got, remedy = "no side in its header or name", "its truth stays unknown; use the DICOM file"
        problems.append(Problem(path, "unknown-side", got, "L or R", remedy))
    if found and len({row["classification"].lower() for row in found}) > 1:
        got, remedy = "benign and malignant rows of one breast", "it counts as malignant"
        problems.append(Problem(found[0].where, "two-rows", got, "one", remedy, broken=False))
    lesions = _lesions(found)
    known = {lesion.pathology for lesion in lesions}
    return ImageRecord(
        dataset=NAME,
        path=path,
        patient_id=patient,
        exam_id=patient,
        laterality=header.laterality,
        view=header.view,
        age=number(found[0], "age") if found else None,
        malignant=Pathology.MALIGNANT in known if known else None,
        lesions=lesions,
        extra=(("subtype", found[0]["subtype"]),) if found and found[0]["subtype"] else (),
    )


def _patient(path: str, header: Header) -> str | None:
    for word in (header.patient_id or "", *reversed(path.split("/"))):
        match = _PATIENT.match(word)
        if match:
            return match.group().upper()
    return None


def _lesions(rows: list[RowRead]) -> tuple[Lesion, ...]:
    """Return one lesion a kind and row; the same ids in every view, for truth is the breast's."""
    lesions = []
    for order, row in enumerate(rows, 1):
        for kind in lookup(row, "abnormality", _KINDS):
            name = f"{row['id1']}-{row['leftright']}-{order}-{kind}"
            lesions.append(Lesion(name, kind, None, pathology=pathology(row, "classification")))
    return tuple(lesions)
