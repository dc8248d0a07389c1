"""Several readers as one: the mean of four flips, the mean of readers, or a weighing of them.

A panel is a model folder like any other: its members' folders lie in it, and whoever reads with it
never knows that it is several. ``secondreader train panel`` makes one; choices are made on validation
images.

References
----------
Shen et al. (2019), section 3.1.4: "augmented prediction", the mean over four flips of an image, and
the ensemble of four networks; the paper chose its four by the test tables, here they are chosen on
validation images.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from sklearn.linear_model import LogisticRegression

from secondreader.detections import breast_score
from secondreader.domain import (
    Detection,
    ImageReading,
    ImageSet,
    Intent,
    Mammogram,
    Reader,
    SecondReaderError,
)
from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.model_folder import load_model_folder, save_model
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods import method

__all__ = ["NAME", "Config", "Panel", "load", "train"]

NAME = "panel"


class Config(BaseModel):
    """Who is on the panel, and how it makes up its mind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    init: str = "none"  # members have their own weights
    members: tuple[str, ...] = Field(min_length=1)  # model folders, or methods without
    flips: bool = (
        False  # each member's score is the mean over the image and its three mirror images
    )
    # mean: of the members' scores. stack: a logistic regression on the members' logits, fitted on
    # validation images, with weights that are not negative; for members on unlike scales.
    combine: Literal["mean", "stack"] = "mean"
    most: int | None = Field(default=None, gt=0)  # so many members, the best by validation images
    weights: tuple[float, ...] = ()  # of a stack, in the members' order, then the intercept


class Panel:
    """Reads as several."""

    name = NAME

    def __init__(self, config: Config, members: Sequence[Reader]) -> None:
        self.config, self.members = config, tuple(members)
        self.intents: frozenset[Intent | None] = frozenset.intersection(
            *(member.intents for member in members)
        )

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; detections and heatmap are those of the image as it is.

        Of each kind of detection the first member's that looks for it are taken: scores of two
        members are on two scales.
        """
        readings = [member.read(mammogram) for member in self.members]
        refused = next((r.refused for r in readings if r.refused is not None), None)
        if refused is not None:
            return ImageReading(mammogram.source, None, refused)
        scores = self.scores(mammogram, readings)
        detections: list[Detection] = []
        for reading in readings:
            seen = {d.kind for d in detections}
            detections += [d for d in reading.detections if d.kind not in seen]
        heatmap = next((r.heatmap for r in readings if r.heatmap is not None), None)
        score = None if scores is None else self.combined(scores)
        return ImageReading(mammogram.source, score, None, tuple(detections), heatmap)

    def scores(
        self, mammogram: Mammogram, plain: Sequence[ImageReading] | None = None
    ) -> np.ndarray | None:
        """Return each member's score of an image, (members,) float64; ``None`` if one has none."""
        found: list[float] = []
        first = plain or [member.read(mammogram) for member in self.members]
        for member, reading in zip(self.members, first, strict=True):
            each = [reading.score]
            if self.config.flips:
                each += [member.read(other).score for other in _mirrored(mammogram)]
            mean = breast_score(each)
            if mean is None:
                return None
            found.append(mean)
        return np.array(found)

    def combined(self, scores: np.ndarray) -> float:
        """Return one score of the members' (members,)."""
        if self.config.combine == "mean" or not self.config.weights:
            return float(scores.mean())
        *weights, intercept = self.config.weights
        return float(1 / (1 + np.exp(-(_logits(scores) @ np.array(weights) + intercept))))


def train(
    config: Config, train: ImageSet, val: ImageSet, run_dir: Path, *, hardware: Hardware
) -> None:
    """Choose and weigh members on validation images, and write them into RUN/model.

    Nothing is learnt from the train part.

    Parameters
    ----------
    config
        The panel's settings.
    train, val
        Validation images decide.
    run_dir
        The run folder.
    hardware
        Progress bars.

    Raises
    ------
    SecondReaderError
        If a member is no model, or validation images cannot decide.
    """
    del train
    panel = Panel(config, [_member(name) for name in config.members])
    if config.combine == "stack" or (config.most or len(config.members)) < len(config.members):
        scores, truth = _validation(panel, val, run_dir / "validation-scores.npy", hardware)
        kept = _best(scores, truth, config.most or len(config.members))
        weights = _stacked(scores[:, kept], truth) if config.combine == "stack" else ()
        members = tuple(config.members[i] for i in kept)
        config = config.model_copy(update={"members": members, "weights": weights})
    if not first_process():
        return
    folder = run_dir / "model"
    inside: list[str] = []
    for number, name in enumerate(config.members):
        source = _folder(name)
        if source is None:
            inside.append(name)
            continue
        inside.append(f"members/{number}")
        for file in ("config.json", "weights.safetensors"):
            (folder / inside[-1]).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, folder / inside[-1] / file)
        for extra in sorted(file for file in source.glob("members/**/*") if file.is_file()):
            target = folder / inside[-1] / extra.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(extra, target)
    config = config.model_copy(update={"members": tuple(inside)})
    save_model(folder, method=NAME, config=config, weights={"members": torch.tensor(len(inside))})
    write_whole(
        folder / "members.json", json.dumps([_told(folder / i) for i in inside], indent=1) + "\n"
    )


