"""From scores to probabilities: fitting, applying, and moving to another prevalence.

Fit on calibration patients only. The default is Platt's; temperature scaling wants logits; isotonic
regression wants many positives. What was fitted holds for the prevalence it was fitted at.

References
----------
Platt, Probabilistic outputs for support vector machines, 1999 (with its smoothed targets).
Guo et al., On calibration of modern neural networks, ICML 2017.
Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates,
KDD 2002.
Saerens et al., Adjusting the outputs of a classifier to new a priori probabilities, 2002.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize
from scipy.special import expit

from secondreader.domain import SecondReaderError
from secondreader.evaluation.bootstrap import RESAMPLES, Estimate, estimate, replicates
from secondreader.evaluation.reliability import (
    bins,
    bounded_logit,
    brier,
    expected_error,
    log_loss,
)

__all__ = [
    "LEAST_ISOTONIC",
    "METHODS",
    "Calibration",
    "apply",
    "as_json",
    "beside",
    "compare",
    "fit",
    "from_json",
    "suited",
]

Method = Literal[
    "platt", "platt_log", "platt_logit", "temperature", "temperature_logit", "isotonic"
]  # fmt: skip
LEAST_ISOTONIC = 200


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted map from scores to probabilities; `as_json` gives ``calibration.json``.

    Parameters
    ----------
    method
        ``platt``: p = expit(slope · score + intercept); ``platt_log``: the same of log(score), scores
        below ``floor`` counting as that much; ``temperature``: p = expit(score / temperature) of a
        logit; ``platt_logit``, ``temperature_logit``: those of the logit of a score from 0 to 1;
        ``isotonic``: straight lines through the points (scores, probabilities).
    parameters
        Numbers and lists of numbers by name.
    prevalence
        The fraction of positives that the probabilities hold for.
    patients, positives, negatives
        What it was fitted on.
    fitted_on
        The data's name and fingerprint.
    """

    method: Method
    parameters: Mapping[str, float | Sequence[float]]
    prevalence: float
    patients: int
    positives: int
    negatives: int
    fitted_on: str


