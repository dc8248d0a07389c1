"""How tight saliency is: python benchmarks/tissue_heatmap_saliency.py RUN --data NAME=ROOT [--beside RUN...] -o FILE.json

On test images with a visible malignant finding, against the pixels of its findings as the phantom knows
them, in all and by kind, clusters against their grains too: what share of a map lies inside; how the
highest pixels, as many as the findings have, overlap with them (IoU), and how those above a share of the
map's highest do, which is chosen on validation images; whether the highest one lies inside. RUN is a
heatmap of both views; of one that knows CC only, CC views are measured.

Maps: the method's saliency, gated by its heatmap, ungated, and with each tile's slope brought to 1, as
|dH/dx| vanishes for tiles that are sure; the plain gradient of the image score, and that inside the
heatmap; the predicted heatmap alone; the heatmaps of other readers (``--beside``: patch_to_image's is a
class-activation map if it was trained with ``--set shows=activation``); a circle drawn tightly about the
pixels of each finding, which no annotation is as tight as; and the breast, which is chance. Maps are
smoothed by the same 0.5 mm before their highest pixels are taken. An image without any saliency counts
as 0. Intervals over patients, differences of the gated saliency from every other map paired.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from secondreader import geometry
from secondreader.datasets.parts import divide_sets
from secondreader.domain import (
    Frame,
    Heatmap,
    ImageSet,
    Kind,
    Lesion,
    Mammogram,
    Part,
    Pathology,
    View,
)
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate
from secondreader.evaluation.means import mean_replicates
from secondreader.evaluation.tables import in_brackets
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
SHARES = np.geomspace(0.01, 0.95, 40)  # of a map's highest, to choose from
OWN = "saliency inside the heatmap"
COLUMNS = ("share inside", "IoU at their area", "IoU at a share chosen on validation",
           "highest inside")  # fmt: skip
AGAINST = (0, 2)  # columns whose differences are given


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


def pixels_of(lesions: Sequence[Lesion], shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the pixels (n, 2) of each lesion that lies in the image."""
    for lesion in lesions:
        assert lesion.region is not None
        mask = geometry.rasterise(lesion.region, shape)
        at = np.argwhere(mask.pixels) + np.array([mask.row0, mask.col0])
        if len(at):
            yield at


def union(lesions: Sequence[Lesion], shape: tuple[int, int]) -> np.ndarray:
    """Return where any of the lesions is, (rows, cols) bool."""
    found = np.zeros(shape, bool)
    for at in pixels_of(lesions, shape):
        found[at[:, 0], at[:, 1]] = True
    return found


def circles(lesions: Sequence[Lesion], shape: tuple[int, int]) -> np.ndarray:
    """Return the circles drawn tightly about each lesion's pixels, (rows, cols) bool."""
    found = np.zeros(shape, bool)
    r, c = np.ogrid[: shape[0], : shape[1]]
    for at in pixels_of(lesions, shape):
        middle = (at.min(0) + at.max(0)) / 2
        reach = np.hypot(*(at - middle).T).max() + 0.5
        found |= np.hypot(r - middle[0], c - middle[1]) <= reach
    return found


