"""One model a fold, and their readings of the test parts measured together.

python benchmarks/folds.py METHOD --data mini_mias=ROOT --split mini_mias-5fold --folds 5 --work FOLDER \
    --way "from scratch|KEY=VALUE ..." --way "from phantoms|KEY=VALUE ...|RUN" [--kinds mass] -o FILE.json
python benchmarks/folds.py --data mini_mias=ROOT --split mini_mias-5fold --folds 5 --work FOLDER \
    --model "phantoms only|OUT/runs/default/default" --model "and women|OUT/runs/default/women-{fold}" -o FILE.json

A small data set's test part says little; the test parts of all folds are the whole set, each image
read by the model that never saw its woman. Each --way is WORDS|SETTINGS[|INIT]: settings of the method
beside --preset, and where its weights begin. Each --model is WORDS|MODEL of models that are trained, {fold} in it
the number of the fold. Areas by image and by breast, of malignant against the rest and of abnormal against
normal, recall of lesions by the rules asked for, intervals over women, and paired differences from the first.
Goes on where it was stopped.

Scores of a fold's model need not be another's: the area is given twice, of all folds' scores as they
are, and as the mean of the folds' own areas, of those that have cancers, women drawn again within each
fold. Recalls are of scores as they are. --kinds says what lesions the models look for: others count
neither as cancers nor as lesions (`subgroups.of_kinds`); abnormal is an image by any kind all the same. Areas by patch are left out: no
reading tells them. A validation part of a few cancers chooses nothing: let `validate_every` be `steps`.
"""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

from secondreader import __version__, pipeline, scoring
from secondreader.domain import Kind, Part, SecondReaderError
from secondreader.evaluation import subgroups
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate, replicates
from secondreader.evaluation.classification import score_names, score_statistic
from secondreader.evaluation.figures import Metrics
from secondreader.evaluation.matching import hit_rule
from secondreader.evaluation.measure import Settings, measure
from secondreader.evaluation.scored import LabelRule, Readings
from secondreader.evaluation.tables import number
from secondreader.evaluation.units import Level, units
from secondreader.learning.box import model_folder
from secondreader.learning.hardware import Hardware
from secondreader.reading import load_models
from secondreader.sources import load_all

RECALLS = ("recall_at_1_fp_on_all", "mean_recall_0.125_8_fp_on_all")
AREAS: tuple[tuple[Level, LabelRule], ...] = (
    ("image", "all"), ("breast", "all"), ("image", "abnormal"), ("breast", "abnormal"),
)  # fmt: skip


def pooled(words: str, parts: list[Readings]) -> Readings:
    """Return the readings of all folds as those of one reader."""
    return Readings(
        words,
        tuple(image for part in parts for image in part.images),
        {k: v for part in parts for k, v in part.given.items()},
        {k: v for part in parts for k, v in part.promised.items()},
    )


def read(asked: argparse.Namespace, way: str) -> list[Readings]:
    """Let a way's model of each fold read the fold's test part."""
    words = parted(way)[0]
    ruled = frozenset().union(*(hit_rule(rule).kinds for rule in asked.rule))
    parts = []
    for fold in range(asked.folds):
        split = f"{asked.split}:{fold}"
        run = asked.work / words.replace(" ", "-") / str(fold)
        model = trained(asked, way, fold, run) if way in asked.way else named(way, fold)
        chosen = scoring.choose(load_all(asked.data), split, Part.TEST)
        file = scoring.read_records(chosen, load_models([str(model)]), run / "test")
        (readings,) = scoring.scored(chosen, file)
        if asked.kinds:
            images = subgroups.of_kinds(readings.images, asked.kinds, ruled)
            readings = replace(readings, images=images)
        print(f"{words}, fold {fold}: {len(readings.images)} images", flush=True)
        parts.append(readings)
    return parts


