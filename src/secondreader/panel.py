"""Several readers as one: the mean of four flips, the mean of readers, or a weighing of them.

A panel is a model folder like any other: its members' folders lie in it (in the box, beside it), and
whoever reads with it never knows that it is several. ``secondreader train panel`` makes one; who is on
it is chosen on validation images, how they are weighed is learnt from calibration patients.

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
    Part,
    Reader,
    SecondReaderError,
)
from secondreader.evaluation.scored import ScoredImage
from secondreader.evaluation.units import units
from secondreader.learning.box import member_folder, model_folder
from secondreader.learning.hardware import Hardware, first_process, placed, where_read
from secondreader.learning.model_folder import load_model_folder, save_model
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods import method

__all__ = ["LEARNS_FROM", "NAME", "Config", "Panel", "Weighing", "load", "train"]

NAME = "panel"
LEARNS_FROM = Part.CALIBRATION
"""Members know their train part by heart: weights are learnt from patients that none has seen."""
Level = Literal["image", "breast", "exam"]
_LEVELS: tuple[Level, ...] = ("image", "breast", "exam")
_KEPT = 40  # images whose scores are written down together
_MOST_WEIGHED = 6  # members of a stack: each of their subsets has weights of its own


class Weighing(BaseModel):
    """How the scores that some members have make one: a logistic function of their logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Level
    members: tuple[int, ...]  # those with a score
    weights: tuple[float, ...]  # of their logits
    intercept: float


class Config(BaseModel):
    """Who is on the panel, and how it makes up its mind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    init: str = "none"  # members have their own weights
    members: tuple[str, ...] = Field(min_length=1)  # model folders, or methods without
    flips: bool = (
        False  # each member's score is the mean over the image and its three mirror images
    )
    # mean: of the members' scores. For members on unlike scales, of images, breasts and exams each,
    # learnt from calibration patients: stack, a logistic regression on the members' logits with weights
    # that are not negative; even, the mean of their logits, each in units of its own spread.
    combine: Literal["mean", "even", "stack"] = "mean"
    # What one member does not read the panel refuses, or leaves to the others: a finder for digital
    # images beside one for film.
    absent: Literal["refuse", "leave out"] = "refuse"
    most: int | None = Field(default=None, gt=0)  # so many members, the best by validation images
    weights: tuple[Weighing, ...] = ()  # of a stack or an even mean


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
        refused = [r.refused for r in readings if r.refused is not None]
        if refused and (self.config.absent == "refuse" or len(refused) == len(readings)):
            return ImageReading(mammogram.source, None, refused[0])
        parts = self.scores(mammogram, readings)
        detections: list[Detection] = []
        for reading in readings:
            seen = {d.kind for d in detections}
            detections += [d for d in reading.detections if d.kind not in seen]
        heatmap = next((r.heatmap for r in readings if r.heatmap is not None), None)
        return ImageReading(
            mammogram.source, self.combined("image", parts), None, tuple(detections), heatmap,
            () if self.config.combine == "mean" else parts,
        )  # fmt: skip

    def scores(
        self, mammogram: Mammogram, plain: Sequence[ImageReading] | None = None
    ) -> tuple[float | None, ...]:
        """Return each member's score of an image, ``None`` where it has none."""
        found = []
        first = plain or [member.read(mammogram) for member in self.members]
        for member, reading in zip(self.members, first, strict=True):
            each = [reading.score]
            if self.config.flips and reading.score is not None:
                each += [member.read(other).score for other in _mirrored(mammogram)]
            found.append(breast_score(each))
        return tuple(found)

    def combined(self, level: str, parts: Sequence[float | None]) -> float | None:
        """Return one score of the members' of an image, a breast or an exam, ``None`` without any."""
        known = tuple(i for i, score in enumerate(parts) if score is not None)
        if not known or (self.config.absent == "refuse" and len(known) < len(parts)):
            return None
        scores = np.array([parts[i] for i in known], float)
        if self.config.combine == "mean":
            return float(scores.mean())
        for own in self.config.weights:
            if (own.level, own.members) == (level, known):
                return float(1 / (1 + np.exp(-(_logits(scores) @ own.weights + own.intercept))))
        return None  # never seen in calibration


def train(
    config: Config, train: ImageSet, val: ImageSet, run_dir: Path, *, hardware: Hardware
) -> None:
    """Choose members on validation images, weigh them on the calibration part, and write RUN/model.

    Parameters
    ----------
    config
        The panel's settings.
    train
        The calibration part, see `LEARNS_FROM`.
    val
        Validation images.
    run_dir
        The run folder.
    hardware
        Progress bars.

    Raises
    ------
    SecondReaderError
        If a member is no model, or the images cannot decide.
    """
    panel = Panel(config, [_member(name) for name in config.members])
    placed(panel, where_read(hardware.device))
    most = config.most or len(config.members)
    if most < len(config.members):
        scores = _scores(panel, val, run_dir / "validation-scores.npy", hardware)
        table, truth = _table(val, scores, "image")
        whole = ~np.isnan(table).any(axis=1)
        _check(truth[whole], "validation")
        kept = _best(table[whole], truth[whole], most)
        config = config.model_copy(update={"members": tuple(config.members[i] for i in kept)})
        panel = Panel(config, [panel.members[i] for i in kept])
    if config.combine != "mean":
        scores = _scores(panel, train, run_dir / "calibration-scores.npy", hardware)
        config = config.model_copy(update={"weights": _weighed(config, train, scores)})
    if not first_process():
        return
    folder = run_dir / "model"
    inside: list[str] = []
    for number, name in enumerate(config.members):
        source = model_folder(name)
        if source is None:
            inside.append(name)
            continue
        inside.append(f"members/{number}")
        _copy(source, folder / inside[-1])
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
    folders = [member_folder(model_dir, name) for name in config.members]
    readers = [
        _member(name if folder is None else str(folder))
        for name, folder in zip(config.members, folders, strict=True)
    ]
    return Panel(config, readers)


