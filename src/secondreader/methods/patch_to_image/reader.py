"""The trained classifier as a reader: a score, a heatmap, and the places that stand out in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from secondreader import detections, geometry
from secondreader.domain import (
    Circle,
    Detection,
    Frame,
    Heatmap,
    ImageReading,
    ImageSet,
    Intent,
    Kind,
    Mammogram,
    Part,
)
from secondreader.evaluation.figures import Curve, Figure
from secondreader.learning.folding import folded
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.learning.trees import forest_scores
from secondreader.methods.patch_to_image.architecture import STRIDE, parse
from secondreader.methods.patch_to_image.config import NAME, Config
from secondreader.methods.patch_to_image.forest import PREFIX, of_features, places, region_features
from secondreader.methods.patch_to_image.network import (
    COLUMNS,
    MALIGNANT,
    ImageClassifier,
    PatchClassifier,
)
from secondreader.methods.patch_to_image.patch_figures import patch_figures
from secondreader.methods.patch_to_image.prepare import prepare
from secondreader.methods.patch_to_image.tiles import by_tiles

__all__ = ["PatchToImage", "load"]

_MOST = 10  # marked places of an image


class PatchToImage:
    """Reads whole images; see the package."""

    name = NAME
    # Trained on display values; linear detector values look otherwise.
    intents: frozenset[Intent | None] = frozenset({Intent.FOR_PRESENTATION, None})

    def __init__(
        self,
        config: Config,
        network: PatchClassifier | ImageClassifier,
        trees: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config, self.network, self.trees = config, network.eval(), trees
        self.patches = network.patches if isinstance(network, ImageClassifier) else network

    @torch.inference_mode()
    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; the score lies between 0 and 1 and is no probability."""
        made = prepare(mammogram, self.config)
        if made is None:
            refused = ("no-breast", f"{NAME} found no breast in the image")
            return ImageReading(mammogram.source, None, refused)
        prepared, frame = made
        image = torch.zeros(1, 1, *self.config.size)
        image[0, 0, : prepared.shape[0], : prepared.shape[1]] = torch.from_numpy(
            prepared.astype(np.float32)
        )
        rows, cols = places(prepared.shape)
        score, heat = self._judged(self.features(image.to(self.patches.mean.device)), (rows, cols))
        grid = geometry.resample(frame, (rows, cols), (float(STRIDE), float(STRIDE)))
        shown = np.ascontiguousarray(heat, np.float32)
        return ImageReading(
            mammogram.source, score, None, self._marked(shown, grid), Heatmap(shown, grid)
        )

    def features(self, image: Tensor) -> Tensor:
        """Map a prepared image (1, 1, h, w) to features (1, d, h / 32, w / 32), whole or in tiles."""
        scaled = self.patches.scaled(image)
        if self.config.tile is None:
            out: Tensor = self.patches.features(scaled)
            return out
        return by_tiles(self.patches.features, scaled, self.config.tile)

    def _judged(self, features: Tensor, shape: tuple[int, int]) -> tuple[float, np.ndarray]:
        """Return the score of an image by its features, and its map (rows, cols) in [0, 1].

        ``shape`` is of the places that the image reaches: what lies beyond is no part of it.
        """
        rows, cols = shape
        classes = of_features(self.patches, features)[:, :rows, :cols]
        heat: np.ndarray = classes[list(MALIGNANT)].sum(axis=0)
        if isinstance(self.network, ImageClassifier):
            column = COLUMNS.index(self.config.scores)
            # In double: in single precision every logit above 17 scores exactly 1.
            score = float(torch.sigmoid(self.network.judged(features)[0, column].cpu().double()))
            if self.config.shows == "activation" and not self.network.what.full:
                heat = _upsized(self.network.activation(features, column), features)
                return score, heat[:rows, :cols]
            return score, heat
        if self.trees is None:  # by the worst place
            return float(heat.max()), heat
        told = region_features(classes, self.config.cutoffs)[None]
        return float(forest_scores(self.trees, PREFIX, told)[0]), heat

    def own_figures(
        self,
        parts: Mapping[Part, ImageSet],
        part: Part,
        *,
        reader: str,
        resamples: int,
        seed: int,
    ) -> tuple[list[Figure], list[Curve]]:
        """Return the accuracy of a patch classifier on the part's patches, table 1; else nothing."""
        if self.config.trains != "patch":
            return [], []
        return patch_figures(
            self.patches, parts[part], self.config, reader=reader, resamples=resamples, seed=seed
        ), []

    def _marked(self, heat: np.ndarray, grid: Frame) -> tuple[Detection, ...]:
        """Return the places that stand out, each a circle of half a patch across."""
        at, scores = detections.peaks(
            heat, threshold=self.config.marked, min_distance=2, most=_MOST
        )
        source = geometry.to_source(grid, at)
        corner = geometry.to_source(grid, np.array([[0.0, 0.0], [1.0, 0.0]]))
        radius = float(np.hypot(*(corner[1] - corner[0]))) / STRIDE * self.config.patch / 4
        return tuple(
            Detection(Kind.SUSPICIOUS_REGION, Circle(float(r), float(c), radius), float(s))
            for (r, c), s in zip(source, scores, strict=True)
        )


def load(model_dir: Path | None) -> PatchToImage:
    """Return the reader of a model folder.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it is not a whole one of this method.
    """
    config, weights = load_model_folder(model_dir, NAME, Config)
    what = parse(config.architecture)
    patches = PatchClassifier(what.backbone, config.patch // STRIDE)
    network: PatchClassifier | ImageClassifier = patches
    if config.trains not in ("patch", "forest"):
        rows, cols = (side // STRIDE for side in config.size)
        network = ImageClassifier(patches, what, (rows, cols))
    load_into(network, weights, "network.")
    trees = {n: v for n, v in weights.items() if n.startswith(PREFIX)}
    patches.features = nn.Sequential(*(folded(stage) for stage in patches.features))
    if isinstance(network, ImageClassifier):
        network.top = nn.Sequential(*(folded(layers) for layers in network.top))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return PatchToImage(config, network, trees or None)


def _upsized(activation: Tensor, features: Tensor) -> np.ndarray:
    """Return a class activation map at the places of the features, between 0 and 1."""
    sized = torch.nn.functional.interpolate(
        activation[:, None], features.shape[2:], mode="bilinear", align_corners=False
    )
    found: np.ndarray = torch.sigmoid(sized[0, 0].float()).cpu().numpy()
    return found
