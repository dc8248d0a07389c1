"""What the members of a panel said before of the same files: no network reads an image twice.

Members are trained, and measured, before the panel of them is; what they said then is in journals, under
a fingerprint of the files and of the model. A member whose weights are those of the panel's is asked no
more of such a file. Its detections are those of the form of ``reading.json``, as figures take them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from secondreader import __version__, report
from secondreader.catalogue import ExamFiles, digest
from secondreader.domain import ImageReading, Intent, Mammogram, Part, Reader, ViewReading
from secondreader.journal import Journal
from secondreader.learning.box import model_folder
from secondreader.reading import Model, identities

__all__ = [
    "JOURNAL", "Known", "Remembering", "exam_fingerprint", "of_trainings", "remembered", "remembering",
    "remembering_panel",
]  # fmt: skip

JOURNAL = "journal.sqlite"
"""The file of an output folder that says what was read, and by whom."""
Known = Sequence[tuple[str, Path]]
_PANEL = "panel"
_FAILED = "failed"  # what a bug left unread is tried again


class Remembering:
    """A reader that is not asked again what it said before."""

    def __init__(self, reader: Reader, said: Mapping[str, ImageReading]) -> None:
        self.reader, self.said = reader, said
        self.name = reader.name
        self.intents: frozenset[Intent | None] = reader.intents

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Return what was said of the image of this path, or read it."""
        said = self.said.get(mammogram.source.path)
        return (
            self.reader.read(mammogram) if said is None else replace(said, source=mammogram.source)
        )


def exam_fingerprint(exam: ExamFiles, models: Sequence[tuple[str, str, str | None]]) -> str:
    """Return what readings of an exam depend on: the files, and name, digest and point of each model."""
    files = [(f.input, f.path, f.size, f.mtime_ns) for f in exam.files]
    return digest(b"", __version__, list(models), files)


def remembered(
    model: Path | None, exams: Sequence[ExamFiles], known: Known
) -> dict[str, ImageReading]:
    """Return what a model said of images before, by their paths.

    Parameters
    ----------
    model
        Its folder; of a method without weights nothing is remembered.
    exams
        The images.
    known
        Models' folders, and each beside it an output folder with what that model said.
    """
    said: dict[str, ImageReading] = {}
    paths = [file.path for exam in exams for file in exam.files]
    if model is None or len(set(paths)) < len(paths):  # of two data sets: not told apart
        return said
    for name, out in known:
        folder, file = model_folder(name), out / JOURNAL
        if folder is None or not file.is_file() or not _same(folder, model):
            continue
        with closing(Journal(file)) as journal:
            for exam in exams:
                for identity in identities(folder):
                    entry = journal.exam(exam.key, exam_fingerprint(exam, [identity]))
                    if entry is not None:
                        form = report.exam_values(report.parse_exam(json.dumps(entry.exam)))
                        said |= dict(_said(form.images))
    return said


def remembering(
    members: Sequence[Reader],
    folders: Sequence[Path | None],
    exams: Sequence[ExamFiles],
    known: Known,
) -> tuple[Reader, ...]:
    """Return a panel's members as readers that are not asked again what they said of these images.

    Parameters
    ----------
    members, folders
        The readers, and where each was loaded from.
    exams, known
        See `remembered`.
    """
    return tuple(
        Remembering(member, remembered(folder, exams, known))
        for member, folder in zip(members, folders, strict=True)
    )


def remembering_panel(model: Model, exams: Sequence[ExamFiles], known: Known) -> Model:
    """Return a panel whose members remember; other models, and a panel of mirror images, as they are."""
    panel: Any = model.reader
    # By its name: PyTorch is slow to import, and a method without weights does not wait for it.
    if not known or panel.name != _PANEL or panel.config.flips:
        return model
    members = remembering(panel.members, panel.folders, exams, known)
    return replace(model, reader=panel.with_members(members))


def of_trainings(members: Sequence[str]) -> Known:
    """Return where the trainings of a panel's members left what those said of parts of their data."""
    folders = [(name, model_folder(name)) for name in members]
    return tuple(
        (name, folder.parent / str(part))
        for name, folder in folders
        if folder is not None
        for part in (Part.VALIDATION, Part.CALIBRATION)
    )


def _same(one: Path, other: Path) -> bool:
    """Return whether two model folders hold the same weights, whose digest their settings give."""
    return (one / "config.json").read_bytes() == (other / "config.json").read_bytes()


def _said(views: Sequence[ViewReading]) -> Iterator[tuple[str, ImageReading]]:
    for view in views:
        own = view.scores[0]
        if own.refused is not None and own.refused[0] == _FAILED:
            continue
        detections = tuple(
            replace(d, model=None, probability=None, finding=None) for d in view.detections
        )
        yield (
            view.source.path,
            ImageReading(view.source, own.score, own.refused, detections, None, (), own.left_out),
        )
