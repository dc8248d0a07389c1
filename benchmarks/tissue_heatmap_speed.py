"""How fast the tissue heatmap reads: python benchmarks/tissue_heatmap_speed.py [--run RUN] [--preset P] [--set KEY=VALUE]... [-o FILE.json]

Seconds for a view of 3328 x 4096 pixels of 0.07 mm, stage by stage, for a trained run or for networks as
they are drawn; saliency for as many tiles as it ever takes; then both views of a breast read together.
Beside it the plain alternatives: the classifier slid crop by crop, and saliency tile by tile. On one core
processor time is taken, so that what else runs beside does not count; on more (``--threads``) the clock,
on a machine that does nothing else. ``--large`` takes the largest of a hundred women's breasts. ``--add``
keeps the rows that FILE.json has.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from pathlib import Path

import numpy as np
import torch

from secondreader.domain import ImageSource, Laterality, Mammogram, View
from secondreader.learning.configuration import resolve
from secondreader.learning.patches import cut
from secondreader.methods import METHODS
from secondreader.methods.tissue_heatmap import Config, TissueHeatmap
from secondreader.methods.tissue_heatmap.config import NAME
from secondreader.methods.tissue_heatmap.local import answers, inside, middles, saliency
from secondreader.methods.tissue_heatmap.network import Aggregated, HeatmapNet, Pair, Tissue
from secondreader.methods.tissue_heatmap.prepare import prepare
from secondreader.methods.tissue_heatmap.two_views import TwoViews, load
from secondreader.phantom.anatomy import woman
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import exam_image

SHAPE = (4096, 3328)
SEED = 1


def best(work, threads: int, times: int = 3) -> float:
    """Return the least seconds of a few calls, after one that is not counted."""
    clock = time.process_time if threads == 1 else time.perf_counter
    work()
    took = []
    for _ in range(times):
        start = clock()
        work()
        took.append(clock() - start)
    return min(took)


def drawn(preset: str, settings: list[str]) -> TissueHeatmap:
    """Return a reader whose networks are as they are drawn."""
    config = resolve(Config, METHODS[NAME], preset, settings)
    torch.manual_seed(0)
    return TissueHeatmap(
        config,
        Tissue(config.widths, config.patch, config.stride, config.surround),
        Aggregated(),
        HeatmapNet(config.heat_width, True, config.small),
    )


def view_of(index: int, kind: View) -> Mammogram:
    """Return a view of a woman's left breast, in a frame of `SHAPE`."""
    made = exam_image(
        SEED, index, Laterality.L, kind, vendor="hologic", contents=Contents.MALIGNANT
    )
    made = made.astype(np.float32) / made.max()
    pixels = np.zeros(SHAPE, np.float32)
    rows, cols = (min(a, b) for a, b in zip(made.shape, SHAPE, strict=True))
    pixels[:rows, :cols] = made[:rows, :cols]
    return Mammogram(pixels, (0.07, 0.07), Laterality.L, kind, ImageSource("phantom", bits=12))


def largest(women: int = 100) -> int:
    """Return the number of the woman whose left breast covers most, as the phantom draws them."""
    breasts = [woman(np.random.default_rng((SEED, index, 0))).breasts[1] for index in range(women)]
    return int(np.argmax([breast.depth_mm * breast.half_mm for breast in breasts]))


def slid(reader: TissueHeatmap, prepared: np.ndarray, places: np.ndarray) -> None:
    """Answer for places (n, 2) crop by crop."""
    at = middles(places, reader.config)
    with torch.inference_mode():
        for low in range(0, len(at), 64):
            crops = [
                cut(prepared, r, c, reader.config.seen) for r, c in at[low : low + 64].tolist()
            ]
            reader.tissue(torch.from_numpy(np.stack(crops).astype(np.float32))[:, None])


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="A trained run; else networks as they are drawn.")
    parser.add_argument("--preset", default="cpu", help="Of networks as they are drawn.")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, such as spacing_mm.")
    parser.add_argument("--large", action="store_true", help="A large breast.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--add", action="store_true", help="To the rows that the file has.")
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.run:
        reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    else:
        reader = drawn(asked.preset, asked.set)
    told = timed(reader, largest() if asked.large else 0, asked.threads)
    told["large"] = asked.large
    before = []
    if asked.add and asked.out and asked.out.is_file():
        before = json.loads(asked.out.read_text(encoding="utf-8"))["timed"]
    made = [*before, told]
    table = [["what", "measured"], *(row for one in made for row in rows_of(one))]
    command = "python benchmarks/tissue_heatmap_speed.py"
    text = json.dumps({"command": command, "timed": made, "table": table}, indent=1)
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n", encoding="utf-8")


