"""Figures of scores of positions, of which there are tens of millions: by histograms of each patient.

A detector that scores every position of a breast is measured before any peak is taken: positions of
lesions against all others. Scores are counted in fine bins of their logit, patient by patient, so that
any number of positions takes the memory of a few, and a bootstrap over patients is a product of matrices.

References
----------
Mordang et al., Automatic microcalcification detection in multi-vendor mammography using convolutional
neural networks, IWDM 2016: ROC over positions, mean sensitivity at false-positive fractions to 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import sparse

from secondreader.domain import ImageRecord, SecondReaderError
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate, replicates
from secondreader.evaluation.classification import (
    FRACTIONS,
    LEAST,
    score_names,
    tally_statistic,
)
from secondreader.evaluation.figures import (
    Comparison,
    Curve,
    Figure,
    curve_of,
    figure,
    without_value,
)
from secondreader.evaluation.roc import Tally

__all__ = [
    "BINS",
    "RULE",
    "Counted",
    "Replicated",
    "binned",
    "compare_positions",
    "counted",
    "position_figures",
    "replicated",
]

BINS = 8192
RULE = {
    "positions": "positions of calcifications, each the pixel at its middle, against positions of the "
    "breast away from any"
}
_STEEPEST = 14.0  # logits beyond which scores are alike
_RARE = np.unique(np.concatenate([FRACTIONS, np.geomspace(1e-6, 1e-3, 31)]))
_NAMES = score_names(True)
_ABOVE = "curve_above_log_fpf_1e-6_1"
_WHOLE = (_RARE >= 1e-6) & (_RARE < 1)
# Of each fraction's neighbourhood on the logarithmic axis; they add up to 1.
_SHARES = np.gradient(np.log(_RARE[_WHOLE])) / np.gradient(np.log(_RARE[_WHOLE])).sum()


@dataclass(frozen=True, eq=False, slots=True)
class Counted:
    """How many positions of each image lie in each bin.

    Parameters
    ----------
    reader
        Who scored them.
    patients, vendors
        Of each image.
    positive, negative
        (bins, images) sparse counts; the last bin has the highest scores.
    """

    reader: str
    patients: tuple[str, ...]
    vendors: tuple[str, ...]
    positive: sparse.csr_array
    negative: sparse.csr_array


def binned(scores: np.ndarray) -> np.ndarray:
    """Return how many scores (n,) in [0, 1] lie in each bin, (BINS,) int64."""
    clipped = np.clip(np.asarray(scores, np.float64), 1e-9, 1 - 1e-9)
    logit = np.log(clipped / (1 - clipped))
    bins = np.clip((logit / _STEEPEST + 1) / 2 * BINS, 0, BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=BINS)


def counted(reader: str, records: Sequence[ImageRecord], histograms: np.ndarray) -> Counted:
    """Return counts of images.

    Parameters
    ----------
    reader
        Who scored them.
    records
        Of the images.
    histograms
        (images, 2, BINS): of positives and negatives, as `binned` gives.
    """
    return Counted(
        reader,
        tuple(f"{r.dataset}/{r.patient_id}" for r in records),
        tuple(r.vendor or "" for r in records),
        sparse.csr_array(histograms[:, 0].T.astype(np.float64)),
        sparse.csr_array(histograms[:, 1].T.astype(np.float64)),
    )


@dataclass(frozen=True, eq=False, slots=True)
class Replicated:
    """The figures of a group of positions, and its ROC curve, on the data and on every resample.

    Parameters
    ----------
    facts
        What its figures share.
    values
        (1 + resamples, figures + fractions), or none and then why.
    """

    facts: Mapping[str, Any]
    values: np.ndarray | None
    why: str = ""


def replicated(
    of: Counted, *, groups: bool = True, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Replicated]:
    """Measure all positions, and those of each vendor; two readers of the same images are paired.

    Parameters
    ----------
    of
        What was counted.
    groups
        Whether to give vendors.
    resamples, seed
        Of the bootstrap over patients.

    Returns
    -------
    dict
        Group → its figures; ``""`` is all.
    """
    found: dict[str, Replicated] = {}
    for group, table, patients in _tables(of, groups):
        facts: dict[str, Any] = {
            "reader": of.reader, "level": "position", "group": group, "label_rule": "positions",
            "positives": int(table.positives.sum()), "negatives": int(table.negatives.sum()),
            "patients": patients, "note": _too_small(table),
        }  # fmt: skip
        try:
            if not facts["positives"] or not facts["negatives"]:
                raise SecondReaderError("positions: got one class or none, expected both")
            statistic = tally_statistic(table, positions=True, band=_RARE)
            values = replicates(statistic, patients, resamples=resamples, seed=seed)
            found[group] = Replicated(facts, values)
        except SecondReaderError as error:
            found[group] = Replicated(facts, None, str(error))
    return found


def position_figures(of: Mapping[str, Replicated]) -> tuple[list[Figure], list[Curve]]:
    """Return the figures and ROC curves of one reader, as `replicated` measured it."""
    figures: list[Figure] = []
    curves: list[Curve] = []
    for group, own in of.items():
        if own.values is None:
            figures += without_value(_NAMES, own.why, **own.facts)
            continue
        figures += [
            figure(n, estimate(own.values[:, i]), "patient bootstrap", **own.facts)
            for i, n in enumerate(_NAMES)
        ]
        band = own.values[:, len(_NAMES) :]
        low, high = np.nanquantile(band[1:], [0.025, 0.975], axis=0)
        rule = ", ".join(["positions", *([group] if group else [])])
        rows = (_RARE, band[0], low, high)
        curves.append(curve_of(own.facts["reader"], "position", "roc", rows, label_rule=rule))
    return figures, curves


def compare_positions(readers: Sequence[Mapping[str, Replicated]]) -> list[Comparison]:
    """Compare every pair of readers of the same images, of all positions and of each vendor's.

    By their figures, and by ``curve_above_log_fpf_1e-6_1``: the share of the false-positive fractions
    from 1e-6 to 1, on a logarithmic axis, at which the first one's sensitivity is higher, less the
    share at which it is lower. 1 is a curve that lies above the other everywhere.

    P-values are of pairs, not yet corrected (`comparisons.with_holm`).
    """
    rows: list[Comparison] = []
    for a, b in combinations(readers, 2):
        for group in [g for g in a if g in b]:
            one, two = a[group], b[group]
            if one.values is None or two.values is None:
                continue
            curves = [v[:, len(_NAMES) :][:, _WHOLE] for v in (one.values, two.values)]
            # Without a positive there is no curve, and none lies above another.
            drawn = np.where(np.isnan(curves[0] + curves[1]).any(1), np.nan, 1.0)
            pairs = [
                *((name, one.values[:, i], two.values[:, i]) for i, name in enumerate(_NAMES)),
                (_ABOVE, *(drawn * ((a > b) @ _SHARES) for a, b in (curves, curves[::-1]))),
            ]
            for name, ours, theirs in pairs:
                got = difference(ours, theirs)
                rows.append(
                    Comparison(
                        one.facts["reader"], two.facts["reader"], "position", name, got.value,
                        got.low, got.high, got.p, None, got.method, label_rule="positions",
                        units=one.facts["positives"] + one.facts["negatives"], group=group,
                        note=got.note,
                    )
                )  # fmt: skip
    return rows


def _tables(of: Counted, groups: bool) -> Iterator[tuple[str, Tally, int]]:
    """Yield each group, its counts by bin and patient, highest bin first, and how many patients."""
    vendors = sorted(set(of.vendors) - {""}) if groups else []
    for vendor in [None, *(vendors if len(vendors) > 1 else [])]:
        own = np.array([vendor in (None, v) for v in of.vendors], bool)
        names, index = np.unique(np.array(of.patients)[own], return_inverse=True)
        images = np.flatnonzero(own)
        to_patient = sparse.csr_array(
            (np.ones(len(images)), (images, index)), shape=(len(own), len(names))
        )
        positive, negative = (
            sparse.csr_array((counts @ to_patient)[::-1]) for counts in (of.positive, of.negative)
        )
        kept = np.flatnonzero((positive.sum(axis=1) + negative.sum(axis=1)) > 0)
        table = Tally(-kept.astype(np.float64), positive[kept], negative[kept])
        yield "" if vendor is None else f"vendor={vendor}", table, len(names)


def _too_small(table: Tally) -> str:
    who = int((table.positives.sum(axis=0) > 0).sum())
    return "" if who >= LEAST else f"too small to say anything: {who} patients with calcifications"
