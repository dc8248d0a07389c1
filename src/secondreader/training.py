"""From data sets to a model folder: the method's own training, then what every reader needs beside.

Parts of the split each have one use: train for weights; validation for stopping and operating points;
calibration for probabilities, and for the figures that the model card gives; test for nothing here.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from secondreader import panel
from secondreader.datasets.image_set import FileImages
from secondreader.datasets.parts import divide_sets
from secondreader.datasets.records import Records
from secondreader.domain import (
    Frame,
    ImageRecord,
    Kind,
    Mammogram,
    OperatingPoint,
    Part,
    SecondReaderError,
)
from secondreader.evaluation import calibration
from secondreader.evaluation.figures import to_json
from secondreader.evaluation.froc import find
from secondreader.evaluation.matching import hit_rule
from secondreader.evaluation.operating_points import choose
from secondreader.evaluation.scored import Readings, fingerprint
from secondreader.evaluation.units import units
from secondreader.learning import likeness
from secondreader.learning.box import model_folder
from secondreader.learning.hardware import (
    Hardware,
    device,
    device_name,
    first_process,
    peak_megabytes,
)
from secondreader.learning.model_card import write_card
from secondreader.learning.model_folder import environment
from secondreader.learning.run_folder import claimed, write_whole
from secondreader.methods import method
from secondreader.reading import load_models
from secondreader.remembering import of_trainings, remembering
from secondreader.scoring import Chosen, exams_of, measured, read_records, scored
from secondreader.sources import images_of

__all__ = [
    "LIKENESS_KEY", "Training", "counts", "fitted_likeness", "kept_features", "plan", "run", "stages",
]  # fmt: skip

_RATES = (0.25, 0.5, 1.0)
_POINTS = "fpi-{rate:g}"
_DEFAULT_POINT = "fpi-0.5"
_LOOKED_AT = 300  # images of a part, at most, by which likeness is told
LIKENESS_KEY = "likeness/1"
"""Names the kept features of images, see `kept_features`."""
# Which rule says that a detection of a kind is right.
_RULES = {
    Kind.MICROCALCIFICATION: "one_to_one",
    Kind.CALCIFICATION_CLUSTER: "cluster",
    Kind.MASS: "centre_in_region",
    Kind.ARCHITECTURAL_DISTORTION: "centre_in_region",
    Kind.ASYMMETRY: "centre_in_region",
    Kind.SUSPICIOUS_REGION: "centre_in_region",
}


@dataclass(frozen=True, eq=False, slots=True)
class Training:
    """All that is decided before training begins.

    Parameters
    ----------
    method
        Its name.
    config
        Resolved.
    sources
        The data sets.
    split
        Of all of them.
    parts
        Their records, by part.
    hardware
        What to use.
    """

    method: str
    config: BaseModel
    sources: tuple[Records, ...]
    split: str
    parts: Mapping[Part, Sequence[ImageRecord]]
    hardware: Hardware


def plan(
    name: str, config: BaseModel, sources: Sequence[Records], split: str, hardware: Hardware
) -> Training:
    """Divide the data, and refuse what cannot be trained on.

    Raises
    ------
    SecondReaderError
        If a part is empty, or a patient lies in two parts.
    """
    parts = divide_sets(sources, split)
    for part in (Part.TRAIN, Part.VALIDATION):
        if not parts[part]:
            raise SecondReaderError(
                f"--split {split}: got no {part} images, expected some; give more data or another split"
            )
    return Training(name, config, tuple(sources), split, parts, hardware)


def counts(training: Training) -> dict[str, dict[str, int]]:
    """Return images, patients, classes and lesions of each part."""
    told = {}
    for part, records in training.parts.items():
        kinds = Counter(str(s.kind) for r in records for s in r.lesions if s.kind is not None)
        told[str(part)] = {
            "images": len(records),
            "patients": len({(r.dataset, r.patient_id) for r in records}),
            "malignant": sum(r.malignant is True for r in records),
            "not malignant": sum(r.malignant is False for r in records),
            "unknown": sum(r.malignant is None for r in records),
            **dict(sorted(kinds.items())),
        }
    return told


def run(
    training: Training,
    run_dir: Path,
    *,
    overwrite: bool = False,
    fitted: bool = True,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Path:
    """Train, then fit operating points and calibration, measure, and write the model folder.

    Parameters
    ----------
    training
        As `plan` made it.
    run_dir
        The run folder; the same call goes on where it was stopped.
    overwrite
        Throw away another training that lies there.
    fitted
        Whether operating points and calibration are fitted: a model that is only measured, or that
        another begins from, needs neither, and they take the reading of two parts.
    progress
        Called with what is being done, how much of it, and of how much.
    on_note
        Called with what could not be fitted, and why.

    Returns
    -------
    Path
        RUN/model.

    Raises
    ------
    SecondReaderError
        If the folder is another training's, or training fails; what was done is kept.
    """
    told = {
        "method": training.method,
        "config": training.config.model_dump(mode="json"),
        "split": training.split,
        "data": {source.dataset: source.fingerprint for source in training.sources},
        **_begins_from(training.config),
    }
    folder = run_dir / "model"
    # Of several processes of one training the first holds the folder for all.
    held = claimed(run_dir, told, overwrite=overwrite) if first_process() else nullcontext()
    with held:
        whole = images_of(training.sources)
        own = {part: whole.part(records) for part, records in training.parts.items()}
        module = method(training.method)
        module.train(
            training.config,
            own[getattr(module, "LEARNS_FROM", Part.TRAIN)],  # a panel: the calibration part
            own[Part.VALIDATION],
            run_dir,
            hardware=training.hardware,
            **_members(training, own),
        )
        if first_process():
            _describe(training, folder)
            if fitted:
                _finish(training, own, run_dir, folder, progress, on_note)
            write_card(folder)
    return folder


def _members(training: Training, own: Mapping[Part, FileImages]) -> dict[str, Any]:
    """Return a panel's members, who are not asked again what they said in their own trainings."""
    config = training.config
    if not isinstance(config, panel.Config) or config.flips:
        return {}
    parts = [_chosen(training, own, part) for part in (Part.VALIDATION, Part.CALIBRATION)]
    exams = [exam for chosen in parts for exam in exams_of(chosen)]
    folders = [model_folder(name) for name in config.members]
    members, known = panel.members_of(config), of_trainings(config.members)
    return {"members": remembering(members, folders, exams, known)}


