"""What reading in bfloat16 changes: python benchmarks/cascade_precision.py RUN --data NAME=ROOT [-o FILE.json]

Proposals of the test images of a set, by both stages in bfloat16 and both in single precision: each proposal of
the one beside the nearest of the other within half a millimetre. Given are the share that has such a
partner, how far ranks agree over all images (Spearman), and recall at so many false positives an
image by the cascade's own rule, with the difference and its interval over patients; the same of what
is left of them in the end, where the second stage has multiplied the scores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import draws
from secondreader.learning.prepared import on_grid
from secondreader.methods.anomaly_cascade.prepare import prepare
from secondreader.methods.anomaly_cascade.proposals import (
    RATES,
    Candidates,
    looked_at,
    proposals,
    recalls,
    suspicion_map,
)
from secondreader.methods.anomaly_cascade.reader import load
from secondreader.methods.anomaly_cascade.reduction import probabilities
from secondreader.reading import load_model
from secondreader.sources import images_of, load_all

PARTNER_MM = 0.5
RESAMPLES = 500


def main() -> None:
    """Read every test image in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, help="The first so many test images; else all.")
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    sources = load_all([asked.data])
    records = divide_sets(sources, "official")[Part.TEST][: asked.images]
    images = images_of(sources).part(records)
    config, network, second = reader.config, reader.networks["unet"], reader.networks["reducer"]
    proposed: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {True: [], False: []}
    judged: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {True: [], False: []}
    truth, ignored, patients = [], [], []
    for record in images.records:
        made = prepare(images.open(record), config)
        if made is None:
            continue
        pixels, frame = made
        mask = looked_at(pixels, config)
        for half, kept in proposed.items():
            at, score = proposals(suspicion_map(network, pixels, config, half=half), mask, config)
            kept.append((at, score))
            judged[half].append((at, score * probabilities(second, pixels, at, config, half=half)))
        own, _, other = config.truth(on_grid(record.lesions, frame), pixels)
        truth.append(own)
        ignored.append(other)
        patients.append(record.patient_id)
    found = {"proposals": (proposed, RATES), "cascade": (judged, (1, *RATES[:-1]))}
    told: dict = {
        name: compared(points, truth, ignored, np.array(patients), config.spacing_mm, rates)
        for name, (points, rates) in found.items()
    }
    name, _, where = asked.data.partition("=")
    shown = asked.data if "/" not in where else f"{name}=ROOT"
    told["command"] = f"python benchmarks/cascade_precision.py RUN --data {shown}"
    told["model"] = load_model(str(asked.run)).sha256
    told["data"] = [
        {
            "images": len(images.records),
            "split": "official, test part",
            "fingerprint": s.fingerprint,
        }
        for s in sources
    ]
    told["table"] = [
        ["of", "what", "bfloat16 against single precision"],
        *([name, *row] for name in found for row in told[name].pop("table")),
    ]
    text = json.dumps(told, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")


def compared(found, truth, ignored, patients: np.ndarray, spacing_mm: float, rates) -> dict:
    """Return partners, ranks and recalls."""
    pairs, partners, every = [], 0, 0
    for (at, score), (there, other) in zip(found[True], found[False], strict=True):
        every += len(at)
        if len(at) and len(there):
            apart, nearest = cKDTree(there).query(at)
            near = apart <= PARTNER_MM / spacing_mm
            partners += int(near.sum())
            pairs.append(np.column_stack([score[near], other[nearest[near]]]))
    both = np.concatenate(pairs)

    def recall(half: bool, which: np.ndarray) -> np.ndarray:
        chosen = [found[half][i] for i in which]
        kept = Candidates(tuple(p for p, _ in chosen), tuple(s for _, s in chosen))
        return recalls(
            kept, [truth[i] for i in which], [ignored[i] for i in which], spacing_mm, rates
        )

    own = [np.flatnonzero(patients == p) for p in np.unique(patients)]
    whole = np.arange(len(patients))
    value = recall(True, whole) - recall(False, whole)
    drawn = []
    for block in draws(len(own), RESAMPLES, 0):
        for counts in block.T.astype(int):
            which = np.concatenate([np.tile(o, c) for o, c in zip(own, counts, strict=True) if c])
            drawn.append(recall(True, which) - recall(False, which))
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    table = [
        [f"those on {len(patients)} images with a partner within {PARTNER_MM:g} mm",
         f"{partners} of {every}, {100 * partners / max(every, 1):.1f} %"]
    ]  # fmt: skip
    rank = float(spearmanr(both[:, 0], both[:, 1]).statistic)
    table.append(["rank correlation of their scores", f"{rank:.5f}"])
    table += [
        [f"R@{rate}, difference", f"{v:+.4f} [{lo:+.4f}, {hi:+.4f}]"]
        for rate, v, lo, hi in zip(rates, value, low, high, strict=True)
    ]
    return {
        "images": len(patients), "women": len(own), "proposals": every, "partners": partners,
        "spearman": rank, "rates": list(rates), "difference": value.tolist(),
        "low": low.tolist(), "high": high.tolist(), "resamples": RESAMPLES, "table": table,
    }  # fmt: skip


if __name__ == "__main__":
    main()
