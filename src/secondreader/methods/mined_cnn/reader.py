"""The trained networks, or the cascade, as a reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from secondreader import detections, geometry, imaging
from secondreader.domain import Heatmap, ImageReading, Intent, Mammogram, SecondReaderError
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.methods.mined_cnn.cascade import Node, cascade_from, scores
from secondreader.methods.mined_cnn.config import NAME, Config
from secondreader.methods.mined_cnn.dense import everywhere, quick, somewhere
from secondreader.methods.mined_cnn.network import patch_network
from secondreader.methods.mined_cnn.prepare import looked_at, prepare, refusal

__all__ = ["MinedCnn", "load"]


class MinedCnn:
    """Reads microcalcifications and their clusters; see the package."""

    name = NAME
    # Evening out the noise makes linear detector values and display values alike.
    intents: frozenset[Intent | None] = frozenset(
        {Intent.FOR_PRESENTATION, Intent.FOR_PROCESSING, None}
    )

    def __init__(
        self,
        config: Config,
        first: nn.Sequential | None = None,
        second: nn.Sequential | None = None,
        nodes: list[Node] | None = None,
    ) -> None:
        self.config, self.first, self.second, self.nodes = config, first, second, nodes
        if not config.stabilise:
            self.intents = frozenset({Intent.FOR_PRESENTATION, None})

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; its score is that of its best cluster, 0 where it has none."""
        refused = refusal(mammogram, self.config)
        made = None if refused else prepare(mammogram, self.config)
        if made is None:
            refused = refused or ("no-breast", f"{NAME} found no breast in the image")
            return ImageReading(mammogram.source, None, refused)
        prepared, frame = made
        known = self.known(prepared)
        positions, found = detections.peaks(
            known,
            threshold=self.config.least,
            min_distance=self.config.apart_mm / self.config.spacing_mm,
            mask=looked_at(prepared, self.config),
            most=self.config.most,
        )
        assert mammogram.spacing_mm is not None
        marked, score = detections.with_clusters(
            geometry.to_source(frame, positions),
            found.astype(np.float64),
            mammogram.spacing_mm,
            least=self.config.cluster_least,
            area_mm2=self.config.cluster_mm2,
            wide_mm=self.config.point_mm,
        )
        highest, grid = imaging.strongest(known, frame)
        heatmap = Heatmap(np.clip(highest, 0, 1).astype(np.float32), grid)
        return ImageReading(mammogram.source, score, None, marked, heatmap)

    def known(self, prepared: np.ndarray) -> np.ndarray:
        """Return the score of every position, (rows, cols) float32 in [0, 1].

        Of two networks, what the first rules out scores below one half, by what the first says of
        it; what it lets through scores above, by what the second says.
        """
        if self.nodes is not None:
            return scores(self.nodes, prepared, self.config.cascade.window)
        assert self.first is not None
        known = everywhere(self.first, prepared)
        if self.second is None:
            return known
        least = self.config.threshold or 0.0
        at = np.argwhere((known >= least) & (prepared != 0))
        out = np.minimum(known / max(least, 1e-9), 1) * 0.5 * (prepared != 0)
        out[at[:, 0], at[:, 1]] = 0.5 + somewhere(self.second, prepared, at) / 2
        both: np.ndarray = out.astype(np.float32)
        return both


def load(model_dir: Path | None) -> MinedCnn:
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
    if config.detector == "cascade":
        if "cascade.stumps" not in weights:
            raise SecondReaderError(f"model: got no cascade, expected one: {model_dir}")
        return MinedCnn(config, nodes=cascade_from(weights, "cascade."))
    read: list[nn.Sequential | None] = [None, None]
    for number, name in enumerate(("first", "second")[: 1 if config.detector == "first" else 2]):
        network = patch_network(config.widths[number])
        load_into(network, weights, f"{name}.")
        read[number] = quick(network)
    return MinedCnn(config, read[0], read[1])