def _chosen(training: Training, own: Mapping[Part, FileImages], part: Part) -> Chosen:
    names = tuple(source.dataset for source in training.sources)
    return Chosen(own[part], names, f"{training.split}, {part} part")


def _begins_from(config: BaseModel) -> dict[str, dict[str, str]]:
    """Return the digest of each model that a training begins from, by the name it has in the settings.

    A path says nothing: who trains that model again and then calls this again would go on with stages
    that were made by the one before.
    """
    digests = {}
    for name in (getattr(config, "init", "none"), *getattr(config, "members", ())):
        folder = model_folder(name)
        # A model's settings hold the digest of its weights.
        file = Path(name) if folder is None else folder / "config.json"
        if file.is_file():
            digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"begins from": digests} if digests else {}


def stages(run_dir: Path) -> list[str]:
    """Return a line on each finished stage: its best figure, and what loader and training gave."""
    lines = []
    for file in sorted(run_dir.glob("stages/*/done.json")):
        told = json.loads(file.read_text(encoding="utf-8"))
        lines.append(
            f"stage {file.parent.name}: best {told['figure']:.4g} at step {told['step']}; "
            f"{told['loader']:.4g} images/s from the loader alone, {told['training']:.4g} in training"
        )
    return lines


def _describe(training: Training, folder: Path) -> None:
    """Write what the model was trained with and on."""
    seed = int(getattr(training.config, "seed", 0))
    where = device_name(device(training.hardware))
    told = environment(seed, {s.dataset: s.fingerprint for s in training.sources}, where)
    file = folder / "environment.json"
    # A call that found all of it trained holds next to nothing.
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    most = [before.get("peak_megabytes"), peak_megabytes()]
    told |= {"peak_megabytes": max((m for m in most if m is not None), default=None)}
    told |= {"split": training.split, "counts": counts(training)}
    write_whole(file, json.dumps(told, indent=1) + "\n")


