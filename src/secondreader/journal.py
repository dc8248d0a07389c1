"""What a reading has done so far, on disk, so that a second call goes on where the first stopped.

One SQLite file in the output folder. Every row is committed with a full sync, so Ctrl-C, SIGKILL
and a power cut lose at most the exam in hand. Rows hold what the outputs hold and nothing more:
with pseudonyms, no id and no path is kept in clear (keys are keyed hashes, made by the caller).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secondreader.domain import SecondReaderError

__all__ = ["Entry", "Journal"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS header (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS exam (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, value TEXT NOT NULL, skipped TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One exam as read: its JSON object, and the files of it that could not be read."""

    exam: dict[str, Any]
    skipped: list[dict[str, Any]]


class Journal:
    """Headers looked at and exams read, keyed by fingerprints of what went in.

    Parameters
    ----------
    path
        The file, or ``None`` for one that lives as long as this object.

    Raises
    ------
    SecondReaderError
        If the file cannot be opened, is no journal, or its disk is full.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(
                str(path) if path else "", isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise SecondReaderError(
                f"journal: cannot use {path} ({error}); expected a writable folder, "
                "or remove that file to begin anew"
            ) from None

    def header(self, key: str) -> Any | None:
        """Return what was noted of an unchanged file, or ``None``."""
        row = self._db.execute("SELECT value FROM header WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def note_headers(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Keep (key, JSON value) of files looked at, in one transaction."""
        self._write(
            "INSERT OR REPLACE INTO header VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in rows],
        )

    def exam(self, key: str, fingerprint: str) -> Entry | None:
        """Return an exam read before from the same files, models and options, or ``None``."""
        row = self._db.execute(
            "SELECT value, skipped FROM exam WHERE key = ? AND fingerprint = ?", (key, fingerprint)
        ).fetchone()
        return Entry(json.loads(row[0]), json.loads(row[1])) if row else None

    def note_exam(self, key: str, fingerprint: str, entry: Entry) -> None:
        """Keep an exam that was read."""
        self._write(
            "INSERT OR REPLACE INTO exam VALUES (?, ?, ?, ?)",
            [(key, fingerprint, json.dumps(entry.exam), json.dumps(entry.skipped))],
        )

    def exam_keys(self) -> Iterator[str]:
        """Yield the keys of all exams kept."""
        for (key,) in self._db.execute("SELECT key FROM exam"):
            yield key

    def forget(self, key: str) -> None:
        """Drop an exam."""
        self._write("DELETE FROM exam WHERE key = ?", [(key,)])

    def close(self) -> None:
        """Close the file; what was noted stays."""
        self._db.close()

    def _write(self, statement: str, rows: list[tuple[str, ...]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise SecondReaderError(
                f"journal: cannot write {self._path} ({error}); expected room on the disk and "
                "that no other run writes to the same folder"
            ) from None