def trained(asked: argparse.Namespace, way: str, fold: int, run: Path) -> Path:
    """Return a way's model, trained on the other folds."""
    _, settings, init = parted(way)
    return pipeline.train(
        asked.method, asked.data, run, split=f"{asked.split}:{fold}", preset=asked.preset,
        settings=settings.split(), init=init or None, fitted=False,
        hardware=Hardware("auto", threads=asked.threads, progress=False), on_note=print,
    )  # fmt: skip


def named(way: str, fold: int) -> str:
    """Return the name or folder of a fold's model, of those that are trained."""
    _, model, _ = parted(way)
    run = Path(model.replace("{fold}", str(fold)))
    return str(run / "model" if (run / "model").is_dir() else run)


def parted(way: str) -> tuple[str, str, str]:
    """Return a way's words, its settings, and where its weights begin."""
    words, _, rest = way.partition("|")
    settings, _, init = rest.partition("|")
    return words, settings, init


def area(of: Readings, level: Level, rule: LabelRule, resamples: int, seed: int = 0) -> np.ndarray:
    """Return replicates (1 + resamples,) of a reader's area, nan without a cancer.

    Of the same images two readers' are paired.
    """
    own = units(of.images, level, rule=rule, given=of.given)
    try:
        got = replicates(score_statistic(own), own.n_patients, resamples=resamples, seed=seed)
    except SecondReaderError as error:  # one class only
        print(f"{of.reader}, {level}, {rule}: {error}")
        return np.full(1 + resamples, np.nan)
    values: np.ndarray = got[:, score_names().index("auc")]
    return values


def mean_area(parts: list[Readings], level: Level, rule: LabelRule, resamples: int) -> np.ndarray:
    """Return replicates (1 + resamples,) of the mean of the folds' areas.

    Two ways of the same folds are paired.
    """
    areas = np.array([area(own, level, rule, resamples, fold) for fold, own in enumerate(parts)])
    # In some draws, or all, a fold is without a cancer.
    there = np.isfinite(areas)
    total = np.where(there, areas, 0).sum(0)
    return np.divide(total, there.sum(0), out=np.full(1 + resamples, np.nan), where=there.any(0))


def command(asked: argparse.Namespace) -> str:
    """Return the command, with a word in place of each folder."""
    told = ["python", "benchmarks/folds.py", *([asked.method] if asked.method else [])]
    for data in asked.data:
        name, _, root = data.partition("=")
        told += ["--data", data if name == "phantom" and "/" not in root else f"{name}=ROOT"]
    told += ["--split", asked.split, "--folds", str(asked.folds)]
    for rule in asked.rule:
        told += ["--rule", rule]
    told += ["--preset", asked.preset] if asked.preset else []
    for way in asked.way:
        words, settings, init = parted(way)
        told += ["--way", "|".join([words, settings, *(["RUN"] if init else [])])]
    for model in asked.model:
        words, where, _ = parted(model)
        last = Path(where).parts[-3:]
        told += ["--model", "|".join([words, "/".join(["OUT", *last]) if len(last) > 1 else where])]
    for kind in asked.kinds or ():
        told += ["--kinds", kind]
    return shlex.join(
        [*told, "--resamples", str(asked.resamples), "--work", "FOLDER", "-o", "FILE"]
    )


def begun(asked: argparse.Namespace, way: str) -> dict[str, object]:
    """Return which row's model a way begins from, or its models if they are trained, and their digests."""
    if way in asked.model:
        every = dict.fromkeys(named(way, fold) for fold in range(asked.folds))
        return {"sha256": [load_models([model])[0].sha256 for model in every]}
    init = parted(way)[2]
    folder = model_folder(init) if init else None
    if folder is None:
        return {"from": init or "as the preset begins"}
    run = folder.parent if folder.name == "model" else folder
    return {"from": "/".join(run.parts[-2:]), "sha256": load_models([init])[0].sha256}


def cell(value: float | None, low: float | None, high: float | None) -> str:
    """Return a figure with its interval."""
    return "–" if low is None else f"{number(value)} [{number(low)}, {number(high)}]"


