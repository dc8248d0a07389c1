"""How far off the nipple is: python benchmarks/tissue_heatmap_nipple.py --data phantom=SET:VENDOR [-o FILE.json]

The point of a prepared breast that is taken for its nipple, against where the phantom has it, in mm along
the rows (which moves the square up or down) and along the columns, by view; how often it is sure; and
what share of the findings in an image the squares cut off: of 92 mm, 2048 pixels of 0.045 mm as DDSM's
scans have, and of 184 mm, 2048 pixels after they were halved. Nothing is trained. Intervals over patients.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from secondreader import geometry
from secondreader.datasets.parts import divide_sets
from secondreader.domain import ImageRecord, Laterality, Part
from secondreader.evaluation.bootstrap import RESAMPLES
from secondreader.evaluation.means import mean_figures
from secondreader.evaluation.tables import with_interval
from secondreader.methods.tissue_heatmap import Config
from secondreader.methods.tissue_heatmap.data import KINDS, ready
from secondreader.methods.tissue_heatmap.prepare import SURE, nipple
from secondreader.phantom.anatomy import woman
from secondreader.phantom.tissue import field
from secondreader.sources import images_of, load_all

SQUARES_MM = (92.0, 184.0)


def true_place(record: ImageRecord, shape: tuple[int, int]) -> np.ndarray:
    """Return where the nipple of a phantom's image lies, (row, col) in source pixels."""
    _, seed, index = record.patient_id.split("-")
    assert record.spacing_mm is not None and record.view is not None
    who = woman(np.random.default_rng((int(seed), int(index), 0)))  # as `phantom.exam` draws her
    (breast,) = (b for b in who.breasts if b.laterality is record.laterality)
    row, col = field(breast, record.view).pixel(
        (breast.depth_mm, 0.0, 0.0), record.view, record.spacing_mm[0]
    )
    # A right breast hangs the other way.
    return np.array([row, shape[1] - 1 - col if record.laterality is Laterality.R else col])


def main() -> None:
    """Measure every image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    sources = load_all(asked.data)
    test = images_of(sources).part(divide_sets(sources, asked.split)[Part.TEST])
    whole = ready(test, Config(canvas_mm=None))
    found: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for index, (record, frame) in enumerate(zip(whole.records, whole.frames, strict=True)):
        got = nipple(np.asarray(whole.pixels(index)) > 0, Config().spacing_mm)
        source = geometry.to_source(frame, np.array([got.row, got.col]))
        off = np.abs(source - true_place(record, frame.source_shape)) * record.spacing_mm
        told = {
            "mm off along rows": off[0], "mm off along columns": off[1],
            "more than 10 mm off along rows": float(off[0] > 10), "sure": float(got.sure >= SURE),
        }  # fmt: skip
        if got.sure >= SURE:
            found.setdefault(f"{record.view}, the sure ones", []).append((record.patient_id, told))
        found.setdefault(str(record.view), []).append((record.patient_id, told))
    for square in SQUARES_MM:
        cut = ready(test, Config(canvas_mm=square))
        for record, frame in zip(cut.records, cut.frames, strict=True):
            for lesion in record.lesions:
                if lesion.kind in KINDS and lesion.region is not None:
                    middle = np.array(geometry.centre(lesion.region))
                    row, col = geometry.to_grid(frame, middle)
                    gone = not (0 <= row < frame.shape[0] and 0 <= col < frame.shape[1])
                    found.setdefault(
                        f"findings, square of {square:g} mm, {record.view}", []
                    ).append((record.patient_id, {"centre outside": float(gone)}))
    rows = [["of", "how many", "what", "mean"]]
    for words, values in sorted(found.items()):
        patients = [who for who, _ in values]
        columns = {name: np.array([told[name] for _, told in values]) for name in values[0][1]}
        figures = mean_figures(columns, patients, resamples=asked.resamples, reader="", level="")
        rows += [[words, str(len(values)), f.name, with_interval(f)] for f in figures]
    told = {
        "command": "python benchmarks/tissue_heatmap_nipple.py --data ...",
        "split": asked.split, "resamples": asked.resamples, "table": rows,
    }  # fmt: skip
    text = json.dumps(told, indent=1, ensure_ascii=False)
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
