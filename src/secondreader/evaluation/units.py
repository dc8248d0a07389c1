"""From images to what a figure counts: images, breasts, exams or patients with one score each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.evaluation.scored import LabelRule, ScoredImage

__all__ = ["LEVELS", "Level", "Units", "patient_index", "positions", "units"]

Level = Literal["image", "breast", "exam", "patient"]
LEVELS: tuple[Level, ...] = ("image", "breast", "exam", "patient")


@dataclass(frozen=True, eq=False, slots=True)
class Units:
    """Units with a known class and a score.

    Parameters
    ----------
    level
        What a unit is.
    keys
        (n,) the unit's name; none for positions, of which there are millions.
    labels, scores
        (n,) bool and float64.
    patients
        (n,) index of the unit's patient.
    n_patients
        Number of patients of the data, also of those without a unit here.
    left_out
        How many units were left out, by reason.
    """

    level: Level | Literal["position", "patch"]
    keys: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray
    n_patients: int
    left_out: Mapping[str, int]

    def take(self, chosen: np.ndarray) -> Units:
        """Return the units that a bool array (n,) chooses."""
        keys = tuple(k for k, c in zip(self.keys, chosen, strict=True) if c)
        return Units(
            self.level,
            keys,
            self.labels[chosen],
            self.scores[chosen],
            self.patients[chosen],
            self.n_patients,
            self.left_out,
        )


def positions(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: Sequence[str],
    level: Literal["position", "patch"] = "position",
) -> Units:
    """Return units for a method that scores image positions or patches (n,), each of a patient (n,)."""
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    yes = np.asarray(labels, bool)
    return Units(level, (), yes, np.asarray(scores, np.float64), index, names.size, {})


def patient_index(images: Iterable[ScoredImage]) -> dict[str, int]:
    """Number the patients in the order of their ids, so that readers of one data set agree."""
    return {p: i for i, p in enumerate(sorted({image.patient_id for image in images}))}


def _any(labels: Iterable[bool | None]) -> bool | None:
    """Return True if one is, None if one might be, else False."""
    seen = list(labels)
    return True if True in seen else None if None in seen else False


def units(
    images: Sequence[ScoredImage],
    level: Level,
    *,
    rule: LabelRule = "all",
    use: Literal["score", "probability"] = "score",
    given: Mapping[str, float] | None = None,
    only_given: bool = False,
) -> Units:
    """Group images into units and score them.

    A breast scores the mean of its views, an exam its larger breast, a patient her largest exam; a
    unit is malignant if one of its images is, and unknown, hence left out, if one of the others is
    unknown.

    Parameters
    ----------
    images
        Images of one reader.
    level
        What to group into.
    rule
        What makes an image one of the class that is looked for (`ScoredImage.label`).
    use
        Which number to take.
    given
        The reader's own numbers of that sort for breasts and exams, by ``breast_id`` and ``exam_id``, which are
        preferred to those made from its images.
    only_given
        Take nothing but ``given``: for people, who rated breasts and not images.

    Raises
    ------
    SecondReaderError
        If the level is unknown.
    """
    if level not in LEVELS:
        raise SecondReaderError(f"level: got {level!r}, expected one of {', '.join(LEVELS)}")
    index, given = patient_index(images), given or {}
    groups: dict[str, list[ScoredImage]] = {}
    nameless = 0
    for image in images:
        key = _key(image, level)
        if key is None:
            nameless += 1
        else:
            groups.setdefault(key, []).append(image)
    rows: list[tuple[str, bool, float, int]] = []
    unknown = unread = 0
    for key, members in groups.items():
        label = _any(m.label(rule) for m in members)
        score = _score(key, members, level, use, given, only_given)
        if label is None:
            unknown += 1
        elif score is None:
            unread += 1
        else:
            rows.append((key, label, score, index[members[0].patient_id]))
    reasons = {"side unknown": nameless, "truth unknown": unknown, "not read": unread}
    return Units(
        level,
        tuple(r[0] for r in rows),
        np.array([r[1] for r in rows], bool),
        np.array([r[2] for r in rows], np.float64),
        np.array([r[3] for r in rows], np.int64),
        len(index),
        {reason: n for reason, n in reasons.items() if n},
    )


def _key(image: ScoredImage, level: Level) -> str | None:
    match level:
        case "image":
            return image.image_id
        case "breast":
            return image.breast_id
        case "exam":
            return image.exam_id
        case "patient":
            return image.patient_id


def _score(
    key: str,
    members: Sequence[ScoredImage],
    level: Level,
    use: Literal["score", "probability"],
    given: Mapping[str, float],
    only_given: bool,
) -> float | None:
    """Score a unit from its own views, or from the parts it has."""
    if level in ("breast", "exam") and key in given:
        return given[key]
    if level == "image":
        return None if only_given else getattr(members[0], use)
    if level == "breast":
        if only_given:
            return None
        known = [getattr(m, use) for m in members if getattr(m, use) is not None]
        return float(np.mean(known)) if known else None
    below: Level = "breast" if level == "exam" else "exam"
    parts: dict[str, list[ScoredImage]] = {}
    for m in members:  # a view of an unknown side stands for a breast of its own
        parts.setdefault(_key(m, below) or m.image_id, []).append(m)
    scores = [_score(k, p, below, use, given, only_given) for k, p in parts.items()]
    return max((s for s in scores if s is not None), default=None)
