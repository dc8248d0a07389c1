"""Table 3 as ratios: python benchmarks/tissue_heatmap_ratio.py BASELINE LOCAL --data NAME=ROOT -o FILE.json

The paper does not say in what its squared errors are, so the two heatmaps are compared by the ratio of
their errors: with the local answers over without, on training and on test images, and for each the
error over that of a heatmap of zeros. Intervals over patients, of the same images for both.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import RESAMPLES, estimate
from secondreader.evaluation.means import mean_replicates
from secondreader.methods.tissue_heatmap.data import Small, ready
from secondreader.methods.tissue_heatmap.figures import heatmap_errors
from secondreader.methods.tissue_heatmap.two_views import load
from secondreader.sources import images_of, load_all

PRINTED = {Part.TRAIN: ("training", 0.12, 2.25), Part.TEST: ("held out", 6.48, 6.04)}


def main() -> None:
    """Measure both models on both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("baseline", type=Path)
    parser.add_argument("local", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    readers = [
        load(run / "model" if (run / "model").is_dir() else run)
        for run in (asked.baseline, asked.local)
    ]
    sources = load_all(asked.data)
    parts = divide_sets(sources, asked.split)
    rows = [["images", "with over without, published", "with over without",
             "without, over zeros", "with, over zeros"]]  # fmt: skip
    counts = {}
    for part, (words, before, after) in PRINTED.items():
        images = ready(images_of(sources).part(parts[part]), readers[0].config)
        columns = []
        for reader in readers:
            local = reader.local(images)
            errors, patients = heatmap_errors(reader, images, local)
            columns.append(errors)
        zeros = (Small.of(images, local, readers[0].config).target ** 2).mean((1, 2, 3)).numpy()
        drawn = mean_replicates(
            np.column_stack([*columns, zeros]), patients, resamples=asked.resamples
        )
        without, both, nothing = drawn.T
        figures = [estimate(r) for r in (both / without, without / nothing, both / nothing)]
        rows.append([words, f"{after / before:.2f}", *(shown(f) for f in figures)])
        counts[words] = {"images": len(zeros), "patients": len(set(patients)),
                         "mean squared error": [float(c.mean()) for c in columns]}  # fmt: skip
    told = {
        "command": "python benchmarks/tissue_heatmap_ratio.py BASELINE LOCAL --data ...",
        "split": asked.split, "on": counts, "resamples": asked.resamples, "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


def shown(got) -> str:
    """Return a figure with its interval."""
    if got.value is None or got.low is None or got.high is None:
        return "–"
    return f"{got.value:.3f} [{got.low:.3f}, {got.high:.3f}]"


if __name__ == "__main__":
    main()
