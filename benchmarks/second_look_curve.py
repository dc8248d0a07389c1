"""Accuracy against the number of patches: drawn, and each step of the curve as a paired difference.

python benchmarks/second_look_curve.py FIGURES OUT --data NAME=ROOT [--picture FILE.png] -o FILE.json

FIGURES is the folder of the study's rows (figures/thatte2017@phantom), OUT what `secondreader
reproduce` was given: its runs say how many different patches there were (fewer than a row asks for
where a set has no more). Every model classifies the same windows of the test part, and is put beside
the one before it: the intervals of two rows may overlap where their difference is sure. The paper's two
points stand beside, of other data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from second_look_generated import checked, loaded, of_women, pixels, through

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.methods.second_look.data import ready
from secondreader.methods.second_look.windows import TURNS, windows
from secondreader.sources import images_of, load_all

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

PAPER = ((200_000, 45), (400_000, 65))
SHOWN = ("Accuracy, patch", "Accuracy, image")


def numbered(figures: Path, out: Path) -> list[tuple[int, Path, dict]]:
    """Return of each row how many different patches there were, its run, and its cells; fewest first."""
    points = []
    for file in figures.glob("patches-*.json"):
        told = json.loads(file.read_text(encoding="utf-8"))
        run = out / "runs" / figures.name / file.stem
        there = json.loads((run / "patches.json").read_text(encoding="utf-8"))["patches drawn from"]
        points.append((sum(there.values()), run, told["cells"]))
    return sorted(points, key=lambda point: point[0])


def seen(run: Path) -> int:
    """Return how many patches, with repetition, a run had drawn when it had its best weights."""
    done = json.loads((run / "stages" / "votes" / "done.json").read_text(encoding="utf-8"))
    return int(done["step"]) * loaded(run)[0].votes.batch


def drawn(points: list[tuple[int, Path, dict]]) -> Figure:
    """Return the curve."""
    sheet, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for name, colour, style in zip(SHOWN, ("#08306b", "#d94801"), ("o-", "s--"), strict=True):
        kept = [(n, cells[name]) for n, _, cells in points if cells[name].get("low") is not None]
        x = [n for n, _ in kept]
        y, low, high = ([100 * c[k] for _, c in kept] for k in ("value", "low", "high"))
        axes.plot(x, y, style, color=colour, label=f"{name}, phantoms")
        axes.vlines(x, low, high, color=colour, linewidth=1)
    axes.plot(*zip(*PAPER, strict=True), "k^:", label="the paper, four classes, its data")
    axes.set(xscale="log", xlabel="different patches", ylabel="accuracy, %, classes alike")
    axes.legend(frameon=False, fontsize=8)
    return sheet


def main() -> None:
    """Measure the steps, and draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("-o", "--differences", type=Path, required=True)
    asked = parser.parse_args()
    points = numbered(asked.figures, asked.out)
    runs = {f"{run.name}, {n:,} different": loaded(run) for n, run, _ in points}
    config = next(iter(runs.values()))[
        0
    ]  # strides of training differ, windows that are read do not
    sources = load_all([asked.data])
    part = divide_sets(sources, asked.split)[Part.TEST]
    test = windows(ready(images_of(sources).part(part), config), config, reading=True)
    every = pixels(test, np.arange(len(test.label)) * TURNS, config)
    women = of_women(test)
    scores = {name: through(network, every) for name, (_, network, _) in runs.items()}
    data = asked.data if asked.data.startswith("phantom=") and "/" not in asked.data else (
        f"{asked.data.partition('=')[0]}=ROOT")  # fmt: skip
    told = {
        "command": f"python benchmarks/second_look_curve.py figures/{asked.figures.name} OUT --data {data} "
        f"--split {asked.split} --resamples {asked.resamples} -o FILE",
        "women": len(set(women.tolist())),
        "windows": len(test.label),
        "share of nothing": float((test.label == 0).mean()),
        # Weights of an early step have seen fewer patches than there were.
        "patches seen when weights were kept": {run.name: seen(run) for _, run, _ in points},
        "table": checked(scores, test.label, women, asked.resamples, before=True),
    }
    asked.differences.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=1, ensure_ascii=False)
    asked.differences.write_text(text + "\n", encoding="utf-8")
    print(text)
    if asked.picture:
        asked.picture.parent.mkdir(parents=True, exist_ok=True)
        drawn(points).savefig(asked.picture, dpi=110)


if __name__ == "__main__":
    main()
