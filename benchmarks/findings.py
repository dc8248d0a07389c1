"""What is shown: python benchmarks/findings.py MODEL... --data NAME=ROOT [--split all] --work FOLDER -o FILE.json

Findings at a model's default operating point, and all marks that reach it, of which no more than so many of a
kind are findings (`reading.MOST_FINDINGS`): false ones an image without such a lesion, the share of such images
without any, and the share of lesions found; clusters by the rule `cluster`, regions by `centre_in_region`,
intervals over patients. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from secondreader import scoring
from secondreader.domain import Detection, Kind, Part
from secondreader.evaluation.bootstrap import RESAMPLES, estimate, replicates
from secondreader.evaluation.matching import hit_rule, match
from secondreader.evaluation.scored import Readings
from secondreader.evaluation.tables import in_brackets
from secondreader.reading import MOST_FINDINGS, Model, load_models
from secondreader.sources import load_all

RULES = {"cluster": "clusters", "centre_in_region": "regions"}


def shown(detection: Detection) -> bool:
    """Say whether a detection is a finding."""
    return bool(detection.finding)


def reached(model: Model) -> Callable[[Detection], bool]:
    """Return what says whether a detection reaches the operating point in use."""
    at = {point.kind: point.threshold for point in model.points if point.name == model.at}
    return lambda detection: detection.score >= at.get(detection.kind, np.inf)


def counts(readings: Readings, rule: str, kept: Callable[[Detection], bool]) -> np.ndarray:
    """Return a row a patient of: false marks, images without a lesion, those without marks, found, lesions."""
    rows: dict[str, np.ndarray] = {}
    for image in readings.images:
        if image.score is None:
            continue
        own = replace(image, detections=tuple(d for d in image.detections if kept(d)))
        got = match(own, hit_rule(rule))
        clean = got.normal and got.judged
        told = [len(got.false) * clean, clean, clean and not len(got.false),
                np.isfinite(got.scores).sum(), len(got.lesions)]  # fmt: skip
        rows[image.patient_id] = rows.get(image.patient_id, np.zeros(5)) + told
    return np.array([rows[patient] for patient in sorted(rows)])


def cells(table: np.ndarray, resamples: int) -> list[str]:
    """Return the three figures with their intervals."""

    def statistic(drawn: np.ndarray) -> np.ndarray:
        false, clean, silent, found, lesions = table.T @ drawn
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([false / clean, silent / clean, found / lesions], axis=1)

    got = replicates(statistic, len(table), resamples=resamples)
    return [in_brackets(e.value, e.low, e.high) for e in map(estimate, got.T)]


def rows_of(model: Model, readings: Readings, resamples: int) -> list[list[str]]:
    """Return a model's rows: each kind that it marks at its operating point, as shown and all of it."""
    rows = []
    marked = {p.kind for p in model.points if p.name == model.at} - {Kind.MICROCALCIFICATION}
    for rule, words in RULES.items():
        if not marked & hit_rule(rule).kinds:
            continue
        for told, kept in ((f"at most {MOST_FINDINGS}", shown), ("all", reached(model))):
            table = counts(readings, rule, kept)
            number = f"{table[:, 1].sum():.0f}, {table[:, 4].sum():.0f}"
            rows.append([model.name, words, told, number, *cells(table, resamples)])
    return rows


def main() -> None:
    """Read, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="all")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--work", type=Path, required=True, help="Where readings are kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    models = list(load_models(asked.models))
    chosen = scoring.choose(load_all(asked.data), asked.split, Part.TEST)
    file = scoring.read_records(chosen, models, asked.work)
    rows = [["reader", "of", "marks that reach the operating point", "images without, lesions",
             "false ones an image without", "images without any", "lesions found"]]  # fmt: skip
    for model, readings in zip(models, scoring.scored(chosen, file), strict=True):
        rows += rows_of(model, readings, asked.resamples)
    names = [data if data.startswith("phantom=") else f"{data.partition('=')[0]}=ROOT"
             for data in asked.data]  # fmt: skip
    films = any(data.startswith("mini_mias=") for data in asked.data)
    told = {
        "command": f"python benchmarks/findings.py MODEL... --data {' --data '.join(names)} "
        f"--split {asked.split} --resamples {asked.resamples} --work FOLDER -o FILE",
        "models": {model.name: {"sha256": model.sha256, "operating point": model.at} for model in models},
        "split": chosen.split,
        "images": len(chosen.records), "patients": len({r.patient_id for r in chosen.records}),
        **({"seen before": "films looked at in development"} if films else {}),
        "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
