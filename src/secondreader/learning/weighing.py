"""Weighing what several readers say: learnt from patients that none of them has seen.

Each level (an image, a breast, an exam) has weights of its own, and so has each set of readers that may
have a score of it. What is said of the patients that weights were learnt from is told by weights that the
others made.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from secondreader.domain import ImageRecord, SecondReaderError
from secondreader.evaluation.scored import ScoredImage
from secondreader.evaluation.units import units
from secondreader.learning.stacking import even, logits, stacked

__all__ = [
    "Absent", "Combine", "Level", "Weighing", "check_both_kinds", "combined", "of_others", "unit_scores",
    "weighed",
]  # fmt: skip

Level = Literal["image", "breast", "exam"]
Combine = Literal["mean", "even", "stack"]
Absent = Literal["refuse", "leave out"]
_LEVELS: tuple[Level, ...] = ("image", "breast", "exam")
_FOLDS = 5  # of calibration patients, see `of_others`
_MOST_WEIGHED = 6  # members of a stack: each of their subsets has weights of its own


class Weighing(BaseModel):
    """How the scores that some members have make one: a logistic function of their logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Level
    members: tuple[int, ...]  # those with a score
    weights: tuple[float, ...]  # of their logits
    intercept: float


def combined(
    weights: Sequence[Weighing],
    combine: Combine,
    absent: Absent,
    level: str,
    parts: Sequence[float | None],
) -> float | None:
    """Return one score of the members' of an image, a breast or an exam.

    ``None`` without any, or where those that there are were never weighed together.
    """
    known = tuple(i for i, score in enumerate(parts) if score is not None)
    if not known or (absent == "refuse" and len(known) < len(parts)):
        return None
    scores = np.array([parts[i] for i in known], float)
    if combine == "mean":
        return float(scores.mean())
    for own in weights:
        if (own.level, own.members) == (level, known):
            return float(1 / (1 + np.exp(-(logits(scores) @ own.weights + own.intercept))))
    return None  # never seen in calibration


def unit_scores(
    records: Sequence[ImageRecord], scores: np.ndarray, level: Level
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return units of known truth, the members' scores (m, members), NaN for none, and the truth (m,).

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
            for r, score in zip(records, column, strict=True)
        ]  # fmt: skip
        of = units(scored, level)
        labels |= dict(zip(of.keys, of.labels.tolist(), strict=True))
        columns.append(dict(zip(of.keys, of.scores.tolist(), strict=True)))
    table = [[column.get(key, np.nan) for column in columns] for key in labels]
    found = np.array(table, float).reshape(len(labels), len(columns))
    return list(labels), found, np.array(list(labels.values()), bool)


def of_others(
    records: Sequence[ImageRecord], scores: np.ndarray, combine: Combine, absent: Absent, seed: int
) -> dict[str, dict[str, float]]:
    """Return the scores of units by weights that the other patients made, where those can.

    By level and key of a unit. The weights of each fifth of the patients are learnt from the other four.
    """
    women = np.array([f"{r.dataset}/{r.patient_id}" for r in records])
    ill = set(women[[r.malignant is True for r in records]].tolist())
    drawn = np.random.default_rng(seed).permutation(np.unique(women)).tolist()
    # As many with cancer in each: else weights would know that the rest has fewer where a fold has more.
    names = [*(w for w in drawn if w in ill), *(w for w in drawn if w not in ill)]
    found: dict[str, dict[str, float]] = {level: {} for level in _LEVELS}
    for fold in range(_FOLDS):
        own = np.isin(women, names[fold::_FOLDS])
        others = [r for r, held in zip(records, own, strict=True) if not held]
        try:
            weights = weighed(others, scores[~own], combine, absent)
        except SecondReaderError:  # others of one kind
            continue
        held = [r for r, held in zip(records, own, strict=True) if held]
        for level in _LEVELS:
            keys, table, _ = unit_scores(held, scores[own], level)
            for key, row in zip(keys, table, strict=True):
                parts = [None if np.isnan(score) else float(score) for score in row]
                score = combined(weights, combine, absent, level, parts)
                if score is not None:
                    found[level][key] = score
    return found


def weighed(
    records: Sequence[ImageRecord], scores: np.ndarray, combine: Combine, absent: Absent
) -> tuple[Weighing, ...]:
    """Return how each subset of members is weighed at each level, as far as images can say."""
    every = range(scores.shape[1])
    if len(every) > _MOST_WEIGHED:
        raise SecondReaderError(
            f"panel: got {len(every)} members to weigh, expected {_MOST_WEIGHED} or fewer"
        )
    fit = stacked if combine == "stack" else even
    sizes = every if absent == "leave out" else (len(every) - 1,)
    made = []
    for level in _LEVELS:
        _, table, truth = unit_scores(records, scores, level)
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
        check_both_kinds(np.zeros(0, bool), "calibration")
    return tuple(made)


def check_both_kinds(truth: np.ndarray, part: str) -> None:
    """Refuse images that cannot decide.

    Raises
    ------
    SecondReaderError
        If all are malignant, or none is.
    """
    if truth.all() or not truth.any():
        raise SecondReaderError(
            f"panel: got {part} images of one kind, expected some malignant and some that are not"
        )
