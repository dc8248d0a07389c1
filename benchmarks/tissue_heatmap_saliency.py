"""How tight saliency is: python benchmarks/tissue_heatmap_saliency.py RUN --data NAME=ROOT [--beside RUN...] -o FILE.json

On test images with a visible malignant finding, against the pixels of its findings as the phantom knows
them: what share of a map lies inside, how the highest pixels, as many as the findings have, overlap
with them (IoU), and whether the highest one lies inside. Maps: the method's saliency, gated by its
heatmap; the plain gradient of the image score; the predicted heatmap alone; the heatmaps of other
readers (``--beside``: patch_to_image's is a class-activation map with ``--set shows=activation``); the
circle round each finding, as loosely as annotations are drawn; and the breast, which is chance. All maps
but the circle are smoothed by the same 0.5 mm before their highest pixels are taken. An image without
any saliency counts as 0. Intervals over patients.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from secondreader import geometry
from secondreader.datasets.parts import divide_sets
from secondreader.domain import Frame, Heatmap, Mask, Part, Pathology
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate
from secondreader.evaluation.means import mean_replicates
from secondreader.learning.prepared import on_grid
from secondreader.methods.tissue_heatmap.data import KINDS
from secondreader.methods.tissue_heatmap.local import answers, inside
from secondreader.methods.tissue_heatmap.network import PLACES
from secondreader.methods.tissue_heatmap.prepare import prepare
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap
from secondreader.methods.tissue_heatmap.two_views import load
from secondreader.reading import load_models
from secondreader.sources import images_of, load_all

SMOOTH_MM = 0.5
COLUMNS = ("share inside", "IoU at their area", "highest inside")


def plain_gradient(reader: TissueHeatmap, prepared: np.ndarray) -> np.ndarray:
    """Return how much each pixel changes the image's score, (rows, cols)."""
    step, patch = reader.config.stride, reader.config.patch
    rows, cols = (max((side - patch + step - 1) // step, 0) + 1 for side in prepared.shape)
    wide = np.zeros(((rows - 1) * step + patch, (cols - 1) * step + patch), np.float32)
    wide[: prepared.shape[0], : prepared.shape[1]] = prepared
    image = torch.from_numpy(wide)[None, None].requires_grad_()
    logit = reader.tissue.called(reader.tissue.local(image))
    breast = torch.from_numpy(inside(prepared, reader.config, (rows, cols)))[None]
    score = reader.image(logit, breast) if reader.image is not None else logit[breast].max()
    (slope,) = torch.autograd.grad(score.sum(), image)
    return slope[0, 0].abs().numpy()[: prepared.shape[0], : prepared.shape[1]]


def brought(heat: Heatmap, frame: Frame) -> np.ndarray:
    """Return another reader's heatmap on a grid of ours, 0 where it has none."""
    rows, cols = (np.arange(n, dtype=float) for n in frame.shape)
    source = [geometry.to_source(frame, np.column_stack([a, a])) for a in (rows, cols)]
    theirs = [geometry.to_grid(heat.frame, s)[:, axis] for axis, s in enumerate(source)]
    at = np.meshgrid(*theirs, indexing="ij")
    return ndimage.map_coordinates(heat.values.astype(np.float32), at, order=1, cval=0.0)


def truth(lesions, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of visible findings, and those of the circles round them."""
    found, circles = (np.zeros(shape, bool) for _ in range(2))
    for lesion in lesions:
        if lesion.region is None or lesion.kind not in KINDS or lesion.visible is False:
            continue
        mask: Mask = geometry.rasterise(lesion.region, shape)
        at = np.argwhere(mask.pixels) + np.array([mask.row0, mask.col0])
        if not len(at):
            continue
        found[at[:, 0], at[:, 1]] = True
        middle = (at.min(0) + at.max(0)) / 2
        reach = np.hypot(*(at - middle).T).max() + 0.5
        r, c = np.ogrid[: shape[0], : shape[1]]
        circles |= np.hypot(r - middle[0], c - middle[1]) <= reach
    return found, circles


def measured(values: np.ndarray, found: np.ndarray, sigma: float) -> tuple[float, float, float]:
    """Return `COLUMNS` of one map."""
    total = float(values.sum())
    if total <= 0:
        return 0.0, 0.0, 0.0
    smooth = ndimage.gaussian_filter(values.astype(np.float32), sigma) if sigma else values
    # Equal values, as a circle has, are drawn at random: none of them is higher than another.
    order = np.lexsort((np.random.default_rng(0).random(smooth.size), smooth.ravel()))
    top = np.zeros(smooth.size, bool)
    top[order[-int(found.sum()) :]] = True
    both = (top.reshape(found.shape) & found).sum()
    share = float(values[found].sum()) / total
    return share, float(both / (2 * found.sum() - both)), float(found.ravel()[order[-1]])


def of_region(region: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """Return `COLUMNS` of a map that is one value inside a region: its highest pixel is any of it."""
    both = float((region & found).sum())
    share = both / max(float(region.sum()), 1.0)
    return share, both / float((region | found).sum()), share


def maps_of(reader: TissueHeatmap, prepared: np.ndarray) -> dict[str, np.ndarray]:
    """Return the method's own maps on the prepared grid."""
    local = answers(reader.tissue, prepared, reader.config)
    gate = reader.gate(prepared, local)
    side = max(prepared.shape) / PLACES
    r, c = ((np.arange(n) / side).astype(int).clip(0, PLACES - 1) for n in prepared.shape)
    return {
        "saliency inside the heatmap": reader.salient(
            prepared, local, inside(prepared, reader.config, local.shape)
        ),
        "plain gradient of the score": plain_gradient(reader, prepared.astype(np.float32)),
        "predicted heatmap": (gate[np.ix_(r, c)] & (prepared > 0)).astype(np.float32),
    }


def main() -> None:
    """Measure every map on every image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--beside", action="append", default=[], help="RUN of another reader.")
    parser.add_argument("--images", type=int, help="At most so many.")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    others = load_models(asked.beside) if asked.beside else ()
    sources = load_all(asked.data)
    test = images_of(sources).part(divide_sets(sources, asked.split)[Part.TEST])
    values: dict[str, list[tuple[float, float, float]]] = {}
    patients, empty = [], 0
    sigma = SMOOTH_MM / reader.config.spacing_mm
    malignant = [
        r for r in test.records
        if any(s.pathology is Pathology.MALIGNANT and s.kind in KINDS and s.visible is not False
               for s in r.lesions)
    ]  # fmt: skip
    for record in malignant[: asked.images]:
        mammogram = test.open(record)
        made = prepare(mammogram, reader.config)
        if made is None:
            continue
        prepared, frame = made
        found, circles = truth(on_grid(record.lesions, frame), prepared.shape)
        if not found.any():  # outside the canvas
            continue
        maps = maps_of(reader, prepared)
        for model in others:
            reading = model.reader.read(mammogram)
            if reading.heatmap is not None:
                maps[f"heatmap of {model.name}"] = brought(reading.heatmap, frame)
        told = {name: measured(found_map, found, sigma) for name, found_map in maps.items()}
        gate = maps["predicted heatmap"] > 0
        told["predicted heatmap"] = of_region(gate, found)
        told["circle round each finding"] = of_region(circles, found)
        told["the breast"] = of_region(prepared > 0, found)
        empty += not maps["saliency inside the heatmap"].any()
        patients.append(record.patient_id)
        for name, row in told.items():
            values.setdefault(name, []).append(row)
    table = tabled(values, patients, asked.resamples)
    told = {
        "command": "python benchmarks/tissue_heatmap_saliency.py RUN --data ... --beside ...",
        "split": asked.split, "images": len(patients), "patients": len(set(patients)),
        "images without saliency": empty, "resamples": asked.resamples, "table": table,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


def tabled(
    values: dict[str, list[tuple[float, float, float]]], patients: list[str], resamples: int
) -> list[list[str]]:
    """Return a row for each map, and how much of it lies inside beside the circle."""
    drawn = {
        name: mean_replicates(np.array(rows), patients, resamples=resamples)
        for name, rows in values.items()
    }
    circle = drawn["circle round each finding"][:, 0]
    rows = [["map", *COLUMNS, "share inside, less the circle's"]]
    for name, of in drawn.items():
        cells = [estimate(of[:, i]) for i in range(len(COLUMNS))]
        apart = difference(of[:, 0], circle)
        same = name == "circle round each finding"
        rows.append([name, *(shown(c) for c in cells), "" if same else shown(apart)])
    return rows


def shown(got) -> str:
    """Return a figure with its interval."""
    if got.value is None or got.low is None or got.high is None:
        return "–"
    return f"{got.value:.3f} [{got.low:.3f}, {got.high:.3f}]"


if __name__ == "__main__":
    main()