def _member(name: str) -> Reader:
    folder = model_folder(name)
    if folder is None:
        reader: Reader = method(name).load(None)
        return reader
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found: Reader = method(str(told.get("method"))).load(folder)
    return found


def _copy(source: Path, target: Path) -> None:
    """Copy what of a model folder reads an image, with its own members if it is a panel."""
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "weights.safetensors"):
        shutil.copyfile(source / file, target / file)
    told = json.loads((source / "config.json").read_text(encoding="utf-8"))
    for name in told["config"].get("members", ()):
        folder = member_folder(source, name)
        if folder is not None:
            _copy(folder, target / name)


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


def _scores(panel: Panel, images: ImageSet, file: Path, hardware: Hardware) -> np.ndarray:
    """Return the members' scores (n, members) of images, NaN for none; a second call goes on."""
    rows: list[np.ndarray] = list(np.load(file, allow_pickle=False)) if file.is_file() else []

    def keep() -> None:
        stream = io.BytesIO()
        table = np.array(rows, float).reshape(len(rows), len(panel.members))
        np.save(stream, table, allow_pickle=False)
        write_whole(file, stream.getvalue())

    with bar(f"reading for {file.stem}", hardware) as progress:
        for done, record in enumerate(images.records[len(rows) :], len(rows) + 1):
            parts = panel.scores(images.open(record))
            rows.append(np.array([np.nan if score is None else score for score in parts]))
            if done % _KEPT == 0:
                keep()
            progress(done, len(images.records))
    keep()
    return np.load(file, allow_pickle=False)  # type: ignore[no-any-return]


def _table(images: ImageSet, scores: np.ndarray, level: Level) -> tuple[np.ndarray, np.ndarray]:
    """Return the members' scores (m, members) of units of known truth, NaN for none, and it (m,).

    As figures have it: a breast is the mean of its views, an exam its larger breast.
    """
    labels: dict[str, bool] = {}
    columns: list[dict[str, float]] = []
    for column in scores.T:
        scored = [
            ScoredImage(
                f"{r.dataset}/{r.path}", f"{r.dataset}/{r.patient_id}", f"{r.dataset}/{r.exam_id}",
                r.laterality, r.view, malignant=r.malignant, lesions=r.lesions,
                score=None if np.isnan(score) else float(score),
            )
            for r, score in zip(images.records, column, strict=True)
        ]  # fmt: skip
        of = units(scored, level)
        labels |= dict(zip(of.keys, of.labels.tolist(), strict=True))
        columns.append(dict(zip(of.keys, of.scores.tolist(), strict=True)))
    table = [[column.get(key, np.nan) for column in columns] for key in labels]
    found = np.array(table, float).reshape(len(labels), len(columns))
    return found, np.array(list(labels.values()), bool)


def _weighed(config: Config, images: ImageSet, scores: np.ndarray) -> tuple[Weighing, ...]:
    """Return how each subset of members is weighed at each level, as far as images can say."""
    every = range(scores.shape[1])
    if len(every) > _MOST_WEIGHED:
        raise SecondReaderError(
            f"panel: got {len(every)} members to weigh, expected {_MOST_WEIGHED} or fewer"
        )
    fit = _stacked if config.combine == "stack" else _even
    sizes = every if config.absent == "leave out" else (len(every) - 1,)
    made = []
    for level in _LEVELS:
        table, truth = _table(images, scores, level)
        for size in sizes:
            for members in itertools.combinations(every, size + 1):
                whole = ~np.isnan(table[:, members]).any(axis=1)
                if truth[whole].any() and not truth[whole].all():
                    *weights, intercept = fit(table[np.ix_(whole, members)], truth[whole])
                    own = tuple(weights)
                    made.append(
                        Weighing(level=level, members=members, weights=own, intercept=intercept)
                    )
    if not made:
        _check(np.zeros(0, bool), "calibration")
    return tuple(made)


def _check(truth: np.ndarray, part: str) -> None:
    if truth.all() or not truth.any():
        raise SecondReaderError(
            f"panel: got {part} images of one kind, expected some malignant and some that are not"
        )


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


def _even(scores: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    """Return weights that make the mean of logits, each about its mean and in units of its spread."""
    del truth
    logits = _logits(scores)
    weights = 1 / np.maximum(logits.std(axis=0), 1e-3) / scores.shape[1]
    return (*(float(w) for w in weights), -float(logits.mean(axis=0) @ weights))


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
    # Nobody's scores rise with the truth: all that is known is how often it is true.
    share = (truth.sum() + 1) / (len(truth) + 2)
    return (*(0.0 for _ in range(scores.shape[1])), float(np.log(share / (1 - share))))
