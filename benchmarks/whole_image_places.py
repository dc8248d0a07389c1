"""Where a whole-image classifier looks: python benchmarks/whole_image_places.py RUN... --data NAME=ROOT --split S -o FILE.json

Of the malignant lesions of the test part, in each image that shows one, the share that the peak of the map
hits: of the patch classes, whose last layer stands still while whole images are learnt, and of the class
activation of the whole image, which is four times as coarse. Hit is a lesion that the peak lies in, or, of the
marked circle half a patch across round the peak, one that it meets. Intervals over women, and the difference of
the two maps on the same lesions.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from secondreader import geometry
from secondreader.domain import Circle, ImageReading, ImageRecord, Kind, Lesion, Part, Pathology
from secondreader.evaluation.bootstrap import RESAMPLES
from secondreader.evaluation.means import mean_figures
from secondreader.evaluation.tables import in_brackets
from secondreader.methods.patch_to_image.network import ImageClassifier
from secondreader.methods.patch_to_image.reader import PatchToImage, load
from secondreader.scoring import Chosen, choose
from secondreader.sources import load_all

MAPS = {"patches": "patch classes", "activation": "class activation"}
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


def hit(reading: ImageReading, lesion: Lesion) -> tuple[bool, bool]:
    """Return whether the peak of an image lies in a lesion, and whether its circle meets it."""
    if not reading.detections or lesion.region is None:
        return False, False
    circle = reading.detections[0].region
    assert isinstance(circle, Circle)
    mask = geometry.rasterise(lesion.region)
    rows, cols = np.nonzero(mask.pixels)
    away = np.hypot(rows + mask.row0 - circle.row, cols + mask.col0 - circle.col)
    inside = geometry.contains(lesion.region, circle.row, circle.col)
    return inside, inside or bool((away <= circle.radius).any())


def hits(run: Path, chosen: Chosen) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return for each map and rule which lesions are hit, (n,) 0 or 1, and whose they are."""
    reader = load(run / "model" if (run / "model").is_dir() else run)
    if not isinstance(reader.network, ImageClassifier) or reader.network.what.full:
        raise SystemExit(f"places: got a network without a class activation map ({run.name})")
    ways = {
        way: PatchToImage(
            reader.config.model_copy(update={"shows": way, "marked": LEAST}), reader.network
        )
        for way in MAPS
    }
    columns: dict[str, list[bool]] = {f"{rule}, {way}": [] for rule in RULES for way in MAPS}
    who = []
    for record in chosen.records:
        lesions = malignant(record)
        if not lesions:
            continue
        mammogram = chosen.images.open(record)
        readings = {way: reader.read(mammogram) for way, reader in ways.items()}
        for lesion in lesions:
            who.append(f"{record.dataset}/{record.patient_id}")
            for way, reading in readings.items():
                for rule, yes in zip(RULES, hit(reading, lesion), strict=True):
                    columns[f"{rule}, {way}"].append(yes)
    told = {name: np.array(values, float) for name, values in columns.items()}
    first, second = MAPS
    for rule in RULES:
        told[f"{rule}, {second} less {first}"] = (
            told[f"{rule}, {second}"] - told[f"{rule}, {first}"]
        )
    return told, who


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
        columns, who = hits(run, chosen)
        figures = {f.name: f for f in mean_figures(columns, who, reader=run.name, level="lesion")}
        kept += [asdict(f) for f in figures.values()]
        first, second = MAPS
        for way, words in {**MAPS, f"{second} less {first}": "difference"}.items():
            own = [figures[f"{rule}, {way}"] for rule in RULES]
            rows.append(
                [
                    run.name,
                    words,
                    str(len(who)),
                    *(in_brackets(f.value, f.low, f.high) for f in own),
                ]
            )
    told = {
        "command": "python benchmarks/whole_image_places.py RUN... --data ...",
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
