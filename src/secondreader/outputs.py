"""What all exams of a reading make together: one exam in memory at a time, nothing left of others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from secondreader import formats, report
from secondreader.archive import Plan, entry_key, fingerprint, page_path
from secondreader.catalogue import Catalogue
from secondreader.domain import SecondReaderError
from secondreader.journal import Entry, Journal

__all__ = ["Outcome", "finish"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reading came to.

    ``read`` counts the images that at least one model read; ``refused`` tells how often each
    reason kept a model from an image, ``left_out`` a panel's member; ``first_skipped`` names the first file not read, and why.
    """

    exams: int
    images: int
    read: int
    findings: int
    skipped: int
    first_skipped: str = ""
    refused: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def finish(plan: Plan, found: Catalogue, journal: Journal) -> Outcome:
    """Write what all exams make together, one exam in memory at a time."""
    pages = {entry_key(plan, exam): page_path(plan, exam) for exam in found.exams()}
    _drop_others(plan.out, journal, pages)

    def entries() -> Iterator[Entry]:
        for exam in found.exams():
            entry = journal.exam(entry_key(plan, exam), fingerprint(plan, exam))
            if entry is None:
                raise SecondReaderError("journal: an exam vanished; another run writes here too")
            yield entry

    def exams() -> Iterator[report.Exam]:
        return (report.Exam.model_validate_json(json.dumps(entry.exam)) for entry in entries())

    def skipped() -> Iterator[report.SkippedInput]:
        for one in found.skipped():
            yield report.SkippedInput(
                input=one.input, path=shown(one.path), code=one.code, reason=one.reason
            )
        for entry in entries():
            yield from (report.SkippedInput(**one) for one in entry.skipped)

    def shown(path: str) -> str:
        return path if plan.secret is None else report.pseudonym_path(plan.secret, path)

    out, header = plan.out, plan.header
    formats.atomic_write(out / "readings.jsonl", report.readings_lines(header, exams()))
    formats.atomic_write(out / "reading.json", report.reading_text(header, exams(), skipped()))
    formats.atomic_write(out / "findings.csv", report.findings_lines(exams()))
    formats.atomic_write(
        out / "report.html",
        report.index_text(header, zip(exams(), pages.values(), strict=True), skipped()),
    )
    first = next(skipped(), None)
    why = f"{first.path}: {first.reason}" if first else ""
    return _outcome(exams(), sum(1 for _ in skipped()), why)


def _drop_others(out: Path, journal: Journal, pages: dict[str, str]) -> None:
    """Drop what earlier calls left, of other inputs or half-written."""
    for key in [key for key in journal.exam_keys() if key not in pages]:
        journal.forget(key)
    for folder in (out, out / "exams", out / "images"):
        for path in folder.glob(".*.part"):  # what a killed run was writing
            path.unlink()
    stems = {Path(page).stem for page in pages.values()}
    for path in (out / "exams").glob("*.html"):
        if path.stem not in stems:
            path.unlink()
    for path in (out / "images").glob("*.png"):
        if path.name.rsplit(".", 3)[0] not in stems:  # STEM.IMAGE.MODEL.png
            path.unlink()


def _outcome(exams: Iterable[report.Exam], skipped: int, why: str) -> Outcome:
    count = images = read = findings = 0
    refused: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for exam in exams:
        count += 1
        for image in exam.images:
            images += 1
            read += any(score.score is not None for score in image.scores)
            findings += sum(detection.finding for detection in image.detections)
            for score in image.scores:
                if score.refused is not None:
                    refused[score.refused.reason] += 1
                left_out.update(of.reason for of in score.left_out)
    return Outcome(count, images, read, findings, skipped, why, refused, left_out)
