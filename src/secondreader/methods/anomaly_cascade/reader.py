"""The trained cascade as a reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from secondreader import detections, geometry, imaging
from secondreader.domain import (
    Heatmap,
    ImageReading,
    Intent,
    Mammogram,
    SecondReaderError,
)
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.methods.anomaly_cascade.config import Config
from secondreader.methods.anomaly_cascade.network import UNet
from secondreader.methods.anomaly_cascade.prepare import prepare, refusal
from secondreader.methods.anomaly_cascade.proposals import proposals, suspicion_map

__all__ = ["NAME", "AnomalyCascade", "load"]

NAME = "anomaly_cascade"


class AnomalyCascade:
    """Reads microcalcifications and their clusters; see the package."""

    name = NAME
    # Trained on display values; linear detector values look otherwise.
    intents: frozenset[Intent | None] = frozenset({Intent.FOR_PRESENTATION, None})

    def __init__(self, config: Config, network: UNet) -> None:
        self.config, self.network = config, network.eval()

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; its score is that of its best cluster, 0 where it has none."""
        refused = refusal(mammogram, self.config)
        made = None if refused else prepare(mammogram, self.config)
        if made is None:
            refused = refused or ("no-breast", "anomaly_cascade found no breast in the image")
            return ImageReading(mammogram.source, None, refused)
        prepared, frame = made
        suspicious = suspicion_map(self.network, prepared, self.config)
        positions, scores = proposals(suspicious, _looked_at(prepared, self.config), self.config)
        assert mammogram.spacing_mm is not None
        source = geometry.to_source(frame, positions)
        found, score = detections.with_clusters(
            source,
            scores,
            mammogram.spacing_mm,
            least=self.config.cluster_least,
            area_mm2=self.config.cluster_mm2,
            wide_mm=self.config.point_mm,
        )
        # Twice the threshold is as hot as it gets.
        highest, grid = imaging.strongest(suspicious / (2 * self.config.cut), frame)
        heatmap = Heatmap(np.clip(highest, 0, 1).astype(np.float32), grid)
        return ImageReading(mammogram.source, score, None, found, heatmap)


def load(model_dir: Path | None) -> AnomalyCascade:
    """Return the reader of a model folder.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it is not a whole one of this method.
    """
    if model_dir is None:
        raise SecondReaderError(
            f"--model: got {NAME}, which has no weights of its own, expected a model folder; "
            f"make one with: secondreader train {NAME}"
        )
    config, weights = load_model_folder(model_dir, NAME, Config)
    network = UNet(config.width)
    load_into(network, weights, "unet.")
    return AnomalyCascade(config, network)


def _looked_at(prepared: np.ndarray, config: Config) -> np.ndarray:
    """Return the breast without what lies next to the skin; the image's own border is no skin."""
    steps = config.skin_mm / config.spacing_mm
    inside = np.pad(prepared > 0, 1, mode="edge")
    deep: np.ndarray = ndimage.distance_transform_edt(inside)[1:-1, 1:-1] > steps
    return deep
