r"""A CSV that says of images what their files cannot: ``path,exam_id,patient_id,laterality,…``.

===========  =======================================================================
column       cell; an empty one is unknown
===========  =======================================================================
path         of the image: from the input, from the table's own folder, or absolute;
             ``a.zip!/b.png`` in a ZIP; ``/`` or ``\`` between folders. Needed.
exam_id      images with one id are one exam
patient_id   the woman
laterality   L, R, left or right
view         CC, MLO, ML, LM, …
spacing_mm   the pixel pitch in the breast, in millimetres
===========  =======================================================================

Columns may stand in any order; commas, semicolons or tabs part them; UTF-8.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from secondreader.domain import Laterality, SecondReaderError, View

__all__ = ["COLUMNS", "Row", "Table", "read_table", "unmatched"]

COLUMNS = ("path", "exam_id", "patient_id", "laterality", "view", "spacing_mm")
"""The columns of every table."""
_SIDES = {"l": Laterality.L, "left": Laterality.L, "r": Laterality.R, "right": Laterality.R}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `path` normalised with forward slashes, `line` its number in the file.

    ``extra`` holds the cells of the columns that were asked for beyond `COLUMNS`.
    """

    path: str
    line: int
    exam_id: str | None = None
    patient_id: str | None = None
    laterality: Laterality | None = None
    view: View | None = None
    spacing_mm: float | None = None
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """The rows of a CSV file; its ``repr`` names the content by its SHA-256.

    Parameters
    ----------
    name
        The file's name, for messages.
    folder
        The absolute path of the folder that it lies in.
    sha256
        Of its bytes.
    rows
        In the order of the file, no path twice.
    """

    name: str
    folder: str
    sha256: str
    rows: tuple[Row, ...] = field(repr=False)

    def lookup(self, root: str, path: str) -> Row | None:
        """Return the row of the image at `path` under the absolute folder `root`, if any.

        A row that names it from the table's folder, or absolutely, comes before one that names it
        from the input.
        """
        whole = posixpath.normpath(f"{Path(root).as_posix()}/{path}")
        return (
            self._index.get(whole)
            or self._index.get(posixpath.relpath(whole, Path(self.folder).as_posix()))
            or self._index.get(posixpath.normpath(path))
        )

    @cached_property
    def _index(self) -> dict[str, Row]:
        return {row.path: row for row in self.rows}


class Located(Protocol):
    """What has a root and a path below it (`FileRef` does)."""

    @property
    def root(self) -> str: ...
    @property
    def path(self) -> str: ...


def unmatched(table: Table, found: Iterable[Located]) -> Iterator[str]:
    """Yield one line for each row that matches no file, or more than one.

    Parameters
    ----------
    table
        The table that was looked into.
    found
        All files that were found, each once.
    """
    matches: dict[int, int] = {}
    for ref in found:
        row = table.lookup(ref.root, ref.path)
        if row is not None:
            matches[row.line] = matches.get(row.line, 0) + 1
    for row in table.rows:
        count = matches.get(row.line, 0)
        if count != 1:
            yield (
                f"{table.name} line {row.line}: path {row.path!r} matches {count or 'no'} "
                f"file{'s' if count else ''}, expected one"
            )


def read_table(path: Path, extra: Iterable[str] = ()) -> Table:
    """Read a table.

    Parameters
    ----------
    path
        A CSV file.
    extra
        Columns beyond `COLUMNS` that may stand in it; their cells are kept as plain text.

    Raises
    ------
    SecondReaderError
        One line with file, line, what, got and expected.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SecondReaderError(f"table: cannot read {path} ({error.strerror})") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SecondReaderError(f"{path.name} line {line}: got bytes that are no UTF-8") from None
    extra = tuple(extra)
    rows: dict[str, Row] = {}
    for row in _rows(text, path.name, extra):
        if row.path in rows:
            before = rows[row.path].line
            raise _error(path.name, row.line, f"got path {row.path!r} again (line {before})")
        rows[row.path] = row
    folder = os.path.abspath(path.parent)  # noqa: PTH100 - without following links, as roots are
    return Table(path.name, folder, hashlib.sha256(content).hexdigest(), tuple(rows.values()))


def _rows(text: str, name: str, extra: tuple[str, ...]) -> Iterator[Row]:
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _columns(next(reader, []), name, extra)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise _error(
                    name, reader.line_num, f"got {len(cells)} cells, expected {len(columns)}"
                )
            stripped = (cell.strip() for cell in cells)
            yield _row(dict(zip(columns, stripped, strict=True)), name, reader.line_num, extra)
    except csv.Error as error:
        raise _error(name, reader.line_num, f"got broken CSV ({error})") from None


def _columns(header: list[str], name: str, extra: tuple[str, ...]) -> list[str]:
    columns = [cell.strip().lower() for cell in header]
    known = (*COLUMNS, *extra)
    for column in columns:
        if column not in known:
            raise _error(name, 1, f"got column {column[:40]!r}, expected {', '.join(known)}")
        if columns.count(column) > 1:
            raise _error(name, 1, f"got column {column!r} twice")
    if "path" not in columns:
        raise _error(name, 1, "got no column 'path', expected one")
    return columns


def _row(cells: dict[str, str], name: str, line: int, extra: tuple[str, ...]) -> Row:
    path = cells["path"].replace("\\", "/")
    if not path:
        raise _error(name, line, "got an empty path")
    side, view = cells.get("laterality", ""), cells.get("view", "")
    if side and side.lower() not in _SIDES:
        raise _error(name, line, f"laterality: got {side[:20]!r}, expected L or R")
    if view and view.upper() not in View.__members__:
        raise _error(name, line, f"view: got {view[:20]!r}, expected {', '.join(View)}")
    return Row(
        path=posixpath.normpath(path),
        line=line,
        exam_id=cells.get("exam_id") or None,
        patient_id=cells.get("patient_id") or None,
        laterality=_SIDES[side.lower()] if side else None,
        view=View(view.upper()) if view else None,
        spacing_mm=_spacing(cells.get("spacing_mm", ""), name, line),
        extra=tuple((column, cells[column]) for column in extra if column in cells),
    )


def _spacing(cell: str, name: str, line: int) -> float | None:
    if not cell:
        return None
    try:
        spacing = float(cell)
    except ValueError:
        spacing = math.nan
    if not 0 < spacing <= 5:
        raise _error(
            name, line, f"spacing_mm: got {cell[:20]!r}, expected millimetres, above 0 and up to 5"
        )
    return spacing


def _error(name: str, line: int, words: str) -> SecondReaderError:
    return SecondReaderError(f"{name} line {line}: {words}")
