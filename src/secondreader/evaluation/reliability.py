"""How far probabilities are from what they promise: calibration figures, as functions of counts.

References
----------
Guo et al., On calibration of modern neural networks, ICML 2017 (expected calibration error).
Murphy, A new vector partition of the probability score, J. Appl. Meteorol. 12, 1973.
Cox, Two further applications of a model for binary regression, Biometrika 45, 1958.
Van Calster et al., Calibration: the Achilles heel of predictive analytics, BMC Medicine 17, 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from secondreader.domain import SecondReaderError

__all__ = [
    "BINS",
    "Bins",
    "bins",
    "bounded_logit",
    "brier",
    "brier_parts",
    "expected_error",
    "log_loss",
    "observed",
    "recalibration",
]

BINS = 15
_EDGE = 1e-6  # probabilities nearer to 0 or 1 than this are moved there before a logit or logarithm
_MOST_SLOPE = 1e3  # beyond it the classes are separated and the fit runs away


@dataclass(frozen=True, eq=False, slots=True)
class Bins:
    """Units by bins of their probability, summed for each patient.

    Parameters
    ----------
    edges
        (bins + 1,) rising.
    units, positives, promised, squared
        (bins, patients): how many units, how many positive, the sum of their probabilities, and of
        their squared errors.
    """

    edges: np.ndarray
    units: np.ndarray
    positives: np.ndarray
    promised: np.ndarray
    squared: np.ndarray


def bins(
    probabilities: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    n_patients: int,
    *,
    number: int = BINS,
    equal: str = "width",
) -> Bins:
    """Sort units into bins of equal ``"width"``, or of equal ``"mass"`` (quantiles of these data).

    Raises
    ------
    SecondReaderError
        If a probability lies outside 0 to 1, or `equal` is unknown.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise SecondReaderError("probability: got values outside 0 to 1, expected probabilities")
    if equal == "width":
        edges = np.linspace(0, 1, number + 1)
    elif equal == "mass":
        edges = np.unique(np.quantile(p, np.linspace(0, 1, number + 1)))
        edges = edges if edges.size > 1 else np.array([edges[0], edges[0]])
    else:
        raise SecondReaderError(f"bins: got {equal!r}, expected 'width' or 'mass'")
    which = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, edges.size - 2)
    cell = which * n_patients + np.asarray(patients)

    def total(of: np.ndarray) -> np.ndarray:
        summed = np.bincount(cell, of, (edges.size - 1) * n_patients)
        return summed.reshape(edges.size - 1, n_patients)

    return Bins(edges, total(np.ones_like(p)), total(y), total(p), total((p - y) ** 2))


