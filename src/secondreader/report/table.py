"""``findings.csv``: a line a finding, for a spreadsheet.

===============  =================================================================
column           what it holds
===============  =================================================================
exam_id          the exam
patient_id       empty where unknown
input, path      the file, as in ``reading.json``
laterality       L, R, empty where unknown
view             CC, MLO, …
model            who found it
kind             what it is
row, col         its centre in source pixels, 0-based
row0 … col1      its box in source pixels, empty for a point
diameter_mm      its larger side, empty where the pixel size is unknown
score            uncalibrated
probability      calibrated, empty where there is none
link             the same finding in another view
===============  =================================================================
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from secondreader.report.schema import Detection, Exam, Image

__all__ = ["COLUMNS", "findings_lines"]

COLUMNS = (
    *("exam_id", "patient_id", "input", "path", "laterality", "view", "model", "kind"),
    *("row", "col", "row0", "col0", "row1", "col1"),
    *("diameter_mm", "score", "probability", "link"),
)


def findings_lines(exams: Iterable[Exam]) -> Iterator[str]:
    """Yield the table line by line, its heading first."""
    yield _line(COLUMNS)
    for exam in exams:
        for image in exam.images:
            for detection in image.detections:
                if detection.finding:
                    yield _line(_cells(exam, image, detection))


def _cells(exam: Exam, image: Image, detection: Detection) -> tuple[object, ...]:
    box = detection.box or (None,) * 4
    ids = (exam.exam_id, exam.patient_id, image.input, image.path, image.laterality, image.view)
    numbers = (detection.diameter_mm, f"{detection.score:.6g}", detection.probability)
    what = (detection.model, str(detection.kind), *detection.center, *box)
    return (*ids, *what, *numbers, detection.link)


def _line(cells: Iterable[object]) -> str:
    stream = io.StringIO()
    # A spreadsheet would run a cell that begins like a formula.
    safe = (
        f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "@") else cell
        for cell in cells
    )
    csv.writer(stream, lineterminator="\n").writerow("" if c is None else c for c in safe)
    return stream.getvalue()
