"""Which detections hit which lesions: the hit rules, by name, in one table.

A lesion is *counted*, *ignored* (its hits are no false alarms, missing it is no miss: unknown or
left out by a study) or *nothing* (its hits are false alarms). A detection of an image that holds a
lesion without a place cannot be judged, so such an image counts towards no false positives at all.

Ties: detections are taken by falling score, those of equal score by row, then column, of their
centre. A detection that may take one lesion only takes the nearest free one, of equally near ones
the first by row, then column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from secondreader.domain import Detection, Kind, Lesion, Pathology, Region, SecondReaderError
from secondreader.evaluation.scored import ScoredImage
from secondreader.geometry import area, centre, contains, diameter, distance_mm, iou

__all__ = ["HIT_RULES", "HitRule", "Matched", "hit_rule", "match"]

Spacing = tuple[float, float] | None
Hit = Callable[[Region, Region, Spacing], float | None]
"""(detection, lesion, spacing) → distance by which hits are ranked, None where it is no hit."""

_CALCIFICATION_MM = 1.0
_CLUSTER_MM = 5.0
_HAIR = 1 + 1e-9  # borders belong to a rule, also after rounding
_MASS_LIKE = frozenset(
    {Kind.MASS, Kind.ARCHITECTURAL_DISTORTION, Kind.ASYMMETRY, Kind.SUSPICIOUS_REGION}
)


@dataclass(frozen=True, slots=True)
class HitRule:
    """What counts as finding a lesion.

    Parameters
    ----------
    name, words
        What it is called, and what it says.
    hit
        Whether, and from how near, a detection's region hits a lesion's.
    kinds
        The detections and lesions that are looked at; other lesions are no lesions to this rule.
    exclusive
        Each detection takes at most one lesion, and each lesion at most one detection: a second one
        on the same lesion is a false positive. Otherwise one detection may find several lesions,
        and further ones on a found lesion are nothing.
    benign
        What a benign lesion is: a ``"hit"`` to be found, a ``"false_positive"``, or ``"ignored"``.
        Where benign ones are no hits, lesions of unknown pathology are ignored.
    at_sight
        What a lesion is that is benign at sight (``benign_without_callback``), such as calcified
        vessels: as `benign` has it, or false positives whatever else is benign.
    most_mm
        Lesions larger than this are ignored.
    hidden
        Whether lesions hidden in this view are counted or ignored.
    """

    name: str
    words: str
    hit: Hit
    kinds: frozenset[Kind]
    exclusive: bool = False
    benign: Literal["hit", "false_positive", "ignored"] = "hit"
    at_sight: Literal["as_benign", "false_positive"] = "as_benign"
    most_mm: float | None = None
    hidden: Literal["counted", "ignored"] = "counted"

    def says(self) -> str:
        """Return the whole rule in words, as it stands in a metrics file."""
        benign = {
            "hit": "benign lesions are lesions",
            "false_positive": "detections on benign lesions are false positives",
            "ignored": "benign lesions are ignored",
        }[self.benign]
        plain = "; what is benign at sight is none" if self.at_sight == "false_positive" else ""
        large = f"; lesions over {self.most_mm:g} mm are ignored" if self.most_mm else ""
        unseen = "; lesions hidden in the view are ignored" if self.hidden == "ignored" else ""
        return f"{self.words}; {benign}{plain}{large}{unseen}"


@dataclass(frozen=True, eq=False, slots=True)
class Matched:
    """What a reader's detections are worth on one image.

    Parameters
    ----------
    lesions
        (lesions,) the counted ones.
    scores
        (lesions,) float64: the score at which each is found, -inf where it is missed.
    false
        (false positives,) float64 scores.
    ignored
        How many detections are neither.
    normal
        Whether the image holds no lesion of the rule's kinds at all.
    judged
        Whether its false positives can be told: False where a lesion has no place, or where the
        image is cancerous or unknown and has no lesion on record.
    """

    lesions: tuple[Lesion, ...]
    scores: np.ndarray
    false: np.ndarray
    ignored: int
    normal: bool
    judged: bool


@lru_cache(maxsize=4096)
def _middle(lesion: Region) -> tuple[float, float]:
    """Return `centre`: hundreds of detections of an image ask for that of the same outlines."""
    return centre(lesion)


def _within(detection: Region, lesion: Region, spacing: Spacing, *, mm: float) -> float | None:
    apart = distance_mm(centre(detection), _middle(lesion), _known(spacing))
    return apart if apart <= mm * _HAIR else None


def _cluster(detection: Region, lesion: Region, spacing: Spacing) -> float | None:
    """Apply DESIGN's rule for clusters; a radius is a circle's, else half of the largest extent."""
    pixel = _known(spacing)
    mm2, mean = pixel[0] * pixel[1], (pixel[0] + pixel[1]) / 2
    reach = max(diameter(lesion) / 2 * mean, _CLUSTER_MM)
    most = 4 * max(area(lesion) * mm2, math.pi * _CLUSTER_MM**2)
    apart = distance_mm(centre(detection), centre(lesion), pixel)
    near = apart <= reach * _HAIR and area(detection) * mm2 <= most * _HAIR
    return apart if near else None


def _centre_in_region(detection: Region, lesion: Region, spacing: Spacing) -> float | None:
    row, col = centre(detection)
    return math.dist((row, col), centre(lesion)) if contains(lesion, row, col) else None


def _overlap(detection: Region, lesion: Region, spacing: Spacing, *, least: float) -> float | None:
    shared = iou(detection, lesion)
    return 1 - shared if shared * _HAIR >= least else None


def _known(spacing: Spacing) -> tuple[float, float]:
    if spacing is None:
        raise SecondReaderError("spacing: got none, expected millimetres a pixel for this hit rule")
    return spacing


def _table() -> dict[str, HitRule]:
    spots, clusters = frozenset({Kind.MICROCALCIFICATION}), frozenset({Kind.CALCIFICATION_CLUSTER})

    def near(a: Region, b: Region, s: Spacing) -> float | None:
        return _within(a, b, s, mm=_CALCIFICATION_MM)

    rules = (
        HitRule(
            "zhang2019",
            "a calcification is found if at least one detection lies within 1 mm of it; one "
            "detection may find several",
            near,
            spots,
            at_sight="false_positive",  # vessels and their like: Zhang et al. (2019), figure 3
            most_mm=_CALCIFICATION_MM,
        ),
        HitRule(
            "one_to_one",
            "each detection takes at most one calcification within 1 mm, highest score first",
            near,
            spots,
            exclusive=True,
            at_sight="false_positive",
            most_mm=_CALCIFICATION_MM,
        ),
        HitRule(
            "cluster",
            "the centre of the detected cluster lies within max(truth radius, 5 mm) of the true "
            "centre and its area is at most 4 x max(the truth's, that of a 5 mm circle)",
            _cluster,
            clusters,
        ),
        HitRule(
            "centre_in_region",
            "the centre of the detection lies inside the lesion",
            _centre_in_region,
            _MASS_LIKE,
        ),
        _iou_rule(0.2, exclusive=False),
    )
    return {rule.name: rule for rule in rules}


def _iou_rule(least: float, *, exclusive: bool) -> HitRule:
    def overlap(a: Region, b: Region, s: Spacing) -> float | None:
        return _overlap(a, b, s, least=least)

    words = f"intersection over union of detection and lesion is at least {least:g}"
    words += "; each detection takes at most one lesion" if exclusive else ""
    return HitRule("iou", words, overlap, _MASS_LIKE, exclusive)


HIT_RULES: dict[str, HitRule] = _table()


def hit_rule(
    name: str,
    *,
    benign: Literal["hit", "false_positive", "ignored"] = "hit",
    hidden: Literal["counted", "ignored"] = "counted",
    kinds: Iterable[Kind] | None = None,
    iou_least: float | None = None,
    exclusive: bool | None = None,
) -> HitRule:
    """Return a rule of the table as a study wants it.

    Parameters
    ----------
    name
        A key of :data:`HIT_RULES`.
    benign, hidden, kinds, exclusive
        As in :class:`HitRule`; ``None`` keeps the table's.
    iou_least
        For ``"iou"``: the least intersection over union.

    Raises
    ------
    SecondReaderError
        If there is no such rule.
    """
    if name not in HIT_RULES:
        raise SecondReaderError(f"hit rule: got {name!r}, expected one of {', '.join(HIT_RULES)}")
    rule = HIT_RULES[name]
    if name == "iou":
        least = 0.2 if iou_least is None else iou_least
        rule = _iou_rule(least, exclusive=bool(exclusive))
    return replace(
        rule,
        benign=benign,
        hidden=hidden,
        kinds=rule.kinds if kinds is None else frozenset(kinds),
        exclusive=rule.exclusive if exclusive is None else exclusive,
    )


def _part(lesion: Lesion, rule: HitRule, members: set[str | None], spacing: Spacing) -> str | None:
    """Say what a lesion is to a rule: counted, ignored, nothing; None where it is none at all."""
    if lesion.kind is None:
        return "ignored"
    if lesion.kind not in rule.kinds:
        # the outline of a cluster whose calcifications nobody marked hides true ones
        outline = (
            lesion.kind is Kind.CALCIFICATION_CLUSTER and Kind.MICROCALCIFICATION in rule.kinds
        )
        return "ignored" if outline and lesion.lesion_id not in members else None
    if lesion.region is None or (rule.hidden == "ignored" and lesion.visible is False):
        return "ignored"
    if rule.most_mm is not None:
        pixel = _known(spacing)
        if diameter(lesion.region) * (pixel[0] + pixel[1]) / 2 > rule.most_mm * _HAIR:
            return "ignored"
    plain = lesion.pathology is Pathology.BENIGN_WITHOUT_CALLBACK
    if plain and rule.at_sight == "false_positive":
        return "nothing"
    if rule.benign == "hit" or lesion.pathology is Pathology.MALIGNANT:
        return "counted"
    if lesion.pathology is None:
        return "ignored"
    return "ignored" if rule.benign == "ignored" else "nothing"


def match(image: ScoredImage, rule: HitRule) -> Matched:
    """Judge the detections of one image.

    Raises
    ------
    SecondReaderError
        If the rule needs millimetres and the image's spacing is unknown.
    """
    members = {s.part_of for s in image.lesions}
    parts = [(s, _part(s, rule, members, image.spacing_mm)) for s in image.lesions]
    placed = sorted((s for s, p in parts if p == "counted"), key=_where)
    ignored = [s.region for s, p in parts if p == "ignored" and s.region is not None]
    told = bool(image.lesions) or image.malignant is False  # else where a lesion lies is unknown
    judged = told and not any(s.region is None for s, p in parts if p is not None)
    normal = told and not any(p is not None for _, p in parts)
    found = sorted(
        (d for d in image.detections if d.kind in rule.kinds),
        key=lambda d: (-d.score, *centre(d.region)),
    )
    scores = np.full(len(placed), -np.inf)
    false: list[float] = []
    nothing = 0
    for detection in found:
        near = _ranked(detection, placed, rule, image.spacing_mm)
        free = [i for i in near if scores[i] == -np.inf]
        if rule.exclusive and free:
            scores[free[0]] = detection.score
        elif near and not rule.exclusive:
            scores[free] = detection.score
        elif judged and not _touches(detection, ignored, rule, image.spacing_mm):
            false.append(detection.score)
        else:
            nothing += 1
    return Matched(tuple(placed), scores, np.array(false, np.float64), nothing, normal, judged)


def _where(lesion: Lesion) -> tuple[float, float]:
    return centre(lesion.region) if lesion.region is not None else (math.inf, math.inf)


def _ranked(
    detection: Detection, lesions: Sequence[Lesion], rule: HitRule, spacing: Spacing
) -> list[int]:
    """Return the lesions that a detection hits, nearest first."""
    far = [
        None if s.region is None else rule.hit(detection.region, s.region, spacing) for s in lesions
    ]
    hits = [(d, i) for i, d in enumerate(far) if d is not None]
    return [i for _, i in sorted(hits)]


def _touches(
    detection: Detection, regions: Sequence[Region], rule: HitRule, spacing: Spacing
) -> bool:
    """Say whether a detection hits an ignored lesion, or has its centre in one."""
    row, col = centre(detection.region)
    return any(
        contains(r, row, col) or rule.hit(detection.region, r, spacing) is not None for r in regions
    )
