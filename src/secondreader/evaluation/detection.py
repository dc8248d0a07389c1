"""All figures of detections under one hit rule: which there are, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from secondreader.domain import OperatingPoint, SecondReaderError
from secondreader.evaluation import froc
from secondreader.evaluation.bootstrap import RESAMPLES, Statistic, estimate, replicates
from secondreader.evaluation.classification import LEAST
from secondreader.evaluation.figures import Curve, Figure, curve_of, figure, without_value
from secondreader.evaluation.froc import Found

__all__ = [
    "RATES",
    "detection_figures",
    "detection_names",
    "detection_statistic",
    "overlap_precision",
]

On = Literal["all", "normal"]
RATES = np.geomspace(0.01, 50, 75)
_BOOTSTRAP = "patient bootstrap"


def detection_names(on: On) -> list[str]:
    """Return the names of the figures of `detection_statistic`, in its order."""
    names = [f"recall_at_{k:g}" for k in froc.RECALL_RATES] + ["mean_recall_0.125_8", "cpm"]
    names = [f"{n}_fp_on_{on}" for n in names]
    return [*names, "average_precision", "recall"] if on == "all" else names


def detection_statistic(found: Found, on: On, *, band: bool = False) -> Statistic:
    """Return counts → (draws, figures [+ the sensitivity at `RATES`])."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        got = froc.froc(found, counts, on)
        rows = [*froc.recalls_at(got, froc.RECALL_RATES), froc.mean_recall(got), froc.cpm(got)]
        if on == "all":
            rows += [froc.precision(got), froc.recall_at(got, np.inf)]
        if band:
            rows.extend(froc.recalls_at(got, RATES))
        return np.stack(rows, axis=1)

    return statistic


def detection_figures(
    found: Found,
    *,
    level: str,
    points: Sequence[OperatingPoint] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
    curves: bool = True,
    **known: Any,
) -> tuple[list[Figure], list[Curve]]:
    """Return the figures of detections, false positives counted on all images and on normal ones.

    Parameters
    ----------
    found
        What was found and missed.
    level
        ``region`` (each outline) or ``lesion`` (joined over views).
    points
        Operating points to give sensitivity and false positives per image at.
    resamples, seed
        Of the bootstrap.
    curves
        Whether to give curves.
    **known
        Fields of :class:`.figures.Figure` that all share: reader, hit_rule, group.
    """
    figures: list[Figure] = []
    drawn: list[Curve] = []
    who = np.unique(found.lesion_patients).size
    small = "" if who >= LEAST else f"too small to say anything: {who} patients with lesions"
    both: tuple[tuple[On, np.ndarray], ...] = (
        ("all", found.images),
        ("normal", found.normal_images),
    )
    for on, images in both:
        names = detection_names(on)
        facts = known | {
            "level": level,
            "positives": found.lesion_scores.size,
            "negatives": int(images.sum()),
            "patients": images.size,
            "note": small,
        }
        try:
            statistic = detection_statistic(found, on, band=curves)
            values = replicates(statistic, images.size, resamples=resamples, seed=seed)
        except SecondReaderError as error:
            figures += without_value(names, str(error), **facts)
            continue
        rows = enumerate(names)
        figures += [figure(n, estimate(values[:, i]), _BOOTSTRAP, **facts) for i, n in rows]
        if curves:
            drawn.append(_curve(values[:, len(names) :], on, facts))
        for point in points:
            figures += _at_point(found, point, on, resamples, seed, facts)
    return figures, drawn


def overlap_precision(
    found: Found, least: float, *, resamples: int = RESAMPLES, seed: int = 0, **known: Any
) -> Figure:
    """Return the average precision at an overlap; `found` is by an exclusive ``iou`` rule."""
    name = f"average_precision_iou_{least:g}"
    facts = known | {
        "level": "region",
        "positives": found.lesion_scores.size,
        "negatives": int(found.images.sum()),
        "patients": found.images.size,
        "note": "each detection takes at most one lesion",
    }

    def statistic(counts: np.ndarray) -> np.ndarray:
        return froc.precision(froc.froc(found, counts))

    try:
        values = replicates(statistic, found.images.size, resamples=resamples, seed=seed)
    except SecondReaderError as error:
        return without_value([name], str(error), **facts)[0]
    return figure(name, estimate(values), _BOOTSTRAP, **facts)


def _at_point(
    found: Found, point: OperatingPoint, on: On, resamples: int, seed: int, facts: dict[str, Any]
) -> list[Figure]:
    def statistic(counts: np.ndarray) -> np.ndarray:
        return np.stack(froc.hit_rates(found, point.threshold, counts, on), axis=1)

    values = replicates(statistic, facts["patients"], resamples=resamples, seed=seed)
    told = f"{point.rule} chosen on {point.chosen_on}"
    note = "; ".join(n for n in (told, facts["note"]) if n)
    names = [f"sensitivity_at_{point.name}", f"fpi_at_{point.name}_on_{on}"]
    pick = range(2) if on == "all" else (1,)
    return [
        figure(names[i], estimate(values[:, i]), _BOOTSTRAP, **facts | {"note": note}) for i in pick
    ]


def _curve(values: np.ndarray, on: str, facts: dict[str, Any]) -> Curve:
    low, high = np.nanquantile(values[1:], [0.025, 0.975], axis=0)
    rows = (RATES, values[0], low, high)
    rule = facts.get("hit_rule", "")
    return curve_of(facts["reader"], facts["level"], f"froc_{on}", rows, hit_rule=rule)
