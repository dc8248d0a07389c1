"""The trained networks as a reader of single images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy import ndimage

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
from secondreader.learning.prepared import Prepared
from secondreader.methods.tissue_heatmap.config import NAME, Config
from secondreader.methods.tissue_heatmap.data import places_of, shrunk
from secondreader.methods.tissue_heatmap.local import (
    answers,
    inside,
    middles,
    quick,
    saliency,
)
from secondreader.methods.tissue_heatmap.network import (
    PLACES,
    Aggregated,
    HeatmapNet,
    Tissue,
)
from secondreader.methods.tissue_heatmap.prepare import prepare, refusal

__all__ = ["Local", "Progress", "TissueHeatmap"]

_SHOWN = 8  # pixels of the heatmap's places
_SMOOTH_MM = 1.5  # of saliency, before its peaks are places
_WIDE_MM = 10.0  # diameter that a detection is drawn with

Progress = Callable[[int, int], None]
Local = list[np.ndarray]
"""Of each image, (rows, cols) float32 in [0, 1]."""


class TissueHeatmap:
    """Reads suspicious regions, to the pixel; see the package."""

    name = NAME
    # Trained on display values; linear detector values look otherwise.
    intents: frozenset[Intent | None] = frozenset({Intent.FOR_PRESENTATION, None})

    def __init__(
        self,
        config: Config,
        tissue: Tissue,
        image: Aggregated | None = None,
        heatmap: HeatmapNet | None = None,
    ) -> None:
        self.config, self.tissue = config, quick(tissue)
        self.image = None if image is None else image.eval()
        self.heatmap = None if heatmap is None else heatmap.eval()

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; the score lies between 0 and 1 and is no probability."""
        made = self._prepared(mammogram)
        if isinstance(made, ImageReading):
            return made
        return self._reading(mammogram, *made, answers(self.tissue, made[0], self.config))

    def local(self, images: Prepared, progress: Progress = lambda done, total: None) -> Local:
        """Return the answers of each image of a set, as this reader has them."""
        found = []
        for index in range(len(images)):
            found.append(answers(self.tissue, np.asarray(images.pixels(index)), self.config))
            progress(index + 1, len(images))
        return found

    def own_figures(
        self,
        parts: Mapping[Part, ImageSet],
        part: Part,
        *,
        reader: str,
        resamples: int,
        seed: int,
    ) -> tuple[list[Figure], list[Curve]]:
        """Return table 2's figures of patches and table 3's of heatmaps; see `figures`."""
        from secondreader.methods.tissue_heatmap import figures  # it measures readers

        return figures.own(self, parts, part, reader=reader, resamples=resamples, seed=seed)

    def _prepared(self, mammogram: Mammogram) -> tuple[np.ndarray, Frame] | ImageReading:
        """Return the prepared image and its frame, or why it is not read."""
        refused = refusal(mammogram, self.config)
        made = None if refused else prepare(mammogram, self.config)
        if made is None:
            refused = refused or ("no-breast", f"{NAME} found no breast in the image")
            return ImageReading(mammogram.source, None, refused)
        return made

    def _reading(
        self, mammogram: Mammogram, prepared: np.ndarray, frame: Frame, local: np.ndarray
    ) -> ImageReading:
        breast = inside(prepared, self.config, local.shape)
        score = self.score(local, breast)
        salient = self.salient(prepared, local, breast)
        rows, cols = (-(-side // _SHOWN) for side in salient.shape)
        padded = np.pad(
            salient, ((0, rows * _SHOWN - salient.shape[0]), (0, cols * _SHOWN - salient.shape[1]))
        )
        heat = padded.reshape(rows, _SHOWN, cols, _SHOWN).max((1, 3))
        heat = (heat / heat.max() * score if heat.max() > 0 else heat).astype(np.float32)
        grid = geometry.resample(frame, (rows, cols), (_SHOWN, _SHOWN))
        found = self._marked(salient, local, mammogram)
        places = tuple(
            Detection(d_kind, Circle(*_point(frame, at), radius), value)
            for d_kind, at, radius, value in found
        )
        return ImageReading(mammogram.source, score, None, places, Heatmap(heat, grid))

    def salient(
        self,
        prepared: np.ndarray,
        local: np.ndarray,
        breast: np.ndarray,
        *,
        gated: bool = True,
        alike: bool = False,
    ) -> np.ndarray:
        """Return the gated saliency of a prepared image, (rows, cols) float32; 0 outside the heatmap.

        Positive tiles whose middle lies where the heatmap reaches `gate` of its highest place; with
        the tissue classifier alone, or not ``gated``, all positive tiles. ``alike`` as of `saliency`.
        """
        gate = self.gate(prepared, local) if gated else np.ones((PLACES, PLACES), bool)
        tiles = np.argwhere((local >= self.config.marked) & breast)
        side = max(prepared.shape) / PLACES
        at = np.clip((middles(tiles, self.config) / side).astype(int), 0, PLACES - 1)
        tiles = tiles[gate[at[:, 0], at[:, 1]]]
        order = np.argsort(-local[tiles[:, 0], tiles[:, 1]], kind="stable")[
            : self.config.most_tiles
        ]
        found = saliency(self.tissue, prepared, tiles[order], self.config, alike=alike)
        rows, cols = (
            np.minimum((np.arange(n) / side).astype(int), PLACES - 1) for n in prepared.shape
        )
        allowed = gate[np.ix_(rows, cols)]
        return np.where(allowed & (prepared > 0), found, 0).astype(np.float32)

    @torch.inference_mode()
    def gate(self, prepared: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Return where the predicted heatmap lies, (32, 32) bool."""
        if self.heatmap is None:
            return np.ones((PLACES, PLACES), bool)
        small, _ = shrunk(np.asarray(prepared), self.config.small)
        told = places_of(local, prepared.shape, self.config)
        where = next(self.heatmap.parameters()).device
        heat = (
            self.heatmap(
                torch.from_numpy(small)[None, None].to(where),
                torch.from_numpy(told)[None, None].to(where),
            )[0, 0]
            .cpu()
            .numpy()
        )
        highest = float(heat.max())
        gated: np.ndarray = heat >= self.config.gate * highest if highest > 0 else heat > np.inf
        return gated

    @torch.inference_mode()
    def score(self, local: np.ndarray, breast: np.ndarray) -> float:
        """Return the score of an image from its answers: p(y|x), or their maximum without it."""
        if self.image is None:
            return float(local[breast].max())
        clipped = np.clip(local, 1e-6, 1 - 1e-6)
        logits = torch.from_numpy(np.log(clipped / (1 - clipped)).astype(np.float32))[None]
        where = next(self.image.parameters()).device
        return float(self.image(logits.to(where), torch.from_numpy(breast)[None].to(where))[0])

    def _marked(
        self, salient: np.ndarray, local: np.ndarray, mammogram: Mammogram
    ) -> list[tuple[Kind, np.ndarray, float, float]]:
        """Return peaks of the smoothed saliency; each scores as the tissue round it."""
        if not salient.any():
            return []
        assert mammogram.spacing_mm is not None
        sigma = _SMOOTH_MM / self.config.spacing_mm
        # Most of an image is not salient: only what is, and as far round it as smoothing reaches.
        first, last = (f(np.argwhere(salient), axis=0) for f in (np.min, np.max))
        low = np.maximum(first - round(4 * sigma), 0)
        high = last + round(4 * sigma) + 1
        smooth = ndimage.gaussian_filter(salient[low[0] : high[0], low[1] : high[1]], sigma)
        apart = _WIDE_MM / self.config.spacing_mm
        at, _ = detections.peaks(
            smooth, threshold=0.1 * float(smooth.max()), min_distance=apart, most=self.config.most
        )
        at = at + low
        middle = (at - (self.config.patch - 1) / 2) / self.config.stride
        scores = ndimage.map_coordinates(local, middle.T, order=1, mode="nearest")
        radius = _WIDE_MM / 2 / mammogram.spacing_mm[0]
        order = np.argsort(-scores, kind="stable")
        return [(Kind.SUSPICIOUS_REGION, at[i], radius, float(scores[i])) for i in order]


def _point(frame: Frame, at: np.ndarray) -> tuple[float, float]:
    row, col = geometry.to_source(frame, at)
    return float(row), float(col)