def targets(lesions: Sequence[Lesion], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return what maps are held against, (rows, cols) bool each: all findings, those of a kind, grains."""
    seen = [s for s in lesions if s.region is not None and s.visible is not False]
    own = [s for s in seen if s.kind in KINDS]
    clusters = {s.lesion_id for s in own if s.kind is Kind.CALCIFICATION_CLUSTER}
    grains = [s for s in seen if s.kind is Kind.MICROCALCIFICATION and s.part_of in clusters]
    made = {"all findings": own, "grains of clusters": grains}
    made |= {str(kind): [s for s in own if s.kind is kind] for kind in KINDS}
    return {name: found for name, of in made.items() if (found := union(of, shape)).any()}


def of_map(values: np.ndarray, found: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a map's `COLUMNS` but for the chosen one, (3,), and its IoU at each of `SHARES`."""
    total = float(values.sum())
    if total <= 0:
        return np.zeros(3), np.zeros(len(SHARES))
    smooth = ndimage.gaussian_filter(values.astype(np.float32), sigma)
    flat, truth = smooth.ravel(), found.ravel()
    many = int(truth.sum())
    least = np.partition(flat, -many)[-many]
    top = flat > least
    # Of equal values none is higher than another: as many as are wanted are drawn.
    equal = np.flatnonzero(flat == least)
    top[np.random.default_rng(0).permutation(equal)[: many - int(top.sum())]] = True
    both = float((top & truth).sum())
    highest = float(truth[flat == flat.max()].mean())
    edges = [*(SHARES * float(flat.max())), np.inf]
    above = [np.histogram(v, edges)[0][::-1].cumsum()[::-1] for v in (flat, flat[truth])]
    overlap = above[1] / (above[0] + many - above[1])
    told = float(values[found].sum()) / total, both / (2 * many - both), highest
    return np.array(told), overlap


def of_region(region: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of a map that is one value inside a region: its highest pixel is any of it."""
    both = float((region & found).sum())
    share = both / max(float(region.sum()), 1.0)
    overlap = both / float((region | found).sum())
    return np.array([share, overlap, share]), np.full(len(SHARES), overlap)


def maps_of(reader: TissueHeatmap, prepared: np.ndarray) -> dict[str, np.ndarray]:
    """Return the method's own maps on the prepared grid, by the answers of one view."""
    local = answers(reader.tissue, prepared, reader.config)
    breast = inside(prepared, reader.config, local.shape)
    side = max(prepared.shape) / PLACES
    r, c = ((np.arange(n) / side).astype(int).clip(0, PLACES - 1) for n in prepared.shape)
    gate = reader.gate(prepared, local)[np.ix_(r, c)] & (prepared > 0)
    slope = plain_gradient(reader, prepared.astype(np.float32))
    return {
        OWN: reader.salient(prepared, local, breast),
        "saliency, not gated": reader.salient(prepared, local, breast, gated=False),
        f"{OWN}, each tile's slope brought to 1":
            reader.salient(prepared, local, breast, alike=True),
        "plain gradient of the score": slope,
        "plain gradient inside the heatmap": np.where(gate, slope, 0),
        "predicted heatmap": gate,
    }  # fmt: skip


Looked = tuple[str, dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]]
"""A patient, and target → map → what `of_map` gives."""


def looked(
    images: ImageSet,
    reader: TissueHeatmap,
    others: Callable[[Mammogram, Frame], dict],
    most: int | None,
) -> Iterator[Looked]:
    """Measure every map on each image with a visible malignant finding."""
    sigma = SMOOTH_MM / reader.config.spacing_mm
    malignant = [
        r for r in images.records
        if any(s.pathology is Pathology.MALIGNANT and s.kind in KINDS and s.visible is not False
               for s in r.lesions)
        and (reader.config.views == "both" or r.view in (View.CC, None))
    ]  # fmt: skip
    for record in malignant[:most]:
        mammogram = images.open(record)
        made = prepare(mammogram, reader.config)
        if made is None:
            continue
        prepared, frame = made
        shape = (prepared.shape[0], prepared.shape[1])
        lesions = on_grid(record.lesions, frame)
        found = targets(lesions, shape)
        if not found:  # outside the canvas
            continue
        own = [s for s in lesions if s.kind in KINDS and s.region and s.visible is not False]
        maps = maps_of(reader, prepared) | others(mammogram, frame)
        maps["circle drawn tightly about each finding"] = circles(own, shape)
        maps["the breast"] = prepared > 0
        yield (
            record.patient_id,
            {
                target: {
                    name: of_region(v, mask) if v.dtype == bool else of_map(v, mask, sigma)
                    for name, v in maps.items()
                }
                for target, mask in found.items()
            },
        )


def main() -> None:
    """Choose on validation images, measure on test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--beside", action="append", default=[], help="RUN of another reader.")
    parser.add_argument("--images", type=int, help="At most so many of each part.")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    models = load_models(asked.beside) if asked.beside else ()

    def others(mammogram: Mammogram, frame: Frame) -> dict[str, np.ndarray]:
        read = {m.name: m.reader.read(mammogram).heatmap for m in models}
        return {
            f"heatmap of {name}": np.zeros(frame.shape) if heat is None else brought(heat, frame)
            for name, heat in read.items()
        }

    sources = load_all(asked.data)
    divided = divide_sets(sources, asked.split)
    held, test = (
        list(looked(images_of(sources).part(divided[part]), reader, others, asked.images))
        for part in (Part.VALIDATION, Part.TEST)
    )
    told = {
        "command": "python benchmarks/tissue_heatmap_saliency.py RUN --data ... --beside ...",
        "split": asked.split, "views": reader.config.views, "images": len(test),
        "patients": len({who for who, _ in test}), "validation images": len(held),
        "images without saliency on a finding": sum(not found["all findings"][OWN][0][0] for _, found in test),
        "resamples": asked.resamples, "table": tabled(held, test, asked.resamples),
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


def tabled(held: Sequence[Looked], test: Sequence[Looked], resamples: int) -> list[list[str]]:
    """Return a row for each target and map, with what the gated saliency has over it."""
    rows = [
        ["against", "images", "map", *COLUMNS, *(f"{COLUMNS[i]}, {OWN} less this" for i in AGAINST)]
    ]
    for target in dict.fromkeys(name for _, found in test for name in found):
        with_it = [(who, found[target]) for who, found in test if target in found]
        chosen_on = [found[target] for _, found in held if target in found]
        patients = [who for who, _ in with_it]
        if len(set(patients)) < 2 or not chosen_on:
            rows.append([target, str(len(with_it)), "too few images", *[""] * (len(COLUMNS) + 2)])
            continue
        drawn = {}
        for name in with_it[0][1]:
            best = int(np.mean([of[name][1] for of in chosen_on], axis=0).argmax())
            values = [np.insert(of[name][0], 2, of[name][1][best]) for _, of in with_it]
            drawn[name] = mean_replicates(np.array(values), patients, resamples=resamples)
        for name, of in drawn.items():
            cells = [
                in_brackets(e.value, e.low, e.high) for e in map(estimate, of.T[: len(COLUMNS)])
            ]
            gaps = [difference(drawn[OWN][:, i], of[:, i]) for i in AGAINST]
            apart = [in_brackets(gap.value, gap.low, gap.high, gap.p) for gap in gaps]
            rows.append(
                [target, str(len(with_it)), name, *cells, *(apart if name != OWN else ["", ""])]
            )
    return rows


if __name__ == "__main__":
    main()
