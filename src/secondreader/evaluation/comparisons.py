"""Readers against readers on the same patients: models, and people.

Two readers are compared on what both have read. The area is compared by DeLong's test where there
is one score per patient and by Obuchowski's form of it elsewhere; everything else by resampling
patients once for both. P-values are corrected by Holm over all pairs of readers for each figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal

import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.evaluation.bootstrap import (
    RESAMPLES,
    Difference,
    Statistic,
    difference,
    holm,
    replicates,
)
from secondreader.evaluation.classification import score_names, score_statistic
from secondreader.evaluation.delong import areas, auc_test
from secondreader.evaluation.detection import detection_names, detection_statistic
from secondreader.evaluation.figures import Comparison
from secondreader.evaluation.froc import find
from secondreader.evaluation.matching import HitRule
from secondreader.evaluation.scored import Readings
from secondreader.evaluation.units import Level, Units, units

__all__ = ["compare", "compare_detections", "compare_scores", "with_holm"]


def compare_scores(
    a: Units,
    b: Units,
    names: tuple[str, str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    **known: Any,
) -> list[Comparison]:
    """Compare two readers' scores of the units that both have.

    Parameters
    ----------
    a, b
        Units of one level of one data set.
    names
        The readers' names.
    resamples, seed
        Of the bootstrap.
    **known
        Further fields of :class:`.figures.Comparison`.

    Raises
    ------
    SecondReaderError
        If the two disagree on the truth of a unit, which makes them readings of different data.
    """
    a, b = _common(a, b)
    facts = known | {"a": names[0], "b": names[1], "level": a.level, "units": a.labels.size}
    try:
        tested = auc_test(areas(a.labels, np.stack([a.scores, b.scores]), a.patients))
        rows = [_row("auc", tested, facts)]
        values = _both(score_statistic(a), score_statistic(b), a.n_patients, resamples, seed)
    except SecondReaderError as error:
        return [_nothing(name, str(error), facts) for name in score_names()]
    for i, name in enumerate(score_names()):
        if name != "auc":
            rows.append(_row(name, difference(values[0][:, i], values[1][:, i]), facts))
    return rows


def _common(a: Units, b: Units) -> tuple[Units, Units]:
    both = set(a.keys) & set(b.keys)
    a = a.take(np.array([k in both for k in a.keys], bool))
    b = b.take(np.array([k in both for k in b.keys], bool))
    order = {k: i for i, k in enumerate(b.keys)}
    at = np.array([order[k] for k in a.keys], np.int64)
    if (a.labels != b.labels[at]).any() or a.n_patients != b.n_patients:
        raise SecondReaderError("comparison: got readers of different truth, expected one data set")
    return a, replace(b, keys=a.keys, labels=a.labels, scores=b.scores[at], patients=b.patients[at])


def _both(
    a: Statistic, b: Statistic, patients: int, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    first = replicates(a, patients, resamples=resamples, seed=seed)
    return first, replicates(b, patients, resamples=resamples, seed=seed)


def _row(name: str, got: Difference, facts: dict[str, Any]) -> Comparison:
    told = {"value": got.value, "low": got.low, "high": got.high, "p": got.p, "note": got.note}
    return Comparison(name=name, p_holm=None, method=got.method, **told | facts)


def _nothing(name: str, why: str, facts: dict[str, Any]) -> Comparison:
    return _row(name, Difference(None, None, None, None, "", why), facts)


def compare_detections(
    a: Readings,
    b: Readings,
    rule: HitRule,
    *,
    join_views: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two readers' detections on the images that both have read."""
    read = {i.image_id for i in b.images if i.score is not None}
    read &= {i.image_id for i in a.images if i.score is not None}
    pair = [
        find([i for i in reader.images if i.image_id in read], rule, join_views=join_views)
        for reader in (a, b)
    ]
    on: Literal["all"] = "all"
    level = "lesion" if join_views else "region"
    facts: dict[str, Any] = {"a": a.reader, "b": b.reader, "level": level, "hit_rule": rule.name}
    names = detection_names(on)
    facts["units"] = pair[0].lesion_scores.size
    try:
        first, second = (detection_statistic(found, on) for found in pair)
        values = _both(first, second, pair[0].images.size, resamples, seed)
    except SecondReaderError as error:
        return [_nothing(n, str(error), facts) for n in names]
    return [
        _row(n, difference(values[0][:, i], values[1][:, i]), facts) for i, n in enumerate(names)
    ]


def with_holm(rows: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Return comparisons with p-values corrected for all pairs of one figure."""
    rows = list(rows)
    family: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        if row.p is not None:
            family.setdefault((row.level, row.name, row.hit_rule, row.label_rule), []).append(i)
    for members in family.values():
        adjusted = holm([rows[i].p or 0.0 for i in members])
        for i, p in zip(members, adjusted, strict=True):
            rows[i] = replace(rows[i], p_holm=p)
    return tuple(rows)


def compare(
    readings: Sequence[Readings],
    levels: Sequence[Level],
    rules: Sequence[HitRule],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Compare every pair of readers at every level, and models by every hit rule."""
    rows: list[Comparison] = []
    for a, b in combinations(readings, 2):
        for level in levels:
            if (a.person or b.person) and level in ("image", "patient"):
                continue
            one, two = (units(r.images, level, given=r.given, only_given=r.person) for r in (a, b))
            rows += compare_scores(
                one, two, (a.reader, b.reader), resamples=resamples, seed=seed, label_rule="all"
            )
        if not (a.person or b.person):
            for rule in rules:
                rows += compare_detections(a, b, rule, resamples=resamples, seed=seed)
    return with_holm(rows)
