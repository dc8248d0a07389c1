"""Several models over one exam: who may read an image, what is a finding, which score a breast has.

Readers give scores only. What is added here comes from the model folder (or, for a method without
weights, its package): operating points make detections findings, calibration makes scores
probabilities.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from secondreader import __version__
from secondreader.detections import breast_score, exam_score
from secondreader.domain import (
    BreastReading,
    Detection,
    ExamReading,
    ImageReading,
    Kind,
    Laterality,
    Mammogram,
    ModelScore,
    OperatingPoint,
    Reader,
    SecondReaderError,
    ViewReading,
)
from secondreader.evaluation.calibration import Calibration, apply, from_json
from secondreader.evaluation.operating_points import read_points
from secondreader.learning import box, likeness
from secondreader.methods import METHODS, WITHOUT_WEIGHTS, method

_LOG = logging.getLogger("secondreader")
_NEARLY_ALL = 0.999  # of breasts or images, where nearly all women are said to have cancer
_FITTED = ("operating_points.json", "calibration.json")
MOST_FINDINGS = 3
"""Clusters or regions of one kind that are findings on one image: operating points promise one false one at most."""
__all__ = [
    "MOST_FINDINGS", "Model", "exam_reading", "identities", "load_model", "load_models", "method_of", "own_points", "prevalence_of",
    "read_together", "reads_exams", "view_reading",
]  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A reader at hand, with what its folder says beyond the reader itself.

    ``at`` names the operating point in use; ``points`` are all of them. ``calibrations`` makes
    probabilities of the scores of an ``image``, a ``breast``, an ``exam``; those called LEVEL/METHOD
    are other ways, which figures show beside it. They hold for ``prevalence``, the share of exams with
    cancer, or where it is ``None`` for that of the patients they were fitted to. ``likeness`` tells images unlike those that it was
    trained on, which are refused.
    """

    name: str
    sha256: str
    reader: Reader
    points: tuple[OperatingPoint, ...]
    at: str | None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    likeness: likeness.Likeness | None = None
    prevalence: float | None = None


def load_models(
    names: Sequence[str],
    at: str | None = None,
    device: str | None = None,
    prevalence: float | None = None,
) -> tuple[Model, ...]:
    """Load several models by name or folder, to read on a device; see `load_model`.

    Models of one method are told apart by their folders, ``METHOD:RUN``; two of one name are refused.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise SecondReaderError(
            f"--prevalence: got {prevalence:g}, expected more than 0 and less than 1"
        )
    models = tuple(replace(load_model(name, at, device), prevalence=prevalence) for name in names)
    for model in models:
        if prevalence is not None and "exam" not in model.calibrations:
            raise SecondReaderError(
                f"--prevalence: got {prevalence:g}, but {model.name} gives no probabilities of exams, "
                "expected a calibrated model"
            )
    alike = {m.name for m in models if sum(m.name == other.name for other in models) > 1}
    models = tuple(
        replace(model, name=f"{model.name}:{_run_name(name)}")
        if model.name in alike and _model_folder(name) is not None
        else model
        for name, model in zip(names, models, strict=True)
    )
    twice = {m.name for m in models if sum(m.name == other.name for other in models) > 1}
    if twice:
        raise SecondReaderError(f"--model: got {min(twice)} twice, expected different models")
    if not models:
        raise SecondReaderError("--model: got none, expected at least one")
    return models


def load_model(name: str, at: str | None = None, device: str | None = None) -> Model:
    """Load a model.

    Parameters
    ----------
    name
        A method that needs no weights, a reader in the box, a model folder, or a run folder with a
        model in it.
    at
        The name of the operating point to use; ``None`` takes the model's default.
    device
        Where its networks read; ``None`` is what ``SECONDREADER_DEVICE`` names, else a GPU if there is one.

    Raises
    ------
    SecondReaderError
        If there is no such device or model, or it has no such operating point.
    """
    folder = _model_folder(name)
    calibrations: dict[str, Calibration] = {}
    alike = None
    if folder is None:
        reader = method(name).load(None)
        points, default = own_points(name)
        digest = hashlib.sha256(f"{name} {__version__} {_config_json(reader)}".encode()).hexdigest()
    else:
        # PyTorch is slow to import, and a method without weights does not wait for it.
        from secondreader.learning.hardware import placed, where_read

        reader = method(method_of(folder)).load(folder)
        placed(reader, where_read(device))
        points, default = read_points(folder / "operating_points.json")
        calibrations = _calibrations(folder / "calibration.json")
        alike = likeness.loaded(folder)
        digest = _digest(folder)
    names = sorted({point.name for point in points})
    if at is not None and at not in names:
        raise SecondReaderError(
            f"--at: got {at!r}, but {reader.name} has {', '.join(names) or 'no operating point'}"
        )
    boxed = name in box.in_the_box() and folder == box.box() / name
    called = name if boxed else reader.name
    return Model(called, digest, reader, points, at or default, calibrations, alike)


def read_together(
    models: Sequence[Model], mammograms: Sequence[Mammogram], accept: frozenset[str]
) -> list[dict[str, ImageReading]]:
    """Let the models that read whole exams read one; for each image what each of them says, by name."""
    found: list[dict[str, ImageReading]] = [{} for _ in mammograms]
    for model in models:
        if not reads_exams(model):
            continue
        refused = [_refused(model, mammogram, accept) for mammogram in mammograms]
        own = [n for n, why in enumerate(refused) if why is None]
        try:
            read = model.reader.read_exam([mammograms[n] for n in own])  # type: ignore[attr-defined]
        except Exception as error:  # as of one image
            _raise_if_of_the_device(model, error)
            read = [_failed(model, mammograms[n], error) for n in own]
        for number, reading in zip(own, read, strict=True):
            found[number][model.name] = reading
    return found


def reads_exams(model: Model) -> bool:
    """Say whether a model's reader wants all images of an exam at once."""
    return hasattr(model.reader, "read_exam")


