"""Variance and comparison of areas under ROC curves without resampling.

Where every patient has one score this is DeLong's; where a patient has several (breasts, images),
Obuchowski's form of it for clusters. With one unit per patient the two are the same number.

References
----------
DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, 837-845.
Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53, 1997, 567-578.
Sun and Xu, Fast implementation of DeLong's algorithm, IEEE Signal Process. Lett. 21, 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from secondreader.domain import SecondReaderError
from secondreader.evaluation.bootstrap import LEVEL, Difference, Estimate

__all__ = ["Areas", "areas", "auc_interval", "auc_test"]


@dataclass(frozen=True, eq=False, slots=True)
class Areas:
    """Areas (readers,) of several readers of the same units, and their covariance.

    ``method`` is ``"DeLong"`` or ``"Obuchowski"``.
    """

    auc: np.ndarray
    covariance: np.ndarray
    method: str


def _components(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each positive the fraction of negatives below it, for each negative of positives above."""
    positives, negatives = scores[:, labels], scores[:, ~labels]
    m, n = positives.shape[1], negatives.shape[1]
    together = _midranks(np.concatenate([positives, negatives], axis=1))
    above = (together[:, :m] - _midranks(positives)) / n
    below = 1 - (together[:, m:] - _midranks(negatives)) / m
    return above, below


def _midranks(scores: np.ndarray) -> np.ndarray:
    """Return ranks along the last axis, ties sharing their mean.

    As ``scipy.stats.rankdata``, which cannot be imported where torch is blocked.
    """
    ranks = np.empty(scores.shape)
    for row, out in zip(scores, ranks, strict=True):
        ordered = np.sort(row)
        first = np.searchsorted(ordered, row, side="left")
        out[:] = (first + np.searchsorted(ordered, row, side="right") + 1) / 2
    return ranks


def areas(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> Areas:
    """Return the areas of several readers and how they vary together.

    Parameters
    ----------
    labels
        (n,) bool.
    scores
        (readers, n) float, larger = more suspicious.
    patients
        (n,) any: which patient a unit belongs to.

    Raises
    ------
    SecondReaderError
        If a score is NaN, or either class has fewer than two patients.
    """
    labels, scores = np.asarray(labels, bool), np.atleast_2d(np.asarray(scores, np.float64))
    if np.isnan(scores).any():
        raise SecondReaderError(f"score: got NaN in {np.isnan(scores).sum()}, expected numbers")
    names, cluster = np.unique(np.asarray(patients), return_inverse=True)
    yes, no = np.unique(cluster[labels]).size, np.unique(cluster[~labels]).size
    if yes < 2 or no < 2:
        raise SecondReaderError(
            f"labels: got {yes} patients with positives and {no} with negatives, "
            "expected at least two of each"
        )
    above, below = _components(labels, scores)
    auc = above.mean(axis=1)
    m, n = above.shape[1], below.shape[1]

    def spread(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Sum over each patient's units of their distance from the area, (readers, patients)."""
        apart = values - auc[:, None]
        return np.stack([np.bincount(cluster[chosen], row, names.size) for row in apart])

    ten, one = spread(above, labels), spread(below, ~labels)
    cross = ten @ one.T * names.size / (names.size - 1) / (m * n)
    covariance = (
        ten @ ten.T * yes / (yes - 1) / m**2 + one @ one.T * no / (no - 1) / n**2 + cross + cross.T
    )
    return Areas(auc, covariance, "DeLong" if names.size == labels.size else "Obuchowski")


def auc_interval(got: Areas, reader: int = 0, level: float = LEVEL) -> Estimate:
    """Return an area with its interval, symmetric on the logit scale so that it stays in 0 to 1."""
    value, variance = float(got.auc[reader]), float(got.covariance[reader, reader])
    if not 0 < value < 1 or variance <= 0:
        return Estimate(value, value, value, note="perfect separation: the interval tells nothing")
    wide = ndtri((1 + level) / 2) * math.sqrt(variance) / (value * (1 - value))
    middle = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-(middle + s * wide))) for s in (-1, 1))
    return Estimate(value, low, high)


def auc_test(got: Areas, a: int = 0, b: int = 1, level: float = LEVEL) -> Difference:
    """Test whether two readers of the same units have the same area: a − b, two-sided."""
    value = float(got.auc[a] - got.auc[b])
    c = got.covariance
    variance = float(c[a, a] + c[b, b] - 2 * c[a, b])
    if variance <= 1e-15:
        note = "the difference does not vary: the readers order the units alike"
        return Difference(value, value, value, 1.0 if value == 0 else None, got.method, note)
    error = math.sqrt(variance)
    wide = float(ndtri((1 + level) / 2)) * error
    p = float(2 * ndtr(-abs(value) / error))
    return Difference(value, value - wide, value + wide, p, got.method)
