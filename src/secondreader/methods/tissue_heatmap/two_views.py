"""The trained networks as a reader of exams, where they were trained on two views; and loading either."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from secondreader.domain import Frame, ImageReading, Mammogram
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.learning.prepared import Prepared
from secondreader.methods.tissue_heatmap.config import NAME, Config
from secondreader.methods.tissue_heatmap.local import inside, seen
from secondreader.methods.tissue_heatmap.network import Aggregated, HeatmapNet, Pair, Tissue
from secondreader.methods.tissue_heatmap.reader import Local, Progress, TissueHeatmap
from secondreader.methods.tissue_heatmap.views import opposite, other_views, partners, together

__all__ = ["TwoViews", "load"]


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

        readings = []
        for number, (mammogram, found) in enumerate(zip(images, made, strict=True)):
            if isinstance(found, ImageReading):
                readings.append(found)
                continue
            other = others[number]
            beside = None if other is None else (_pixels(made[other]), looked(other))
            local = self._local(found[0], looked(number), beside)
            readings.append(self._reading(mammogram, *found, local))
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
            found.append(self._local(*looked(index), looked(other) if other >= 0 else None))
            progress(index + 1, len(images))
        return found

    def _local(
        self, own: np.ndarray, known: Tensor, beside: tuple[np.ndarray, Tensor] | None
    ) -> np.ndarray:
        if beside is None:
            return together(self.pair, known, None, np.zeros((0, 2), int))
        pixels, other = beside
        alone = together(self.pair, other, None, np.zeros((0, 2), int))
        breast = inside(pixels, self.config, alone.shape)
        at = partners(known.shape[1], own, pixels, alone, breast, self.config)
        return together(self.pair, known, other, at)


def load(model_dir: Path | None) -> TissueHeatmap:
    """Return the reader of a model folder.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it is not a whole one of this method.
    """
    config, weights = load_model_folder(model_dir, NAME, Config)
    tissue = Tissue(config.widths, config.patch, config.stride)
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
