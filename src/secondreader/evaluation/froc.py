"""Figures of detections: FROC, recall at k false positives per image, mean sensitivity, precision.

Like the figures of :mod:`.roc` they are functions of counts of patients. Sensitivity is a step
function of the threshold: recall at k is the best of the thresholds with at most k false positives
per image, and stays at its last value where a reader never makes that many. Only the LUNA16 score
(`cpm`) is interpolated, because that is how it is defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from secondreader.domain import SecondReaderError
from secondreader.evaluation.matching import HitRule, Matched, match
from secondreader.evaluation.roc import average_precision, on_lines
from secondreader.evaluation.scored import ScoredImage
from secondreader.evaluation.units import patient_index

__all__ = [
    "CPM_RATES",
    "RECALL_RATES",
    "Found",
    "Froc",
    "cpm",
    "find",
    "froc",
    "hit_rates",
    "mean_recall",
    "precision",
    "recall_at",
    "recalls_at",
]

RECALL_RATES = (1.0, 5.0, 10.0, 15.0, 20.0, 30.0)
CPM_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_HAIR = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """All that a reader found and missed under one hit rule.

    Parameters
    ----------
    lesion_scores, lesion_patients
        (lesions,) the score at which each is found, -inf where missed, and its patient's index.
    false_scores, false_patients, false_normal
        (false positives,) score, patient, and whether the image is normal.
    images, normal_images
        (patients,) how many of each patient's images count towards false positives per image.
    keys
        (lesions,) image and lesion id, the order in which two readers are compared.
    left_out
        How many images and detections were left out, by reason.
    rule
        The hit rule in words.
    """

    lesion_scores: np.ndarray
    lesion_patients: np.ndarray
    false_scores: np.ndarray
    false_patients: np.ndarray
    false_normal: np.ndarray
    images: np.ndarray
    normal_images: np.ndarray
    keys: tuple[tuple[str, str], ...]
    left_out: Mapping[str, int]
    rule: str


@dataclass(frozen=True, eq=False, slots=True)
class Froc:
    """The corners of an FROC curve for each draw, thresholds falling, the first finding nothing.

    Between a lesion found and the next there are false positives only, tens of thousands of them where
    detectors are asked for points: of those the last alone is a corner.

    Parameters
    ----------
    thresholds
        (m,) float64.
    hits, false
        (m + 1, draws) weighted lesions found and false positives.
    lesions, images
        (draws,) weighted numbers.
    """

    thresholds: np.ndarray
    hits: np.ndarray
    false: np.ndarray
    lesions: np.ndarray
    images: np.ndarray


def find(images: Sequence[ScoredImage], rule: HitRule, *, join_views: bool = False) -> Found:
    """Match the detections of all images that were read.

    Parameters
    ----------
    images
        Images of one reader.
    rule
        The hit rule.
    join_views
        Count a lesion seen in several views of an exam once, found if it is found in one of them.

    Raises
    ------
    SecondReaderError
        If a rule in millimetres meets an image without a spacing.
    """
    index = patient_index(images)
    matched = [(image, match(image, rule)) for image in images if image.score is not None]
    lesions: dict[tuple[str, str], tuple[float, int]] = {}
    for image, got in matched:
        for lesion, score in zip(got.lesions, got.scores, strict=True):
            key = (image.exam_id if join_views else image.image_id, lesion.lesion_id)
            best = max(float(score), lesions.get(key, (-np.inf, 0))[0])
            lesions[key] = best, index[image.patient_id]
    return Found(
        np.array([s for s, _ in lesions.values()], np.float64),
        np.array([p for _, p in lesions.values()], np.int64),
        *_false(matched, index),
        tuple(lesions),
        _left_out(images, matched),
        rule.says() + ("; a lesion seen in several views counts once" if join_views else ""),
    )


def _false(
    matched: Sequence[tuple[ScoredImage, Matched]], index: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, patients and normality of false positives, and images of both sorts."""
    each = np.array([got.false.size for _, got in matched], np.int64)
    patient = np.array([index[image.patient_id] for image, _ in matched], np.int64)
    judged = np.array([got.judged for _, got in matched], bool)
    normal = np.array([got.normal for _, got in matched], bool)
    scores = np.concatenate([np.empty(0), *(got.false for _, got in matched)])
    return (
        scores,
        np.repeat(patient, each),
        np.repeat(normal, each),
        np.bincount(patient[judged], minlength=len(index)),
        np.bincount(patient[normal], minlength=len(index)),
    )


def _left_out(
    images: Sequence[ScoredImage], matched: Sequence[tuple[ScoredImage, Matched]]
) -> dict[str, int]:
    reasons = {
        "images not read": len(images) - len(matched),
        "images whose false positives cannot be told": sum(not g.judged for _, g in matched),
        "detections ignored": sum(g.ignored for _, g in matched),
    }
    return {reason: n for reason, n in reasons.items() if n}


