"""People as readers: a table of their ratings, scored by the same ruler as a model.

The file has a header line and the columns ``reader, exam_id, laterality, rating``; a laterality left
empty rates the exam. Ratings are numbers, larger = more suspicious.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from secondreader.domain import Laterality, SecondReaderError
from secondreader.evaluation.scored import Readings, ScoredImage

__all__ = ["COLUMNS", "read_ratings"]

COLUMNS = ("reader", "exam_id", "laterality", "rating")


def read_ratings(
    lines: Iterable[str], images: Sequence[ScoredImage], *, name: str = "ratings"
) -> tuple[Readings, ...]:
    """Return one reader for each person in a table.

    Parameters
    ----------
    lines
        The lines of the CSV file.
    images
        The data they rated; exams are found by ``exam_id`` with or without its data set's name.
    name
        What to call the file in errors.

    Raises
    ------
    SecondReaderError
        If a column is missing, a rating is no number or stands twice, or an exam or breast is not in
        these data.
    """
    table = csv.DictReader(lines)
    missing = [c for c in COLUMNS if c not in (table.fieldnames or ())]
    if missing:
        raise SecondReaderError(
            f"{name}: got no column {missing[0]}, expected {', '.join(COLUMNS)}"
        )
    exams = _exams(images)
    breasts = {image.breast_id for image in images}
    given: dict[str, dict[str, float]] = {}
    for number, row in enumerate(table, start=2):
        where = f"{name}, line {number}"
        key = _key(row, exams, breasts, where)
        own = given.setdefault((row["reader"] or "").strip(), {})
        if key in own:
            raise SecondReaderError(f"{where}: got a second rating of one breast, expected one")
        own[key] = _rating(row["rating"], where)
    if not given:
        raise SecondReaderError(f"{name}: got no rating, expected at least one")
    blank = tuple(replace(i, score=None, probability=None, detections=()) for i in images)
    return tuple(Readings(reader, blank, own, person=True) for reader, own in given.items())


def _exams(images: Sequence[ScoredImage]) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for image in images:
        for name in (image.exam_id, image.exam_id.partition("/")[2]):
            names.setdefault(name, set()).add(image.exam_id)
    return names


def _key(
    row: dict[str, str], exams: dict[str, set[str]], breasts: set[str | None], where: str
) -> str:
    found = exams.get((row["exam_id"] or "").strip(), set())
    if len(found) != 1:
        raise SecondReaderError(f"{where}: got an exam_id of {len(found)} exams here, expected one")
    exam, side = next(iter(found)), (row["laterality"] or "").strip().upper()
    if not side:
        return exam
    if side not in Laterality.__members__:
        raise SecondReaderError(f"{where}: got laterality {side!r}, expected L, R or nothing")
    if f"{exam}|{side}" not in breasts:
        raise SecondReaderError(f"{where}: got a breast that these data do not hold")
    return f"{exam}|{side}"


def _rating(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SecondReaderError(f"{where}: got rating {text!r}, expected a number")
    return value
