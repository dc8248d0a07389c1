"""Tables as the owners of data sets write them: CSV of any delimiter, and Excel workbooks."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from xml.etree import ElementTree

from secondreader.datasets.tree import Tree
from secondreader.domain import Laterality, Pathology, SecondReaderError, View

__all__ = ["RowRead", "laterality", "lookup", "number", "pathology", "read_rows", "view"]

_Value = TypeVar("_Value")
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_MOST_XML = 64 * 2**20  # bytes of one unpacked sheet; the tables of these sets have far fewer


@dataclass(frozen=True, slots=True)
class RowRead:
    """One row: its cells by column, names in lower case, and where it stands (``file:line``)."""

    cells: Mapping[str, str]
    where: str

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


def read_rows(tree: Tree, path: str, columns: Sequence[str]) -> list[RowRead]:
    """Read a table whose first row names its columns.

    Names are compared in lower case, with runs of spaces and underscores as one underscore:
    ``breast density`` and ``breast_density`` are one column. Cells are stripped of white space,
    line breaks at their ends included.

    Parameters
    ----------
    tree
        Where the file lies.
    path
        ``.csv`` (comma, semicolon or tab), ``.txt`` or ``.xlsx``.
    columns
        That must be there.

    Raises
    ------
    SecondReaderError
        If it is no such table, or lacks a column.
    """
    if path.lower().endswith((".xlsx", ".xlsm")):
        lines = _workbook(tree.content(path), path)
    elif path.lower().endswith(".xls"):
        raise SecondReaderError(
            f"{path}: got an old Excel workbook, expected .csv or .xlsx; "
            "open it in a spreadsheet program and save it as CSV beside it"
        )
    else:
        lines = _csv(tree.text(path), path)
    if not lines:
        raise SecondReaderError(f"{path}: got an empty table, expected a row of column names")
    header = [column_name(cell) for cell in lines[0][1]]
    missing = [column for column in columns if column not in header]
    if missing:
        raise SecondReaderError(
            f"{path}: got no column {missing[0]!r}, expected {', '.join(columns)}; "
            "fetch the table again from the set's owner"
        )
    rows = []
    for line, cells in lines[1:]:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            padded = stripped + [""] * (len(header) - len(stripped))
            rows.append(RowRead(dict(zip(header, padded, strict=False)), f"{path}:{line}"))
    return rows


def column_name(cell: str) -> str:
    """Return a column's name in lower case, spaces as underscores."""
    return re.sub(r"[\s_]+", "_", cell.strip().lower())


def _csv(text: str, path: str) -> list[tuple[int, list[str]]]:
    first = text.split("\n", 1)[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True
    )
    lines = []
    before = 0
    try:
        for cells in reader:
            lines.append((before + 1, cells))
            before = reader.line_num
    except csv.Error as error:
        raise SecondReaderError(
            f"{path}:{reader.line_num}: got broken CSV ({error}); fetch the table again"
        ) from None
    return lines


def _workbook(content: bytes, path: str) -> list[tuple[int, list[str]]]:
    """Read the first sheet of an Excel workbook (ECMA-376): rows of cells, as text."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            sheet = sorted(name for name in names if name.startswith("xl/worksheets/sheet"))[0]
            wanted = [name for name in ("xl/sharedStrings.xml", sheet) if name in names]
            if any(archive.getinfo(name).file_size > _MOST_XML for name in wanted):
                raise SecondReaderError(f"{path}: got a sheet over {_MOST_XML} bytes of XML")
            parts = {name: archive.read(name) for name in wanted}
        if any(b"<!DOCTYPE" in part or b"<!ENTITY" in part for part in parts.values()):
            raise SecondReaderError(f"{path}: got XML entities, expected a plain workbook")
        strings: list[str] = []
        if "xl/sharedStrings.xml" in parts:
            shared = ElementTree.fromstring(parts["xl/sharedStrings.xml"])
            strings = ["".join(t.text or "" for t in s.iter(f"{_SHEET}t")) for s in shared]
        rows = ElementTree.fromstring(parts[sheet]).iter(f"{_SHEET}row")
        return [
            (int(row.get("r", str(number))), _cells(row, strings))
            for number, row in enumerate(rows, 1)
        ]
    except (zipfile.BadZipFile, ElementTree.ParseError, IndexError, KeyError, ValueError) as error:
        raise SecondReaderError(
            f"{path}: got no Excel workbook that can be read ({type(error).__name__}); "
            "fetch it again, or save it as CSV"
        ) from None


def _cells(row: ElementTree.Element, strings: Sequence[str]) -> list[str]:
    cells: list[str] = []
    for cell in row.iter(f"{_SHEET}c"):
        letters = re.match(r"[A-Z]+", cell.get("r", "")) or re.match("", "")
        column = 0
        for letter in letters.group() if letters else "":
            column = column * 26 + ord(letter) - ord("A") + 1
        cells += [""] * (column - 1 - len(cells))  # empty cells are not written
        value = cell.findtext(f"{_SHEET}v") or ""
        if cell.get("t") == "s":
            value = strings[int(value)]
        elif cell.get("t") == "inlineStr":
            value = "".join(t.text or "" for t in cell.iter(f"{_SHEET}t"))
        cells.append(value)
    return cells


# --------------------------------------------------------------------------------------- cells

_SIDES = {
    "l": Laterality.L,
    "left": Laterality.L,
    "r": Laterality.R,
    "right": Laterality.R,
}
_VIEWS = {member.value.lower(): member for member in View}
_PATHOLOGIES = {
    "malignant": Pathology.MALIGNANT,
    "benign": Pathology.BENIGN,
    "benign_without_callback": Pathology.BENIGN_WITHOUT_CALLBACK,
}


def lookup(row: RowRead, column: str, values: Mapping[str, _Value]) -> _Value:
    """Return what a cell stands for.

    Raises
    ------
    SecondReaderError
        For a cell that stands for nothing known.
    """
    cell = row[column]
    if cell.lower() not in values:
        known = ", ".join(sorted(values))
        raise SecondReaderError(
            f"{row.where}: {column}: got {cell[:40]!r}, expected one of: {known}; "
            "correct the table, or report a new class"
        )
    return values[cell.lower()]


def laterality(row: RowRead, column: str) -> Laterality:
    """Return the breast that a cell names: L, R, LEFT, RIGHT."""
    return lookup(row, column, _SIDES)


def view(row: RowRead, column: str) -> View:
    """Return the view that a cell names."""
    return lookup(row, column, _VIEWS)


def pathology(row: RowRead, column: str) -> Pathology:
    """Return the pathology that a cell names."""
    return lookup(row, column, _PATHOLOGIES)


def number(row: RowRead, column: str) -> float | None:
    """Return a cell's number, ``None`` for an empty one (or NA, nan).

    Raises
    ------
    SecondReaderError
        For a cell that is neither.
    """
    cell = row[column]
    if cell.lower() in ("", "na", "nan", "none", "n/a"):
        return None
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        raise SecondReaderError(
            f"{row.where}: {column}: got {cell[:40]!r}, expected a number or an empty cell"
        ) from None