def view_reading(
    models: Sequence[Model],
    mammogram: Mammogram,
    *,
    input: int,
    accept: frozenset[str],
    known: Mapping[str, ImageReading] = MappingProxyType({}),
) -> ViewReading:
    """Let every model read one image, or say why it does not; ``known`` are readings it has already."""
    readings = [(m, known.get(m.name) or _read(m, mammogram, accept)) for m in models]
    return ViewReading(
        source=mammogram.source,
        rows=mammogram.pixels.shape[0],
        cols=mammogram.pixels.shape[1],
        laterality=mammogram.laterality,
        view=mammogram.view,
        spacing_mm=mammogram.spacing_mm,
        scores=tuple(
            ModelScore(
                model.name,
                reading.score,
                _probability(model, "image", reading.score),
                reading.refused,
                reading.parts,
                reading.left_out,
            )
            for model, reading in readings
        ),
        detections=tuple(
            detection
            for model, reading in readings
            for detection in _judged(model, reading.detections)
        ),
        heatmaps=tuple(
            (model.name, reading.heatmap)
            for model, reading in readings
            if reading.heatmap is not None
        ),
        input=input,
    )


def exam_reading(
    exam_id: str, patient_id: str | None, views: Sequence[ViewReading], models: Sequence[Model]
) -> ExamReading:
    """Combine the images of an exam: a breast is the mean of its views, an exam its larger breast.

    Images of unknown laterality cannot be averaged into breasts: the largest of them stands for a
    breast of unknown laterality.
    """
    sides: list[Laterality | None] = [
        side for side in (Laterality.R, Laterality.L) if any(v.laterality is side for v in views)
    ]
    if any(v.laterality is None for v in views):
        sides.append(None)
    breasts = tuple(
        BreastReading(side, tuple(_breast(model, side, views) for model in models))
        for side in sides
    )
    scores = tuple(_exam(model, breasts) for model in models)
    return ExamReading(exam_id, patient_id, scores, breasts, tuple(views))


def _breast(model: Model, side: Laterality | None, views: Sequence[ViewReading]) -> ModelScore:
    own = [s for v in views if v.laterality is side for s in v.scores if s.model == model.name]
    return _joined(model, "breast", own, exam_score if side is None else breast_score)


def _exam(model: Model, breasts: Sequence[BreastReading]) -> ModelScore:
    own = [s for b in breasts for s in b.scores if s.model == model.name]
    return _joined(model, "exam", own, exam_score)


