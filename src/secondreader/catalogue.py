"""From inputs to exams: every file found is looked at once, and put with the rest of its exam.

Files are listed in a private SQLite database that spills to disk, so that memory stays flat over
tens of thousands of files. Nothing is decoded here.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from secondreader import formats
from secondreader.domain import Refused
from secondreader.formats import FileRef, Header, ReadOptions, Skipped
from secondreader.journal import Journal

__all__ = ["Catalogue", "ExamFiles", "catalogue"]

_SCHEMA = """
CREATE TABLE exam (
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, exam_id TEXT, patient_id TEXT, files INTEGER
);
CREATE TABLE file (exam INTEGER, ref TEXT, sop_uid TEXT);
CREATE INDEX file_by_exam ON file (exam);
CREATE UNIQUE INDEX file_by_uid ON file (sop_uid);
CREATE TABLE skipped (input INTEGER, path TEXT, code TEXT, reason TEXT);
"""
_BATCH = 256


@dataclass(frozen=True, slots=True)
class ExamFiles:
    """The files of one exam, in the order in which they were found.

    ``key`` is what was grouped by; ``exam_id`` is unique within the catalogue.
    """

    key: str
    exam_id: str
    patient_id: str | None
    files: tuple[FileRef, ...]


class Catalogue:
    """The exams found, in a fixed order, and the files that are none."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA temp_store = FILE")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM exam").fetchone()[0])

    @property
    def file_count(self) -> int:
        """The number of files to read."""
        return int(self._db.execute("SELECT count(*) FROM file").fetchone()[0])

    def exams(self) -> Iterator[ExamFiles]:
        """Yield the exams in the order in which their first file was found."""
        rows = self._db.execute("SELECT id, key, exam_id, patient_id FROM exam ORDER BY id")
        for number, key, exam_id, patient_id in rows:
            # Two exams may claim one id (one Study UID with two patients, one name in two folders).
            (before,) = self._db.execute(
                "SELECT count(*) FROM exam WHERE exam_id = ? AND id < ?", (exam_id, number)
            ).fetchone()
            files = self._db.execute(
                "SELECT ref FROM file WHERE exam = ? ORDER BY rowid", (number,)
            ).fetchall()
            yield ExamFiles(
                key,
                f"{exam_id}#{before + 1}" if before else exam_id,
                patient_id,
                tuple(FileRef(**json.loads(ref)) for (ref,) in files),
            )

    def refs(self) -> Iterator[FileRef]:
        """Yield every file that is to be read."""
        for (ref,) in self._db.execute("SELECT ref FROM file ORDER BY rowid"):
            yield FileRef(**json.loads(ref))

    def skipped(self) -> Iterator[Skipped]:
        """Yield the files that are no images, or none that is read, with their reasons."""
        for row in self._db.execute("SELECT input, path, code, reason FROM skipped ORDER BY rowid"):
            yield Skipped(*row)

    def skip(self, skipped: Skipped) -> None:
        """Put a file among the skipped ones."""
        self._db.execute(
            "INSERT INTO skipped VALUES (?, ?, ?, ?)",
            (skipped.input, skipped.path, skipped.code, skipped.reason),
        )

    def add(self, ref: FileRef, header: Header) -> None:
        """Put a file into its exam; a SOP instance that is there already is skipped."""
        uid = header.sop_uid
        if uid and self._db.execute("SELECT 1 FROM file WHERE sop_uid = ?", (uid,)).fetchone():
            reason = "the same SOP instance was found before; it is read once"
            self.skip(Skipped(ref.input, ref.path, "duplicate", reason))
            return
        key = _exam_key(ref, header)
        self._db.execute(
            "INSERT OR IGNORE INTO exam (key, exam_id, patient_id) VALUES (?, ?, ?)",
            (key, header.exam_id, header.patient_id),
        )
        (exam,) = self._db.execute("SELECT id FROM exam WHERE key = ?", (key,)).fetchone()
        self._db.execute(
            "INSERT INTO file VALUES (?, ?, ?)", (exam, json.dumps(asdict(ref)), uid or None)
        )


def catalogue(
    inputs: Sequence[Path],
    options: ReadOptions,
    journal: Journal,
    *,
    secret: bytes = b"",
    rename: Callable[[str], str] = lambda identifier: identifier,
    leave_out: Path | None = None,
    progress: Callable[[int], None] = lambda found: None,
) -> Catalogue:
    """Find every file of the inputs, look at its header, and group files into exams.

    Parameters
    ----------
    inputs
        Files, folders, ZIPs.
    options
        What was asked of reading; headers looked at under other options are looked at again.
    journal
        Headers of unchanged files are taken from it rather than from the files.
    secret
        Keys the journal's file names; with pseudonyms, a secret of the user's.
    rename
        What makes pseudonyms of patient and exam ids, applied before anything is noted.
    leave_out
        A folder to pass over: the output, where it lies inside an input.
    progress
        Called with the number of files found so far.
    """
    found = Catalogue()
    looked_at: list[tuple[str, Any]] = []
    context = digest(secret, repr(options))
    ours = None if leave_out is None else leave_out.resolve()
    for count, ref in enumerate(formats.find(inputs), 1):
        progress(count)
        root = inputs[ref.input] if isinstance(ref, Skipped) else ref.root
        if ours is not None and Path(_resolved(str(root)), ref.path).is_relative_to(ours):
            continue
        if isinstance(ref, Skipped):
            found.skip(ref)
            continue
        key = digest(secret, context, ref.root, ref.path, ref.size, ref.mtime_ns)
        noted = journal.header(key)
        if noted is None:
            noted = _look(ref, options, rename)
            looked_at.append((key, noted))
        if len(looked_at) >= _BATCH:
            journal.note_headers(looked_at)
            looked_at = []
        if "code" in noted:
            found.skip(Skipped(ref.input, ref.path, noted["code"], noted["reason"]))
        else:
            found.add(ref, Header(**noted))
    journal.note_headers(looked_at)
    return found


@lru_cache(maxsize=64)
def _resolved(root: str) -> Path:
    """Return the real folder that paths start from: an input, or the folder of an input file."""
    path = Path(root).resolve()
    return path.parent if path.is_file() else path


def digest(secret: bytes, *parts: object) -> str:
    """Return a keyed hash (HMAC-SHA256, hexadecimal) of some values."""
    return hmac.new(secret, json.dumps([str(p) for p in parts]).encode(), "sha256").hexdigest()


def _look(ref: FileRef, options: ReadOptions, rename: Callable[[str], str]) -> dict[str, Any]:
    try:
        header = formats.header(ref, options)
    except Refused as refused:
        return {"code": refused.code, "reason": refused.reason}
    renamed = {
        field: rename(value)
        for field in ("exam_id", "patient_id", "study_uid", "sop_uid")
        if (value := getattr(header, field)) is not None
    }
    return asdict(header) | renamed


def _exam_key(ref: FileRef, header: Header) -> str:
    """Return what an exam is grouped by: study and patient, the table, or folder and name."""
    if header.study_uid is not None:
        return f"study {header.study_uid} {header.patient_id}"
    if header.grouped_by == "table":
        return f"table {header.exam_id} {header.patient_id}"
    return f"name {ref.root} {header.exam_id}"
