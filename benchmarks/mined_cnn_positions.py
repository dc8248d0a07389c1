"""Networks against the cascade, over positions: python benchmarks/mined_cnn_positions.py RUN RUN... --data phantom=SET:VENDOR... -o FILE.json

Every breast position of the test images is scored by every run: positions of calcifications (the best
of the nine pixels at the middle) against all positions a millimetre or more from one. For each data set
(a maker) the mean sensitivity for false-positive fractions of 0 to 0.1, as the paper has it, and on a
logarithmic axis from 1e-6 to 0.1, where a detector works; intervals and paired differences of each run
to the first, over patients. Scores are kept as histograms of each patient, so that tens of millions of
positions take no memory.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate, replicates
from secondreader.evaluation.roc import mean_sensitivity
from secondreader.methods.mined_cnn.data import data as positions_of
from secondreader.methods.mined_cnn.reader import MinedCnn, load
from secondreader.sources import images_of, load_all

BINS = 8192
STEEPEST = 14.0  # logits beyond which scores are alike
FIGURES = {"0 to 0.1": (0.0, 0.1, False), "1e-6 to 0.1, logarithmic": (1e-6, 0.1, True)}


def binned(scores: np.ndarray) -> np.ndarray:
    """Return the bin of each score, by its logit."""
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    logit = np.log(clipped / (1 - clipped))
    return np.clip((logit / STEEPEST + 1) / 2 * BINS, 0, BINS - 1).astype(int)


def histograms(
    reader: MinedCnn, own, patients: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return how many positives and negatives of each patient lie in each bin, and seconds an image."""
    positive, negative = (np.zeros((BINS, len(patients))) for _ in range(2))
    begun = time.perf_counter()
    for index, record in enumerate(own.images.records):
        known = reader.known(np.asarray(own.images.pixels(index)))
        who = patients[record.patient_id]
        at = own.negative.at(np.asarray(own.negative.of_image(index), np.int64))
        negative[:, who] += np.bincount(binned(known[at[:, 1], at[:, 2]]), minlength=BINS)
        best = [
            known[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].max() for r, c in own.centres[index]
        ]
        positive[:, who] += np.bincount(binned(np.array(best)), minlength=BINS)
    return positive, negative, (time.perf_counter() - begun) / len(own.images)


def figures(positive: np.ndarray, negative: np.ndarray, resamples: int) -> np.ndarray:
    """Return replicates (1 + resamples, figures)."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        tp, fp = (
            np.concatenate([np.zeros((1, counts.shape[1])), np.cumsum((h @ counts)[::-1], axis=0)])
            for h in (positive, negative)
        )
        return np.stack([mean_sensitivity(tp, fp, a, b, log=g) for a, b, g in FIGURES.values()], 1)

    return replicates(statistic, positive.shape[1], resamples=resamples)


def shown(value: float | None, low: float | None, high: float | None) -> str:
    """Return a figure with its interval."""
    return (
        "–"
        if value is None or low is None or high is None
        else f"{value:.3f} [{low:.3f}, {high:.3f}]"
    )


def main() -> None:
    """Score everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    readers = {
        run.name: load(run / "model" if (run / "model").is_dir() else run) for run in asked.runs
    }
    rows, counted = [], {}
    for text in asked.data:
        sources = load_all([text])
        test = images_of(sources).part(divide_sets(sources, asked.split)[Part.TEST])
        values: dict[str, np.ndarray] = {}
        for name, reader in readers.items():
            own = positions_of(test, reader.config)
            patients = {p: i for i, p in enumerate(sorted({r.patient_id for r in test.records}))}
            positive, negative, seconds = histograms(reader, own, patients)
            counted[f"{text} {name}"] = {
                "positive": int(positive.sum()), "negative": int(negative.sum()),
                "patients": len(patients), "seconds an image": round(seconds, 3),
            }  # fmt: skip
            values[name] = figures(positive, negative, asked.resamples)
        first = next(iter(values))
        for name, got in values.items():
            for column, words in enumerate(FIGURES):
                own_figure = estimate(got[:, column])
                row = [text.partition("=")[2], name, words,
                       shown(own_figure.value, own_figure.low, own_figure.high)]  # fmt: skip
                apart = difference(values[first][:, column], got[:, column])
                row.append("" if name == first else shown(apart.value, apart.low, apart.high))
                rows.append(row)
    header = ["images", "run", "false-positive fraction", "mean sensitivity", f"{first} less it"]
    told = {"command": "python benchmarks/mined_cnn_positions.py RUN... --data ...", "split": asked.split,
            "positions": counted, "resamples": asked.resamples, "table": [header, *rows]}  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