def _joined(
    model: Model,
    level: str,
    scores: Sequence[ModelScore],
    combine: Callable[[Sequence[float | None]], float | None],
) -> ModelScore:
    """Combine scores to one of a breast or an exam; a panel weighs what each of its members has of it."""
    columns = [score.parts for score in scores if score.parts]
    parts = tuple(combine(column) for column in zip(*columns, strict=True))
    if parts:
        score: float | None = model.reader.combined(level, parts)  # type: ignore[attr-defined]
    else:
        score = combine([s.score for s in scores])
    return ModelScore(model.name, score, _probability(model, level, score), parts=parts)


def _probability(model: Model, level: str, score: float | None) -> float | None:
    """Return what a score means, None where it was never calibrated at this level."""
    if score is None or level not in model.calibrations:
        return None
    own = model.calibrations[level]
    share = model.prevalence
    if share is not None:
        # Of the breasts and images of as many women more or fewer are malignant, in proportion.
        share = min(share * own.prevalence / model.calibrations["exam"].prevalence, _NEARLY_ALL)
    return float(apply(own, np.array([score]), prevalence=share)[0])


def prevalence_of(model: Model) -> float | None:
    """Return the share of exams with cancer that a model's probabilities hold for, ``None`` without any."""
    if "exam" not in model.calibrations:
        return None
    return model.prevalence or model.calibrations["exam"].prevalence


def _read(model: Model, mammogram: Mammogram, accept: frozenset[str]) -> ImageReading:
    refused = _refused(model, mammogram, accept)
    if refused is not None and refused.refused and refused.refused[0] != likeness.CODE:
        return refused
    try:
        read = model.reader.read(mammogram)
    except Exception as error:  # one model's fault on one image must not end the whole reading
        _raise_if_of_the_device(model, error)
        return refused or _failed(model, mammogram, error)
    # What the reader says that it cannot read tells more than that the image is unlike others.
    return read if refused is None or read.refused is not None else refused


def _refused(model: Model, mammogram: Mammogram, accept: frozenset[str]) -> ImageReading | None:
    intent = mammogram.source.intent
    if intent not in model.reader.intents and (intent is None or intent.value not in accept):
        code = intent.value if intent else "unknown-intent"
        wanted = ", ".join(sorted(i.value for i in model.reader.intents if i))
        reason = f"{model.name} reads {wanted} images; this one is {code} (--accept {code})"
        return ImageReading(mammogram.source, None, (code, reason))
    if model.likeness is None or likeness.CODE in accept:
        return None
    unlike = model.likeness.unlike(mammogram, model.name)
    return None if unlike is None else ImageReading(mammogram.source, None, unlike)


def _raise_if_of_the_device(model: Model, error: Exception) -> None:
    """Stop where a device failed, not the model: another device may read the image, so nothing is noted.

    Raises
    ------
    SecondReaderError
        If it did.
    """
    words = str(error).strip().splitlines()[:1]
    by_pytorch = type(error).__module__.partition(".")[0] == "torch"
    if by_pytorch or (
        isinstance(error, RuntimeError) and ("CUDA" in str(error) or "MPS" in str(error))
    ):
        raise SecondReaderError(
            f"--device: {model.name} failed on it ({words[0] if words else type(error).__name__}); what was "
            "read is kept: run the same command again, with --device cpu or fewer --workers"
        ) from error


def _failed(model: Model, mammogram: Mammogram, error: Exception) -> ImageReading:
    _LOG.debug("%s failed", model.name, exc_info=True)
    reason = f"{model.name} failed with {type(error).__name__}; that is a bug: please report it"
    return ImageReading(mammogram.source, None, ("failed", reason))


def _judged(model: Model, detections: Sequence[Detection]) -> Iterator[Detection]:
    """Add the model's name to an image's detections, and which are findings at its operating point.

    Of a kind they are the `MOST_FINDINGS` surest that reach it: where more do, the image is noisier than those
    that the point was chosen on, and most of them are false. Calcifications come by the dozen, and all count.
    """
    surest = sorted(range(len(detections)), key=lambda i: -detections[i].score)
    findings: set[int] = set()
    of_kind: Counter[Kind] = Counter()
    for i in surest:
        kind = detections[i].kind
        threshold = _threshold(model, kind)
        if threshold is None or detections[i].score < threshold:
            continue
        of_kind[kind] += 1
        if of_kind[kind] <= MOST_FINDINGS or kind is Kind.MICROCALCIFICATION:
            findings.add(i)
    for i, detection in enumerate(detections):
        yield replace(detection, model=model.name, finding=i in findings)


