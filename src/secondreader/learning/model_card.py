"""The card of a model, written by the program from the other files of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secondreader.evaluation.figures import Figure, from_json
from secondreader.evaluation.tables import headlines, told_apart, with_interval
from secondreader.learning.run_folder import write_whole

__all__ = ["card_text", "write_card"]

_OF_OTHERS = (
    " Scores, and probabilities below, are by weights that four fifths of these patients made for the "
    "fifth: the panel is weighed on them all."
)


def write_card(folder: Path) -> None:
    """Write ``model-card.md`` into a model folder from what lies there."""
    write_whole(folder / "model-card.md", card_text(folder))


def card_text(folder: Path) -> str:
    """Return the card of a model folder as Markdown."""
    config = _json(folder / "config.json")
    metrics, run = _json(folder / "metrics.json"), _json(folder / "environment.json")
    points = _json(folder / "operating_points.json")
    calibration = _json(folder / "calibration.json")
    method = config.get("method", "unknown")
    lines = [
        f"# {run['row']}: {method}" if "row" in run else f"# {method}",
        "",
        "**Research use only. Not a medical device.** Its scores say what its training data taught "
        "it; they are no diagnosis, and a low one does not rule cancer out.",
        "",
        "## Intended use",
        "",
        "A second reader of screening mammograms in research: it marks where to look again and "
        "ranks images, breasts and exams. Not for symptomatic patients, implants, spot views or "
        "tomosynthesis, none of which it was trained on.",
        "",
        "## Trained on",
        "",
        *[f"- {name}: {print_}" for name, print_ in run.get("data", {}).items()],
        f"- split: {run.get('split', 'unknown')}",
        *[
            f"  - {part}: {', '.join(f'{n} {what}' for what, n in numbers.items() if n)}"
            for part, numbers in run.get("counts", {}).items()
        ],
        f"- seed {run.get('seed')}, commit {run.get('commit') or 'unknown'}, "
        f"{run.get('device', 'unknown device')}",
        *([f"- by: `{run['command']}`"] if run.get("command") else []),
        *[f"- {file}: sha256 {digest}" for file, digest in config.get("sha256", {}).items()],
        *_rounded(run.get("rounded")),
        "",
        "## Figures",
        "",
    ]
    figures = headlines(from_json(metrics).figures) if metrics else []
    if figures:
        lines += [
            f"On {metrics.get('split', 'unknown data')}; 95 % intervals resample patients. All figures: "
            "`metrics.json` beside this file. Of what (!) stands at there is too little to tell."
            + _OF_OTHERS
            * bool(config["config"].get("weights")),
            "",
            "| level | figure | rule | value |",
            "|---|---|---|---|",
            *[_row(figure) for figure in figures],
        ]
    else:
        lines.append("None: the calibration part is too small, or there is none.")
    lines += _rows(folder / "figures.json")
    lines += ["", "## Operating points", ""]
    lines += [
        f"- `{p['name']}`: {p['kind']} scoring {p['threshold']:.4g} or more; {p['rule']}; "
        f"chosen on {p['chosen_on']}"
        for p in points.get("points", [])
    ] or ["None: nothing it detects is called a finding."]
    lines += ["", "## Probabilities", ""]
    if calibration:
        lines += [
            f"- {level}: {c['method']}, fitted on {c['patients']} patients ({c['positives']} of "
            f"{c['positives'] + c['negatives']} malignant; {c['fitted_on']}); they hold for a "
            f"prevalence of {c['prevalence']:.3g}"
            for level, c in calibration.items()
        ]
    else:
        lines.append("Not calibrated: its scores are no probabilities.")
    alike = _json(folder / "likeness.json")
    lines += ["", "## Images unlike those it was trained on", ""]
    lines.append(
        f"{alike['share']:.0%} of {alike['images']} validation images lie below a distance of "
        f"{alike['threshold']:.3g}; refused beyond half as far again (`--accept unlike-training` reads them)."
        if alike
        else "Not told: it reads whatever it is given."
    )
    lines += _history(folder / "history.json")
    lines += [
        "",
        "## Limits",
        "",
        "Figures on phantoms say nothing about women. Figures hold for the scanners, the prevalence "
        "and the population they were measured on, and for no other.",
        "",
        "## Configuration",
        "",
        "```json",
        "{",
        ",\n".join(
            f"{json.dumps(k)}: {json.dumps(v)}" for k, v in config.get("config", {}).items()
        ),
        "}",
        "```",
        "",
    ]
    return "\n".join(lines)


def _rounded(told: Mapping[str, Any] | None) -> list[str]:
    """Tell what rounding did to scores, where it was looked at."""
    if told is None:
        return []
    change = (
        f"scores of the panel on {told['images']} test images change by {told['most']:.2g} at most"
        if told["images"]
        else "what that changes was not looked at"
    )
    return [f"- weights rounded to half precision after all figures were measured: {change}"]


def _rows(file: Path) -> list[str]:
    """Tell what a study measured with it: on other parts, other systems, films."""
    if not file.is_file():
        return []
    every = json.loads(file.read_text(encoding="utf-8"))
    lines = ["", "Measured by `secondreader reproduce default`:"] if every else []
    for told in every:
        cells = "; ".join(f"{words} {_interval(*of)}" for words, of in told["cells"].items())
        lines += ["", f"- {told['row']} ({told['of']}): {cells}"]
    return lines


def _history(file: Path) -> list[str]:
    """Tell the rounds in which its phantoms were mended: what they lacked, what was done, figures then."""
    if not file.is_file():
        return []
    lines = [
        "",
        "## History",
        "",
        "Its phantoms were mended by what they lacked beside real films.",
    ]
    for number, told in enumerate(json.loads(file.read_text(encoding="utf-8")), 1):
        lines += ["", f"{number}. Found: {told['found']} Changed: {told['changed']}"]
        for row, got in told["rows"].items():
            cells = ", ".join(f"{words} {_interval(*of)}" for words, of in got["cells"].items())
            lines.append(f"   - {row}: {cells}")
    return lines


def _interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def _row(figure: Figure) -> str:
    level, name, rule, _ = told_apart(figure)
    return f"| {level} | {name} | {rule or '–'} | {with_interval(figure)} |"


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