def _mean(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.divide(total, number, out=np.zeros(total.shape), where=number > 0)
    return mean


def expected_error(table: Bins, counts: np.ndarray) -> np.ndarray:
    """Return the expected calibration error (draws,): mean gap of bins, weighted by their units."""
    gap = np.abs((table.positives - table.promised) @ counts)
    return _mean(gap.sum(axis=0), (table.units @ counts).sum(axis=0))


def observed(table: Bins, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean probability and observed frequency of each bin, (bins, draws), nan where empty."""
    n = table.units @ counts
    promised = np.where(n > 0, _mean(table.promised @ counts, n), np.nan)
    return promised, np.where(n > 0, _mean(table.positives @ counts, n), np.nan)


def brier(table: Bins, counts: np.ndarray) -> np.ndarray:
    """Return the Brier score, (draws,)."""
    return _mean((table.squared @ counts).sum(axis=0), (table.units @ counts).sum(axis=0))


def brier_parts(table: Bins, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return Murphy's parts of the Brier score, each (draws,).

    Brier = reliability − resolution + uncertainty + within, where ``within`` is what binning loses
    (it is zero where the probabilities of a bin are all the same).
    """
    n = table.units @ counts
    whole = n.sum(axis=0)
    base = _mean((table.positives @ counts).sum(axis=0), whole)
    seen, promised = _mean(table.positives @ counts, n), _mean(table.promised @ counts, n)
    reliability = _mean((n * (promised - seen) ** 2).sum(axis=0), whole)
    resolution = _mean((n * (seen - base) ** 2).sum(axis=0), whole)
    uncertainty = base * (1 - base)
    within = brier(table, counts) - (reliability - resolution + uncertainty)
    return {
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "within": within,
    }


def bounded_logit(probabilities: np.ndarray) -> np.ndarray:
    """Return log-odds, those of 0 and 1 being those of a millionth from them."""
    bounded: np.ndarray = logit(np.clip(np.asarray(probabilities, np.float64), _EDGE, 1 - _EDGE))
    return bounded


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return −log p of the truth for each unit, (n,)."""
    p = np.clip(np.asarray(probabilities, np.float64), _EDGE, 1 - _EDGE)
    loss: np.ndarray = -np.log(np.where(np.asarray(labels, bool), p, 1 - p))
    return loss


def recalibration(
    probabilities: np.ndarray, labels: np.ndarray, patients: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a statistic: counts → (draws, 3) slope, intercept, and intercept at slope 1.

    The first two fit log-odds of the truth to log-odds of the probability (1 and 0 when
    calibrated); the third, calibration in the large, is above 0 where cancers are promised too
    rarely. All are nan where the classes are separated.
    """
    x, y = bounded_logit(probabilities), np.asarray(labels, np.float64)
    patients = np.asarray(patients)
    start = _fit(x, y, np.ones((x.size, 1)), np.array([[1.0], [0.0]]), 50)
    shift = _shift(x, y, np.ones((x.size, 1)), np.zeros(1), 50)

    def statistic(counts: np.ndarray) -> np.ndarray:
        weights = counts[patients]
        draws = counts.shape[1]
        fitted = _fit(x, y, weights, np.repeat(np.nan_to_num(start, nan=1.0), draws, axis=1), 8)
        moved = _shift(x, y, weights, np.repeat(np.nan_to_num(shift), draws), 8)
        return np.stack([fitted[0], fitted[1], moved], axis=1)

    return statistic


def _fit(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, start: np.ndarray, steps: int
) -> np.ndarray:
    """Fit (slope, intercept) by Newton's method for each column of weights (n, draws)."""
    slope, base = start.copy()
    moved = np.full(slope.shape, np.inf)
    for _ in range(steps):
        p = expit(np.clip(x[:, None] * slope + base, -700, 700))
        residual, curve = weights * (y[:, None] - p), weights * p * (1 - p)
        g1, g0 = x @ residual, residual.sum(axis=0)
        h11, h10, h00 = x**2 @ curve, x @ curve, curve.sum(axis=0)
        det = h11 * h00 - h10**2
        safe = np.where(det > 1e-12, det, np.nan)
        d1, d0 = (h00 * g1 - h10 * g0) / safe, (h11 * g0 - h10 * g1) / safe
        slope, base = slope + d1, base + d0
        moved = np.maximum(np.abs(d1), np.abs(d0))
        if np.nan_to_num(moved).max() < 1e-9:
            break
    fitted = (moved < 1e-3) & (np.abs(slope) < _MOST_SLOPE)
    return np.where(fitted, np.stack([slope, base]), np.nan)


def _shift(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, start: np.ndarray, steps: int
) -> np.ndarray:
    """Fit the intercept at slope 1 for each column of weights (n, draws)."""
    base, moved = start.copy(), np.full(start.shape, np.inf)
    for _ in range(steps):
        p = expit(x[:, None] + base)
        curve = (weights * p * (1 - p)).sum(axis=0)
        step = (weights * (y[:, None] - p)).sum(axis=0) / np.where(curve > 1e-12, curve, np.nan)
        step = np.clip(step, -2, 2)  # the flat ends of the curve would throw a whole step far out
        base, moved = base + step, np.abs(step)
        if np.nan_to_num(moved).max() < 1e-9:
            break
    return np.where(moved < 1e-3, base, np.nan)
