"""One model a fold, and their readings of the test parts measured together.

python benchmarks/folds.py METHOD --data mini_mias=ROOT --split mini_mias-5fold --folds 5 --work FOLDER \
    --way "from scratch|KEY=VALUE ..." --way "from phantoms|KEY=VALUE ...|RUN" -o FILE.json

A small data set's test part says little; the test parts of all folds are the whole set, each image
read by the model that never saw its woman. Each --way is WORDS|SETTINGS[|INIT]: settings of the method
beside --preset, and where its weights begin. Areas by image and by breast, recall of lesions by one
rule, intervals over women, and paired differences of the ways. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from secondreader import __version__, pipeline, scoring
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import RESAMPLES
from secondreader.evaluation.measure import Settings, measure
from secondreader.evaluation.scored import Readings
from secondreader.evaluation.tables import number
from secondreader.learning.hardware import Hardware
from secondreader.sources import load_all

SHOWN = (
    ("auc", "image", ""),
    ("auc", "breast", ""),
    ("recall_at_1_fp_on_all", "region", "hit rule"),
    ("mean_recall_0.125_8_fp_on_all", "region", "hit rule"),
)


def pooled(words: str, parts: list[Readings]) -> Readings:
    """Return the readings of all folds as those of one reader."""
    return Readings(
        words,
        tuple(image for part in parts for image in part.images),
        {k: v for part in parts for k, v in part.given.items()},
        {k: v for part in parts for k, v in part.promised.items()},
    )


def read(asked: argparse.Namespace, way: str) -> Readings:
    """Train a way's model of each fold, let it read the fold's test part, and pool."""
    words, _, rest = way.partition("|")
    settings, _, init = rest.partition("|")
    parts = []
    for fold in range(asked.folds):
        split = f"{asked.split}:{fold}"
        run = asked.work / words.replace(" ", "-") / str(fold)
        model = pipeline.train(
            asked.method, asked.data, run, split=split, preset=asked.preset,
            settings=settings.split(), init=init or None,
            hardware=Hardware("auto", threads=asked.threads, progress=False), on_note=print,
        )  # fmt: skip
        chosen = scoring.choose(load_all(asked.data), split, Part.TEST)
        file = scoring.read_records(chosen, [str(model)], run / "test")
        (readings,) = scoring.scored(chosen, file)
        print(f"{words}, fold {fold}: {len(readings.images)} images", flush=True)
        parts.append(readings)
    return pooled(words, parts)


def cell(value: float | None, low: float | None, high: float | None) -> str:
    """Return a figure with its interval."""
    return "–" if low is None else f"{number(value)} [{number(low)}, {number(high)}]"


def main() -> None:
    """Train, read, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--preset")
    parser.add_argument("--way", action="append", required=True, help="WORDS|SETTINGS[|INIT]")
    parser.add_argument("--rule", default="centre_in_region")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    readers = [read(asked, way) for way in asked.way]
    # One order of images for all, as pairing wants it.
    readers = [
        replace(r, images=tuple(sorted(r.images, key=lambda i: i.image_id))) for r in readers
    ]
    settings = Settings(
        f"{asked.split}, the test parts of {asked.folds} folds", levels=("image", "breast"),
        hit_rules=(asked.rule,), groups=False, resamples=asked.resamples,
    )  # fmt: skip
    metrics = measure(readers, settings, version=__version__)
    rows = [
        [
            "figure",
            *metrics.readers,
            *(f"{r}, less {readers[0].reader}" for r in metrics.readers[1:]),
        ]
    ]
    for name, level, ruled in SHOWN:
        rule = asked.rule if ruled else ""
        got = [metrics.figure(name, r, level=level, hit_rule=rule) for r in metrics.readers]
        row = [f"{name}, by {level}" + (f", {rule}" if rule else ""),
               *(cell(f.value, f.low, f.high) for f in got)]  # fmt: skip
        for other in metrics.readers[1:]:
            (apart,) = [
                c for c in metrics.comparisons
                if {c.a, c.b} == {readers[0].reader, other} and (c.name, c.level, c.hit_rule) == (name, level, rule)
                and c.label_rule in ("", "all") and not c.group
            ][:1] or [None]  # fmt: skip
            if apart is None or apart.low is None:
                row.append("–")
                continue
            sign = 1 if apart.a == other else -1
            low, high = sorted((sign * apart.low, sign * apart.high))
            row.append(cell(sign * apart.value, low, high))
        rows.append(row)
    told = {
        "command": f"python benchmarks/folds.py {asked.method} ...",
        "preset": asked.preset, "ways": [w.rpartition("|")[0] if w.count("|") > 1 else w for w in asked.way],
        "split": metrics.split, "data": [dict(d) for d in metrics.data], "rules": dict(metrics.rules),
        "interval": dict(metrics.interval), "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told["table"], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
