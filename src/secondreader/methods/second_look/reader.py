"""The trained networks as a reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN

from secondreader import detections, geometry
from secondreader.domain import (
    Circle,
    Detection,
    Frame,
    Heatmap,
    ImageReading,
    Intent,
    Kind,
    Mammogram,
    Mask,
    SecondReaderError,
)
from secondreader.learning.folding import folded
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.learning.patches import cut
from secondreader.methods.second_look.config import NAME, Config
from secondreader.methods.second_look.data import prepare, window_places
from secondreader.methods.second_look.network import classifier, mask_rcnn

__all__ = ["SecondLook", "load"]

_AT_ONCE = 32
_MARKED = 0.5  # a mask's pixels, and a window, that are marked
_SHOWN = 8  # pixels of the heatmap's places


class SecondLook:
    """Reads regions, or lets windows vote; see the package."""

    name = NAME
    # Trained on display values; linear detector values look otherwise.
    intents: frozenset[Intent | None] = frozenset({Intent.FOR_PRESENTATION, None})

    def __init__(self, config: Config, network: nn.Module) -> None:
        self.config, self.network = config, network.eval()

    @torch.inference_mode()
    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; its score is that of its most malignant region or window."""
        made = prepare(mammogram, self.config)
        if made is None:
            refused = ("no-breast", f"{NAME} found no breast in the image")
            return ImageReading(mammogram.source, None, refused)
        prepared, frame = made
        if self.config.trains == "regions":
            return self._regions(mammogram, prepared, frame)
        if self.config.trains == "votes":
            return self._votes(mammogram, prepared, frame)
        image = torch.zeros(1, 1, *self.config.size)
        image[0, 0, : prepared.shape[0], : prepared.shape[1]] = torch.from_numpy(
            prepared.astype(np.float32)
        )
        score = float(torch.softmax(self.network(image).float(), 1)[0, 1])
        return ImageReading(mammogram.source, score)

    def _regions(self, mammogram: Mammogram, prepared: np.ndarray, frame: Frame) -> ImageReading:
        image = torch.zeros(1, *self.config.size)
        image[0, : prepared.shape[0], : prepared.shape[1]] = torch.from_numpy(
            prepared.astype(np.float32)
        )
        (got,) = self.network([image])
        malignant = (got["labels"] == 1).numpy()
        scores = got["scores"].double().numpy()[malignant]
        shape = prepared.shape
        heat = np.zeros((-(-shape[0] // _SHOWN), -(-shape[1] // _SHOWN)), np.float32)
        found = []
        for mask, score in zip(got["masks"].numpy()[malignant, 0], scores, strict=True):
            inside = mask[: shape[0], : shape[1]]
            rows, cols = np.nonzero(inside >= _MARKED)
            if not len(rows):
                continue
            top, left = int(rows.min()), int(cols.min())
            crop = inside[top : rows.max() + 1, left : cols.max() + 1] >= _MARKED
            region = geometry.move(Mask(crop, top, left), frame, to="source")
            found.append(Detection(Kind.SUSPICIOUS_REGION, region, float(score)))
            np.maximum.at(heat, (rows // _SHOWN, cols // _SHOWN), np.float32(score))
        grid = geometry.resample(frame, (heat.shape[0], heat.shape[1]), (_SHOWN, _SHOWN))
        score = float(scores.max()) if len(scores) else 0.0
        return ImageReading(mammogram.source, score, None, tuple(found), Heatmap(heat, grid))

    def _votes(self, mammogram: Mammogram, prepared: np.ndarray, frame: Frame) -> ImageReading:
        places = window_places(prepared, self.config)
        sure = [np.zeros((0, 4), np.float32)]
        for low in range(0, len(places), _AT_ONCE):
            patches = np.stack(
                [
                    cut(prepared, r, c, self.config.window)
                    for r, c in places[low : low + _AT_ONCE].tolist()
                ]
            )
            logits = self.network(torch.from_numpy(patches.astype(np.float32))[:, None])
            sure.append(torch.softmax(logits.float(), 1).numpy())
        classes = np.concatenate(sure)
        if not len(classes):
            refused = ("no-breast", f"{NAME} found no window of breast in the image")
            return ImageReading(mammogram.source, None, refused)
        heat, grid = self._map(places, classes[:, 1], frame)
        at, scores = detections.peaks(
            heat, threshold=_MARKED, min_distance=1, most=self.config.most
        )
        source = geometry.to_source(grid, at)
        ends = geometry.to_source(frame, np.array([[0.0, 0.0], [self.config.window / 2, 0.0]]))
        radius = float(np.hypot(*(ends[1] - ends[0])))
        found = tuple(
            Detection(Kind.SUSPICIOUS_REGION, Circle(float(r), float(c), radius), float(s))
            for (r, c), s in zip(source, scores, strict=True)
        )
        return ImageReading(
            mammogram.source, float(classes[:, 1].max()), None, found, Heatmap(heat, grid)
        )

    def _map(
        self, places: np.ndarray, scores: np.ndarray, frame: Frame
    ) -> tuple[np.ndarray, Frame]:
        """Return the windows' scores on a grid of one place a stride."""
        step, half = self.config.stride, self.config.window // 2
        at = (places - half) // step
        heat = np.zeros((int(at[:, 0].max()) + 1, int(at[:, 1].max()) + 1), np.float32)
        heat[at[:, 0], at[:, 1]] = scores
        # Place (0, 0) is the window whose middle is pixel (half, half).
        first = half - (step - 1) / 2
        moved = geometry.crop(frame, round(first), round(first), *frame.shape)
        return heat, geometry.resample(moved, (heat.shape[0], heat.shape[1]), (step, step))


def load(model_dir: Path | None) -> SecondLook:
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
    network = mask_rcnn(config) if config.trains == "regions" else classifier(config)
    load_into(network, weights, "network.")
    if not isinstance(network, MaskRCNN):
        network = folded(network)
    return SecondLook(config, network)
