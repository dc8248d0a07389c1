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
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from secondreader.detections import breast_score
from secondreader.domain import (
    Detection,
    ImageReading,
    ImageSet,
    Intent,
    Kind,
    Mammogram,
    Part,
    Reader,
    SecondReaderError,
)
from secondreader.evaluation.operating_points import read_points
from secondreader.learning.box import member_folder, model_folder
from secondreader.learning.hardware import Hardware, first_process, placed, where_read
from secondreader.learning.model_folder import load_model_folder, save_model
from secondreader.learning.run_folder import write_whole
from secondreader.learning.stacking import best
from secondreader.learning.watching import bar
from secondreader.learning.weighing import (
    Absent,
    Combine,
    Weighing,
    check_both_kinds,
    combined,
    of_others,
    unit_scores,
    weighed,
)
from secondreader.methods import method

__all__ = [
    "LEARNS_FROM", "NAME", "Config", "Panel", "Scale", "Weighing", "held_out", "load", "members_of",
    "train",
]  # fmt: skip

NAME = "panel"
LEARNS_FROM = Part.CALIBRATION
"""Members know their train part by heart: weights are learnt from patients that none has seen."""
_BY_RATE = "fpi<="  # how a rule begins that chooses by false positives an image
_HELD_OUT = "held-out.json"
_KEPT = 40  # images whose scores are written down together


class Scale(BaseModel):
    """Where a member's scores of a kind of detection lie on the scale that all members share.

    That scale is 1 / (1 + false positives an image), as the member's own operating points have them,
    straight lines between, and on towards 0 and 1 outside: the order of a member's detections stays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: int
    kind: Kind
    thresholds: tuple[float, ...] = Field(min_length=1)  # rising
    rates: tuple[float, ...] = Field(min_length=1)  # false positives an image, falling

    def of(self, score: float) -> float:
        """Return where a score lies on the shared scale, above 0 and below 1."""
        least, most = self.thresholds[0], self.thresholds[-1]
        known = [1 / (1 + rate) for rate in self.rates]
        unit = most - least or abs(most) or 1.0
        if score < least:
            return known[0] / (1 + (least - score) / unit)
        if score > most:
            return 1 - (1 - known[-1]) / (1 + (score - most) / unit)
        return float(np.interp(score, self.thresholds, known))


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
    combine: Combine = "mean"
    # What one member does not read the panel refuses, or leaves to the others: a finder for digital
    # images beside one for film.
    absent: Absent = "refuse"
    most: int | None = Field(default=None, gt=0)  # so many members, the best by validation images
    weights: tuple[Weighing, ...] = ()  # of a stack or an even mean
    scales: tuple[Scale, ...] = ()  # of the detections of members that have operating points


class Panel:
    """Reads as several."""

    name = NAME

    def __init__(
        self, config: Config, members: Sequence[Reader], folders: Sequence[Path | None] = ()
    ) -> None:
        self.config, self.members = config, tuple(members)
        self.folders = tuple(folders) or (None,) * len(self.members)  # they were loaded from
        self.intents: frozenset[Intent | None] = frozenset.intersection(
            *(member.intents for member in members)
        )

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image; detections and heatmap are those of the image as it is.

        Of each kind of detection those of one member are taken, the first that looks for it and does not
        refuse the image, also where it finds nothing: two members would mark one lesion twice. What a member
        looks for its scales say; of one without, what it finds.
        """
        readings = [member.read(mammogram) for member in self.members]
        refused = tuple(dict.fromkeys(r.refused for r in readings if r.refused is not None))
        if refused and (
            self.config.absent == "refuse" or all(r.refused is not None for r in readings)
        ):
            return ImageReading(mammogram.source, None, refused[0])
        parts = self.scores(mammogram, readings)
        detections: list[Detection] = []
        taken: set[Kind] = set()
        for number, reading in enumerate(readings):
            if reading.refused is not None:
                continue
            scales = {s.kind: s for s in self.config.scales if s.member == number}
            detections += [
                replace(d, score=scales[d.kind].of(d.score)) if d.kind in scales else d
                for d in reading.detections
                if d.kind not in taken
            ]
            taken |= {*scales, *(d.kind for d in reading.detections)}
        heatmap = next((r.heatmap for r in readings if r.heatmap is not None), None)
        return ImageReading(
            mammogram.source, self.combined("image", parts), None, tuple(detections), heatmap,
            () if self.config.combine == "mean" else parts, refused,
        )  # fmt: skip

    def with_members(self, members: Sequence[Reader]) -> Panel:
        """Return the same panel of these readers of the same models."""
        return Panel(self.config, members, self.folders)

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
        config = self.config
        return combined(config.weights, config.combine, config.absent, level, parts)


