"""What is scored: the truth of an image beside what one reader said of it, and how they are joined.

Everything that would make a figure mean something else is refused here, before any figure exists:
readings without an image, two readings of one, readings of other data, NaN scores, one patient
under two ids.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from secondreader.domain import (
    Detection,
    ExamReading,
    ImageRecord,
    Laterality,
    Lesion,
    ModelScore,
    Pathology,
    SecondReaderError,
    View,
    ViewReading,
    abnormal,
)

__all__ = [
    "LabelRule",
    "Readings",
    "ScoredImage",
    "check",
    "fingerprint",
    "join",
    "nothing_read",
    "patient_digests",
]

LabelRule = Literal["all", "visible", "abnormal"]  # `figures.LABEL_RULES` has their words


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """The truth of one image, and what one reader said of it.

    ``patient_id`` and ``exam_id`` are unique over all data sets evaluated together. ``score`` is
    ``None`` where the image was not read. ``groups`` holds (name, value) pairs for subgroups.
    """

    image_id: str
    patient_id: str
    exam_id: str
    laterality: Laterality | None = None
    view: View | None = None
    spacing_mm: tuple[float, float] | None = None
    malignant: bool | None = None
    lesions: tuple[Lesion, ...] = ()
    score: float | None = None
    probability: float | None = None
    detections: tuple[Detection, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()

    @property
    def breast_id(self) -> str | None:
        """The breast of this exam, ``None`` where nobody knows which it is."""
        return None if self.laterality is None else f"{self.exam_id}|{self.laterality}"

    def label(self, rule: LabelRule = "all") -> bool | None:
        """Say whether the image is malignant, or abnormal by that rule; ``None`` is unknown.

        A malignant lesion in its field decides, else what the data set says of the image or breast.
        By ``visible`` an image whose malignant lesions are all hidden in this view counts as unknown.
        """
        if rule == "abnormal":
            return abnormal(self.lesions, self.malignant)
        cancers = [s for s in self.lesions if s.pathology is Pathology.MALIGNANT]
        if rule == "visible" and cancers and all(s.visible is False for s in cancers):
            return None
        return True if cancers else self.malignant


@dataclass(frozen=True, slots=True)
class Readings:
    """One reader over one data set.

    Parameters
    ----------
    reader
        Its name.
    images
        One for every image of the data, read or not, in the data's order.
    given
        The reader's own scores of breasts (``breast_id``) and exams (``exam_id``), where it has
        them; elsewhere a breast is the mean of its views and an exam its larger breast.
    promised
        The same for its probabilities.
    unread
        Why images have no score: reason → how many.
    person
        Whether only ``given`` counts: people rate breasts and exams, not images.
    """

    reader: str
    images: tuple[ScoredImage, ...]
    given: Mapping[str, float] = field(default_factory=dict)
    promised: Mapping[str, float] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    person: bool = False


def join(
    records: Sequence[ImageRecord],
    exams: Iterable[ExamReading],
    model: str,
    *,
    inputs: Sequence[str] | None = None,
) -> Readings:
    """Put what a model read beside the truth, by SOP instance UID where both know it, else by path.

    Parameters
    ----------
    records
        What the data sets say. A record's UID stands in its ``extra`` as ``sop_instance_uid``.
    exams
        Readings, from this program or another.
    model
        Whose scores to take.
    inputs
        The data set's name for each input index of the readings; ``None`` matches paths over all.

    Raises
    ------
    SecondReaderError
        If a reading has no image here or an image has two, if a score is not finite, or if one
        patient stands under two ids.
    """
    find = _Finder(records, inputs)
    taken: dict[int, ViewReading] = {}
    given: dict[str, float] = {}
    promised: dict[str, float] = {}
    strangers: list[str] = []
    total = 0
    for exam in exams:
        hosts: set[str] = set()
        for view in exam.images:
            total += 1
            index = find(view)
            if index is None:
                strangers.append(view.source.path)
            elif index in taken:
                raise SecondReaderError(
                    f"readings: got two of one image, expected one (file: {view.source.path})"
                )
            else:
                taken[index] = view
                hosts.add(_exam_key(records[index]))
        if len(hosts) == 1:  # an exam grouped otherwise than in the data is scored from its images
            host = hosts.pop()
            own = _own_by_key(exam, model, host)
            given |= {k: s.score for k, s in own.items() if s.score is not None}
            promised |= {k: s.probability for k, s in own.items() if s.probability is not None}
    _refuse_strangers(strangers, total)
    _refuse_one_content_under_two(records, taken)
    images, unread = [], Counter[str]()
    for index, record in enumerate(records):
        image, reason = _scored(record, taken.get(index), model)
        images.append(image)
        if reason:
            unread[reason] += 1
    check(images)
    _finite([*given.values(), *promised.values()])
    return Readings(model, tuple(images), given, promised, dict(unread))


def nothing_read(records: Sequence[ImageRecord], model: str) -> Readings:
    """Return the readings of a model that read nothing: the truth of each image, and no score."""
    return Readings(model, tuple(_scored(record, None, model)[0] for record in records))


class _Finder:
    """Finds the record of a reading."""

    def __init__(self, records: Sequence[ImageRecord], inputs: Sequence[str] | None) -> None:
        self.inputs = inputs
        self.by_uid: dict[str, int] = {}
        self.by_path: dict[tuple[str | None, str], list[int]] = defaultdict(list)
        for index, record in enumerate(records):
            uid = dict(record.extra).get("sop_instance_uid")
            if uid and self.by_uid.setdefault(uid, index) != index:
                raise SecondReaderError(
                    f"data: got one SOP instance UID twice, expected it once (file: {record.path})"
                )
            self.by_path[record.dataset if inputs is not None else None, record.path].append(index)

    def __call__(self, view: ViewReading) -> int | None:
        uid = view.source.sop_uid
        if uid is not None and uid in self.by_uid:
            return self.by_uid[uid]
        name = None
        if self.inputs is not None:
            if not 0 <= view.input < len(self.inputs):
                return None
            name = self.inputs[view.input]
        found = self.by_path.get((name, view.source.path), [])
        if len(found) > 1:
            raise SecondReaderError(
                f"data: got {len(found)} images of one path, expected one (file: {view.source.path})"
            )
        return found[0] if found else None


def _refuse_strangers(paths: Sequence[str], total: int) -> None:
    if total == 0:
        raise SecondReaderError("readings: got none, expected one for each image of the data")
    if len(paths) == total:
        raise SecondReaderError(
            f"readings: got {total}, none of an image of these data: are they of other data? "
            f"(first: {paths[0]})"
        )
    if paths:
        raise SecondReaderError(
            f"readings: got {len(paths)} of {total} without an image in these data, "
            f"expected none (first: {paths[0]})"
        )


def _refuse_one_content_under_two(
    records: Sequence[ImageRecord], taken: Mapping[int, ViewReading]
) -> None:
    owner: dict[str, int] = {}
    for index, view in taken.items():
        content = view.source.sha256
        first = owner.setdefault(content, index) if content else index
        if (records[first].dataset, records[first].patient_id) != (
            records[index].dataset,
            records[index].patient_id,
        ):
            raise SecondReaderError(
                "patients: got one image under two ids, expected one id a patient "
                f"(files: {records[first].path}, {records[index].path})"
            )


def _exam_key(record: ImageRecord) -> str:
    return f"{record.dataset}/{record.exam_id}"


def _own(scores: Sequence[ModelScore], model: str) -> ModelScore | None:
    return next((s for s in scores if s.model == model), None)


def _own_by_key(exam: ExamReading, model: str, key: str) -> dict[str, ModelScore]:
    own = {key: _own(exam.scores, model)}
    own |= {f"{key}|{b.laterality}": _own(b.scores, model) for b in exam.breasts if b.laterality}
    return {k: s for k, s in own.items() if s is not None}


def _scored(
    record: ImageRecord, view: ViewReading | None, model: str
) -> tuple[ScoredImage, str | None]:
    """Return the image, and why it has no score."""
    score, probability, reason = None, None, None
    if view is None:
        reason = "no reading"
    else:
        own = _own(view.scores, model)
        if own is None:
            names = ", ".join(sorted({s.model for s in view.scores})) or "none"
            raise SecondReaderError(
                f"model: got readings of {names}, expected {model} (file: {view.source.path})"
            )
        score, probability = own.score, own.probability
        if score is None:
            reason = own.refused[0] if own.refused else "no score"
    known = {"dataset": record.dataset, "vendor": record.vendor, "density": record.density}
    known |= {"birads": record.birads, "view": record.view, "age": _decade(record.age)}
    image = ScoredImage(
        image_id=f"{record.dataset}/{record.path}",
        patient_id=f"{record.dataset}/{record.patient_id}",
        exam_id=_exam_key(record),
        laterality=record.laterality,
        view=record.view,
        spacing_mm=record.spacing_mm or (view.spacing_mm if view else None),
        malignant=record.malignant,
        lesions=record.lesions,
        score=score,
        probability=probability,
        detections=tuple(d for d in view.detections if d.model in (None, model)) if view else (),
        groups=tuple(sorted((name, str(value)) for name, value in known.items() if value)),
    )
    return image, reason


def _finite(numbers: Iterable[float | None], file: str = "") -> None:
    if not all(math.isfinite(v) for v in numbers if v is not None):
        where = f" (file: {file})" if file else ""
        raise SecondReaderError(f"score: got one that is not finite, expected numbers{where}")


def _decade(age: float | None) -> str | None:
    return None if age is None else f"{int(age) // 10 * 10}-{int(age) // 10 * 10 + 9}"


def check(images: Sequence[ScoredImage]) -> None:
    """Refuse images that no figure can be made of.

    Raises
    ------
    SecondReaderError
        For no image at all, one image twice, a score or probability that is not finite, or one exam
        under two patient ids.
    """
    if not images:
        raise SecondReaderError("images: got none, expected at least one")
    twice = [i for i, n in Counter(image.image_id for image in images).items() if n > 1]
    if twice:
        raise SecondReaderError(f"images: got one twice, expected each once (file: {twice[0]})")
    patient: dict[str, str] = {}
    for image in images:
        numbers = [image.score, image.probability, *(d.score for d in image.detections)]
        _finite(numbers, image.image_id)
        if patient.setdefault(image.exam_id, image.patient_id) != image.patient_id:
            raise SecondReaderError(
                "patients: got one exam under two ids, expected one id a patient "
                f"(file: {image.image_id})"
            )


def fingerprint(images: Sequence[ScoredImage]) -> str:
    """Return a name for the images and their truth, whatever their order and scores."""
    lines = sorted(
        f"{i.image_id}\t{i.patient_id}\t{i.malignant}\t{sorted(s.lesion_id for s in i.lesions)}"
        for i in images
    )
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]


def patient_digests(images: Iterable[ScoredImage]) -> tuple[str, ...]:
    """Return a short digest for each patient, to tell later whether two sets share one."""
    ids = {i.patient_id for i in images}
    return tuple(sorted(hashlib.sha256(i.encode()).hexdigest()[:16] for i in ids))