def fit(
    method: Method,
    scores: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    fitted_on: str = "",
) -> Calibration:
    """Fit one method.

    Parameters
    ----------
    method
        A key of :data:`METHODS`.
    scores, labels, patients
        (n,) float, bool, and any: units of the calibration part.
    fitted_on
        What to write down about these data.

    Raises
    ------
    SecondReaderError
        If there is one class or one patient only, a score is not finite, the scores do not rise
        with the truth, or isotonic regression has fewer than 200 positives.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if method not in METHODS:
        raise SecondReaderError(
            f"calibration: got {method!r}, expected one of {', '.join(METHODS)}"
        )
    yes, who = int(y.sum()), np.unique(np.asarray(patients)).size
    if not np.isfinite(x).all():
        raise SecondReaderError("score: got one that is not finite, expected numbers")
    if yes in (0, y.size) or who < 2:
        raise SecondReaderError(
            f"calibration: got {yes} positives and {y.size - yes} negatives of {who} patients, "
            "expected both classes and at least two patients"
        )
    return Calibration(
        method, METHODS[method](x, y), yes / y.size, who, yes, y.size - yes, fitted_on
    )


def _platt(x: np.ndarray, y: np.ndarray) -> dict[str, float | Sequence[float]]:
    middle, spread = float(x.mean()), float(x.std())
    if spread == 0:
        raise SecondReaderError("calibration: got one score for all units, expected different ones")
    z = (x - middle) / spread
    yes, no = int(y.sum()), int((~y).sum())
    target = np.where(y, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        t = ab[0] * z + ab[1]
        gap = expit(t) - target
        value = float((np.logaddexp(0, t) - target * t).sum())
        return value, np.array([gap @ z, gap.sum()])

    start = np.array([1.0, math.log(yes / no)])
    a, b = optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-8}).x
    if a <= 0:
        raise SecondReaderError(
            "calibration: got scores that do not rise with the truth, expected them to"
        )
    return {"slope": float(a / spread), "intercept": float(b - a * middle / spread)}


def _platt_log(x: np.ndarray, y: np.ndarray) -> dict[str, float | Sequence[float]]:
    if not (x > 0).any() or (x < 0).any():
        raise SecondReaderError("calibration: got scores below 0 or all 0, expected them above it")
    floor = float(x[x > 0].min())  # a unit without a detection scores 0, which has no logarithm
    return _platt(np.log(np.maximum(x, floor)), y) | {"floor": floor}


def _temperature(x: np.ndarray, y: np.ndarray) -> dict[str, float | Sequence[float]]:
    def loss(log_t: float) -> float:
        t = x / math.exp(log_t)
        return float((np.logaddexp(0, t) - y * t).sum())

    found = optimize.minimize_scalar(
        loss, bounds=(-7, 7), method="bounded", options={"xatol": 1e-8}
    )
    if abs(found.x) > 6.9:
        raise SecondReaderError("calibration: got no temperature from 1/1000 to 1000, expected one")
    return {"temperature": math.exp(found.x)}


def _shares(x: np.ndarray) -> np.ndarray:
    if not ((x >= 0) & (x <= 1)).all():
        raise SecondReaderError("calibration: got scores outside 0 to 1, expected them inside")
    return bounded_logit(x)


def _isotonic(x: np.ndarray, y: np.ndarray) -> dict[str, float | Sequence[float]]:
    if int(y.sum()) < LEAST_ISOTONIC:
        raise SecondReaderError(
            f"calibration: got {int(y.sum())} positives, expected at least {LEAST_ISOTONIC} for "
            "isotonic regression"
        )
    values, which, number = np.unique(x, return_inverse=True, return_counts=True)
    seen = np.bincount(which, y) / number
    risen = optimize.isotonic_regression(seen, weights=number).x
    # of a run of equal probabilities the two ends say all
    end = np.append(np.diff(risen) != 0, True) | np.insert(np.diff(risen) != 0, 0, True)
    return {
        "scores": [float(v) for v in values[end]],
        "probabilities": [float(v) for v in risen[end]],
    }


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float | Sequence[float]]]] = {
    "platt": _platt,
    "platt_log": _platt_log,
    "temperature": _temperature,
    "platt_logit": lambda x, y: _platt(_shares(x), y),
    "temperature_logit": lambda x, y: _temperature(_shares(x), y),
    "isotonic": _isotonic,
}


def apply(
    calibration: Calibration, scores: np.ndarray, *, prevalence: float | None = None
) -> np.ndarray:
    """Return probabilities (n,) of scores (n,), for another prevalence if one is given.

    Another prevalence moves all odds by one factor, which is right where cancers and the rest look
    the same there as here, and only their numbers differ.

    Raises
    ------
    SecondReaderError
        If the prevalence does not lie between 0 and 1.
    """
    x, of = np.asarray(scores, np.float64), calibration.parameters
    match calibration.method:
        case "platt":
            p = expit(_number(of, "slope") * x + _number(of, "intercept"))
        case "platt_log":
            logs = np.log(np.maximum(x, _number(of, "floor")))
            p = expit(_number(of, "slope") * logs + _number(of, "intercept"))
        case "temperature":
            p = expit(x / _number(of, "temperature"))
        case "platt_logit":
            p = expit(_number(of, "slope") * bounded_logit(x) + _number(of, "intercept"))
        case "temperature_logit":
            p = expit(bounded_logit(x) / _number(of, "temperature"))
        case "isotonic":
            p = np.interp(x, np.asarray(of["scores"]), np.asarray(of["probabilities"]))
    if prevalence is None:
        return np.asarray(p)
    if not 0 < prevalence < 1:
        raise SecondReaderError(
            f"prevalence: got {prevalence}, expected more than 0 and less than 1"
        )
    here = calibration.prevalence
    factor = prevalence / (1 - prevalence) * (1 - here) / here
    return np.asarray(p * factor / (p * factor + 1 - p))


def _number(parameters: Mapping[str, Any], name: str) -> float:
    return float(parameters[name])


def from_json(value: Mapping[str, Any]) -> Calibration:
    """Return a calibration from what `as_json` gave.

    Raises
    ------
    SecondReaderError
        If it is none.
    """
    try:
        got = Calibration(**value)
        apply(got, np.zeros(1))
    except (TypeError, KeyError, ValueError) as error:
        raise SecondReaderError("calibration.json: got other fields than expected") from error
    if got.method not in METHODS:
        raise SecondReaderError(
            f"calibration.json: got method {got.method!r}, expected a known one"
        )
    return got


def suited(scores: np.ndarray) -> tuple[Method, tuple[Method, ...]]:
    """Return the method for scores (n,) of this kind, and others to be put beside it.

    Scores that begin at 0 are taken by their logarithm, those that end at 1 beside it as shares, those
    below 0 for logits.
    """
    x = np.asarray(scores, np.float64)
    if not x.size or (x < 0).any():
        return "platt", ("temperature",)
    return "platt_log", ("platt_logit", "temperature_logit") if (x <= 1).all() else ()


def beside(scores: np.ndarray, others: Mapping[str, Calibration]) -> dict[str, np.ndarray]:
    """Return the probabilities (n,) that other ways than a reader's own make of its scores (n,).

    ``uncalibrated`` is the score as it is, where all lie from 0 to 1; the others go by their names.
    """
    x = np.asarray(scores, np.float64)
    plain = {"uncalibrated": x} if x.size and ((x >= 0) & (x <= 1)).all() else {}
    return plain | {name: apply(other, x) for name, other in others.items()}


def compare(
    methods: Sequence[Method],
    scores: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    n_patients: int,
    *,
    folds: int = 5,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, dict[str, Estimate]]:
    """Compare ways to calibrate on patients that each was not fitted on.

    Patients are dealt into folds; every fold is given probabilities by a fit to the others.

    Parameters
    ----------
    methods
        What to compare.
    scores, labels, patients
        (n,) units, `patients` being indices below `n_patients`.
    folds, seed, resamples
        How many folds, the seed that deals them and draws patients, and how many draws.

    Returns
    -------
    dict
        method → log_loss, brier, expected_error, each with its interval over patients.
    """
    x, y, who = np.asarray(scores, np.float64), np.asarray(labels, bool), np.asarray(patients)
    dealt = np.random.default_rng(seed).permutation(n_patients) % folds
    figures: dict[str, dict[str, Estimate]] = {}
    for method in methods:
        p = np.empty(x.size)
        for fold in range(folds):
            held = dealt[who] == fold
            if held.any():
                p[held] = apply(fit(method, x[~held], y[~held], who[~held]), x[held])
        table = bins(p, y, who, n_patients)
        loss = np.bincount(who, log_loss(p, y), n_patients)

        def statistic(w: np.ndarray, table: Any = table, loss: np.ndarray = loss) -> np.ndarray:
            mean = (loss @ w) / (table.units @ w).sum(axis=0)
            return np.stack([mean, brier(table, w), expected_error(table, w)], axis=1)

        values = replicates(statistic, n_patients, seed=seed, resamples=resamples)
        names = ("log_loss", "brier", "expected_error")
        figures[method] = {name: estimate(values[:, i]) for i, name in enumerate(names)}
    return figures


def as_json(calibration: Calibration) -> dict[str, Any]:
    """Return what ``calibration.json`` holds."""
    return asdict(calibration)
