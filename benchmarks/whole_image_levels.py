"""What breast and exam add to an image: python benchmarks/whole_image_levels.py RUN... --data NAME=ROOT --split S --work FOLDER -o FILE.json

The paper stops at images. Here a breast scores the mean of its views and an exam its larger breast: AUC of
each, with intervals over patients, and the difference of breast and exam to image in the same resamples of
patients; and whether the probabilities that calibration made of exams are as they say (slope, intercept,
expected calibration error).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from secondreader import pipeline
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import difference, estimate, replicates
from secondreader.evaluation.classification import score_statistic
from secondreader.evaluation.tables import in_brackets
from secondreader.evaluation.units import Level, units
from secondreader.scoring import choose, scored
from secondreader.sources import load_all

LEVELS: tuple[Level, ...] = ("image", "breast", "exam")


def main() -> None:
    """Read, group, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", required=True, metavar="NAME=ROOT")
    parser.add_argument("--split", default="official")
    parser.add_argument("--work", type=Path, required=True, help="Where the evaluation is kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    metrics = pipeline.evaluate(
        asked.runs, [asked.data], asked.work, split=asked.split, groups=False
    )
    chosen = choose(load_all([asked.data]), asked.split, Part.TEST)
    slopes = {
        (f.reader, f.level): in_brackets(f.value, f.low, f.high)
        for f in metrics.figures
        if f.name == "calibration_slope" and f.label_rule == "all" and not f.group
    }
    rows = [
        ["network", "unit", "with / without", "AUC", "less that of images",
         "calibration slope, 1 is calibrated"]
    ]  # fmt: skip
    for reader in scored(chosen, asked.work / "readings.jsonl"):
        ways = {level: units(reader.images, level, given=reader.given) for level in LEVELS}
        drawn = {
            level: replicates(score_statistic(own), own.n_patients)[:, 0]
            for level, own in ways.items()
        }
        for level, own in ways.items():
            got, apart = estimate(drawn[level]), difference(drawn[level], drawn["image"])
            yes = int(own.labels.sum())
            rows.append(
                [reader.reader, level, f"{yes} / {own.labels.size - yes}",
                 in_brackets(got.value, got.low, got.high),
                 "" if level == "image" else in_brackets(apart.value, apart.low, apart.high),
                 slopes.get((reader.reader, level), "–")]
            )  # fmt: skip
    kept = [
        {k: getattr(f, k) for k in ("reader", "level", "name", "value", "low", "high", "note")}
        for f in metrics.figures
        if ("calibration" in f.name or f.name == "ece_equal_mass")
        and f.label_rule == "all"
        and not f.group
    ]
    told = {
        "command": f"python benchmarks/whole_image_levels.py {' '.join(Path(r).name for r in asked.runs)} --data ...",
        "split": metrics.split, "data": [dict(d) for d in metrics.data],
        "interval": dict(metrics.interval), "calibration": kept, "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
