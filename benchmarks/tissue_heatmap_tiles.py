"""Convolution against slid crops: python benchmarks/tissue_heatmap_tiles.py RUN --data NAME=ROOT [--images N] -o FILE.json

The tissue classifier over whole test images in one pass, and crop by crop at the same places: a crop
sees zeros at its border where the pass sees what lies there. How far their answers are apart, how often
they call a place otherwise, and the seconds of each. Intervals over patients.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import RESAMPLES
from secondreader.evaluation.means import mean_figures
from secondreader.evaluation.tables import with_interval
from secondreader.learning.patches import cut
from secondreader.methods.tissue_heatmap.data import ready
from secondreader.methods.tissue_heatmap.local import answers, inside, middles
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap
from secondreader.methods.tissue_heatmap.two_views import load
from secondreader.sources import images_of, load_all

AT_ONCE = 64


@torch.inference_mode()
def slid(reader: TissueHeatmap, prepared: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the answers of places (n, 2), each from its own crop."""
    at, found = middles(places, reader.config), []
    for low in range(0, len(at), AT_ONCE):
        crops = [
            cut(prepared, r, c, reader.config.seen) for r, c in at[low : low + AT_ONCE].tolist()
        ]
        found.append(reader.tissue(torch.from_numpy(np.stack(crops).astype(np.float32))[:, None]))
    return torch.sigmoid(torch.cat(found)).numpy()


def main() -> None:
    """Measure and time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    sources = load_all(asked.data)
    records = divide_sets(sources, asked.split)[Part.TEST][: asked.images]
    images = ready(images_of(sources).part(records), reader.config)
    passed, cropped, patients = [], [], []
    seconds = {"one pass": 0.0, "slid": 0.0}
    for index, record in enumerate(images.records):
        prepared = np.asarray(images.pixels(index))
        begun = time.perf_counter()
        local = answers(reader.tissue, prepared, reader.config)
        between = time.perf_counter()
        places = np.argwhere(inside(prepared, reader.config, local.shape))
        cropped.append(slid(reader, prepared, places))
        seconds["one pass"] += between - begun
        seconds["slid"] += time.perf_counter() - between
        passed.append(local[places[:, 0], places[:, 1]])
        patients += [record.patient_id] * len(places)
    one, other = np.concatenate(passed), np.concatenate(cropped)
    columns = {
        "mean difference of a place's answers": np.abs(one - other),
        "places whose answers are more than 0.1 apart": np.abs(one - other) > 0.1,
        "places called otherwise at 0.5": (one >= 0.5) != (other >= 0.5),
        "places with a finding, in one pass": one >= 0.5,
        "places with a finding, slid": other >= 0.5,
    }
    got = mean_figures(columns, patients, resamples=asked.resamples, reader="", level="place")
    ratio = seconds["slid"] / seconds["one pass"]
    table = [["what", "measured"], *([f.name, with_interval(f)] for f in got),
             ["seconds of slid crops of the breast alone, in times of one pass", f"{ratio:.1f}"]]  # fmt: skip
    told = {
        "command": "python benchmarks/tissue_heatmap_tiles.py RUN --data ...",
        "split": asked.split, "images": len(images), "places": len(one),
        "correlation": float(np.corrcoef(one, other)[0, 1]), "seconds": seconds,
        "resamples": asked.resamples, "table": table,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
