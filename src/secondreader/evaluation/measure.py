"""From readings to ``metrics.json``: every figure, curve and comparison, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from secondreader.domain import OperatingPoint, SecondReaderError
from secondreader.evaluation import subgroups
from secondreader.evaluation.bootstrap import RESAMPLES
from secondreader.evaluation.calibration import Calibration, beside
from secondreader.evaluation.classification import (
    RATES_OF_CALLS,
    probability_figures,
    score_figures,
)
from secondreader.evaluation.comparisons import compare
from secondreader.evaluation.detection import detection_figures, overlap_precision
from secondreader.evaluation.figures import (
    LABEL_RULES,
    Curve,
    Figure,
    Metrics,
    interval_words,
)
from secondreader.evaluation.froc import find
from secondreader.evaluation.matching import HIT_RULES, HitRule, hit_rule
from secondreader.evaluation.operating_points import refuse_where_chosen
from secondreader.evaluation.scored import LabelRule, Readings, ScoredImage, check, fingerprint
from secondreader.evaluation.units import LEVELS, Level, Units, units

IOU_LEVELS = (0.1, 0.2, 0.5)

__all__ = ["Settings", "measure", "worst"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure.

    Parameters
    ----------
    split
        The split and part in words, ``"cbis-official:0 test"``; it stands in the file.
    levels
        Units to give figures of scores for.
    hit_rules
        Names of hit rules; ``None`` takes those whose kinds of lesion the data hold.
    benign
        What a benign lesion is to the hit rules.
    points
        For each reader its operating points of detections, by kind.
    thresholds
        For each reader and level an operating point of scores, for the confusion matrix.
    others
        For each reader and level other ways to make probabilities than its own, which are shown
        beside it.
    groups
        Whether to give subgroups.
    rates
        Specificities to give sensitivities at, and the other way round.
    resamples, seed
        Of the bootstrap.
    """

    split: str
    levels: tuple[Level, ...] = LEVELS
    hit_rules: tuple[str, ...] | None = None
    benign: Literal["hit", "false_positive", "ignored"] = "hit"
    points: Mapping[str, Sequence[OperatingPoint]] = field(default_factory=dict)
    thresholds: Mapping[tuple[str, Level], OperatingPoint] = field(default_factory=dict)
    others: Mapping[tuple[str, Level], Mapping[str, Calibration]] = field(default_factory=dict)
    groups: bool = True
    rates: tuple[float, ...] = RATES_OF_CALLS
    resamples: int = RESAMPLES
    seed: int = 0


def measure(readings: Sequence[Readings], settings: Settings, *, version: str) -> Metrics:
    """Measure readers of one data set.

    Parameters
    ----------
    readings
        One for each reader, all over the same images.
    settings
        What to measure.
    version
        Of this program, for the file.

    Raises
    ------
    SecondReaderError
        If there is no reader, two have one name, their data differ, an operating point was chosen on
        these data, or the images are refused (`scored.check`).
    """
    _refuse(readings, settings)
    images = readings[0].images
    rules = _rules(images, settings)
    figures: list[Figure] = []
    curves: list[Curve] = []
    left_out: dict[str, dict[str, int]] = {}
    for reader in readings:
        for got in (
            _scores(reader, settings, left_out),
            _detections(reader, rules, settings, left_out),
        ):
            figures += got[0]
            curves += got[1]
        left_out[f"{reader.reader} images"] = dict(reader.unread)
    compared = compare(
        readings, settings.levels, rules, resamples=settings.resamples, seed=settings.seed
    )
    spelt = {f"label:{k}": v for k, v in LABEL_RULES.items()}
    spelt |= {f"hit:{rule.name}": rule.says() for rule in rules}
    return Metrics(
        version,
        settings.split,
        _data(images),
        tuple(r.reader for r in readings),
        spelt,
        interval_words(settings.resamples, settings.seed),
        {k: v for k, v in left_out.items() if v},
        _warnings(figures),
        tuple(figures),
        compared,
        tuple(curves),
    )


def _refuse(readings: Sequence[Readings], settings: Settings) -> None:
    names = [r.reader for r in readings]
    if not names or len(set(names)) < len(names):
        raise SecondReaderError(
            f"readers: got {', '.join(names) or 'none'}, expected at least one, each once"
        )
    first = fingerprint(readings[0].images)
    for reader in readings:
        check(reader.images)
        if fingerprint(reader.images) != first:
            raise SecondReaderError(
                f"readers: got other data for {reader.reader}, expected one data set for all"
            )
        own = [p for (name, _), p in settings.thresholds.items() if name == reader.reader]
        for point in [*settings.points.get(reader.reader, ()), *own]:
            refuse_where_chosen(point, reader.images)


def _rules(images: Sequence[ScoredImage], settings: Settings) -> tuple[HitRule, ...]:
    kinds = {s.kind for i in images for s in i.lesions}
    names = settings.hit_rules
    if names is None:
        names = tuple(n for n, rule in HIT_RULES.items() if rule.kinds & kinds)
    return tuple(hit_rule(name, benign=settings.benign) for name in names)


def _data(images: Sequence[ScoredImage]) -> tuple[dict[str, Any], ...]:
    sets: dict[str, list[ScoredImage]] = {}
    for image in images:
        sets.setdefault(image.image_id.partition("/")[0], []).append(image)
    return tuple(
        {
            "name": name,
            "fingerprint": fingerprint(members),
            "images": len(members),
            "patients": len({m.patient_id for m in members}),
            "malignant": sum(m.label() is True for m in members),
            "unknown": sum(m.label() is None for m in members),
        }
        for name, members in sorted(sets.items())
    )


