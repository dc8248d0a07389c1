"""A study in words: its published tables, what each row trains, and what was measured beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from secondreader.evaluation.tables import markdown
from secondreader.methods import METHODS
from secondreader.studies.study import Cell, Row, Study, Table

__all__ = ["beside", "listing", "verdict"]

NOT_RUN = "not run"


def listing(
    study: Study, table: str | None = None, *, built: Collection[str] = tuple(METHODS)
) -> str:
    """Return the published tables of a study and what each row trains, as Markdown.

    Parameters
    ----------
    study
        The study.
    table
        One table's name, or all of them.
    built
        The methods that exist.
    """
    lines = [f"# {study.name}: {study.paper}", ""]
    lines += [f"- {name}: {words}" for name, words in study.data.items()]
    lines += ["", *(f"- differs here: {words}" for words in study.differs), ""]
    for t in study.tables if table is None else (study.table(table),):
        header = [*t.columns, *t.numbers, "row", "trains", "cost", ""]
        rows = [
            [
                *row.words,
                *(_printed(row.cells.get(n)) for n in t.numbers),
                row.key,
                *_runs(row, built),
            ]
            for row in t.rows
        ]
        lines += [f"## {t.name}: {t.caption}", "", markdown([header, *rows])]
        lines += [f"- {row.key}: {row.note}" for row in t.rows if row.note]
        lines += [""]
    return "\n".join(lines)


def _printed(cell: Cell | None) -> str:
    return "" if cell is None else cell.printed or "–"


def _runs(row: Row, built: Collection[str]) -> list[str]:
    """Return what is trained, its cost, and whether it must be run."""
    if row.recipe is None:
        return ["nothing to run", "", ""]
    state = "mandatory" if row.mandatory else "optional"
    why = row.recipe.why_not(built)
    return [row.recipe.words(), str(row.cost), f"{state}; {why}" if why else state]


def verdict(cell: Cell, got: Mapping[str, Any] | None) -> str:
    """Say how a measured figure stands to a published number.

    ``inside``: the 95 % interval meets the published number or what rounds to it. A claim that
    something lies above a bound ``holds`` if the whole interval does, ``fails`` if none of it does.

    Parameters
    ----------
    cell
        The published number.
    got
        value, low and high of ours, which may be ``None``; no mapping where nothing was run.
    """
    if cell.measure is None:
        return "not measured here"
    if got is None:
        return NOT_RUN
    low, high = got.get("low"), got.get("high")
    if low is None or high is None:
        return f"no figure: {got.get('note') or 'not measured'}"
    if cell.above is not None:
        return "holds" if low > cell.above else "fails" if high <= cell.above else "not shown"
    if cell.value is None:
        return "nothing published"
    inside = low - cell.rounding <= cell.value <= high + cell.rounding
    return "inside" if inside else "outside"


def beside(
    study: Study,
    table: str,
    measured: Mapping[str, Mapping[str, Any]],
    *,
    built: Collection[str] = tuple(METHODS),
) -> str:
    """Return published | measured [95 % interval] | inside or outside for a table, as Markdown.

    Parameters
    ----------
    study, table
        Which table.
    measured
        What is stored for each row that was run (`run.stored`).
    built
        The methods that exist.
    """
    t = study.table(table)
    lines = [f"## {study.name} {t.name}: {t.caption}", ""]
    header = [*t.columns, "figure", "published", "measured [95 % interval]", ""]
    rows = [header]
    for row in t.rows:
        rows += _row(study, row, t, measured.get(row.key), built)
    lines += [markdown(rows), *(f"- differs: {words}" for words in study.differs)]
    lines += [f"- {row.key}: {row.note}" for row in t.rows if row.note]
    for row in t.rows:
        if row.key in measured:
            lines += [f"- {row.key}: {words}" for words in measured[row.key].get("differs", ())]
    return "\n".join([*lines, ""])


def _row(
    study: Study, row: Row, table: Table, got: Mapping[str, Any] | None, built: Collection[str]
) -> list[list[str]]:
    out = []
    for name in table.numbers:
        cell = row.cells.get(name)
        if cell is not None:
            own = None if got is None else got["cells"].get(name, {})
            told = verdict(cell, own)
            if study.elsewhere and told in ("inside", "outside"):
                told = "other data"
            if told == NOT_RUN and row.recipe is not None:
                told = "; ".join(w for w in (NOT_RUN, row.recipe.why_not(built)) if w)
            published = _printed(cell) + (" %" if cell.percent and cell.printed else "")
            out.append([*row.words, name, published, _measured(cell, own), told])
    return out


def _measured(cell: Cell, own: Mapping[str, Any] | None) -> str:
    """Return a figure in the paper's unit, a difference with its p; nothing without an interval.

    A count is a whole number; what was counted is said with how many there were, with and without.
    """
    if not own or own.get("low") is None:
        return "–"
    if own.get("method") == "count":
        return f"{own['value']:.0f}"
    factor, digits = (100, 2) if cell.percent else (1, 3)
    value, low, high = (f"{factor * own[k]:.{digits}f}" for k in ("value", "low", "high"))
    p = "" if own.get("p") is None else f", p = {own['p']:.2g}"
    many = f", {own['positives']} / {own['negatives']}" if "positives" in own else ""
    return f"{value} [{low}, {high}]{p}{many}"
