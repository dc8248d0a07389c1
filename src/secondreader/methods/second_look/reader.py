"""The trained networks as a reader."""

from __future__ import annotations

from collections.abc import Mapping
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
    ImageSet,
    Intent,
    Kind,
    Mammogram,
    Mask,
    Part,
)
from secondreader.evaluation.figures import Curve, Figure
from secondreader.learning.folding import folded
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.learning.patches import cut
from secondreader.learning.prepared import Prepared
from secondreader.methods.second_look.config import NAME, Config
from secondreader.methods.second_look.data import image_classes, prepare, ready
from secondreader.methods.second_look.figures import (
    called,
    class_figures,
    malignant_lesions,
    own_kinds,
    patch_figures,
)
from secondreader.methods.second_look.network import CLASSES, classifier, mask_rcnn
from secondreader.methods.second_look.windows import Windows, held, window_places, windows

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
        # Trained on one kind of lesion it finds that kind.
        clusters = config.kinds == (Kind.CALCIFICATION_CLUSTER,)
        self.kind = Kind.CALCIFICATION_CLUSTER if clusters else Kind.SUSPICIOUS_REGION

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
        if self.config.trains == "shrunk":
            score = float(self._shrunk(prepared)[1])
            return ImageReading(mammogram.source, score)
        return self._votes(mammogram, prepared, frame)

    @torch.inference_mode()
    def own_figures(
        self, parts: Mapping[Part, ImageSet], part: Part, *, reader: str, resamples: int, seed: int
    ) -> tuple[list[Figure], list[Curve]]:
        """Measure patches, and images in four classes; see `secondreader.methods.second_look.figures`."""
        own = ready(parts[part], self.config)
        women = [record.patient_id for record in own.records]
        truth = image_classes(own, self.config)
        figures: list[Figure] = []
        curves: list[Curve] = []
        if self.config.trains == "shrunk":
            calls = [self._shrunk(np.asarray(own.pixels(i))) for i in range(len(own))]
        else:
            known = windows(own, self.config, reading=True)
            scores, calls, found = self._in_all(own, known)
            figures, curves = patch_figures(
                scores, known.label, [women[i] for i in known.where[:, 0]],
                reader=reader, resamples=resamples, seed=seed,
            )  # fmt: skip
        told = np.flatnonzero(truth >= 0)  # the others are of unknown class
        if not len(told):
            return figures, curves
        of, whose = np.stack(calls)[told], [women[i] for i in told]
        if self.config.trains == "regions":
            figures += own_kinds(
                of[:, 1], truth[told] == 1, whose, reader=reader, resamples=resamples, seed=seed
            )
            figures += malignant_lesions(
                own.records, found, self.kind, reader=reader, resamples=resamples, seed=seed
            )
        else:
            figures += class_figures(
                of, truth[told], whose,
                level="image", reader=reader, resamples=resamples, seed=seed,
            )  # fmt: skip
        return figures, curves

    def _in_all(
        self, own: Prepared, known: Windows
    ) -> tuple[np.ndarray, list[np.ndarray], list[tuple[Detection, ...]]]:
        """Return the answers for windows of known class (n, 4), and what each image is called (4,).

        The region detector gives an image its strongest region of each class, and of each image what
        it reports.
        """
        answers, calls, found = [np.zeros((0, len(CLASSES)))], [], []
        for index in range(len(own)):
            pixels = np.asarray(own.pixels(index))
            at = known.where[known.where[:, 0] == index, 1:]
            if self.config.trains == "regions":
                got = self._detected(pixels)
                answers.append(self._in_windows(got, at))
                found.append(self._placed(*self._malignant(got, pixels.shape), own.frames[index]))
                strongest = np.zeros(len(CLASSES))
                np.maximum.at(strongest, got["labels"], got["scores"])
                calls.append(strongest)
                continue
            every = window_places(pixels, self.config)
            scores = self.classes(pixels, every)
            place = {tuple(p): n for n, p in enumerate(every.tolist())}
            answers.append(scores[[place[tuple(p)] for p in at.tolist()]])
            calls.append(called(scores))
        return np.concatenate(answers), calls, found

    def _where(self) -> torch.device:
        return next(self.network.parameters(), torch.zeros(0)).device

    def _detected(self, prepared: np.ndarray) -> dict[str, np.ndarray]:
        """Return the boxes, labels, scores and masks that the detector finds in an image."""
        image = torch.zeros(1, *self.config.size)
        image[0, : prepared.shape[0], : prepared.shape[1]] = torch.from_numpy(
            prepared.astype(np.float32)
        )
        (got,) = self.network([image.to(self._where())])
        return {name: value.cpu().numpy() for name, value in got.items()}

    def _in_windows(self, got: Mapping[str, np.ndarray], places: np.ndarray) -> np.ndarray:
        """Return of each window (n, 4) the strongest region of each class that is the window's.

        A region is a window's by the rule that says so of lesions: half of it lies inside, or it
        covers half of the window. That nothing is there scores what the strongest leaves.
        """
        scores = np.zeros((len(places), len(CLASSES)))
        for box, label, score in zip(got["boxes"], got["labels"], got["scores"], strict=True):
            x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
            mask = Mask(np.ones((max(y1 - y0, 1), max(x1 - x0, 1)), bool), y0, x0)
            most = min(mask.pixels.size, self.config.window**2)
            own = held(mask, places, self.config.window) >= self.config.covered * most
            scores[own, label] = np.maximum(scores[own, label], score)
        scores[:, 0] = 1 - scores[:, 1:].max(1)
        return scores

    def _shrunk(self, prepared: np.ndarray) -> np.ndarray:
        """Return the sureness of each class (4,) for a whole image."""
        image = torch.zeros(1, 1, *self.config.size)
        image[0, 0, : prepared.shape[0], : prepared.shape[1]] = torch.from_numpy(
            prepared.astype(np.float32)
        )
        return np.asarray(
            torch.softmax(self.network(image.to(self._where())).float(), 1)[0].cpu().numpy()
        )

    def _regions(self, mammogram: Mammogram, prepared: np.ndarray, frame: Frame) -> ImageReading:
        scores, inside = self._malignant(self._detected(prepared), prepared.shape)
        shape = prepared.shape
        heat = np.zeros((-(-shape[0] // _SHOWN), -(-shape[1] // _SHOWN)), np.float32)
        for mask, score in zip(inside, scores, strict=True):
            rows, cols = np.nonzero(mask)
            np.maximum.at(heat, (rows // _SHOWN, cols // _SHOWN), np.float32(score))
        found = self._placed(scores, inside, frame)
        grid = geometry.resample(frame, (heat.shape[0], heat.shape[1]), (_SHOWN, _SHOWN))
        score = float(scores.max()) if len(scores) else 0.0
        return ImageReading(mammogram.source, score, None, found, Heatmap(heat, grid))

    def _malignant(
        self, got: Mapping[str, np.ndarray], shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (n,) float64 and masks (n, *shape) bool of the malignant regions."""
        own = got["labels"] == 1
        masks = got["masks"][own, 0, : shape[0], : shape[1]] >= _MARKED
        return got["scores"].astype(np.float64)[own], masks

    def _placed(
        self, scores: np.ndarray, inside: np.ndarray, frame: Frame
    ) -> tuple[Detection, ...]:
        """Return the regions that have any pixel, in source pixels."""
        found = []
        for mask, score in zip(inside, scores, strict=True):
            rows, cols = np.nonzero(mask)
            if not len(rows):
                continue
            top, left = int(rows.min()), int(cols.min())
            crop = mask[top : rows.max() + 1, left : cols.max() + 1]
            region = geometry.move(Mask(crop, top, left), frame, to="source")
            found.append(Detection(self.kind, region, float(score)))
        return tuple(found)

    @torch.inference_mode()
    def classes(self, prepared: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the sureness of each class (n, 4) for windows by their middles (n, 2)."""
        sure = [np.zeros((0, len(CLASSES)), np.float32)]
        for low in range(0, len(places), _AT_ONCE):
            patches = np.stack(
                [
                    cut(prepared, r, c, self.config.window)
                    for r, c in places[low : low + _AT_ONCE].tolist()
                ]
            )
            image = torch.from_numpy(patches.astype(np.float32))[:, None].to(self._where())
            sure.append(torch.softmax(self.network(image).float(), 1).cpu().numpy())
        return np.concatenate(sure)

    def _votes(self, mammogram: Mammogram, prepared: np.ndarray, frame: Frame) -> ImageReading:
        places = window_places(prepared, self.config)
        classes = self.classes(prepared, places)
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
            Detection(self.kind, Circle(float(r), float(c), radius), float(s))
            for (r, c), s in zip(source, scores, strict=True)
        )
        return ImageReading(
            mammogram.source, float(classes[:, 1].max()), None, found, Heatmap(heat, grid)
        )

    def _map(
        self, places: np.ndarray, scores: np.ndarray, frame: Frame
    ) -> tuple[np.ndarray, Frame]:
        """Return the windows' scores on a grid of one place a stride; the last of a row may lie nearer."""
        step, half = self.config.step(), self.config.window // 2
        at = -(-(places - half) // step)
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
    config, weights = load_model_folder(model_dir, NAME, Config)
    network = mask_rcnn(config) if config.trains == "regions" else classifier(config)
    # The generators that a classifier's patches were drawn by are kept with it, and read nothing.
    weights = {n: v for n, v in weights.items() if not n.startswith("generator.")}
    load_into(network, weights, "network.")
    if not isinstance(network, MaskRCNN):
        network = folded(network)
    return SecondLook(config, network)