def _scores(
    reader: Readings, settings: Settings, left_out: dict[str, dict[str, int]]
) -> tuple[list[Figure], list[Curve]]:
    figures: list[Figure] = []
    curves: list[Curve] = []
    drawn: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed}
    # Rules by which no image is another than by the first would only say the same again.
    rules: list[LabelRule] = ["all"]
    for rule in ("visible", "abnormal"):
        if any(i.label(rule) != i.label() for i in reader.images):
            rules.append(rule)
    for level in settings.levels:
        if reader.person and level in ("image", "patient"):
            continue
        point = settings.thresholds.get((reader.reader, level))
        for label_rule in rules:
            known = drawn | {"reader": reader.reader, "label_rule": label_rule}
            scored = units(
                reader.images, level, rule=label_rule, given=reader.given, only_given=reader.person
            )
            left_out[f"{reader.reader} {level} {label_rule}"] = dict(scored.left_out)
            at = point.threshold if point else None
            got = score_figures(scored, threshold=at, rates=settings.rates, **known)
            figures, curves = figures + got[0], curves + got[1]
            if label_rule != "abnormal":  # what is promised is the probability of cancer
                got = _promises(reader, reader.images, scored, settings, known, rule=label_rule)
                figures, curves = figures + got[0], curves + got[1]
        if settings.groups and not reader.person:
            for group, members in [
                *subgroups.by_image(reader.images),
                *subgroups.by_lesion(reader.images),
            ]:
                part = units(members, level, given=reader.given)
                known = drawn | {"reader": reader.reader, "label_rule": "all", "group": group}
                figures += score_figures(part, curves=False, **known)[0]
                if group.startswith("vendor="):
                    figures += _promises(reader, members, part, settings, known)[0]
    return figures, curves


def _promises(
    reader: Readings,
    images: Sequence[ScoredImage],
    scored: Units,
    settings: Settings,
    known: Mapping[str, Any],
    *,
    rule: LabelRule = "all",
) -> tuple[list[Figure], list[Curve]]:
    """Return the figures of a reader's probabilities, and of the other ways to make them of `scored`.

    Other ways are shown only beside the reader's own.
    """
    if not any(image.probability is not None for image in images):
        return [], []
    level = scored.level
    assert level in LEVELS
    promised = units(images, level, rule=rule, use="probability", given=reader.promised)
    figures, curves = probability_figures(promised, **known)
    others = settings.others.get((reader.reader, level), {})
    for way, made in beside(scored.scores, others).items():
        got = probability_figures(replace(scored, scores=made), way=way, **known)
        figures, curves = figures + got[0], curves + got[1]
    return figures, curves


def _detections(
    reader: Readings,
    rules: Sequence[HitRule],
    settings: Settings,
    left_out: dict[str, dict[str, int]],
) -> tuple[list[Figure], list[Curve]]:
    figures: list[Figure] = []
    curves: list[Curve] = []
    if reader.person:
        return figures, curves
    drawn: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed}
    for rule in rules:
        points = [p for p in settings.points.get(reader.reader, ()) if p.kind in rule.kinds]
        known = drawn | {"reader": reader.reader, "hit_rule": rule.name}
        for level, joined in (("region", False), ("lesion", True)):
            found = find(reader.images, rule, join_views=joined)
            left_out[f"{reader.reader} {rule.name}"] = dict(found.left_out)
            got = detection_figures(found, level=level, points=points, **known)
            figures, curves = figures + got[0], curves + got[1]
        for least in IOU_LEVELS if rule.name == "iou" else ():
            strict = hit_rule("iou", benign=settings.benign, iou_least=least, exclusive=True)
            figures.append(overlap_precision(find(reader.images, strict), least, **known))
        if settings.groups:
            for group, members in _lesion_parts(reader.images, rule):
                part = find(members, rule)
                figures += detection_figures(
                    part, level="region", group=group, curves=False, **known
                )[0]
    return figures, curves


def _lesion_parts(
    images: Sequence[ScoredImage], rule: HitRule
) -> list[tuple[str, tuple[ScoredImage, ...]]]:
    of = {
        g
        for i in images
        for s in i.lesions
        if s.kind in rule.kinds
        for g in subgroups.lesion_groups(s, i.spacing_mm)
    }
    parts = [(g, subgroups.only(images, g, rule.kinds)) for g in sorted(of)] if len(of) > 1 else []
    return [*subgroups.by_image(images), *parts]


def _warnings(figures: Sequence[Figure]) -> tuple[str, ...]:
    told = {
        f"{f.reader}, {f.group or 'all'}, {f.level}: {f.note.rpartition('; ')[2]}": None
        for f in figures
        if "too small" in f.note
    }
    return tuple(told)


def worst(
    reader: Readings, number: int = 12
) -> tuple[tuple[ScoredImage, ...], tuple[ScoredImage, ...]]:
    """Return the cancerous images of the lowest scores and the others of the highest, worst first."""
    read = [i for i in reader.images if i.score is not None]
    misses = sorted(
        (i for i in read if i.label() is True), key=lambda i: (i.score or 0.0, i.image_id)
    )
    alarms = sorted(
        (i for i in read if i.label() is False), key=lambda i: (-(i.score or 0.0), i.image_id)
    )
    return tuple(misses[:number]), tuple(alarms[:number])
