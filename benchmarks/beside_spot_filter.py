"""Finders of calcifications beside the one that learns nothing.

python benchmarks/beside_spot_filter.py RUN... --on "WORDS|NAME=ROOT|SPLIT"... --work FOLDER -o FILE.json

Clusters found at one, and on average at 1/8 to 8, false positives per image, of each pair of the runs and
`spot_filter` on the same images, and the paired difference; intervals over patients. On the
films of mini-MIAS (``mini_mias=ROOT``, split ``all``) a model trained on phantoms meets what it never
saw; so on normal films into which clusters were inserted (``secondreader phantom FOLDER --into
mini_mias=ROOT --seed 1``, then ``phantom=FOLDER``, split ``all``).
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations, product
from pathlib import Path

from secondreader import pipeline
from secondreader.evaluation.tables import in_brackets
from secondreader.reading import load_models

NAMES = {
    "recall_at_1_fp_on_all": "at 1",
    "mean_recall_0.125_8_fp_on_all": "mean, 1/8 to 8",
}
LEVEL, RULE = "region", "cluster"


def _parts(text: str) -> tuple[str, str, str]:
    """Return the words, the data set and the split of an ``--on``."""
    words, data, split = text.split("|")
    return words, data, split


def main() -> None:
    """Measure on everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--on", action="append", required=True, help="WORDS|NAME=ROOT|SPLIT")
    parser.add_argument("--work", type=Path, required=True, help="Where evaluations are kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    rows, values, splits = [], [], {}
    for number, text in enumerate(asked.on):
        words, data, split = _parts(text)
        metrics = pipeline.evaluate(
            [*asked.runs, "spot_filter"],
            [data],
            asked.work / str(number),
            split=split,
            groups=False,
        )
        splits[words] = {"split": metrics.split, "data": [dict(d) for d in metrics.data]}
        figures = {
            (f.reader, f.name): f
            for f in metrics.figures
            if f.level == LEVEL and f.hit_rule == RULE and not f.group
        }
        for (reader, other), (name, told) in product(
            combinations(metrics.readers, 2), NAMES.items()
        ):
            own, its = figures[reader, name], figures[other, name]
            (apart,) = [
                c for c in metrics.comparisons
                if {c.a, c.b} == {reader, other} and c.name == name
                and c.level == LEVEL and c.hit_rule == RULE and not c.group
            ]  # fmt: skip
            ends = [apart.value, apart.low, apart.high]
            if apart.a == other:
                ends = [None if v is None else -v for v in (apart.value, apart.high, apart.low)]
            three = [(own.value, own.low, own.high), (its.value, its.low, its.high), tuple(ends)]
            rows.append([words, told, reader, in_brackets(*three[0]), other,
                         *(in_brackets(*v) for v in three[1:])])  # fmt: skip
            values.append([words, told, reader, other, *three])
    header = ["images", "false positives an image, all images", "reader", "its clusters", "beside",
              "its clusters", "difference"]  # fmt: skip
    places = [f'--on "{w}|{d.partition("=")[0]}=ROOT|{s}"' for w, d, s in map(_parts, asked.on)]
    told = {
        "command": " ".join(
            [
                "python benchmarks/beside_spot_filter.py",
                *("RUN" for _ in asked.runs),
                *places,
                "--work FOLDER -o FILE.json",
            ]
        ),
        "models": {m.name: m.sha256 for m in load_models([*asked.runs, "spot_filter"])},
        "on": splits,
        "rules": dict(metrics.rules),
        "interval": dict(metrics.interval),
        "values": values,
        "table": [header, *rows],
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told["table"], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
