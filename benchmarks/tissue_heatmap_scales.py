"""Magnifications against each other: python benchmarks/tissue_heatmap_scales.py FINE RUN... --data NAME=ROOT -o FILE.json [--plot FILE.svg]

Patches of the same findings and of the same places of tissue, as wide in millimetres, judged by tissue
classifiers of several pixel sizes: what the first has over each of the others, in area under the curve
and in error at a probability of a half. Only patches that every run has count (a canvas may cut off
more of one); both runs are drawn with the same patients. By kind and size of finding and by density too.
``--plot`` draws their ROC curves, the paper's figure 3, into one picture.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from secondreader import pipeline
from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part, SecondReaderError
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate, replicates
from secondreader.evaluation.classification import score_statistic
from secondreader.evaluation.means import mean_replicates
from secondreader.evaluation.plots import plots
from secondreader.evaluation.tables import in_brackets
from secondreader.evaluation.units import positions
from secondreader.methods.tissue_heatmap.data import ready
from secondreader.methods.tissue_heatmap.held_out import groups, held_out
from secondreader.methods.tissue_heatmap.patch_figures import patch_scores, whose
from secondreader.methods.tissue_heatmap.two_views import load
from secondreader.sources import images_of, load_all


def main() -> None:
    """Judge the patches by every run, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="The finest first.")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    sources = load_all(asked.data)
    test = images_of(sources).part(divide_sets(sources, asked.split)[Part.TEST])
    scores, configs, drawn = [], [], []
    for run in asked.runs:
        reader = load(run / "model" if (run / "model").is_dir() else run)
        images = ready(test, reader.config)
        patches = held_out(images, reader.config)
        found = patch_scores(reader, images, patches.where)
        scores.append(dict(zip(patches.names, found.tolist(), strict=True)))
        configs.append(reader.config)
        drawn.append((images, patches))
    images, patches = drawn[0]
    shared = set.intersection(*(set(of) for of in scores))
    kept = np.array([name in shared for name in patches.names], bool)
    patients = np.array(whose(images, patches.where[:, 0]))
    values = [np.array([of.get(name, np.nan) for name in patches.names]) for of in scores]
    parts = {"all": np.ones(len(kept), bool)}
    parts |= groups(images, patches.where, patches.findings, configs[0])
    words = [f"{c.spacing_mm:g} mm, {c.patch} pixels" for c in configs]
    rows = [["patches", "with / without", "pixels", "AUC", "error", "AUC, first less this",
             "error, first less this"]]  # fmt: skip
    for group, chosen in parts.items():
        of = chosen & kept
        label = patches.label[of]
        many = f"{label.sum()} / {(~label).sum()}"
        try:
            made = [replicated(v[of], label, patients[of], asked.resamples) for v in values]
        except SecondReaderError as error:
            rows.append([group, many, str(error), "–", "–", "–", "–"])
            continue
        for name, own in zip(words, made, strict=True):
            against = ["", ""] if own is made[0] else [
                in_brackets(d.value, d.low, d.high, d.p)
                for d in map(difference, made[0], own)
            ]  # fmt: skip
            rows.append(
                [
                    group,
                    many,
                    name,
                    *(in_brackets(e.value, e.low, e.high) for e in map(estimate, own)),
                    *against,
                ]
            )
    told = {
        "command": "python benchmarks/tissue_heatmap_scales.py FINE RUN... --data ...",
        "split": asked.split, "patients": len(set(patients[kept].tolist())),
        "patches of each run": [len(of) for of in scores], "of all": len(shared),
        "resamples": asked.resamples, "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    # What the table is made of: each patch with its patient and what every run says of it.
    lines = [
        {"patch": name, "patient": who, "finding": bool(yes), "scores": [float(v[i]) for v in values]}
        for i, (name, who, yes) in enumerate(
            zip(patches.names, patients.tolist(), patches.label.tolist(), strict=True)
        )
        if kept[i]
    ]  # fmt: skip
    asked.out.with_suffix(".patches.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    print(json.dumps(told, indent=1, ensure_ascii=False))
    if asked.plot:
        runs = [str(run) for run in asked.runs]
        metrics = pipeline.own_figures(
            runs, asked.data, split=asked.split, resamples=asked.resamples
        )
        (picture,) = [
            content for name, content in plots(metrics)
            if name.startswith("roc_patch") and name.endswith(".svg")
        ]  # fmt: skip
        asked.plot.write_bytes(picture)


def replicated(
    scores: np.ndarray, label: np.ndarray, patients: np.ndarray, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return area and error on the data and on every resample of patients, (1 + resamples,) each."""
    units = positions(scores, label, patients.tolist(), "patch")
    area = replicates(score_statistic(units), units.n_patients, resamples=resamples)[:, 0]
    wrong = ((scores >= 0.5) != label).astype(float)[:, None]
    return area, mean_replicates(wrong, patients.tolist(), resamples=resamples)[:, 0]


if __name__ == "__main__":
    main()
