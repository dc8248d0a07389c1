"""Plots of an evaluation as SVG and PNG: ROC, FROC, reliability, histograms of scores.

Drawn without a screen and without pyplot's shared state; the same figures give the same bytes.
Readers differ by line style and lightness, so the plots can be read in grey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Sheet

from secondreader.evaluation.figures import Curve, Metrics

__all__ = ["plots"]

_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_COLOURS = ("#08306b", "#d94801", "#41ab5d", "#6a51a3", "#969696", "#252525")
_SETTINGS: Any = {  # matplotlib's stubs name every key
    "svg.hashsalt": "secondreader",
    "svg.fonttype": "path",
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
}


def plots(metrics: Metrics) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, bytes) for every plot of an evaluation, as SVG and as PNG."""
    groups: dict[tuple[str, ...], list[Curve]] = {}
    for c in metrics.curves:
        alone = c.reader if c.kind.startswith("scores") else ""
        kind = "scores" if alone else c.kind
        groups.setdefault((kind, c.level, c.hit_rule or c.label_rule, alone), []).append(c)
    for (kind, level, rule, reader), curves in groups.items():
        name = "_".join(part for part in (kind, level, rule, reader) if part)
        draw = _DRAW["froc" if kind.startswith("froc") else kind]
        for end, data in _sheet(metrics, curves, draw):
            yield re.sub(r"[^A-Za-z0-9._-]+", "-", name) + end, data
        # Where a detector of positions works a linear axis shows nothing.
        if (kind, level) == ("roc", "position"):
            for end, data in _sheet(metrics, curves, _draw_rare):
                yield re.sub(r"[^A-Za-z0-9._-]+", "-", name) + "_logarithmic" + end, data


def _sheet(
    metrics: Metrics,
    curves: Sequence[Curve],
    draw: Callable[[Axes, Metrics, Sequence[Curve]], None],
) -> Iterator[tuple[str, bytes]]:
    with mpl.rc_context(_SETTINGS):
        sheet = Sheet(figsize=(5.2, 4.4), layout="constrained")
        FigureCanvasAgg(sheet)
        axes = sheet.add_subplot()
        draw(axes, metrics, curves)
        axes.set_title(_title(metrics, curves[0]), fontsize=8, loc="left")
        for end, extra in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 150})):
            out = io.BytesIO()
            sheet.savefig(out, format=end[1:], **extra)  # type: ignore[arg-type]
            yield end, out.getvalue()


def _title(metrics: Metrics, curve: Curve) -> str:
    names = ", ".join(str(d["name"]) for d in metrics.data)
    rule = f"hit rule {curve.hit_rule}" if curve.hit_rule else f"label rule '{curve.label_rule}'"
    return f"{names}, {metrics.split}\nby {curve.level}, {rule}, 95 % intervals over patients"


def _style(index: int) -> dict[str, object]:
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _LINES[index % len(_LINES)],
        "linewidth": 1.6,
    }


def _legend(metrics: Metrics, curve: Curve, name: str) -> str:
    """Return the reader's name, how its probabilities were made, and its figure with interval."""
    shown = f"{curve.reader} {curve.way}".strip()
    name = f"{name}_{curve.way}" if curve.way else name
    rule, _, group = curve.label_rule.partition(", ")  # of positions the group stands there too
    for f in metrics.figures:
        same = (f.reader, f.level, f.hit_rule, f.label_rule, f.group) == (
            curve.reader,
            curve.level,
            curve.hit_rule,
            rule,
            group,
        )
        if same and f.name == name and f.value is not None and f.low is not None:
            return f"{shown}: {f.value:.3f} [{f.low:.3f}, {f.high:.3f}]"
    return shown


def _draw_roc(axes: Axes, metrics: Metrics, curves: Sequence[Curve]) -> None:
    axes.plot([0, 1], [0, 1], color="#969696", linewidth=0.8)
    for i, c in enumerate(curves):
        style = _style(i)
        axes.fill_between(c.x, c.low, c.high, color=style["color"], alpha=0.15, linewidth=0)  # type: ignore[arg-type]
        axes.plot(c.x, c.y, label=_legend(metrics, c, "auc"), **style)  # type: ignore[arg-type]
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_aspect("equal")
    axes.legend(title="AUC", loc="lower right")


def _draw_rare(axes: Axes, metrics: Metrics, curves: Sequence[Curve]) -> None:
    for i, c in enumerate(curves):
        style = _style(i)
        axes.fill_between(c.x, c.low, c.high, color=style["color"], alpha=0.15, linewidth=0)  # type: ignore[arg-type]
        name = _legend(metrics, c, "mean_sensitivity_log_fpf_1e-6_0.1")
        axes.plot(c.x, c.y, label=name, **style)  # type: ignore[arg-type]
    axes.set(xscale="log", xlabel="1 − specificity", ylabel="sensitivity")
    axes.set(xlim=(1e-6, 1), ylim=(-0.01, 1.01))
    axes.legend(title="mean sensitivity, 1e-6 to 0.1", loc="lower right")


def _draw_froc(axes: Axes, metrics: Metrics, curves: Sequence[Curve]) -> None:
    on = curves[0].kind.removeprefix("froc_")
    for i, c in enumerate(curves):
        style = _style(i)
        axes.fill_between(
            c.x, c.low, c.high, color=style["color"], alpha=0.15, linewidth=0, step="post"  # type: ignore[arg-type]
        )  # fmt: skip
        name = _legend(metrics, c, f"mean_recall_0.125_8_fp_on_{on}")
        axes.plot(c.x, c.y, label=name, drawstyle="steps-post", **style)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    words = "all images" if on == "all" else "images without such a lesion"
    axes.set(xlabel=f"false positives per image, on {words}", ylabel="sensitivity")
    axes.set_ylim(-0.01, 1.01)
    axes.legend(title="mean sensitivity at 1/8 to 8 per image", loc="best")


def _draw_reliability(axes: Axes, metrics: Metrics, curves: Sequence[Curve]) -> None:
    axes.plot([0, 1], [0, 1], color="#969696", linewidth=0.8)
    for i, c in enumerate(curves):
        style = _style(i)
        axes.vlines(c.x, c.low, c.high, color=str(style["color"]), linewidth=1)
        name = _legend(metrics, c, "ece_equal_mass")
        axes.plot(c.x, c.y, label=name, marker="osD^v*"[i % 6], markersize=4, **style)  # type: ignore[arg-type]
    axes.set(xlabel="probability promised", ylabel="frequency seen")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_aspect("equal")
    axes.legend(title="expected calibration error", loc="upper left")


def _draw_scores(axes: Axes, metrics: Metrics, curves: Sequence[Curve]) -> None:
    for c in curves:
        positive = c.kind == "scores_positive"
        total = sum(c.y) or 1.0
        width = c.x[1] - c.x[0] if len(c.x) > 1 else 1.0
        axes.bar(
            c.x, [v / total for v in c.y], width=width, edgecolor="#252525", linewidth=0.6,
            facecolor="#252525" if positive else "#d9d9d9", alpha=0.75,
            hatch="" if positive else "///",
            label=f"{'malignant' if positive else 'not malignant'} ({int(sum(c.y))})",
        )  # fmt: skip
    axes.set(xlabel=f"score of {curves[0].reader}", ylabel="fraction of its class")
    axes.legend(loc="best")


_DRAW = {
    "roc": _draw_roc,
    "froc": _draw_froc,
    "reliability": _draw_reliability,
    "scores": _draw_scores,
}
