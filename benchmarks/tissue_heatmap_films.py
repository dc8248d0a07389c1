"""Films beside phantoms: python benchmarks/tissue_heatmap_films.py RUN... --on "WORDS|NAME=ROOT|SPLIT"... --work FOLDER -o FILE.json

Areas under the curve of patches and of images, and findings found at one false positive per image, of
each run on each data set; intervals over patients. On the films of mini-MIAS (``mini_mias=ROOT``, split
``all``) a model trained on phantoms is measured on films that were looked at in development: they chose no
weights, but saw the method grow.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from secondreader import pipeline
from secondreader.evaluation.tables import with_interval
from secondreader.reading import load_models

FIGURES = (
    ("patches", {"name": "auc", "level": "patch"}),
    ("images, malignant or not", {"name": "auc", "level": "image", "label_rule": "all"}),
    ("findings at 1 false positive per image",
     {"name": "recall_at_1_fp_on_all", "level": "region", "hit_rule": "centre_in_region"}),
)  # fmt: skip


def main() -> None:
    """Measure on everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--on", action="append", required=True, help="WORDS|NAME=ROOT|SPLIT")
    parser.add_argument("--work", type=Path, required=True, help="Where evaluations are kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    rows, splits = [], {}
    for number, text in enumerate(asked.on):
        words, data, split = text.split("|")
        metrics = pipeline.evaluate(
            asked.runs, [data], asked.work / str(number), split=split, groups=False
        )
        splits[words] = {"split": metrics.split, "data": [dict(d) for d in metrics.data]}
        for reader in metrics.readers:
            for told, wanted in FIGURES:
                found = [
                    f for f in metrics.figures
                    if f.reader == reader and not f.group
                    and all(getattr(f, k) == v for k, v in wanted.items())
                ]  # fmt: skip
                if found:
                    many = f"{found[0].positives} / {found[0].negatives}"
                    rows.append([words, reader, told, many, with_interval(found[0])])
    told = {
        "command": "python benchmarks/tissue_heatmap_films.py RUN... --on ...",
        "models": {m.name: m.sha256 for m in load_models(asked.runs)},
        "films": "mini-MIAS's were looked at in development",
        "on": splits, "rules": dict(metrics.rules), "interval": dict(metrics.interval),
        "table": [["images", "reader", "of", "with / without", "measured"], *rows],
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told["table"], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
