"""The trained networks, or the cascade, as a reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from secondreader import detections, geometry, imaging
from secondreader.domain import (
    Heatmap,
    ImageReading,
    ImageRecord,
    ImageSet,
    Intent,
    Mammogram,
    SecondReaderError,
)
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.methods.mined_cnn.cascade import Node, cascade_from, scores
from secondreader.methods.mined_cnn.config import NAME, Config
from secondreader.methods.mined_cnn.data import data, wanted
from secondreader.methods.mined_cnn.dense import in_turn, quick, where_wanted
from secondreader.methods.mined_cnn.network import patch_network
from secondreader.methods.mined_cnn.prepare import looked_at, prepare, refusal

__all__ = ["MinedCnn", "load"]

_RECENT = 8  # images: an exam has four, and may have more


class MinedCnn:
    """Reads microcalcifications and their clusters; see the package."""

    name = NAME
    # Evening out the noise makes For Processing values and display values alike.
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
        # What was read last, prepared and scored, once positions are asked for: they are scored of it.
        self._read: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=0)
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
        mask = looked_at(prepared, self.config)
        known = self.known(prepared, mask)
        self._read.append((prepared, known))
        positions, found = detections.peaks(
            known,
            threshold=self.config.least,
            min_distance=self.config.apart_mm / self.config.spacing_mm,
            mask=mask,
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
            grouped_by=self.sure(found).astype(np.float64),
        )
        highest, grid = imaging.strongest(known, frame)
        heatmap = Heatmap(np.clip(highest, 0, 1).astype(np.float32), grid)
        return ImageReading(mammogram.source, score, None, marked, heatmap)

    def positions(
        self,
        images: ImageSet,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Sequence[ImageRecord], Callable[[int], tuple[np.ndarray, np.ndarray]]]:
        """Return what positions score, image by image.

        Parameters
        ----------
        images
            A set whose calcifications are known.
        progress
            Called with the images prepared, and all.

        Returns
        -------
        tuple
            The records that it reads, and a function of the number of each to the scores of its
            calcifications, of the middle of each, and of its other positions a millimetre or more from
            one (`Config.away_mm`), both (n,) float32. One pixel of either: the best of several would
            be higher of noise too. What lies next to the skin (`Config.skin_mm`) is not read: a
            calcification there scores 0, and other positions there do not count.
        """
        own = data(images, self.config, negatives=self.config.tested, progress=progress)
        self._read = deque(self._read, maxlen=_RECENT)

        def scored(index: int) -> tuple[np.ndarray, np.ndarray]:
            prepared = np.asarray(own.images.pixels(index))
            other = wanted(own, index)
            rows, cols = own.centres[index].T
            asked = other.copy()
            asked[rows, cols] = True
            asked &= looked_at(prepared, self.config)
            read = (known for seen, known in self._read if np.array_equal(seen, prepared))
            known = next(read, None)
            if known is None:
                known = self.known(prepared, asked)
            known = np.where(asked, known, 0)
            return known[rows, cols], known[other]

        return own.images.records, scored

    def sure(self, scores: np.ndarray) -> np.ndarray:
        """Return what of scores (n,) clusters are made by, (n,) in [0, 1]: that of noise is next to 0.

        Members of a cluster score half of what its surest ones do, which says nothing where noise has
        half of the scale: of networks it is the logistic of the whole logit, of the second where there
        are two, of a cascade the share of votes for above those against.
        """
        if self.nodes is not None or self.second is not None:
            scores = np.maximum(2 * scores - 1, 0)  # what is ruled out has the lower half
        if self.nodes is not None:
            votes: np.ndarray = np.maximum(2 * scores - 1, 0)
            return votes
        odds = np.square(scores, dtype=np.float64)
        sure: np.ndarray = odds / (odds + np.square(1.0 - scores, dtype=np.float64))
        return sure

    def known(self, prepared: np.ndarray, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the score of every position, or of those asked for, (rows, cols) float32 in [0, 1].

        Of two networks see `dense.joined`.
        """
        if self.nodes is not None:
            return scores(self.nodes, prepared, self.config.cascade.window, asked)
        assert self.first is not None
        asked = prepared != 0 if asked is None else asked
        if self.second is None:
            return where_wanted(self.first, prepared, asked)
        return in_turn(self.first, self.second, prepared, asked, self.config.threshold or 0.0)


def load(model_dir: Path | None) -> MinedCnn:
    """Return the reader of a model folder.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it is not a whole one of this method.
    """
    config, weights = load_model_folder(model_dir, NAME, Config)
    if config.detector == "cascade":
        try:
            nodes = cascade_from(weights, "cascade.", config.cascade.window)
        except SecondReaderError as error:
            raise SecondReaderError(f"{error}: {model_dir}") from None
        return MinedCnn(config, nodes=nodes)
    read: list[nn.Sequential | None] = [None, None]
    for number, name in enumerate(("first", "second")[: 1 if config.detector == "first" else 2]):
        network = patch_network(config.widths[number])
        load_into(network, weights, f"{name}.")
        read[number] = quick(network)
    return MinedCnn(config, read[0], read[1])
