"""How long 2,000 resamples take: counts of patients against a plain loop over copied images.

    python benchmarks/bootstrap.py [--images 10000] [--loop 20]

The plain loop is timed on a few resamples and its time for all of them is reckoned from that.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from secondreader.evaluation import bootstrap, reliability, roc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--loop", type=int, default=20, help="resamples of the plain loop")
    given = parser.parse_args()
    n, patients = given.images, given.images // 4
    rng = np.random.default_rng(0)
    who = np.arange(n) % patients
    labels = rng.random(n) < 0.1
    scores = rng.normal(labels * 1.5, 1.0)
    probabilities = 1 / (1 + np.exp(-(1.5 * scores - 3.3)))
    table = roc.tally(scores, labels, who, patients)

    def area(counts: np.ndarray) -> np.ndarray:
        return roc.auc(*roc.curve(table, counts))

    def six(counts: np.ndarray) -> np.ndarray:
        tp, fp = roc.curve(table, counts)
        at = [roc.sensitivity_at_specificity(tp, fp, s) for s in (0.8, 0.9, 0.95)]
        rows = [roc.auc(tp, fp), roc.partial_auc(tp, fp), roc.average_precision(tp, fp), *at]
        return np.stack(rows, axis=1)

    slopes = reliability.recalibration(probabilities, labels, who)
    for name, statistic in (("AUC", area), ("six ROC figures", six), ("slope, intercepts", slopes)):
        start = time.perf_counter()
        values = bootstrap.replicates(statistic, patients)
        print(
            f"{name:>20}: 2,000 resamples of {n:,} images in {time.perf_counter() - start:6.2f} s"
        )
        if name == "AUC":
            vectorised = values
    members = [np.flatnonzero(who == p) for p in range(patients)]
    start = time.perf_counter()
    for draw in next(bootstrap.draws(patients, given.loop)).T[: given.loop]:
        rows = np.concatenate(
            [m for m, k in zip(members, draw, strict=True) for _ in range(int(k))]
        )
        looped = roc_auc_score(labels[rows], scores[rows])
    took = time.perf_counter() - start
    print(f"{'AUC, plain loop':>20}: {given.loop} resamples in {took:.2f} s, "
          f"2,000 would take {took / given.loop * 2000:.0f} s")  # fmt: skip
    if given.loop <= 100:
        print(
            f"{'last of the loop':>20}: {looped:.6f}, the same draw vectorised {vectorised[given.loop]:.6f}"
        )


if __name__ == "__main__":
    main()