def froc(found: Found, counts: np.ndarray, on: Literal["all", "normal"] = "all") -> Froc:
    """Return the curve for counts (patients, draws), false positives counted on all or normal images.

    Raises
    ------
    SecondReaderError
        If there is no lesion, or no image to count false positives on.
    """
    images = found.images if on == "all" else found.normal_images
    if found.lesion_scores.size == 0 or images.sum() == 0:
        raise SecondReaderError(
            f"FROC: got {found.lesion_scores.size} lesions and {images.sum()} {on} images, "
            "expected at least one of each"
        )
    hit = np.isfinite(found.lesion_scores)
    kept = np.ones(found.false_scores.size, bool) if on == "all" else found.false_normal
    true_scores, false_scores = found.lesion_scores[hit], found.false_scores[kept]
    values, steps = np.unique(-np.concatenate([true_scores, false_scores]), return_inverse=True)
    n, patients = true_scores.size, counts.shape[0]
    corners = np.unique(np.concatenate([steps[:n] - 1, steps[:n], [values.size - 1]]))
    corners = corners[corners >= 0]

    def summed(at: np.ndarray, whose: np.ndarray) -> np.ndarray:
        places = np.searchsorted(corners, at), whose
        table = sparse.coo_array((np.ones(at.size), places), shape=(corners.size, patients))
        zero = np.zeros((1, counts.shape[1]))
        return np.concatenate([zero, np.cumsum(sparse.csr_array(table) @ counts, axis=0)])

    return Froc(
        -values[corners],
        summed(steps[:n], found.lesion_patients[hit]),
        summed(steps[n:], found.false_patients[kept]),
        np.bincount(found.lesion_patients, minlength=patients) @ counts,
        images @ counts,
    )


def recalls_at(got: Froc, rates: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the recall (rates, draws) at up to so many false positives per image."""
    hits = np.empty((len(rates), got.images.size))
    for i, images in enumerate(
        got.images
    ):  # false positives only rise: the last row allowed is best
        with np.errstate(
            invalid="ignore"
        ):  # any number of none: a draw without images has no recall
            limits = np.asarray(rates, np.float64) * images + _HAIR
        hits[:, i] = got.hits[np.searchsorted(got.false[:, i], limits, side="right") - 1, i]
    return _ratio(hits, got.lesions, got.images)


def recall_at(got: Froc, rate: float) -> np.ndarray:
    """Return R@rate, (draws,)."""
    recall: np.ndarray = recalls_at(got, [rate])[0]
    return recall


def mean_recall(got: Froc, rates: Sequence[float] = CPM_RATES) -> np.ndarray:
    """Return the mean recall (draws,) at 1/8 to 8 false positives per image, in steps."""
    mean: np.ndarray = recalls_at(got, rates).mean(axis=0)
    return mean


def cpm(got: Froc, rates: Sequence[float] = CPM_RATES) -> np.ndarray:
    """Return the competition performance metric (draws,): as `mean_recall`, but interpolated.

    References
    ----------
    Niemeijer et al., On combining computer-aided detection systems, IEEE TMI 30, 2011.
    Setio et al., LUNA16, Medical Image Analysis 42, 2017.
    """
    defined = (got.images > 0) & (got.lesions > 0)
    scores = np.full(got.images.shape, np.nan)
    for i in np.flatnonzero(defined):
        x, y = got.false[:, i] / got.images[i], got.hits[:, i] / got.lesions[i]
        scores[i] = on_lines(x, y, rates).mean()
    return scores


def precision(got: Froc) -> np.ndarray:
    """Return the average precision over recall, (draws,), of all detections that are judged.

    Average precision at an overlap is this under ``hit_rule("iou", iou_least=…, exclusive=True)``.
    """
    return average_precision(got.hits, got.false, np.where(got.images > 0, got.lesions, 0.0))


def hit_rates(
    found: Found, threshold: float, counts: np.ndarray, on: Literal["all", "normal"] = "all"
) -> tuple[np.ndarray, np.ndarray]:
    """Return sensitivity and false positives per image at a threshold, each (draws,)."""
    kept = found.false_scores >= threshold
    if on == "normal":
        kept &= found.false_normal
    images = (found.images if on == "all" else found.normal_images) @ counts

    def summed(whose: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.bincount(whose, minlength=counts.shape[0]) @ counts
        return total

    hits = summed(found.lesion_patients[found.lesion_scores >= threshold])
    return (
        _ratio(hits, summed(found.lesion_patients), images),
        _ratio(summed(found.false_patients[kept]), images, images),
    )


def _ratio(part: np.ndarray, whole: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return part (..., draws) of whole (draws,), nan in draws without any or without an image."""
    defined = (images > 0) & (whole > 0)
    ratio: np.ndarray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=defined)
    return ratio