def timed(reader: TissueHeatmap, number: int, threads: int) -> dict:
    """Return the seconds of a view of a woman, stage by stage, and of both views."""
    config = reader.config
    view = view_of(number, View.CC)
    found = prepare(view, config)
    assert found is not None
    prepared = found[0]
    local = answers(reader.tissue, prepared, config)
    breast = inside(prepared, config, local.shape)
    places = np.argwhere(breast)
    most = places[: config.most_tiles]
    parts = {
        "prepare": best(lambda: prepare(view, config), threads),
        "answers": best(lambda: answers(reader.tissue, prepared, config), threads),
        "heatmap": best(lambda: reader.gate(prepared, local), threads),
        "saliency": best(lambda: saliency(reader.tissue, prepared, most, config), threads),
        "score": best(lambda: reader.score(local, inside(prepared, config, local.shape)), threads),
    }
    # Every place counts as positive: saliency then takes as many tiles as it ever does.
    reader.config = config.model_copy(update={"marked": 1e-9})
    whole = best(lambda: reader.read(view), threads)
    parts["places and the rest"] = whole - sum(parts.values())
    both = [view, view_of(number, View.MLO)]
    apart = best(lambda: [reader.read(v) for v in both], threads)
    pair = reader.pair if isinstance(reader, TwoViews) else Pair(reader.tissue, config.pair_width)
    together = TwoViews(reader.config, pair, reader.image, reader.heatmap)
    exam = best(lambda: together.read_exam(both), threads)
    one_by_one = best(
        lambda: [
            saliency(reader.tissue, prepared, most[i : i + 1], config) for i in range(len(most))
        ],
        threads,
    )
    return {
        "machine": platform.machine(), "threads": threads, "config": config.model_dump(mode="json"),
        "view": {"pixels": list(SHAPE), "pitch": config.spacing_mm, "prepared": list(prepared.shape),
                 "breast pixels": int((prepared > 0).sum()), "places": int(local.size),
                 "places of breast": len(places), "tiles of saliency": len(most)},
        "seconds": parts | {"in all": whole},
        "two views": {"apart": apart, "together": exam},
        "slid over the breast, in times of one pass":
            best(lambda: slid(reader, prepared, places), threads) / parts["answers"],
        "saliency tile by tile, in times of batches": one_by_one / parts["saliency"],
        "peak megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


def rows_of(told: dict) -> list[list[str]]:
    """Return what a README shows of one timing."""
    view, parts, two = told["view"], told["seconds"], told["two views"]
    each = ", ".join(f"{name} {took:.2f}" for name, took in parts.items() if name != "in all")
    cores = "one core" if told["threads"] == 1 else f"{told['threads']} cores, by the clock"
    size = "a large breast, " if told["large"] else ""
    return [
        [f"{size}a view of {view['pixels'][1]} x {view['pixels'][0]}, read at {view['pitch']:g} mm, "
         f"{view['breast pixels'] / 1e6:.2f} million pixels of breast, on {cores}",
         f"{parts['in all']:.2f} s: {each}; peak {told['peak megabytes']} MB"],
        ["both views of that breast read together", f"{two['together']:.2f} s, one by one {two['apart']:.2f}"],
        [f"the classifier slid over {view['places of breast']} places of breast, crop by crop",
         f"{told['slid over the breast, in times of one pass']:.1f} x the time of one pass over all "
         f"{view['places']} places"],
        [f"saliency of {view['tiles of saliency']} tiles one by one",
         f"{told['saliency tile by tile, in times of batches']:.1f} x the time of batches"],
    ]  # fmt: skip


if __name__ == "__main__":
    main()
