"""Thresholds chosen by a rule on validation data, and never judged on the data they were chosen on."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from secondreader.domain import Kind, OperatingPoint, SecondReaderError
from secondreader.evaluation.froc import Found
from secondreader.evaluation.roc import curve, tally
from secondreader.evaluation.scored import ScoredImage, fingerprint, patient_digests
from secondreader.evaluation.units import Units

__all__ = ["RULES", "choose", "read_points", "refuse_where_chosen", "threshold"]

RULES = ("sensitivity>=S", "specificity>=S", "youden", "fpi<=K")
_HAIR = 1e-9
_RULE = re.compile(r"(sensitivity|specificity)>=([0-9.]+)|(youden)|(fpi)<=([0-9.]+)")


def threshold(rule: str, data: Units | Found) -> float:
    """Return the threshold that a rule chooses; what scores it or more is called.

    Parameters
    ----------
    rule
        ``sensitivity>=S``: the highest threshold that finds the fraction S; ``specificity>=S``: the
        lowest that leaves the fraction S alone; ``youden``: the greatest sum of both, the highest of
        equal ones; ``fpi<=K``: the lowest with at most K false positives per image.
    data
        Scores of units, or detections for the last rule (and the first, over lesions).

    Raises
    ------
    SecondReaderError
        If the rule is unknown, does not go with the data, or no threshold obeys it.
    """
    found = _RULE.fullmatch(rule.replace(" ", ""))
    if found is None:
        raise SecondReaderError(f"rule: got {rule!r}, expected one of {', '.join(RULES)}")
    name = found[1] or found[3] or found[4]
    wanted = float(found[2] or found[5] or 0)
    if isinstance(data, Found):
        return _detections(name, wanted, data)
    table = tally(data.scores, data.labels, data.patients, data.n_patients)
    tp, fp = (c[:, 0] for c in curve(table, np.ones((data.n_patients, 1))))
    above = np.append(np.nextafter(table.thresholds[0], np.inf), table.thresholds)
    match name:
        case "sensitivity":
            return _first(above, tp >= wanted * tp[-1] - _HAIR, rule)
        case "specificity":
            return _last(above, fp <= (1 - wanted) * fp[-1] + _HAIR, rule)
        case "youden":
            return float(above[np.argmax(np.round(tp / tp[-1] - fp / fp[-1], 12))])
    raise SecondReaderError(f"rule: got {rule!r} for scores of units, expected detections")


def _detections(name: str, wanted: float, data: Found) -> float:
    lesions, images = data.lesion_scores.size, float(data.images.sum())
    if not lesions or not images:
        raise SecondReaderError(
            f"rule: got {lesions} lesions and {images:g} images, expected at least one of each"
        )
    found = data.lesion_scores[np.isfinite(data.lesion_scores)]
    every = np.unique(np.concatenate([found, data.false_scores]))[::-1]
    if not every.size:
        raise SecondReaderError("rule: got no detection at all, expected some to choose from")
    above = np.append(np.nextafter(every[0], np.inf), every)

    def called(scores: np.ndarray) -> np.ndarray:
        number: np.ndarray = scores.size - np.searchsorted(np.sort(scores), above)
        return number

    if name == "fpi":
        allowed = called(data.false_scores) <= wanted * images + _HAIR
        return _last(above, allowed, f"fpi<={wanted:g}")
    if name == "sensitivity":
        enough = called(found) >= wanted * lesions - _HAIR
        return _first(above, enough, f"sensitivity>={wanted:g}")
    raise SecondReaderError(f"rule: got {name!r} for detections, expected fpi<=K or sensitivity>=S")


def _first(above: np.ndarray, allowed: np.ndarray, rule: str) -> float:
    if not allowed.any():
        raise SecondReaderError(f"rule: got {rule}, which no threshold reaches on these data")
    return float(above[np.argmax(allowed)])


def _last(above: np.ndarray, allowed: np.ndarray, rule: str) -> float:
    if not allowed.any():
        raise SecondReaderError(f"rule: got {rule}, which no threshold reaches on these data")
    return float(above[np.flatnonzero(allowed)[-1]])


def choose(
    name: str,
    rule: str,
    data: Units | Found,
    images: Sequence[ScoredImage],
    *,
    kind: Kind,
    chosen_on: str,
) -> OperatingPoint:
    """Choose an operating point, and write down on which images.

    Parameters
    ----------
    name, rule, kind
        What to call it, what to choose it by (:func:`threshold`), and which detections it is for.
    data
        What to choose from, made of `images`.
    images
        All images it is chosen on; their fingerprint is written beside `chosen_on`.
    chosen_on
        The data's name and part, for a reader of the file.
    """
    patients = len({image.patient_id for image in images})
    where = f"{chosen_on} ({len(images)} images of {patients} patients, {fingerprint(images)})"
    return OperatingPoint(name, kind, threshold(rule, data), rule, where)


def refuse_where_chosen(
    point: OperatingPoint, images: Sequence[ScoredImage], patients: Collection[str] = ()
) -> None:
    """Refuse to judge an operating point on what it was chosen on.

    Parameters
    ----------
    point
        The operating point.
    images
        What it is to be judged on.
    patients
        `patient_digests` of the images it was chosen on, where they are known: then one shared
        patient is enough to refuse.

    Raises
    ------
    SecondReaderError
        If these are the same images, or share a patient.
    """
    shared = len(set(patients) & set(patient_digests(images)))
    if shared or fingerprint(images) in point.chosen_on:
        told = f"{shared} patients" if shared else "the very images"
        raise SecondReaderError(
            f"operating point {point.name}: got {told} it was chosen on, expected other data"
        )


def read_points(path: Path) -> tuple[tuple[OperatingPoint, ...], str | None]:
    """Return the operating points of a file and the default's name; none where there is no file.

    Raises
    ------
    SecondReaderError
        If it cannot be read, or is no file of operating points.
    """
    if not path.is_file():
        return (), None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        points = tuple(
            OperatingPoint(
                p["name"], Kind(p["kind"]), float(p["threshold"]), p["rule"], p["chosen_on"]
            )
            for p in stored["points"]
        )
        return points, stored.get("default")
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise SecondReaderError(
            f"operating points: got {error} in {path}, expected name, kind, threshold, rule, "
            "chosen_on for each"
        ) from None
