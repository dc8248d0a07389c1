"""RSNA 2022: 54,706 digital screening images of 11,913 women, each breast with or without cancer.

Source: the RSNA Screening Mammography Breast Cancer Detection challenge. Licence: non-commercial
research and education, as its rules state. Expected: 54,706 images of 11,913 patients, 1,158 images
of breasts with cancer (``train.csv``).

On disk: ``train.csv`` and ``train_images/<patient_id>/<image_id>.dcm``; the conversions that
circulate are ``<patient_id>/<image_id>.png`` or ``<patient_id>_<image_id>.png`` in any folder.
``cancer`` is of the breast; there are no outlines. ``BIRADS`` is 0 to 2 or empty. The pixel pitch is
the file's, unknown for conversions, which are often resized.

References
----------
.. [1] C. Carr et al., "RSNA Screening Mammography Breast Cancer Detection", Kaggle, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping

from secondreader.datasets.records import About, Expected, Problem
from secondreader.datasets.rows import RowRead, laterality, lookup, number, read_rows, view
from secondreader.datasets.tree import Tree
from secondreader.domain import ImageRecord, SecondReaderError, View

__all__ = ["ABOUT", "NAME", "scan"]

NAME = "rsna_2022"
ABOUT = About(
    title="RSNA Screening Mammography Breast Cancer Detection 2022",
    good_for="screening-like prevalence, many digital exams of two sites; no outlines",
    licence="Non-commercial research and education, under the challenge's rules.",
    citation="Carr et al., RSNA Screening Mammography Breast Cancer Detection, Kaggle, 2022",
    ask="Kaggle, competition rsna-breast-cancer-detection",
    layout="train.csv and train_images/<patient_id>/<image_id>.dcm",
    expected=(
        Expected("images", 54706, "train.csv"),
        Expected("patients", 11913, "train.csv"),
        Expected("malignant images", 1158, "train.csv"),
    ),
)
_COLUMNS = ("site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer")
_YES_NO = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_VIEWS = {"AT": None, "LMO": View.LMO, "ML": View.ML, "LM": View.LM}
_BIRADS = {"": None, "0": "0", "1": "1", "2": "2", "0.0": "0", "1.0": "1", "2.0": "2"}
_DENSITIES = {"": None, "a": "A", "b": "B", "c": "C", "d": "D"}
_EXTRA = ("site_id", "machine_id", "implant", "biopsy", "invasive", "difficult_negative_case")


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read the table and match its rows to images.

    Raises
    ------
    SecondReaderError
        If the table, a column or all images are missing, or a class is unknown.
    """
    del choices  # there are none
    tables = tree.named("train.csv")
    if not tables:
        raise SecondReaderError(f"{tree.root}: got no train.csv, expected {ABOUT.layout}")
    rows = read_rows(tree, tables[0], _COLUMNS)
    records, problems = [], []
    for row in rows:
        path = _image(tree, row)
        if path is None:
            got, remedy = "no image of this row", "fetch or convert it again"
            problems.append(
                Problem(row.where, "missing-image", got, "patient_id/image_id.dcm", remedy)
            )
        else:
            records.append(_record(path, row))
    if not records:
        raise SecondReaderError(
            f"{tree.root}: got a table of {len(rows)} images and none of them, "
            f"expected {ABOUT.layout}; fetch the images"
        )
    return records, problems


def _image(tree: Tree, row: RowRead) -> str | None:
    """Return the image of a row; an image id alone is enough where one patient has it."""
    patient, image = row["patient_id"], row["image_id"]
    joined = tree.images(f"{patient}_{image}")
    alone = tree.images(image)
    own = [path for path in alone if patient in path.split("/")[:-1]]
    return next(iter(own or joined or (alone if len(alone) == 1 else [])), None)


def _record(path: str, row: RowRead) -> ImageRecord:
    extra = {name: row[name] for name in _EXTRA if row[name]}
    if row["view"].upper() in _VIEWS:
        projection = _VIEWS[row["view"].upper()]
        extra["view"] = row["view"]
    else:
        projection = view(row, "view")
    return ImageRecord(
        dataset=NAME,
        path=path,
        patient_id=row["patient_id"],
        exam_id=row["patient_id"],
        laterality=laterality(row, "laterality"),
        view=projection,
        density=lookup(row, "density", _DENSITIES),
        birads=lookup(row, "birads", _BIRADS),
        age=number(row, "age"),
        malignant=lookup(row, "cancer", _YES_NO),
        extra=tuple(sorted(extra.items())),
    )
