"""All figures of scores at one level: which there are, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.evaluation import reliability, roc
from secondreader.evaluation.bootstrap import (
    RESAMPLES,
    Statistic,
    estimate,
    replicates,
)
from secondreader.evaluation.delong import areas, auc_interval
from secondreader.evaluation.figures import Curve, Figure, curve_of, figure, without_value
from secondreader.evaluation.units import Units

__all__ = [
    "FRACTIONS",
    "LEAST",
    "RATES_OF_CALLS",
    "probability_figures",
    "score_curves",
    "score_figures",
    "score_names",
    "score_statistic",
    "tally_statistic",
    "too_small",
]

RATES_OF_CALLS = (0.8, 0.9, 0.95)
FRACTIONS = np.unique(np.concatenate([np.linspace(0, 1, 101), np.geomspace(1e-3, 1e-1, 41)]))
LEAST = 10
"""Patients of each class below which a figure comes with a warning."""
_BOOTSTRAP = "patient bootstrap"
_POSITION_LOW = 1e-6
_MOST_THRESHOLDS = 20_000


def score_names(positions: bool = False, rates: Sequence[float] = RATES_OF_CALLS) -> list[str]:
    """Return the names of the figures of `score_statistic`, in its order."""
    names = ["auc", "partial_auc_0.1", "mean_sensitivity_fpf_0_0.1", "average_precision"]
    names += [f"sensitivity_at_specificity_{s:g}" for s in rates]
    names += [f"specificity_at_sensitivity_{s:g}" for s in rates]
    return [*names, "mean_sensitivity_log_fpf_1e-6_0.1"] if positions else names


def score_statistic(
    units: Units,
    *,
    positions: bool = False,
    band: bool = False,
    rates: Sequence[float] = RATES_OF_CALLS,
) -> Statistic:
    """Return counts → (draws, figures [+ the ROC at `FRACTIONS`]).

    Raises
    ------
    SecondReaderError
        If there is one class only, or a score is NaN.
    """
    table = roc.tally(
        units.scores, units.labels, units.patients, units.n_patients, most=_MOST_THRESHOLDS
    )
    at = FRACTIONS if band else None
    return tally_statistic(table, positions=positions, band=at, rates=rates)


def tally_statistic(
    table: roc.Tally,
    *,
    positions: bool = False,
    band: np.ndarray | None = None,
    rates: Sequence[float] = RATES_OF_CALLS,
) -> Statistic:
    """Return counts → (draws, figures [+ the ROC at the false-positive fractions of a band])."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        tp, fp = roc.curve(table, counts)
        rows = [
            roc.auc(tp, fp),
            roc.partial_auc(tp, fp, 0.1),
            roc.mean_sensitivity(tp, fp, 0.0, 0.1),
            roc.average_precision(tp, fp),
            *(roc.sensitivity_at_specificity(tp, fp, s) for s in rates),
            *(roc.specificity_at_sensitivity(tp, fp, s) for s in rates),
        ]
        if positions:
            rows.append(roc.mean_sensitivity(tp, fp, _POSITION_LOW, 0.1, log=True))
        if band is not None:
            rows.extend(roc.sensitivity_at(tp, fp, band))
        return np.stack(rows, axis=1)

    return statistic


def too_small(units: Units) -> str:
    """Return a warning where either class has fewer than `LEAST` patients, else nothing."""
    yes = np.unique(units.patients[units.labels]).size
    no = np.unique(units.patients[~units.labels]).size
    if min(yes, no) >= LEAST:
        return ""
    return f"too small to say anything: {yes} patients with positives, {no} with negatives"


def _known(units: Units, known: dict[str, Any]) -> dict[str, Any]:
    yes = int(units.labels.sum())
    return known | {
        "level": units.level,
        "positives": yes,
        "negatives": units.labels.size - yes,
        "patients": units.n_patients,
        "note": too_small(units),
    }


def score_figures(
    units: Units,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    threshold: float | None = None,
    rates: Sequence[float] = RATES_OF_CALLS,
    curves: bool = True,
    **known: Any,
) -> tuple[list[Figure], list[Curve]]:
    """Return the figures of scores, with the area's interval also by DeLong or Obuchowski.

    Positions have the mean sensitivity on a logarithmic axis instead of the latter.

    Parameters
    ----------
    units
        What is scored.
    resamples, seed
        Of the bootstrap.
    threshold
        An operating point for a confusion matrix.
    rates
        Specificities to give sensitivities at, and the other way round.
    curves
        Whether to give curves, which take most of the time.
    **known
        Fields of :class:`.figures.Figure` that all share: reader, label_rule, group.

    Returns
    -------
    list, list
        Figures, without a value and with the reason where they cannot be had, and the ROC curve.
    """
    positions = units.level == "position"
    facts, names = _known(units, known), score_names(positions, rates)
    try:
        statistic = score_statistic(units, positions=positions, band=curves, rates=rates)
        values = replicates(statistic, units.n_patients, resamples=resamples, seed=seed)
    except SecondReaderError as error:
        return without_value(names, str(error), **facts), []
    figures = [figure(n, estimate(values[:, i]), _BOOTSTRAP, **facts) for i, n in enumerate(names)]
    if not positions:
        figures.insert(1, _area(units, facts))
    if threshold is not None:
        figures += _confusion(units, threshold, resamples, seed, facts)
    if not curves:
        return figures, []
    low, high = np.nanquantile(values[1:, len(names) :], [0.025, 0.975], axis=0)
    rule = facts.get("label_rule", "")
    rows = (FRACTIONS, values[0, len(names) :], low, high)
    curve = curve_of(facts["reader"], units.level, "roc", rows, label_rule=rule)
    return figures, [curve, *score_curves(units, **known)]