def _finish(
    training: Training,
    own: Mapping[Part, FileImages],
    run_dir: Path,
    folder: Path,
    progress: Callable[[str, int, int], None],
    on_note: Callable[[str], None],
) -> None:
    for name in ("operating_points.json", "calibration.json", "metrics.json", likeness.FILE):
        (folder / name).unlink(missing_ok=True)  # of a call before: it would change what is read

    def readings(part: Part) -> tuple[Chosen, Readings]:
        chosen = _chosen(training, own, part)
        file = read_records(
            chosen,
            load_models([str(folder)], None, training.hardware.device),
            run_dir / str(part),
            progress=lambda done, total: progress(f"reading the {part} part", done, total),
            known=of_trainings(getattr(training.config, "members", ())),
        )
        return chosen, scored(chosen, file)[0]

    _, held = readings(Part.VALIDATION)
    points = _points(held, f"{training.split}, validation part", on_note)
    maps: dict[str, Any] = {}
    if training.parts[Part.CALIBRATION]:
        chosen, fresh = readings(Part.CALIBRATION)
        fresh = _held_out(training.method, fresh, run_dir)
        maps = _calibrations(fresh, f"{training.split}, calibration part", on_note)
        try:
            metrics = measured(chosen.split, [fresh], groups=False, points=points)
            write_whole(folder / "metrics.json", json.dumps(to_json(metrics), indent=1) + "\n")
        except SecondReaderError as error:
            on_note(f"not measured: {error}")
    else:
        on_note("not calibrated: the split has no calibration part")
    default = _DEFAULT_POINT if any(p.name == _DEFAULT_POINT for p in points) else None
    stored = {"default": default, "points": [asdict(p) for p in points]}
    write_whole(folder / "operating_points.json", json.dumps(stored, indent=1) + "\n")
    write_whole(folder / "calibration.json", json.dumps(maps, indent=1) + "\n")
    try:
        write_whole(folder / likeness.FILE, fitted_likeness(own, progress).text())
    except SecondReaderError as error:
        on_note(f"images unlike the training's are not told: {error}")


def _held_out(name: str, readings: Readings, run_dir: Path) -> Readings:
    """Put in what a panel says of patients by weights that others made; other methods have seen none."""
    module = method(name)
    told = module.held_out(run_dir) if hasattr(module, "held_out") else None
    if told is None:
        return readings
    images = tuple(replace(i, score=told["image"].get(i.image_id)) for i in readings.images)
    return replace(readings, images=images, given={**told["breast"], **told["exam"]}, promised={})


def fitted_likeness(
    own: Mapping[Part, FileImages],
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> likeness.Likeness:
    """Fit what training images look like; the features of an image are kept for the next model.

    Parameters
    ----------
    own
        The images of each part; those of train and validation are looked at, at most 300 of each.
    progress
        Called with what is being done, how much of it, and of how much.

    Raises
    ------
    SecondReaderError
        If there are too few.
    """
    found: dict[Part, np.ndarray] = {}
    makers: list[str | None] = []
    for part in (Part.TRAIN, Part.VALIDATION):
        records = own[part].records
        every = -(-len(records) // _LOOKED_AT)
        # An odd stride, so that no view of exams of four is passed over.
        chosen = records[:: every + (every % 2 == 0)]
        rows = []
        for done, record in enumerate(chosen, 1):
            rows.append(own[part].prepared(record, kept_features, LIKENESS_KEY)[0][0].astype(float))
            progress(f"looking at the {part} part", done, len(chosen))
        found[part] = np.array(rows).reshape(len(rows), len(likeness.FEATURES))
        makers += [r.vendor for r in chosen] if part is Part.TRAIN else []
    return likeness.fitted(found[Part.TRAIN], makers, found[Part.VALIDATION])


def kept_features(mammogram: Mammogram) -> tuple[np.ndarray, Frame]:
    """Return `likeness.features` as a prepared image of one row, for the cache."""
    made = likeness.features(mammogram)[None].astype(np.float32)
    return made, Frame((1, made.shape[1]), (1, made.shape[1]))


def _points(
    readings: Readings, chosen_on: str, on_note: Callable[[str], None]
) -> list[OperatingPoint]:
    """Choose thresholds that leave so many false positives an image, for each kind that is detected."""
    kinds = {d.kind for image in readings.images for d in image.detections}
    made = []
    for kind in sorted(kinds):
        found = find(readings.images, hit_rule(_RULES[kind]))
        for rate in _RATES:
            name, rule = _POINTS.format(rate=rate), f"fpi<={rate:g}"
            try:
                made.append(
                    choose(name, rule, found, readings.images, kind=kind, chosen_on=chosen_on)
                )
            except SecondReaderError as error:
                on_note(f"no operating point {name} for {kind}: {error}")
    return made


def _calibrations(
    readings: Readings, fitted_on: str, on_note: Callable[[str], None]
) -> dict[str, Any]:
    """Fit probabilities of images, breasts and exams.

    Beside them stand, as LEVEL/METHOD, other ways, which are shown in figures and nowhere else.
    """
    made: dict[str, Any] = {}
    where = f"{fitted_on}, {fingerprint(readings.images)}"
    for level in ("image", "breast", "exam"):
        of = units(readings.images, level, given=readings.given)
        own, others = calibration.suited(of.scores)
        for way, key in ((own, level), *((other, f"{level}/{other}") for other in others)):
            try:
                fitted = calibration.fit(way, of.scores, of.labels, of.patients, fitted_on=where)
            except SecondReaderError as error:
                if way == own:
                    on_note(f"not calibrated by {level}: {error}")
                    break
                continue
            made[key] = calibration.as_json(fitted)
    return made