def area_row(words: str, values: list[np.ndarray]) -> list[str]:
    """Return a table's row of the areas of each way, and differences from the first."""
    row = [words, *(cell(e.value, e.low, e.high) for e in map(estimate, values))]
    apart = [difference(other, values[0]) for other in values[1:]]
    return [*row, *(cell(d.value, d.low, d.high) for d in apart)]


def recall_row(metrics: Metrics, name: str, rule: str) -> list[str]:
    """Return the same of a recall."""
    got = [
        metrics.figure(name, reader, level="region", hit_rule=rule) for reader in metrics.readers
    ]
    row = [f"{name}, by region, {rule}", *(cell(f.value, f.low, f.high) for f in got)]
    first = metrics.readers[0]
    for other in metrics.readers[1:]:
        apart = next(
            (
                c
                for c in metrics.comparisons
                if {c.a, c.b} == {first, other}
                and (c.name, c.level, c.hit_rule) == (name, "region", rule)
                and c.label_rule in ("", "all")
                and not c.group
            ),
            None,
        )
        if apart is None or apart.value is None or apart.low is None or apart.high is None:
            row.append("–")
            continue
        sign = 1 if apart.a == other else -1
        low, high = sorted((sign * apart.low, sign * apart.high))
        row.append(cell(sign * apart.value + 0.0, low + 0.0, high + 0.0))
    return row


def main() -> None:
    """Train, read, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", nargs="?", help="What each --way trains.")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--preset")
    parser.add_argument("--way", action="append", default=[], help="WORDS|SETTINGS[|INIT]")
    parser.add_argument("--model", action="append", default=[], help="WORDS|MODEL, of each {fold}.")
    parser.add_argument("--rule", action="append", help="centre_in_region if not told.")
    parser.add_argument(
        "--kinds", action="append", type=Kind, help="What is looked for; all if not told."
    )
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.rule = asked.rule or ["centre_in_region"]
    ways = [*asked.way, *asked.model]
    if not ways or (asked.way and not asked.method):
        parser.error("expected METHOD and its --way, or --model")
    folds = [read(asked, way) for way in ways]
    readers = [pooled(parted(way)[0], parts) for way, parts in zip(ways, folds, strict=True)]
    # One order of images for all, as pairing wants it.
    readers = [
        replace(r, images=tuple(sorted(r.images, key=lambda i: i.image_id))) for r in readers
    ]
    settings = Settings(
        f"{asked.split}, the test parts of {asked.folds} folds", levels=("image", "breast"),
        hit_rules=tuple(asked.rule), groups=False, resamples=asked.resamples,
    )  # fmt: skip
    metrics = measure(readers, settings, version=__version__)
    rows = [
        [
            "figure",
            *metrics.readers,
            *(f"{r}, less {readers[0].reader}" for r in metrics.readers[1:]),
        ]
    ]
    for level, rule in AREAS:
        words = f"auc, by {level}" + (f", {rule}" if rule != "all" else "")
        every = [area(reader, level, rule, asked.resamples) for reader in readers]
        rows += [area_row(words, every)]
        means = [mean_area(parts, level, rule, asked.resamples) for parts in folds]
        rows += [area_row(f"{words}, mean of the folds", means)]
    rows += [recall_row(metrics, name, rule) for rule in asked.rule for name in RECALLS]
    films = any(data.startswith("mini_mias=") for data in asked.data)
    told = {
        "command": command(asked),
        "begins": {parted(way)[0]: begun(asked, way) for way in ways},
        "split": metrics.split, "data": [dict(d) for d in metrics.data], "rules": dict(metrics.rules),
        "interval": dict(metrics.interval),
        "kinds": [str(kind) for kind in asked.kinds or ()] or "all",
        "pooled": "scores of all folds as they are, where no mean of folds is said",
        "left out": "areas by patch",
        **({"seen before": "films looked at in development"} if films else {}),
        "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told["table"], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
