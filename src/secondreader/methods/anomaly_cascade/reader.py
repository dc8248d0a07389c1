"""The trained cascade as a reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import ndimage
from torch import nn
from torchvision.models.detection import FasterRCNN

from secondreader import detections, geometry, imaging
from secondreader.domain import Heatmap, ImageReading, Intent, Mammogram
from secondreader.learning.folding import folded
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.methods.anomaly_cascade.boxes import faster_rcnn, found_boxes
from secondreader.methods.anomaly_cascade.config import NAME, Config
from secondreader.methods.anomaly_cascade.network import first_stage
from secondreader.methods.anomaly_cascade.prepare import NO_BREAST, prepare, refusal
from secondreader.methods.anomaly_cascade.proposals import looked_at, proposals, suspicion_map
from secondreader.methods.anomaly_cascade.reduction import probabilities, reducer

__all__ = ["AnomalyCascade", "load"]


class AnomalyCascade:
    """Reads microcalcifications and their clusters; see the package."""

    name = NAME
    # Trained on display values; linear detector values look otherwise.
    intents: frozenset[Intent | None] = frozenset({Intent.FOR_PRESENTATION, None})

    def __init__(self, config: Config, networks: Mapping[str, nn.Module]) -> None:
        self.config = config
        self.networks = {part: network.eval() for part, network in networks.items()}

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; its score is that of its best cluster, 0 where it has none."""
        refused = refusal(mammogram, self.config)
        made = None if refused else prepare(mammogram, self.config)
        if made is None:
            refused = refused or NO_BREAST
            return ImageReading(mammogram.source, None, refused)
        prepared, frame = made
        positions, scores, heat = self.points(prepared)
        assert mammogram.spacing_mm is not None
        found, score = detections.with_clusters(
            geometry.to_source(frame, positions),
            scores,
            mammogram.spacing_mm,
            least=self.config.cluster_least,
            area_mm2=self.config.cluster_mm2,
            wide_mm=self.config.point_mm,
        )
        highest, grid = imaging.strongest(heat, frame)
        heatmap = Heatmap(np.clip(highest, 0, 1).astype(np.float32), grid)
        return ImageReading(mammogram.source, score, None, found, heatmap)

    def points(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find calcifications in a prepared image.

        Returns
        -------
        positions, scores, heat
            (n, 2) float64 in its pixels, highest first; (n,) float64; (rows, cols) float32 in [0, 1].
        """
        mask = looked_at(prepared, self.config)
        if self.config.detector == "boxes":
            network = self.networks["boxes"]
            assert isinstance(network, FasterRCNN)
            positions, scores = found_boxes(network, prepared, mask, self.config)
            return positions, scores, _dots(positions, scores, prepared.shape, self.config)
        suspicious = suspicion_map(self.networks["unet"], prepared, self.config)
        positions, scores = proposals(suspicious, mask, self.config)
        # Twice the threshold is as hot as it gets.
        heat = np.where(mask, suspicious / (2 * self.config.cut), 0).astype(np.float32)
        if self.config.detector == "proposals":
            return positions, scores, heat
        scores = scores * probabilities(self.networks["reducer"], prepared, positions, self.config)
        order = np.argsort(-scores, kind="stable")
        return positions[order], scores[order], heat


def load(model_dir: Path | None) -> AnomalyCascade:
    """Return the reader of a model folder.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it is not a whole one of this method.
    """
    config, weights = load_model_folder(model_dir, NAME, Config)
    networks: dict[str, nn.Module] = {}
    if config.detector == "boxes":
        networks["boxes"] = faster_rcnn(config.boxes)
    else:
        networks["unet"] = first_stage(config)
        if config.detector != "proposals":
            networks["reducer"] = reducer(config)
    for part, network in networks.items():
        load_into(network, weights, f"{part}.")
        networks[part] = network.eval() if part == "boxes" else folded(network)
    return AnomalyCascade(config, networks)


def _dots(
    positions: np.ndarray, scores: np.ndarray, shape: tuple[int, ...], config: Config
) -> np.ndarray:
    """Draw points as discs of a calcification's size, each as hot as its score."""
    heat = np.zeros(shape, np.float32)
    places = np.clip(np.rint(positions).astype(int), 0, np.array(shape) - 1)
    heat[places[::-1, 0], places[::-1, 1]] = scores[::-1]  # of two in a pixel the higher
    return ndimage.maximum_filter(heat, 2 * round(config.point_mm / 2 / config.spacing_mm) + 1)
