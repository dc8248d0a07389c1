"""A journal keeps what was noted, and nothing of what was not."""

import sqlite3

import pytest

from secondreader.domain import SecondReaderError
from secondreader.journal import Entry, Journal

ENTRY = Entry({"exam_id": "1", "images": []}, [{"path": "a", "code": "blank", "reason": "…"}])


def test_an_exam_noted_is_found_again_after_reopening(tmp_path):
    first = Journal(tmp_path / "j.sqlite")
    first.note_exam("key", "print", ENTRY)
    first.close()
    assert Journal(tmp_path / "j.sqlite").exam("key", "print") == ENTRY


def test_an_exam_whose_files_changed_is_not_found(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.note_exam("key", "old files", ENTRY)
    assert journal.exam("key", "new files") is None


def test_a_second_reading_replaces_the_first(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.note_exam("key", "old", ENTRY)
    journal.note_exam("key", "new", Entry({}, []))
    assert journal.exam("key", "old") is None
    assert list(journal.exam_keys()) == ["key"]


def test_what_was_noted_survives_a_process_that_never_closed(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.note_headers([("a", {"exam_id": "1"})])
    # As after SIGKILL: the file is read by another connection while the first never said goodbye.
    assert Journal(tmp_path / "j.sqlite").header("a") == {"exam_id": "1"}


def test_an_exam_forgotten_is_gone():
    journal = Journal()
    journal.note_exam("key", "print", ENTRY)
    journal.forget("key")
    assert list(journal.exam_keys()) == []


def test_a_file_that_is_no_journal_is_refused_in_one_line(tmp_path):
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(SecondReaderError, match="journal: cannot use") as error:
        Journal(path)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_said_in_one_line_and_loses_nothing(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.note_exam("key", "print", ENTRY)
    journal._db.execute("PRAGMA max_page_count = 8")
    with pytest.raises(SecondReaderError, match="expected room on the disk"):
        journal.note_headers([(str(i), "x" * 4000) for i in range(100)])
    assert journal.exam("key", "print") == ENTRY
    assert sqlite3.connect(tmp_path / "j.sqlite").execute("PRAGMA integrity_check").fetchone() == (
        "ok",
    )