def train(
    config: Config,
    train: ImageSet,
    val: ImageSet,
    run_dir: Path,
    *,
    hardware: Hardware,
    members: Sequence[Reader] = (),
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
    members
        The members' readers, where they are at hand (`members_of`).

    Raises
    ------
    SecondReaderError
        If a member is no model, or the images cannot decide.
    """
    panel = Panel(config, members or members_of(config))
    placed(panel, where_read(hardware.device))
    most = config.most or len(config.members)
    if most < len(config.members):
        scores = _scores(panel, val, run_dir / "validation-scores.npy", hardware)
        _, table, truth = unit_scores(val.records, scores, "image")
        whole = ~np.isnan(table).any(axis=1)
        check_both_kinds(truth[whole], "validation")
        kept = best(table[whole], truth[whole], most)
        config = config.model_copy(update={"members": tuple(config.members[i] for i in kept)})
        panel = Panel(config, [panel.members[i] for i in kept])
    if config.combine != "mean":
        scores = _scores(panel, train, run_dir / "calibration-scores.npy", hardware)
        ways = (config.combine, config.absent)
        told = of_others(train.records, scores, *ways, config.seed)
        write_whole(run_dir / _HELD_OUT, json.dumps(told, indent=1) + "\n")
        weights = weighed(train.records, scores, *ways)
        config = config.model_copy(update={"weights": weights})
    config = config.model_copy(update={"scales": _scales(config.members)})
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


def held_out(run_dir: Path) -> dict[str, dict[str, float]] | None:
    """Return scores of calibration images, breasts and exams by weights that their patients did not make.

    What a panel says of the patients that it was weighed on flatters it. Here the weights of each fifth of
    the patients are learnt from the other four. By level and key of a unit; ``None`` for a panel that
    learns nothing.
    """
    file = run_dir / _HELD_OUT
    if not file.is_file():
        return None
    told: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))
    return told


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
    return Panel(config, readers, folders)


def members_of(config: Config) -> tuple[Reader, ...]:
    """Return the readers that are to be on a panel.

    Raises
    ------
    SecondReaderError
        If one is no model.
    """
    return tuple(_member(name) for name in config.members)


def _member(name: str) -> Reader:
    folder = model_folder(name)
    if folder is None:
        reader: Reader = method(name).load(None)
        return reader
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found: Reader = method(str(told.get("method"))).load(folder)
    return found


def _scales(members: Sequence[str]) -> tuple[Scale, ...]:
    """Return the scales of members' detections, of those that have operating points by false positives."""
    made = []
    for number, name in enumerate(members):
        folder = model_folder(name)
        if folder is None:
            continue
        known: dict[Kind, dict[float, float]] = {}
        for point in read_points(folder / "operating_points.json")[0]:
            if point.rule.startswith(_BY_RATE):
                # Of points of one threshold the least rate is what it comes to.
                own, rate = known.setdefault(point.kind, {}), float(point.rule[len(_BY_RATE) :])
                own[point.threshold] = min(rate, own.get(point.threshold, rate))
        for kind, own in known.items():
            thresholds = tuple(sorted(own))
            rates = tuple(own[threshold] for threshold in thresholds)
            made.append(Scale(member=number, kind=kind, thresholds=thresholds, rates=rates))
    return tuple(made)


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