def _area(units: Units, facts: dict[str, Any]) -> Figure:
    try:
        got = areas(units.labels, units.scores, units.patients)
    except SecondReaderError as error:
        return without_value(["auc"], str(error), method="Obuchowski", **facts)[0]
    return figure("auc", auc_interval(got), got.method, **facts)


def _confusion(
    units: Units, threshold: float, resamples: int, seed: int, facts: dict[str, Any]
) -> list[Figure]:
    cells = roc.confusion(units.scores, units.labels, units.patients, units.n_patients, threshold)
    names = ["true_positives", "false_positives", "true_negatives", "false_negatives"]
    names += list(roc.confusion_rates(cells[0]))

    def statistic(counts: np.ndarray) -> np.ndarray:
        drawn = counts.T @ cells
        return np.column_stack([drawn, *roc.confusion_rates(drawn).values()])

    values = replicates(statistic, units.n_patients, resamples=resamples, seed=seed)
    told = f"at score >= {threshold:g}"
    note = "; ".join(n for n in (told, facts["note"]) if n)
    rows = enumerate(names)
    return [
        figure(n, estimate(values[:, i]), _BOOTSTRAP, **facts | {"note": note}) for i, n in rows
    ]


def score_curves(units: Units, **known: Any) -> list[Curve]:
    """Return the histograms of scores of both classes, on common bins."""
    if units.scores.size == 0:
        return []
    edges = np.histogram_bin_edges(units.scores, bins=40)
    middles = (edges[1:] + edges[:-1]) / 2
    rule, reader = known.get("label_rule", ""), known["reader"]
    curves = []
    for name, chosen in (("negative", ~units.labels), ("positive", units.labels)):
        rows = (middles, np.histogram(units.scores[chosen], edges)[0])
        curves.append(curve_of(reader, units.level, f"scores_{name}", rows, label_rule=rule))
    return curves


def probability_figures(
    units: Units, *, way: str = "", resamples: int = RESAMPLES, seed: int = 0, **known: Any
) -> tuple[list[Figure], list[Curve]]:
    """Return the figures of calibration and the reliability diagram; `units` hold probabilities.

    ``way`` is how they were made where it is not the reader's own: it ends the figures' names.
    """
    facts = _known(units, known)
    parts = ("reliability", "resolution", "uncertainty", "within")
    names = ["ece_equal_width", "ece_equal_mass", "brier", *(f"brier_{p}" for p in parts)]
    names += ["calibration_slope", "calibration_intercept", "calibration_in_the_large", "pf1"]
    names = [f"{name}_{way}" for name in names] if way else names
    who, n = units.patients, units.n_patients
    try:
        if units.labels.size == 0 or units.labels.all() or not units.labels.any():
            raise SecondReaderError("labels: got one class or none, expected both")
        wide = reliability.bins(units.scores, units.labels, who, n)
        mass = reliability.bins(units.scores, units.labels, who, n, equal="mass")
        slopes = reliability.recalibration(units.scores, units.labels, who)

        def statistic(counts: np.ndarray) -> np.ndarray:
            split = reliability.brier_parts(wide, counts)
            rows = [
                reliability.expected_error(wide, counts),
                reliability.expected_error(mass, counts),
                reliability.brier(wide, counts),
                *(split[p] for p in parts),
                *slopes(counts).T,
                roc.probabilistic_f1(units.scores, units.labels, who, counts),
                *reliability.observed(mass, counts)[1],
            ]
            return np.stack(rows, axis=1)

        values = replicates(statistic, n, resamples=resamples, seed=seed)
    except SecondReaderError as error:
        return without_value(names, str(error), **facts), []
    told = f"prevalence {units.labels.mean():.3g} here"
    facts["note"] = "; ".join(t for t in (told, facts["note"]) if t)
    figures = [figure(k, estimate(values[:, i]), _BOOTSTRAP, **facts) for i, k in enumerate(names)]
    return figures, [_diagram(mass, values[:, len(names) :], facts, way)]


def _diagram(table: reliability.Bins, values: np.ndarray, facts: dict[str, Any], way: str) -> Curve:
    ones = np.ones((table.units.shape[1], 1))
    promised, seen = (c[:, 0] for c in reliability.observed(table, ones))
    number = (table.units @ ones)[:, 0]
    full = number > 0
    low, high = np.nanquantile(values[1:][:, full], [0.025, 0.975], axis=0)
    rows: Sequence[np.ndarray] = (promised[full], seen[full], low, high, number[full])
    rule = facts.get("label_rule", "")
    return curve_of(facts["reader"], facts["level"], "reliability", rows, label_rule=rule, way=way)
