"""The cascade on films it never saw: python benchmarks/cascade_on_films.py RUN --data mini_mias=ROOT --inserted FOLDER -o FILE.json

A model trained on phantoms only reads the films of mini-MIAS, whose CALC films have circles round
clusters, and normal films into which clusters were inserted (``secondreader phantom FOLDER --into
mini_mias=ROOT --seed 1``); `spot_filter` reads the same. Clusters found at 1/8 to 8 false positives per
image without one, their mean, and the paired difference, intervals over patients.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from secondreader import pipeline

RATES = ("recall_at_1_fp_on_normal", "mean_recall_0.125_8_on_normal")
LEVEL, RULE = "region", "cluster"


def shown(value: float | None, low: float | None, high: float | None) -> str:
    """Return a figure with its interval."""
    return "–" if value is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Measure on both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--inserted", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="Where evaluations are kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = []
    sets = {
        "CALC and other films (looked at in development)": asked.data,
        "inserted into normal films": f"phantom={asked.inserted}",
    }
    for words, data in sets.items():
        folder = asked.work / data.partition("=")[0]
        metrics = pipeline.evaluate([str(asked.run), "spot_filter"], [data], folder, split="all")
        found = [
            f for f in metrics.figures if f.level == LEVEL and f.hit_rule == RULE and not f.group
        ]
        for name in RATES:
            row = [words, name]
            for reader in metrics.readers:
                (own,) = [f for f in found if f.reader == reader and f.name == name]
                row.append(shown(own.value, own.low, own.high))
            (apart,) = [
                c for c in metrics.comparisons
                if c.name == name and c.level == LEVEL and c.hit_rule == RULE and not c.group
            ]  # fmt: skip
            sign = 1 if apart.a == metrics.readers[0] else -1
            ends = sorted(sign * v for v in (apart.low or 0.0, apart.high or 0.0))
            row.append(shown(apart.value and sign * apart.value, *ends))
            rows.append(row)
    header = ["films", "clusters found", "anomaly_cascade", "spot_filter", "difference"]
    command = "python benchmarks/cascade_on_films.py RUN --data mini_mias=ROOT --inserted FOLDER"
    told = {"command": command, "split": metrics.split, "rules": dict(metrics.rules),
            "interval": dict(metrics.interval), "table": [header, *rows]}  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
