"""Where a classifier looks: python benchmarks/whole_image_places.py RUN... --data NAME=ROOT --split S -o FILE.json

Of the malignant lesions of the test part, in each image that shows one, the share that the peak of the map
hits: of the patch classes, whose last layer stands still while whole images are learnt, and of the class
activation of the whole image, which is four times as coarse. Hit is a lesion that the peak lies in, or, of the
marked circle half a patch across round the peak, one that it meets. By chance: as often as all places of the
map that lie in the breast do. Intervals over women; differences are of the same lesions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from secondreader import geometry
from secondreader.domain import (
    Circle,
    ImageReading,
    ImageRecord,
    Kind,
    Lesion,
    Mammogram,
    Part,
    Pathology,
    Region,
)
from secondreader.evaluation.bootstrap import RESAMPLES
from secondreader.evaluation.figures import Figure
from secondreader.evaluation.means import mean_figures
from secondreader.evaluation.tables import in_brackets, number
from secondreader.methods.patch_to_image.architecture import STRIDE
from secondreader.methods.patch_to_image.config import Config
from secondreader.methods.patch_to_image.network import ImageClassifier
from secondreader.methods.patch_to_image.prepare import prepare
from secondreader.methods.patch_to_image.reader import PatchToImage, load
from secondreader.scoring import Chosen, choose
from secondreader.sources import load_all

MAPS = {"patches": "patch classes", "activation": "class activation"}
CHANCE = "chance"
RULES = ("peak inside", "circle meets")
LEAST = 1e-30  # of a map's values: its peak is marked however low it is


def malignant(record: ImageRecord) -> list[Lesion]:
    """Return the malignant lesions that an image shows, clusters as one."""
    return [
        lesion
        for lesion in record.lesions
        if lesion.pathology is Pathology.MALIGNANT
        and lesion.kind is not Kind.MICROCALCIFICATION
        and lesion.visible is not False
        and lesion.region is not None
    ]


def hit(circles: Sequence[Region], lesion: Lesion) -> np.ndarray:
    """Return whether the middle of each circle lies in a lesion, and whether it meets it; (n, 2)."""
    assert lesion.region is not None
    mask = geometry.rasterise(lesion.region)
    rows, cols = np.nonzero(mask.pixels)
    rows, cols = rows + mask.row0, cols + mask.col0
    told = []
    for circle in circles:
        inside = geometry.contains(lesion.region, circle.row, circle.col)
        near = np.hypot(rows - circle.row, cols - circle.col) <= circle.radius
        told.append((inside, inside or bool(near.any())))
    return np.array(told, float).reshape(-1, len(RULES))


def everywhere(reading: ImageReading, mammogram: Mammogram, config: Config) -> list[Circle]:
    """Return the circle of every place of a map whose middle lies in the breast."""
    made = prepare(mammogram, config)
    assert made is not None and reading.heatmap is not None
    found = reading.detections[0].region
    assert isinstance(found, Circle)
    middles = [np.arange(n) * STRIDE + STRIDE // 2 for n in reading.heatmap.values.shape]
    rows, cols = (np.minimum(at, side - 1) for at, side in zip(middles, made[0].shape, strict=True))
    at = np.argwhere(made[0][np.ix_(rows, cols)] > 0).astype(float)
    source = geometry.to_source(reading.heatmap.frame, at)
    return [Circle(float(r), float(c), found.radius) for r, c in source]


def hits(run: Path, chosen: Chosen) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Return for each rule and way which lesions are hit, (n,) 0 to 1, whose they are, and the ways."""
    reader = load(run / "model" if (run / "model").is_dir() else run)
    both = isinstance(reader.network, ImageClassifier) and not reader.network.what.full
    maps = {
        way: PatchToImage(
            reader.config.model_copy(update={"shows": way, "marked": LEAST}), reader.network
        )
        for way in (MAPS if both else list(MAPS)[:1])
    }
    columns: dict[str, list[float]] = {}
    who = []
    for record in chosen.records:
        lesions = malignant(record)
        if not lesions:
            continue
        mammogram = chosen.images.open(record)
        readings = {way: reader.read(mammogram) for way, reader in maps.items()}
        circles = {way: [d.region for d in own.detections[:1]] for way, own in readings.items()}
        circles[CHANCE] = everywhere(readings[next(iter(MAPS))], mammogram, reader.config)
        for lesion in lesions:
            who.append(f"{record.dataset}/{record.patient_id}")
            for way, own in circles.items():
                shares = hit(own, lesion).mean(axis=0) if own else np.zeros(len(RULES))
                for rule, share in zip(RULES, shares, strict=True):
                    columns.setdefault(f"{rule}, {way}", []).append(float(share))
    told = {name: np.array(values) for name, values in columns.items()}
    pairs = [(way, CHANCE) for way in maps] + ([tuple(reversed(MAPS))] if both else [])
    for rule in RULES:
        for more, less in pairs:
            told[f"{rule}, {more} less {less}"] = told[f"{rule}, {more}"] - told[f"{rule}, {less}"]
    return told, who, [*maps, CHANCE, *(f"{more} less {less}" for more, less in pairs)]


def shown(figure: Figure) -> str:
    """Return a figure and its interval, or that it has none."""
    if figure.low == figure.high:
        return f"{number(figure.value)}, no interval: so in every resample"
    return in_brackets(figure.value, figure.low, figure.high)


def main() -> None:
    """Read, look where, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True, metavar="NAME=ROOT")
    parser.add_argument("--split", default="official")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    sources = load_all([asked.data])
    chosen = choose(sources, asked.split, Part.TEST)
    rows = [["network", "map", "lesions in images", *RULES]]
    kept = []
    for run in asked.runs:
        columns, who, ways = hits(run, chosen)
        figures = {f.name: f for f in mean_figures(columns, who, reader=run.name, level="lesion")}
        kept += [asdict(f) for f in figures.values()]
        for way in ways:
            words = " less ".join(
                {**MAPS, CHANCE: "by chance"}[name] for name in way.split(" less ")
            )
            own = [shown(figures[f"{rule}, {way}"]) for rule in RULES]
            rows.append([run.name, words, str(len(who)), *own])
    told = {
        "command": f"python benchmarks/whole_image_places.py {' '.join(run.name for run in asked.runs)} --data ...",
        "split": chosen.split,
        "data": [{"name": s.dataset, "fingerprint": s.fingerprint} for s in sources],
        "interval": {"method": "patient bootstrap", "resamples": RESAMPLES},
        "figures": kept,
        "table": rows,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
