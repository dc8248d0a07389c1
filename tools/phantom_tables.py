"""The tables of the phantom's README, from what its benchmarks wrote into figures/phantom/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["table"]


def table(folder: Path, name: str) -> str:
    """Return a table as Markdown; ``name`` is realism, network, difficulty or speed.

    ``realism-N`` and ``network-N`` are of the phantom's later anatomies.
    """
    name, _, anatomy = name.partition("-")
    file = "-".join(filter(None, ["realism" if name == "network" else name, anatomy]))
    path = folder / f"{file}.json"
    if not path.is_file():
        return "Not measured yet.\n"
    told = json.loads(path.read_text(encoding="utf-8"))
    return "\n".join(_ROWS[name](told)) + "\n"


def _interval(values: dict[str, float], name: str = "median") -> str:
    return f"{values[name]:.4g} [{values['low']:.4g}, {values['high']:.4g}]"


def _realism(told: dict[str, Any]) -> list[str]:
    rows = ["| | film: median of women [95 %] | phantom | AUC of it alone |", "|---|---|---|---|"]
    slopes = told["exponent"]
    rows.append(
        f"| power-law exponent | {_interval(slopes['film'])} | {_interval(slopes['phantom'])} | |"
    )
    for key, row in told["statistics"].items():
        rows.append(
            f"| {key} | {_interval(row['film'])} | {_interval(row['phantom'])} | {row['auc']:.3f} |"
        )
    return rows


def _network(told: dict[str, Any]) -> list[str]:
    rows = ["| a network tells apart | AUC [95 %] |", "|---|---|"]
    return rows + [f"| {key} | {_interval(row, 'auc')} |" for key, row in told["network"].items()]


def _difficulty(told: dict[str, Any]) -> list[str]:
    rates = told["film"]["cluster"]["fpi"]
    head = " | ".join(f"{rate:g}" for rate in rates)
    rows = [
        f"| sensitivity at false positives per normal film | {head} |",
        "|---" * (len(rates) + 1) + "|",
    ]
    for what in ("cluster", "mass"):
        for name, got in (
            ("mini-MIAS", told["film"][what]),
            ("film phantom", told[f"phantom x 1 {what}"]),
        ):
            cells = [
                f"{v:.2f} [{low:.2f}, {high:.2f}]"
                for v, low, high in zip(got["sensitivity"], got["low"], got["high"], strict=True)
            ]
            rows.append(f"| {what}, {name} (n = {got['lesions']}) | {' | '.join(cells)} |")
    return rows


def _speed(told: dict[str, Any]) -> list[str]:
    rows = [
        "| system | seconds a view, one core | megapixels a view | in FFT textures of that size | truth alone, s an exam |",
        "|---|---|---|---|---|",
    ]
    for name, row in told.items():
        if isinstance(row, dict):
            cells = [
                row["seconds a view"],
                row["megapixels a view"],
                row["in FFT textures of that size"],
                row["seconds for the truth of an exam"],
            ]
            rows.append(f"| {name} | {' | '.join(f'{cell:g}' for cell in cells)} |")
    rows += [
        "",
        f"A second process gains {told['a second process gains']:g} ×; at the highest "
        f"{told['highest memory in MB']:g} MB.",
    ]
    return rows


_ROWS = {"realism": _realism, "network": _network, "difficulty": _difficulty, "speed": _speed}
