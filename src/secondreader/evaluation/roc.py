"""Figures of a score against a truth of two classes: ROC, precision and recall, confusion, pF1.

Everything is computed from counts of patients (see :mod:`.bootstrap`), so one set of functions
gives a figure and all its resamples. Curves are arrays (thresholds + 1, draws) of weighted true and
false positives at or above each threshold, thresholds falling, the first row being zero.

Ties: units with one score are one step of the curve, crossed by a straight line, which makes the
area equal to the Mann-Whitney statistic with ties counted half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from secondreader.domain import SecondReaderError

__all__ = [
    "Tally",
    "auc",
    "average_precision",
    "confusion",
    "confusion_rates",
    "curve",
    "mean_sensitivity",
    "on_lines",
    "partial_auc",
    "probabilistic_f1",
    "sensitivity_at",
    "sensitivity_at_specificity",
    "specificity_at_sensitivity",
    "tally",
]

_HAIR = 1e-9  # counts are whole numbers: a hair of tolerance for products such as 0.1 * 30


@dataclass(frozen=True, eq=False, slots=True)
class Tally:
    """How many positives and negatives each patient has at each threshold.

    Parameters
    ----------
    thresholds
        (m,) float64, falling; units scoring exactly this much.
    positives, negatives
        (m, patients) sparse.
    """

    thresholds: np.ndarray
    positives: sparse.csr_array
    negatives: sparse.csr_array


def tally(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    n_patients: int,
    *,
    most: int | None = None,
) -> Tally:
    """Count units by threshold and patient.

    Parameters
    ----------
    scores, labels, patients
        (n,) float, bool and int: a unit's score, class, and patient index.
    n_patients
        Number of patients, drawn from or not.
    most
        Keep at most about this many thresholds, for millions of positions: the highest half as they
        are, the rest evenly spaced in logarithmic rank; scores between two thresholds become ties.

    Raises
    ------
    SecondReaderError
        If a score is not a number, or only one class is there.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if np.isnan(scores).any():
        raise SecondReaderError(f"score: got NaN in {np.isnan(scores).sum()}, expected numbers")
    yes = int(labels.sum())
    if yes in (0, labels.size):
        raise SecondReaderError(
            f"labels: got {yes} positives and {labels.size - yes} negatives, expected both classes"
        )
    values, steps = np.unique(-scores, return_inverse=True)
    if most is not None and values.size > most:
        rank = np.geomspace(most // 2, values.size - 1, most - most // 2)
        kept = np.unique(np.concatenate([np.arange(most // 2), rank.astype(int)]))
        steps = np.searchsorted(kept, steps)
        values = values[kept]
    shape = (values.size, n_patients)

    def count(chosen: np.ndarray) -> sparse.csr_array:
        at = (steps[chosen], np.asarray(patients)[chosen])
        return sparse.csr_array(sparse.coo_array((np.ones(at[0].size), at), shape=shape))

    return Tally(-values, count(labels), count(~labels))


def curve(tally: Tally, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true and false positives (m + 1, draws) for counts (patients, draws)."""
    zero = np.zeros((1, counts.shape[1]))
    tp = np.concatenate([zero, np.cumsum(tally.positives @ counts, axis=0)])
    fp = np.concatenate([zero, np.cumsum(tally.negatives @ counts, axis=0)])
    return tp, fp


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, nan where b is zero."""
    ratio: np.ndarray = np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)
    return ratio


def auc(tp: np.ndarray, fp: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve, (draws,)."""
    area = (np.diff(fp, axis=0) * (tp[1:] + tp[:-1])).sum(axis=0) / 2
    return _divide(area, tp[-1] * fp[-1])


def mean_sensitivity(
    tp: np.ndarray, fp: np.ndarray, low: float, high: float, *, log: bool = False
) -> np.ndarray:
    """Return the mean sensitivity over false-positive fractions from `low` to `high`, (draws,).

    Parameters
    ----------
    tp, fp
        A curve.
    low, high
        The range of the false-positive fraction; `low` above 0 for a logarithmic axis.
    log
        Average over the logarithm of the fraction. Both integrals are exact for a curve of straight
        lines on linear axes; below 1 / negatives the curve is the line from the origin, which no
        data support.

    References
    ----------
    Mordang et al., Automatic microcalcification detection in multi-vendor mammography using
    convolutional neural networks, IWDM 2016 (0 to 0.1).
    """
    if not (0 <= low < high <= 1) or (log and low == 0):
        raise SecondReaderError(
            f"false-positive fraction: got {low} to {high}, expected a range in 0 to 1"
            + (", above 0 on a logarithmic axis" if log else "")
        )
    x, y = _divide(fp, fp[-1]), _divide(tp, tp[-1])
    start, end = np.maximum(x[:-1], low), np.minimum(x[1:], high)
    inside = end > start
    slope = np.divide(
        np.diff(y, axis=0), np.diff(x, axis=0), out=np.zeros_like(start), where=inside
    )
    base = y[:-1] - slope * x[:-1]
    width = np.where(inside, end - start, 0.0)
    if log:
        ratio = np.divide(end, start, out=np.ones_like(start), where=inside)
        total = (base * np.log(ratio) + slope * width).sum(axis=0) / np.log(high / low)
    else:
        total = ((base + slope * (start + end) / 2) * width).sum(axis=0) / (high - low)
    defined: np.ndarray = np.where((tp[-1] > 0) & (fp[-1] > 0), total, np.nan)
    return defined


def partial_auc(tp: np.ndarray, fp: np.ndarray, high: float = 0.1) -> np.ndarray:
    """Return the area for false-positive fractions 0 to `high`, (draws,); at most `high`."""
    return mean_sensitivity(tp, fp, 0.0, high) * high


def sensitivity_at_specificity(tp: np.ndarray, fp: np.ndarray, specificity: float) -> np.ndarray:
    """Return the best sensitivity of a threshold with at least this specificity, (draws,)."""
    allowed = fp <= (1 - specificity) * fp[-1] + _HAIR
    return _divide(np.where(allowed, tp, 0.0).max(axis=0), np.where(fp[-1] > 0, tp[-1], 0.0))


def specificity_at_sensitivity(tp: np.ndarray, fp: np.ndarray, sensitivity: float) -> np.ndarray:
    """Return the best specificity of a threshold with at least this sensitivity, (draws,)."""
    allowed = tp >= sensitivity * tp[-1] - _HAIR
    least = np.where(allowed, fp, np.inf).min(axis=0)
    return 1 - _divide(least, np.where(tp[-1] > 0, fp[-1], 0.0))


def sensitivity_at(tp: np.ndarray, fp: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Return sensitivities (fractions, draws) on straight lines between thresholds, for bands."""
    x, y = _divide(fp, fp[-1]), _divide(tp, tp[-1])
    at = np.full((len(fractions), tp.shape[1]), np.nan)
    for i in range(tp.shape[1]):
        if tp[-1, i] > 0 and fp[-1, i] > 0:
            at[:, i] = on_lines(x[:, i], y[:, i], fractions)
    return at


def on_lines(x: np.ndarray, y: np.ndarray, at: np.ndarray | Sequence[float]) -> np.ndarray:
    """Return y (at,) on the lines through points of rising x, the upper end of upright ones.

    Beyond the last point y stays as it is. ``numpy.interp`` leaves points of equal x undefined.
    """
    at = np.asarray(at, np.float64)
    left = np.searchsorted(x, at, side="right") - 1
    right = np.minimum(left + 1, x.size - 1)
    run = x[right] - x[left]
    share = np.divide(at - x[left], run, out=np.zeros(at.shape), where=run > 0)
    value: np.ndarray = y[left] + share * (y[right] - y[left])
    return value


def average_precision(
    tp: np.ndarray, fp: np.ndarray, positives: np.ndarray | None = None
) -> np.ndarray:
    """Return the average precision, (draws,): precision weighted by the gain in recall, not smoothed.

    ``positives`` (draws,) counts what there was to find, where some of it has no score at all.
    """
    precision = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=tp + fp > 0)
    gained = (np.diff(tp, axis=0) * precision[1:]).sum(axis=0)
    return _divide(gained, tp[-1] if positives is None else positives)


def confusion(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, n_patients: int, threshold: float
) -> np.ndarray:
    """Return (patients, 4) counts: true positives, false positives, true and false negatives.

    A unit is called positive if it scores the threshold or more.
    """
    called, labels = np.asarray(scores) >= threshold, np.asarray(labels, bool)
    cells = (called & labels, called & ~labels, ~called & ~labels, ~called & labels)
    return np.stack([np.bincount(patients, c, n_patients) for c in cells], axis=1)


def confusion_rates(cells: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rates of confusion counts (..., 4), nan where nothing was there to count.

    A ``_share`` is of all units, ``error`` is the share of wrong calls.
    """
    tp, fp, tn, fn = np.moveaxis(np.asarray(cells, np.float64), -1, 0)
    parts = {"true_positive": tp, "false_positive": fp, "true_negative": tn, "false_negative": fn}
    return {
        "sensitivity": _divide(tp, tp + fn),
        "specificity": _divide(tn, tn + fp),
        "ppv": _divide(tp, tp + fp),
        "npv": _divide(tn, tn + fn),
        "accuracy": _divide(tp + tn, tp + fp + tn + fn),
        "f1": _divide(2 * tp, 2 * tp + fp + fn),
        "error": _divide(fp + fn, tp + fp + tn + fn),
        **{f"{name}_share": _divide(part, tp + fp + tn + fn) for name, part in parts.items()},
    }


def probabilistic_f1(
    probabilities: np.ndarray, labels: np.ndarray, patients: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the F1 score of probabilities taken as soft calls, (draws,).

    References
    ----------
    Yacouby and Axman, Probabilistic extension of precision, recall, and F1 score, 2020.

    Raises
    ------
    SecondReaderError
        If a probability lies outside 0 to 1.
    """
    p, labels = np.asarray(probabilities, np.float64), np.asarray(labels, bool)
    if not ((p >= 0) & (p <= 1)).all():
        raise SecondReaderError("probability: got values outside 0 to 1, expected probabilities")
    n = counts.shape[0]
    called, hit, yes = (np.bincount(patients, w, n) @ counts for w in (p, p * labels, labels))
    return _divide(2 * hit, np.where(yes > 0, called + yes, 0.0))
