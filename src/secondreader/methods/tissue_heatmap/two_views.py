"""The trained networks as a reader of exams, where they were trained on two views; and loading either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from secondreader import geometry
from secondreader.domain import Frame, ImageReading, Mammogram
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.learning.prepared import Prepared
from secondreader.methods.tissue_heatmap.config import NAME, Config
from secondreader.methods.tissue_heatmap.local import inside, middles, seen
from secondreader.methods.tissue_heatmap.network import Aggregated, HeatmapNet, Pair, Tissue
from secondreader.methods.tissue_heatmap.reader import Local, Progress, TissueHeatmap
from secondreader.methods.tissue_heatmap.views import opposite, other_views, partners, together

__all__ = ["TwoViews", "linked", "load"]


class TwoViews(TissueHeatmap):
    """Reads the views of an exam together; one alone it reads as `TissueHeatmap` does."""

    def __init__(
        self,
        config: Config,
        pair: Pair,
        image: Aggregated | None = None,
        heatmap: HeatmapNet | None = None,
    ) -> None:
        super().__init__(config, pair.tissue, image, heatmap)
        self.pair = pair.eval()
        self.pair.tissue = self.tissue

    def read_exam(self, images: Sequence[Mammogram]) -> tuple[ImageReading, ...]:
        """Read the images of an exam, each beside the other view of its breast if that is there."""
        made = [self._prepared(image) for image in images]
        read = [n for n, found in enumerate(made) if not isinstance(found, ImageReading)]
        views = [(images[n].laterality, images[n].view) for n in read]
        others = dict(
            zip(read, (None if o is None else read[o] for o in opposite(views)), strict=True)
        )

        @cache
        def looked(number: int) -> Tensor:
            return seen(self.tissue, _pixels(made[number]), self.config)

        readings: list[ImageReading] = []
        columns = {}
        for number, (mammogram, found) in enumerate(zip(images, made, strict=True)):
            if isinstance(found, ImageReading):
                readings.append(found)
                continue
            other = others[number]
            beside = None if other is None else (_pixels(made[other]), looked(other))
            local, columns[number] = self._local(found[0], looked(number), beside)
            readings.append(self._reading(mammogram, *found, local))
        for number, other in others.items():
            if other is not None and number < other and others[other] == number:
                pair = linked(
                    (readings[number], readings[other]),
                    (_frame(made[number]), _frame(made[other])),
                    (columns[number], columns[other]),
                    self.config,
                    f"{number + 1}+{other + 1}",
                )
                readings[number], readings[other] = pair
        return tuple(readings)

    def local(self, images: Prepared, progress: Progress = lambda done, total: None) -> Local:
        """Return the answers of each image of a set, beside the other view of its breast."""
        others = other_views(images.records)

        @lru_cache(maxsize=4)  # the views of a breast lie side by side
        def looked(number: int) -> tuple[np.ndarray, Tensor]:
            pixels = np.asarray(images.pixels(number))
            return pixels, seen(self.tissue, pixels, self.config)

        found = []
        for index, other in enumerate(others.tolist()):
            found.append(self._local(*looked(index), looked(other) if other >= 0 else None)[0])
            progress(index + 1, len(images))
        return found

    def _local(
        self, own: np.ndarray, known: Tensor, beside: tuple[np.ndarray, Tensor] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the answers of an image, and for each column of places where the other view is asked."""
        if beside is None:
            nowhere = np.zeros((0, 2), int)
            return together(self.pair, known, None, nowhere), nowhere
        pixels, other = beside
        alone = together(self.pair, other, None, np.zeros((0, 2), int))
        breast = inside(pixels, self.config, alone.shape)
        at = partners(known.shape[1], own, pixels, alone, breast, self.config)
        return together(self.pair, known, other, at), at


def linked(
    readings: tuple[ImageReading, ImageReading],
    frames: tuple[Frame, Frame],
    columns: tuple[np.ndarray, np.ndarray],
    config: Config,
    name: str,
) -> tuple[ImageReading, ImageReading]:
    """Link detections of two views of a breast that are each other's: each is asked for by the other.

    Parameters
    ----------
    readings, frames
        Of both views.
    columns
        Of both, what `partners` gives.
    config
        `depth_mm`: so near to the place that is asked must the other's detection lie.
    name
        Begins each link.
    """
    asked = []
    for one in (0, 1):
        own, other = readings[one].detections, readings[1 - one].detections
        at = np.array([geometry.centre(d.region) for d in other]).reshape(-1, 2)
        there = geometry.to_grid(frames[1 - one], at)
        nearest = []
        for detection in own:
            col = geometry.to_grid(frames[one], np.array(geometry.centre(detection.region)))[1]
            column = round((col - config.patch // 2) / config.stride)
            place = columns[one][int(np.clip(column, 0, len(columns[one]) - 1))]
            off = np.hypot(*(there - middles(place, config)).T) * config.spacing_mm
            near = place[0] >= 0 and len(off) and off.min() <= config.depth_mm
            nearest.append(int(off.argmin()) if near else None)
        asked.append(nearest)
    links: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for first, second in enumerate(asked[0]):
        if second is not None and asked[1][second] == first:
            links[0][first] = links[1][second] = f"{name}/{len(links[0]) + 1}"
    made = [
        replace(
            reading,
            detections=tuple(
                replace(d, link=links[i].get(n)) for n, d in enumerate(reading.detections)
            ),
        )
        for i, reading in enumerate(readings)
    ]
    return made[0], made[1]


def load(model_dir: Path | None) -> TissueHeatmap:
    """Return the reader of a model folder.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it is not a whole one of this method.
    """
    config, weights = load_model_folder(model_dir, NAME, Config)
    tissue = Tissue(config.widths, config.patch, config.stride, config.surround)
    load_into(tissue, weights, "tissue.")
    image = heatmap = None
    if config.trains != "tissue":
        image = Aggregated()
        heatmap = HeatmapNet(config.heat_width, config.trains == "heatmap", config.small)
        load_into(image, weights, "image.")
        load_into(heatmap, weights, "heatmap.")
    if config.two_views:
        pair = Pair(tissue, config.pair_width)
        load_into(pair.layers, weights, "pair.")
        return TwoViews(config, pair, image, heatmap)
    return TissueHeatmap(config, tissue, image, heatmap)


def _pixels(made: tuple[np.ndarray, Frame] | ImageReading) -> np.ndarray:
    assert not isinstance(made, ImageReading)
    return made[0]


def _frame(made: tuple[np.ndarray, Frame] | ImageReading) -> Frame:
    assert not isinstance(made, ImageReading)
    return made[1]