def load(model_dir: Path | None) -> Panel:
    """Return the reader of a panel's folder.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it or a member is not whole.
    """
    if model_dir is None:
        raise SecondReaderError(
            "--model: got panel, which has no weights of its own but its members', expected a model folder; make one "
            'with: secondreader train panel --set members=\'["RUN","RUN2"]\''
        )
    config, _ = load_model_folder(model_dir, NAME, Config)
    readers = [
        _member(str(model_dir / name) if name.startswith("members/") else name)
        for name in config.members
    ]
    return Panel(config, readers)


def _folder(name: str) -> Path | None:
    """Return the model folder that a name stands for, ``None`` for a method without weights."""
    for folder in (Path(name) / "model", Path(name)):
        if (folder / "config.json").is_file():
            return folder
    return None


def _member(name: str) -> Reader:
    folder = _folder(name)
    if folder is None:
        reader: Reader = method(name).load(None)
        return reader
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found: Reader = method(str(told.get("method"))).load(folder)
    return found


def _told(folder: Path) -> dict[str, str]:
    """Return what a member is, for whoever looks into the folder."""
    if not folder.is_dir():
        return {"method": folder.name}
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {"method": told["method"], **told.get("sha256", {})}


def _mirrored(mammogram: Mammogram) -> list[Mammogram]:
    """Return the three mirror images of an image."""
    made = []
    for axes in ((0,), (1,), (0, 1)):
        pixels = np.ascontiguousarray(np.flip(mammogram.pixels, axes))
        pixels.flags.writeable = False
        made.append(replace(mammogram, pixels=pixels))
    return made


def _validation(
    panel: Panel, val: ImageSet, file: Path, hardware: Hardware
) -> tuple[np.ndarray, np.ndarray]:
    """Return the members' scores (n, members) of validation images whose truth is known, and it."""
    known = [r for r in val.records if r.malignant is not None]
    if not file.is_file():
        rows: list[np.ndarray] = []
        with bar("reading the validation part", hardware) as progress:
            for done, record in enumerate(known, 1):
                scores = panel.scores(val.open(record))
                rows.append(np.full(len(panel.members), np.nan) if scores is None else scores)
                progress(done, len(known))
        table = np.array(rows).reshape(len(known), len(panel.members))
        stream = io.BytesIO()
        np.save(stream, table, allow_pickle=False)
        write_whole(file, stream.getvalue())
    table = np.load(file, allow_pickle=False)
    truth = np.array([r.malignant for r in known], bool)
    whole = ~np.isnan(table).any(axis=1)
    if truth[whole].all() or not truth[whole].any():
        raise SecondReaderError(
            "panel: got validation images of one kind, expected some malignant and some that are not"
        )
    return table[whole], truth[whole]


def _area(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the curve of scores, ties counting one half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks = middle[inverse]
    positive = int(truth.sum())
    rest = len(truth) - positive
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * rest))


def _best(scores: np.ndarray, truth: np.ndarray, count: int) -> list[int]:
    """Return the members, in order, whose mean has the largest area; all subsets of a few are tried."""
    members = scores.shape[1]
    if count >= members:
        return list(range(members))
    if members <= 12:
        subsets = itertools.combinations(range(members), count)
        best = max(subsets, key=lambda own: _area(scores[:, own].mean(axis=1), truth))
        return list(best)
    chosen: list[int] = []
    while len(chosen) < count:
        rest = [i for i in range(members) if i not in chosen]
        chosen.append(max(rest, key=lambda i: _area(scores[:, [*chosen, i]].mean(axis=1), truth)))
    return sorted(chosen)


def _logits(scores: np.ndarray) -> np.ndarray:
    """Return scores on the scale that a logistic regression adds on; those above 1 by their logarithm."""
    inside = np.clip(scores, 1e-6, None)
    found: np.ndarray = np.where(
        scores <= 1,
        np.log(inside) - np.log1p(-np.clip(inside, None, 1 - 1e-6)),
        np.log(inside) + 13.8,
    )
    return found


def _stacked(scores: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    """Fit weights; a member whose weight would be negative is left out, with weight 0."""
    used = list(range(scores.shape[1]))
    while used:
        fitted = LogisticRegression(C=1.0).fit(_logits(scores[:, used]), truth)
        own = fitted.coef_[0]
        if (own >= 0).all():
            weights = np.zeros(scores.shape[1])
            weights[used] = own
            return (*(float(w) for w in weights), float(fitted.intercept_[0]))
        used.pop(int(own.argmin()))
    raise SecondReaderError(
        "panel: got no member whose scores rise with the truth on validation images, expected one"
    )
