"""How fast the tissue heatmap reads: python benchmarks/tissue_heatmap_speed.py [--run RUN] [--preset P] [-o FILE.json]

Seconds of one core for a view of 3328 x 4096 pixels of 0.07 mm, stage by stage, for a trained run or for
networks as they are drawn; saliency for as many tiles as it ever takes. Beside it the plain
alternatives: the classifier slid crop by crop, and saliency tile by tile. Processor time is taken, so
that what else runs beside does not count; a second core makes it shorter, never longer.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from secondreader.domain import ImageSource, Mammogram
from secondreader.learning.configuration import resolve
from secondreader.learning.patches import cut
from secondreader.methods import METHODS
from secondreader.methods.tissue_heatmap import Config, TissueHeatmap
from secondreader.methods.tissue_heatmap.config import NAME
from secondreader.methods.tissue_heatmap.local import answers, inside, middles, saliency
from secondreader.methods.tissue_heatmap.network import Aggregated, HeatmapNet, Tissue
from secondreader.methods.tissue_heatmap.prepare import prepare
from secondreader.methods.tissue_heatmap.two_views import load
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import VIEWS, exam_image

SHAPE = (4096, 3328)


def best(work, times: int = 3) -> float:
    """Return the least processor seconds of a few calls, after one that is not counted."""
    work()
    took = []
    for _ in range(times):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return min(took)


def drawn(preset: str) -> TissueHeatmap:
    """Return a reader whose networks are as they are drawn."""
    config = resolve(Config, METHODS[NAME], preset, [])
    torch.manual_seed(0)
    return TissueHeatmap(
        config,
        Tissue(config.widths, config.patch, config.stride),
        Aggregated(),
        HeatmapNet(config.heat_width, True, config.small),
    )


def slid(reader: TissueHeatmap, prepared: np.ndarray, places: np.ndarray) -> None:
    """Answer for places (n, 2) crop by crop."""
    at = middles(places, reader.config)
    with torch.inference_mode():
        for low in range(0, len(at), 64):
            crops = [
                cut(prepared, r, c, reader.config.patch) for r, c in at[low : low + 64].tolist()
            ]
            reader.tissue(torch.from_numpy(np.stack(crops).astype(np.float32))[:, None])


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="A trained run; else networks as they are drawn.")
    parser.add_argument("--preset", default="cpu", help="Of networks as they are drawn.")
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.run:
        reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    else:
        reader = drawn(asked.preset)
    config = reader.config
    side, kind = VIEWS[0]
    made = exam_image(1, 0, side, kind, vendor="hologic", contents=Contents.MALIGNANT)
    made = made.astype(np.float32) / made.max()
    pixels = np.zeros(SHAPE, np.float32)
    pixels[: made.shape[0], : made.shape[1]] = made[: SHAPE[0], : SHAPE[1]]
    view = Mammogram(pixels, (0.07, 0.07), None, None, ImageSource("phantom", bits=12))
    found = prepare(view, config)
    assert found is not None
    prepared = found[0]
    local = answers(reader.tissue, prepared, config)
    breast = inside(prepared, config, local.shape)
    places = np.argwhere(breast)
    most = places[: config.most_tiles]
    parts = {
        "prepare": best(lambda: prepare(view, config)),
        "answers": best(lambda: answers(reader.tissue, prepared, config)),
        "heatmap": best(lambda: reader.gate(prepared, local)),
        "saliency": best(lambda: saliency(reader.tissue, prepared, most, config)),
        "score": best(lambda: reader.score(local, inside(prepared, config, local.shape))),
    }
    # Every place counts as positive: saliency then takes as many tiles as it ever does.
    reader.config = config.model_copy(update={"marked": 1e-9})
    whole = best(lambda: reader.read(view))
    parts["places and the rest"] = whole - sum(parts.values())
    one_by_one = best(
        lambda: [
            saliency(reader.tissue, prepared, most[i : i + 1], config) for i in range(len(most))
        ]
    )
    told = {
        "command": "python benchmarks/tissue_heatmap_speed.py",
        "view": {"pixels": list(SHAPE), "pitch": config.spacing_mm, "prepared": list(prepared.shape),
                 "breast pixels": int((prepared > 0).sum()), "places": int(local.size),
                 "places of breast": len(places), "tiles of saliency": len(most)},
        "processor seconds": parts | {"in all": whole},
        "slid over the breast, in times of one pass":
            best(lambda: slid(reader, prepared, places)) / parts["answers"],
        "saliency tile by tile, in times of batches": one_by_one / parts["saliency"],
        "peak megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip
    told["table"] = table(told)
    text = json.dumps(told, indent=1)
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n", encoding="utf-8")


def table(told: dict) -> list[list[str]]:
    """Return what a README shows."""
    view, parts = told["view"], told["processor seconds"]
    each = ", ".join(f"{name} {took:.2f}" for name, took in parts.items() if name != "in all")
    return [
        ["what", "measured"],
        [f"a view of {view['pixels'][1]} x {view['pixels'][0]}, read at {view['pitch']:g} mm, "
         f"{view['breast pixels'] / 1e6:.2f} million pixels of breast, on one core",
         f"{parts['in all']:.2f} s: {each}; peak {told['peak megabytes']} MB"],
        [f"the classifier slid over {view['places of breast']} places of breast, crop by crop",
         f"{told['slid over the breast, in times of one pass']:.1f} x the time of one pass over all "
         f"{view['places']} places"],
        [f"saliency of {view['tiles of saliency']} tiles one by one",
         f"{told['saliency tile by tile, in times of batches']:.1f} x the time of batches"],
    ]  # fmt: skip


if __name__ == "__main__":
    main()
