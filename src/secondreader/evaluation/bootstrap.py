"""Intervals and paired comparisons that resample patients, never images.

A figure is a function of how often each patient was drawn: it takes ``counts`` (patients, draws)
and returns one value per draw. All draws are then a few matrix products instead of a loop, and two
readers are paired by being given the same counts.

References
----------
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 13.3 and 15.4.
Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from secondreader.domain import SecondReaderError

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Difference",
    "Estimate",
    "Statistic",
    "difference",
    "draws",
    "estimate",
    "holm",
    "replicates",
]

Statistic = Callable[[np.ndarray], np.ndarray]
"""counts (patients, draws) float64 → (draws,) or (draws, figures) float64, nan where undefined."""

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 100  # draws at a time: bounds memory, and is part of what a seed means
_LEAST_DEFINED = 0.95  # an interval from fewer defined draws would be one of lucky draws only


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, or why it has none.

    ``draws`` counts the resamples in which the figure was defined.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    draws: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of two readers: its interval and two-sided p-value."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    method: str
    note: str = ""


def draws(patients: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield blocks of counts (patients, draws) float64: how often each patient was drawn.

    Raises
    ------
    SecondReaderError
        If there are fewer than two patients.
    """
    if patients < 2:
        raise SecondReaderError(
            f"patients: got {patients}, expected at least two: one patient has no interval"
        )
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        block = min(_BLOCK, resamples - start)
        drawn = rng.integers(patients, size=(block, patients))
        flat = drawn + np.arange(block)[:, None] * patients
        counts = np.bincount(flat.ravel(), minlength=block * patients)
        yield np.ascontiguousarray(counts.reshape(block, patients).T, dtype=np.float64)


def replicates(
    statistic: Statistic, patients: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Evaluate a figure on the data and on every resample.

    Parameters
    ----------
    statistic
        counts (patients, draws) → (draws,) or (draws, figures).
    patients
        Number of patients; two calls with the same number and seed are paired.
    resamples, seed
        How many draws, and the seed of their generator.

    Returns
    -------
    numpy.ndarray
        (1 + resamples, ...) float64; row 0 is the figure on the data themselves.
    """
    parts = [np.asarray(statistic(np.ones((patients, 1))), np.float64)]
    parts += [
        np.asarray(statistic(counts), np.float64) for counts in draws(patients, resamples, seed)
    ]
    return np.concatenate(parts)


def estimate(values: np.ndarray, level: float = LEVEL) -> Estimate:
    """Return the percentile interval of replicates (1 + resamples,), row 0 being the value.

    Draws in which the figure is undefined (a resample of one class) are left out and counted; where
    more than one in twenty is, there is no interval. Draws that all agree are said to tell nothing.
    """
    value, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return Estimate(None, note="not defined on these data")
    if drawn.size < _LEAST_DEFINED * (values.size - 1) or drawn.size == 0:
        return Estimate(
            None, draws=drawn.size, note="undefined in over 5 % of resamples: too few patients"
        )
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    note = "every resample agrees: the interval tells nothing" if low == high else ""
    return Estimate(value, float(low), float(high), int(drawn.size), note)


def difference(a: np.ndarray, b: np.ndarray, level: float = LEVEL) -> Difference:
    """Compare paired replicates (1 + resamples,) of two readers: a − b.

    The p-value is twice the smaller tail of the differences around zero, both tails counting the
    data themselves, so that it is never below 2 / (resamples + 1).
    """
    method = "paired patient bootstrap"
    got = estimate(a - b, level)
    if got.value is None:
        return Difference(None, None, None, None, method, got.note)
    drawn = (a - b)[1:]
    drawn = drawn[np.isfinite(drawn)]
    tail = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)) + 1
    p = min(1.0, 2 * tail / (drawn.size + 1))
    return Difference(got.value, got.low, got.high, float(p), method, got.note)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for their number by Holm's step-down rule, in the order given."""
    given = np.asarray(p, np.float64)
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(given.size, 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(float(v) for v in adjusted)
