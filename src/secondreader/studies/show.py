"""A study in words: its published tables, what each row trains, and what was measured beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from secondreader.evaluation.tables import markdown
from secondreader.methods import METHODS
from secondreader.studies.study import Cell, Row, Study

__all__ = ["beside", "listing", "verdict"]

NOT_RUN = "not run"
_WIDEST = 6  # figures beside each other on a page


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
        # Our own figures, of which nothing is published, would be dozens of empty columns.
        printed = [n for n in t.numbers if any(n in r.cells and r.cells[n].printed for r in t.rows)]
        header = [*t.columns, "row", "trains", "cost", "", *printed]
        rows = [
            [
                *row.words,
                row.key,
                *_runs(row, built),
                *(_printed(row.cells.get(n)) for n in printed),
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
    """Return a table as it was published with measured [95 % interval] beside it, as Markdown.

    Rows are the table's own; where it has more figures than a page is wide they are its columns.

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
    cells = {
        (row.key, name): _pair(study, row, row.cells[name], measured.get(row.key), name, built)
        for row in t.rows
        for name in t.numbers
        if name in row.cells
    }
    if len(t.numbers) <= _WIDEST:
        head = [*t.columns, *t.numbers]
        lines = [(row.words, [(row.key, name) for name in t.numbers]) for row in t.rows]
    else:
        head = ["figure", *(", ".join(filter(None, row.words)) for row in t.rows)]
        lines = [((name,), [(row.key, name) for row in t.rows]) for name in t.numbers]
    words = len(head) - len(lines[0][1])
    rows = [[*head[:words], "", *head[words:]]]
    for told, keys in lines:
        pairs = [cells.get(key, ("", "")) for key in keys]
        published, here = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if any(published):
            rows.append([*told, "published", *published])
            told = ("",) * words
        rows.append([*told, "measured [95 %]", *here])
    out = [f"## {study.name} {t.name}: {t.caption}", "", markdown(rows)]
    out += [f"- differs: {words}" for words in study.differs]
    out += [f"- {row.key}: {row.note}" for row in t.rows if row.note]
    said: dict[str, list[str]] = {}
    for row in t.rows:
        for differs in measured.get(row.key, {}).get("differs", ()):
            said.setdefault(differs, []).append(row.key)
    for differs, of in said.items():
        every = len(of) == len(t.rows)
        out.append(f"- {differs}" if every else f"- {', '.join(of)}: {differs}")
    return "\n".join([*out, ""])


def _pair(
    study: Study,
    row: Row,
    cell: Cell,
    got: Mapping[str, Any] | None,
    name: str,
    built: Collection[str],
) -> tuple[str, str]:
    """Return a number as published, if it was, and ours with how the two stand to each other."""
    own = None if got is None else got["cells"].get(name, {})
    told = verdict(cell, own)
    if told == NOT_RUN and row.recipe is not None:
        told = "; ".join(w for w in (NOT_RUN, row.recipe.why_not(built)) if w)
    elif told == "nothing published" or (study.elsewhere and told in ("inside", "outside")):
        told = ""  # the study's `differs` say that the two are of different data
    published = cell.printed + (" %" if cell.percent and cell.printed else "")
    return published, ": ".join(filter(None, (_measured(cell, own), told)))


def _measured(cell: Cell, own: Mapping[str, Any] | None) -> str:
    """Return a figure in the paper's unit, a difference with its p; nothing without an interval.

    A count is a whole number; what was counted is said with how many there were, with and without.
    """
    if not own or own.get("low") is None:
        return ""
    if own.get("method") == "count":
        return f"{own['value']:.0f}"
    factor, digits = (100, 2) if cell.percent else (1, 3)
    value, low, high = (f"{factor * own[k]:.{digits}f}" for k in ("value", "low", "high"))
    p = "" if own.get("p") is None else f", p = {own['p']:.2g}"
    # An accuracy over classes counts neither.
    counted = own.get("positives") or own.get("negatives")
    many = f", {own['positives']} / {own['negatives']}" if counted else ""
    unit = " %" if cell.percent else ""
    return f"{value}{unit} [{low}, {high}]{p}{many}"
