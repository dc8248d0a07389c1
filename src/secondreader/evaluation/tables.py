"""Figures as tables: CSV with every field, Markdown and LaTeX to be read.

One row a figure, one column a reader; a number without an interval is never printed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import TypeVar

from secondreader.evaluation.figures import Comparison, Figure, Metrics

__all__ = [
    "comparisons_table",
    "csv_text",
    "figures_table",
    "headlines",
    "in_brackets",
    "latex",
    "markdown",
    "number",
    "tables",
    "told_apart",
    "with_interval",
]

Rows = Sequence[Sequence[str]]
_COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def number(value: float | None, digits: int = 3) -> str:
    """Return a number in few digits, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def in_brackets(
    value: float | None, low: float | None, high: float | None, p: float | None = None
) -> str:
    """Return ``value [low, high]``, and p where there is one; a dash where there is no interval."""
    if value is None or low is None or high is None:
        return "–"
    told = f"{number(value)} [{number(low)}, {number(high)}]"
    return told if p is None else f"{told}, p = {p:.2g}"


def with_interval(figure: Figure) -> str:
    """Return ``value [low, high]``; what has no interval is a dash and its reason."""
    if figure.value is None or figure.low is None or figure.high is None:
        return f"– ({figure.note})" if figure.note else "–"
    digits = 0 if figure.name in _COUNTS else 3
    shown = f"{number(figure.value, digits)} [{number(figure.low, digits)}, {number(figure.high, digits)}]"
    return f"{shown} (!)" if "too small" in figure.note or "tells nothing" in figure.note else shown


def told_apart(figure: Figure) -> tuple[str, str, str, str]:
    """Return what tells a reader's figures apart: level, name, rule, positives / negatives.

    An area has two intervals: the one that is not of patients drawn again says whose it is.
    """
    f = figure
    name = f"{f.name} ({f.method})" if f.method in ("DeLong", "Obuchowski") else f.name
    rule = f.hit_rule or (f"label: {f.label_rule}" if f.label_rule else "")
    many = f"{f.positives} / {f.negatives}" if f.positives or f.negatives else ""
    return f.level, name, rule, many


_FIRST = (
    "auc",
    "balanced_accuracy",
    "mean_recall_0.125_8_fp_on_all",
    "mean_sensitivity_log_fpf_1e-6_0.1",
)
Told = TypeVar("Told", Figure, Comparison)


def headlines(figures: Sequence[Told]) -> list[Told]:
    """Return the few figures or comparisons that are asked for first: areas, and recall on average over false alarms.

    Of all the data, not of subgroups; cancers that an image hides counted, as the label rule ``all`` has it.
    """
    first: dict[tuple[object, ...], Told] = {}
    for f in figures:
        whose = f.reader if isinstance(f, Figure) else (f.a, f.b)
        if (
            f.name in _FIRST
            and not f.group
            and f.value is not None
            and f.label_rule != "visible"
            and f.level != "lesion"
        ):  # an area has two intervals, by bootstrap and by a formula: the first is enough
            first.setdefault((whose, f.level, f.name, f.hit_rule, f.label_rule), f)
    return list(first.values())


def figures_table(metrics: Metrics, *, group: bool = False) -> list[list[str]]:
    """Return a header and rows: level, figure, rule, [group,] then a column for each reader.

    Parameters
    ----------
    metrics
        What was measured.
    group
        Give the subgroups' figures instead of those of all the data.
    """
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for f in metrics.figures:
        if bool(f.group) is group:
            cells.setdefault((f.group, *told_apart(f)), {})[f.reader] = with_interval(f)
    first = ["group"] if group else []
    header = [*first, "level", "figure", "rule", "positives / negatives", *metrics.readers]
    return [
        header,
        *(
            [*(key if group else key[1:]), *(row.get(r, "–") for r in metrics.readers)]
            for key, row in cells.items()
        ),
    ]


def comparisons_table(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Return a header and a row for each comparison: difference, interval, p-values, method."""
    header = [
        "readers",
        "level",
        "figure",
        "rule",
        "difference",
        "p",
        "p (Holm)",
        "method",
        "units",
    ]
    rows = [header]
    for c in comparisons:
        shown = f"{number(c.value)} [{number(c.low)}, {number(c.high)}]"
        told = shown if c.value is not None else f"– ({c.note})"
        rule = c.hit_rule or f"label: {c.label_rule}"
        of = [f"{c.a} − {c.b}", c.level, c.name, rule, told, _p(c.p), _p(c.p_holm)]
        rows.append([*of, c.method, str(c.units)])
    return rows


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def csv_text(figures: Sequence[Figure]) -> str:
    """Return all figures with all their fields, empty where there is nothing."""
    out = io.StringIO()
    table = csv.DictWriter(out, [f.name for f in fields(Figure)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(f) for f in figures)
    return out.getvalue()


def markdown(rows: Rows) -> str:
    """Return a header and rows as a Markdown table."""
    lines = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:], ""])


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--",
    "−": "$-$", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "<": r"$<$", ">": r"$>$", "|": r"$|$",
}  # fmt: skip


def latex(rows: Rows) -> str:
    """Return a header and rows as a LaTeX tabular (booktabs)."""
    lines = [
        " & ".join("".join(_TEX.get(c, c) for c in cell) for cell in row) + r" \\" for row in rows
    ]
    begin = rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}"
    body = [begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*body, ""])


def tables(metrics: Metrics) -> dict[str, str]:
    """Return the table files of an evaluation: name → text."""
    kinds: dict[str, Callable[[Rows], str]] = {"md": markdown, "tex": latex}
    rows = {"figures": figures_table(metrics)}
    if any(f.group for f in metrics.figures):
        rows["subgroups"] = figures_table(metrics, group=True)
    if metrics.comparisons:
        rows["comparisons"] = comparisons_table(metrics.comparisons)
    files = {
        f"{name}.{end}": make(table) for name, table in rows.items() for end, make in kinds.items()
    }
    return {"figures.csv": csv_text(metrics.figures), **files}
