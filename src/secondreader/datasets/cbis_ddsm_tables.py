"""The four case tables of CBIS-DDSM: one row an abnormality in one view.

Columns are the same but for ``breast_density`` (mass) and ``breast density`` (calcification); path
cells end in line breaks inside their quotes; ``000000.dcm`` and ``000001.dcm`` stand for mask and
crop in either order, so that only the folder of a path can be relied on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secondreader.datasets.records import Problem
from secondreader.datasets.rows import RowRead, laterality, number, pathology, read_rows, view
from secondreader.datasets.tree import Tree
from secondreader.domain import Laterality, Part, Pathology, SecondReaderError, View

__all__ = ["Abnormality", "leaks", "read_tables"]

COLUMNS = (
    "patient_id",
    "breast_density",
    "left_or_right_breast",
    "image_view",
    "abnormality_id",
    "abnormality_type",
    "assessment",
    "pathology",
    "subtlety",
    "image_file_path",
    "cropped_image_file_path",
    "roi_mask_file_path",
)
_SIDES = {Laterality.L: "LEFT", Laterality.R: "RIGHT"}
Film = tuple[str, Laterality, View]


@dataclass(frozen=True, slots=True)
class Abnormality:
    """One row of a table.

    ``words`` are the owner's descriptors: shape and margins of a mass, type and distribution of
    calcifications. ``image``, ``roi`` and ``crop`` are paths as the table has them, stripped.
    """

    where: str
    table: str
    part: Part
    patient: str
    side: Laterality
    view: View
    number: int
    words: tuple[str, str]
    density: str | None
    birads: str
    pathology: Pathology
    subtlety: int | None
    image: str
    roi: str
    crop: str

    @property
    def film(self) -> Film:
        """The film that it lies on: patient, side, view."""
        return self.patient, self.side, self.view

    @property
    def image_name(self) -> str:
        """The folder of its image: ``Mass-Test_P_00016_LEFT_CC``."""
        part = "Training" if self.part is Part.TRAIN else "Test"
        return f"{self.table.title()}-{part}_{self.patient}_{_SIDES[self.side]}_{self.view}"


def read_tables(tree: Tree, tables: Iterable[str]) -> tuple[list[Abnormality], list[Problem]]:
    """Read the tables (``mass``, ``calc``) of both parts.

    Raises
    ------
    SecondReaderError
        If one is missing or not as expected.
    """
    rows, problems = [], []
    for table in tables:
        for word, part in (("train", Part.TRAIN), ("test", Part.TEST)):
            name = f"{table}_case_description_{word}_set.csv"
            paths = tree.named(name)
            if not paths:
                raise SecondReaderError(
                    f"{tree.root}: got no {name}, expected the case tables of CBIS-DDSM; "
                    "fetch them from the collection's page"
                )
            for row in read_rows(tree, paths[0], COLUMNS):
                abnormality, odd = _abnormality(row, table, part)
                rows.append(abnormality)
                problems += odd
    return rows, problems


def _abnormality(row: RowRead, table: str, part: Part) -> tuple[Abnormality, list[Problem]]:
    expected = {"mass": "mass", "calc": "calcification"}[table]
    if row["abnormality_type"].lower() != expected:
        raise SecondReaderError(
            f"{row.where}: abnormality type: got {row['abnormality_type'][:40]!r}, "
            f"expected {expected!r}; fetch the table again"
        )
    problems = []
    density, subtlety = row["breast_density"], number(row, "subtlety")
    for column, odd in (("breast density", density == "0"), ("subtlety", subtlety == 0)):
        if odd:
            got, remedy = f"{column} 0", "it is taken as unknown"
            problems.append(Problem(row.where, "odd-value", got, "1 or more", remedy, False))
    words = (
        ("mass_shape", "mass_margins") if table == "mass" else ("calc_type", "calc_distribution")
    )
    return (
        Abnormality(
            where=row.where,
            table=table,
            part=part,
            patient=row["patient_id"],
            side=laterality(row, "left_or_right_breast"),
            view=view(row, "image_view"),
            number=int(number(row, "abnormality_id") or 0),
            words=(row[words[0]], row[words[1]]),
            density=density if density not in ("", "0") else None,
            birads=row["assessment"],
            pathology=pathology(row, "pathology"),
            subtlety=int(subtlety) if subtlety else None,
            image=row["image_file_path"],
            roi=row["roi_mask_file_path"],
            crop=row["cropped_image_file_path"],
        ),
        problems,
    )


def leaks(rows: Sequence[Abnormality]) -> tuple[set[str], set[Film]]:
    """Return the patients, and the films, that stand in train and test alike."""
    sets: dict[Part, tuple[set[str], set[Film]]] = {}
    for part in (Part.TRAIN, Part.TEST):
        here = [row for row in rows if row.part is part]
        sets[part] = ({row.patient for row in here}, {row.film for row in here})
    train, test = sets[Part.TRAIN], sets[Part.TEST]
    return train[0] & test[0], train[1] & test[1]
