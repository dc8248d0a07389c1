"""Table 3 as ratios: python benchmarks/tissue_heatmap_ratio.py --baseline RUN... --local RUN... --data NAME=ROOT -o FILE.json

The paper does not say in what its squared errors are, so the two heatmaps are compared by the ratio of
their errors: with the local answers over without, on training and on test images, and for each the
error over that of a heatmap of zeros. The runs of one kind differ by their seeds, and stand in the same
order: a row for each seed, with its interval over patients, and one for all, with seeds and patients
both drawn again. Seeds are the heatmaps'; all stand on one classifier. Always of the same images for both.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import RESAMPLES, estimate
from secondreader.evaluation.means import mean_replicates
from secondreader.evaluation.tables import in_brackets
from secondreader.methods.tissue_heatmap.data import ready
from secondreader.methods.tissue_heatmap.figures import heatmap_errors
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap
from secondreader.methods.tissue_heatmap.two_views import load
from secondreader.sources import images_of, load_all

PRINTED = {Part.TRAIN: ("training", 0.12, 2.25), Part.TEST: ("held out", 6.48, 6.04)}


def loaded(run: Path) -> TissueHeatmap:
    """Return the reader of a run folder or a model folder."""
    return load(run / "model" if (run / "model").is_dir() else run)


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Return whether two networks have the same weights."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def over_seeds(drawn: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw seeds again beside patients.

    Parameters
    ----------
    drawn
        (1 + resamples, seeds) of means on resamples of patients, the same for all seeds.
    seed
        Of the seeds' draws: the same draws for every call.

    Returns
    -------
    numpy.ndarray
        (1 + resamples,): the mean over all seeds, and over as many drawn with replacement.
    """
    resamples, seeds = len(drawn) - 1, drawn.shape[1]
    picks = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds))
    again = np.take_along_axis(drawn[1:], picks, axis=1).mean(1)
    return np.concatenate([[drawn[0].mean()], again])


def main() -> None:
    """Measure all models on both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", type=Path, nargs="+", required=True)
    parser.add_argument("--local", type=Path, nargs="+", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    if len(asked.baseline) != len(asked.local):
        parser.error(f"--local: got {len(asked.local)} runs, expected {len(asked.baseline)}")
    kinds = [[loaded(run) for run in runs] for runs in (asked.baseline, asked.local)]
    for kind, trains in zip(kinds, ("baseline", "heatmap"), strict=True):
        got = {reader.config.trains for reader in kind}
        if got != {trains}:
            parser.error(f"RUN: got trains={', '.join(sorted(got))}, expected {trains} there")
    pairs = [[(r.config.seed, r.config.views) for r in kind] for kind in kinds]
    if pairs[0] != pairs[1]:
        parser.error(f"RUN: got seeds and views {pairs[0]} and {pairs[1]}, expected the same")
    classifiers = [reader.tissue.state_dict() for kind in kinds for reader in kind]
    if any(not alike(one, classifiers[0]) for one in classifiers):
        parser.error("RUN: got heatmaps on several tissue classifiers, expected all on one")
    sources = load_all(asked.data)
    parts = divide_sets(sources, asked.split)
    config = kinds[0][0].config
    rows = [["images", "seed", "with over without, published", "with over without",
             "without, over zeros", "with, over zeros"]]  # fmt: skip
    counts = {}
    for part, (words, before, after) in PRINTED.items():
        images = ready(images_of(sources).part(parts[part]), config)
        local = kinds[0][0].local(images)  # every model stands on one classifier
        found = [[heatmap_errors(reader, images, local) for reader in kind] for kind in kinds]
        _, zeros, patients = found[0][0]
        columns = [errors for kind in found for errors, _, _ in kind] + [zeros]
        drawn = mean_replicates(np.column_stack(columns), patients, resamples=asked.resamples)
        seeds = len(kinds[0])
        without, both, nothing = drawn[:, :seeds], drawn[:, seeds:-1], drawn[:, -1]
        published = f"{after / before:.2f}"
        lines = [
            (str(reader.config.seed), without[:, i], both[:, i])
            for i, reader in enumerate(kinds[0])
        ]
        if seeds > 1:
            lines.append(("all", over_seeds(without), over_seeds(both)))
        for name, a, b in lines:
            figures = [estimate(r) for r in (b / a, a / nothing, b / nothing)]
            rows.append(
                [words, name, published, *(in_brackets(f.value, f.low, f.high) for f in figures)]
            )
        counts[words] = {"images": len(zeros), "with heat": int((zeros > 0).sum()),
                         "patients": len(set(patients)),
                         "mean squared error": [float(c.mean()) for c in columns]}  # fmt: skip
    told = {
        "command": "python benchmarks/tissue_heatmap_ratio.py --baseline RUN... --local RUN... --data ...",
        "split": asked.split, "on": counts, "resamples": asked.resamples, "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