def _threshold(model: Model, kind: Kind) -> float | None:
    """Return from which score on a detection is a finding, ``None`` where none is one.

    A calcification alone is nothing that anybody is recalled for: of a model that marks clusters these are
    the findings, and their calcifications are marks beside them.
    """
    in_use = {p.kind: p.threshold for p in model.points if p.name == model.at}
    if kind is Kind.MICROCALCIFICATION and Kind.CALCIFICATION_CLUSTER in in_use:
        return None
    return in_use.get(kind)


def _model_folder(name: str) -> Path | None:
    """Return the model folder that a name means, ``None`` for a method without weights."""
    folder = box.model_folder(name)
    if folder is None and name not in METHODS:
        known = ", ".join([*box.in_the_box(), *WITHOUT_WEIGHTS])
        raise SecondReaderError(f"--model: got {name!r}, expected a model folder or one of {known}")
    return folder


def _run_name(name: str) -> str:
    """Return what a run is called: its folder's name, for a model folder that of the run round it."""
    path = Path(name).resolve()
    return path.parent.name if path.name == "model" else path.name


def identities(folder: Path) -> tuple[tuple[str, str, str | None], ...]:
    """Return name, digest and operating point of a model: as it is, and before anything was fitted to it."""
    name = method_of(folder)
    at = read_points(folder / "operating_points.json")[1]
    return (name, _digest(folder), at), (name, _digest(folder, fitted=False), None)


def _digest(folder: Path, *, fitted: bool = True) -> str:
    """Return one digest of every file of a model that changes what it says."""
    digest = hashlib.sha256()
    names = ["config.json", "weights.safetensors", *_FITTED]
    members = (  # a panel's; where and in how much memory one was trained changes nothing
        f for f in folder.glob("members/**/*") if f.is_file() and f.name != "environment.json"
    )
    if fitted and (folder / likeness.FILE).is_file():  # younger than readings that are kept
        names.append(likeness.FILE)
    for name in names + sorted(f.relative_to(folder).as_posix() for f in members):
        file = folder / name
        there = file.is_file() and (fitted or name not in _FITTED)
        digest.update(name.encode() + (file.read_bytes() if there else b""))
    for name in _read_json(folder / "config.json").get("config", {}).get("members", ()):
        outside = box.member_folder(folder, name)  # a panel's, in the box
        if outside is not None and not outside.is_relative_to(folder):
            digest.update(_digest(outside).encode())
    return digest.hexdigest()


def _calibrations(path: Path) -> dict[str, Calibration]:
    if not path.is_file():
        return {}
    try:
        return {level: from_json(values) for level, values in _read_json(path).items()}
    except SecondReaderError as error:
        raise SecondReaderError(f"{error}: {path}") from None


def method_of(folder: Path) -> str:
    """Return the method of a model folder.

    Raises
    ------
    SecondReaderError
        If its file names none that there is.
    """
    path = folder / "config.json"
    name = _read_json(path).get("method")
    if name not in tuple(METHODS):
        raise SecondReaderError(
            f"model: got a folder of method {name!r}, expected one of {', '.join(METHODS)}: {path}"
        )
    return str(name)


def own_points(name: str) -> tuple[tuple[OperatingPoint, ...], str | None]:
    """Return the operating points that a method without weights has in its package, and the default's name."""
    package = Path(str(importlib.import_module(METHODS[name]).__file__)).parent
    return read_points(package / "operating_points.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SecondReaderError(f"model: cannot read {path} ({error}), expected JSON") from None
    if not isinstance(content, dict):
        raise SecondReaderError(f"model: got no JSON object in {path}, expected one")
    return content


def _config_json(reader: Reader) -> str:
    config = getattr(reader, "config", None)
    return config.model_dump_json() if config is not None else ""
