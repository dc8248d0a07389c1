"""Accuracy against the number of patches: python benchmarks/second_look_curve.py FIGURES OUT -o FILE.png

FIGURES is the folder of the study's rows (figures/thatte2017@phantom), OUT what `secondreader
reproduce` was given: its runs say how many different patches there were (fewer than a row asks for
where a set has no more). The paper's two points stand beside, of other data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

PAPER = ((200_000, 45), (400_000, 65))
SHOWN = ("Accuracy, patch", "Accuracy, image")


def main() -> None:
    """Draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-o", "--picture", type=Path, required=True)
    asked = parser.parse_args()
    points = []
    for file in asked.figures.glob("patches-*.json"):
        told = json.loads(file.read_text(encoding="utf-8"))
        run = asked.out / "runs" / asked.figures.name / file.stem / "patches.json"
        there = json.loads(run.read_text(encoding="utf-8"))["patches drawn from"]
        points.append((sum(there.values()), told["cells"]))
    points.sort(key=lambda point: point[0])
    sheet, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for name, colour, style in zip(SHOWN, ("#08306b", "#d94801"), ("o-", "s--"), strict=True):
        kept = [(n, cells[name]) for n, cells in points if cells[name].get("low") is not None]
        x = [n for n, _ in kept]
        y, low, high = ([100 * c[k] for _, c in kept] for k in ("value", "low", "high"))
        axes.plot(x, y, style, color=colour, label=f"{name}, phantoms")
        axes.vlines(x, low, high, color=colour, linewidth=1)
        print(
            name,
            [
                f"{n:,}: {v:.1f} [{a:.1f}, {b:.1f}]"
                for n, v, a, b in zip(x, y, low, high, strict=True)
            ],
        )
    axes.plot(*zip(*PAPER, strict=True), "k^:", label="the paper, four classes, its data")
    axes.set(xscale="log", xlabel="different patches", ylabel="accuracy, %, classes alike")
    axes.legend(frameon=False, fontsize=8)
    asked.picture.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(asked.picture, dpi=110)


if __name__ == "__main__":
    main()
