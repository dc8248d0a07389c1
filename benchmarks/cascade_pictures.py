"""What the cascade makes of an image: python benchmarks/cascade_pictures.py RUN --data NAME=ROOT -o FOLDER

For the images with most calcifications of the test part (or of all, ``--split all``): the image, the
map of the first stage, and the image with what is true (cyan), what was proposed (yellow) and what the
whole cascade scores highest (red); a window round the calcifications. Pictures of real films are for
looking at, never for keeping.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Kind, Part
from secondreader.learning.prepared import on_grid
from secondreader.methods.anomaly_cascade.prepare import prepare
from secondreader.methods.anomaly_cascade.proposals import (
    components,
    looked_at,
    proposals,
    suspicion_map,
)
from secondreader.methods.anomaly_cascade.reader import load
from secondreader.sources import images_of, load_all

mpl.use("Agg")
import matplotlib.pyplot as plt

WINDOW = 160  # pixels each way from the middle


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
    sources = load_all(asked.data)
    records = divide_sets(sources, asked.split)[Part.TEST]
    if asked.split == "all":
        records = [record for source in sources for record in source.records]
    images = images_of(sources).part(records)
    kinds = (Kind.MICROCALCIFICATION, Kind.CALCIFICATION_CLUSTER)

    def number(record) -> int:
        return sum(s.kind in kinds and s.region is not None for s in record.lesions)

    chosen = sorted(images.records, key=lambda r: (-number(r), r.path))[: asked.images]
    for place, record in enumerate(chosen):
        made = prepare(images.open(record), reader.config)
        if made is None:
            continue
        pixels, frame = made
        truth, _, _ = reader.config.truth(on_grid(record.lesions, frame), pixels)
        suspicious = suspicion_map(reader.networks["unet"], pixels, reader.config)
        mask = looked_at(pixels, reader.config)
        proposed, _ = proposals(suspicious, mask, reader.config)
        final, scores, _ = reader.points(pixels)
        middle = np.median(truth if len(truth) else final[:5], axis=0)
        top = np.maximum(np.rint(middle).astype(int) - WINDOW, 0)
        inside = (slice(top[0], top[0] + 2 * WINDOW), slice(top[1], top[1] + 2 * WINDOW))
        shown = pixels[inside].astype(np.float32)
        low, high = np.percentile(shown[shown > 0], [1, 99.8])
        figure, axes = plt.subplots(1, 3, figsize=(18, 6.4), layout="constrained")
        axes[0].imshow(shown, cmap="gray", vmin=low, vmax=high)
        axes[1].imshow(suspicious[inside], cmap="magma", vmin=0, vmax=2 * reader.config.cut)
        axes[2].imshow(shown, cmap="gray", vmin=low, vmax=high)
        best = final[np.argsort(-scores)[:20]]
        for at, colour, size in ((truth, "cyan", 90), (proposed, "yellow", 40), (best, "red", 160)):
            axes[2].scatter(
                at[:, 1] - top[1],
                at[:, 0] - top[0],
                s=size,
                facecolors="none",
                edgecolors=colour,
                lw=0.8,
            )
        for axis, title in zip(
            axes, ("image", "first stage's map", "truth, proposals, best"), strict=True
        ):
            axis.set(
                title=title,
                xticks=[],
                yticks=[],
                xlim=(0, shown.shape[1]),
                ylim=(shown.shape[0], 0),
            )
        figure.savefig(asked.out / f"{place}.png", dpi=80)
        plt.close(figure)
        blobs = len(components(suspicious, mask, reader.config.cut, reader.config)[2])
        print(f"{place}.png: {len(truth)} true, {blobs} components, {len(proposed)} proposed")


if __name__ == "__main__":
    main()
