"""What is salient in an image: python benchmarks/tissue_heatmap_pictures.py RUN --data NAME=ROOT -o FOLDER

For test images with a finding (of all, ``--split all``), malignant ones first: the image, the answers
of its tissue, the gated saliency on it with what is annotated (cyan), and a window round the first
finding. Pictures of real films are for looking at, never for keeping.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy import ndimage

from secondreader import geometry
from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.learning.prepared import on_grid
from secondreader.methods.tissue_heatmap.data import KINDS
from secondreader.methods.tissue_heatmap.local import answers, inside
from secondreader.methods.tissue_heatmap.prepare import prepare
from secondreader.methods.tissue_heatmap.two_views import load
from secondreader.sources import images_of, load_all

mpl.use("Agg")
import matplotlib.pyplot as plt

WINDOW_MM = 40.0


def outline(axis, regions, shape: tuple[int, int]) -> None:
    """Draw the outline of each region."""
    for region in regions:
        mask = np.zeros(shape, bool)
        found = geometry.rasterise(region, shape)
        rows, cols = found.pixels.shape
        mask[found.row0 : found.row0 + rows, found.col0 : found.col0 + cols] = found.pixels
        if mask.any():
            axis.contour(mask, [0.5], colors="cyan", linewidths=0.8)


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    sources = load_all(asked.data)
    records = divide_sets(sources, asked.split)[Part.TEST]
    images = images_of(sources).part(records)
    shown = [r for r in images.records if any(s.kind in KINDS and s.region for s in r.lesions)]
    for place, record in enumerate(
        sorted(shown, key=lambda r: (not r.malignant, r.path))[: asked.images]
    ):
        made = prepare(images.open(record), reader.config)
        if made is None:
            continue
        pixels, frame = made
        regions = [
            s.region for s in on_grid(record.lesions, frame)
            if s.kind in KINDS and s.region
            and geometry.rasterise(s.region, (pixels.shape[0], pixels.shape[1])).pixels.any()
        ]  # fmt: skip
        if not regions:
            print(f"{record.path}: its findings lie outside the canvas")
            continue
        local = answers(reader.tissue, pixels, reader.config)
        salient = reader.salient(pixels, local, inside(pixels, reader.config, local.shape))
        smooth = ndimage.gaussian_filter(salient, 0.3 / reader.config.spacing_mm)
        image = pixels.astype(np.float32)
        low, high = np.percentile(image[image > 0], [1, 99.8])
        figure, axes = plt.subplots(1, 4, figsize=(22, 7), layout="constrained")
        extent = (
            0,
            local.shape[1] * reader.config.stride,
            local.shape[0] * reader.config.stride,
            0,
        )
        axes[1].imshow(local, cmap="magma", vmin=0, vmax=1, extent=extent)
        for axis in (axes[0], axes[2], axes[3]):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
        for axis in axes[2:]:
            if smooth.any():
                faint = np.clip(smooth / np.percentile(smooth[smooth > 0], 99), 0, 1)
                axis.imshow(
                    np.ma.masked_less(faint, 0.15), cmap="autumn", alpha=0.6, vmin=0, vmax=1
                )
            outline(axis, regions, image.shape)
        row, col = geometry.centre(regions[0])
        half = WINDOW_MM / 2 / reader.config.spacing_mm
        axes[3].set(xlim=(col - half, col + half), ylim=(row + half, row - half))
        titles = (
            record.path,
            "tissue's answers",
            "saliency inside the heatmap",
            "round the finding",
        )
        for axis, title in zip(axes, titles, strict=True):
            axis.set(title=title, xticks=[], yticks=[])
        figure.savefig(asked.out / f"{place}.png", dpi=70)
        plt.close(figure)
        score = reader.score(local, inside(pixels, reader.config, local.shape))
        print(f"{place}.png: {record.path}, malignant: {record.malignant}, score {score:.3f}")


if __name__ == "__main__":
    main()
