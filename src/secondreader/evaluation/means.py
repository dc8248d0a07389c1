"""Means over patches, places or images, with patients drawn again: accuracies, shares, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.evaluation.bootstrap import RESAMPLES, estimate, replicates
from secondreader.evaluation.figures import Figure, figure, without_value

__all__ = ["mean_figures", "mean_replicates"]


def mean_replicates(
    values: np.ndarray, patients: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Return means of columns on the data and on every resample of patients.

    Parameters
    ----------
    values
        (n, figures): of each patch, place or image; 0 and 1 make a share.
    patients
        (n,) whose it is. Two calls with the same patients are paired.
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    numpy.ndarray
        (1 + resamples, figures) float64; row 0 is the means of the data themselves.

    Raises
    ------
    SecondReaderError
        If there are fewer than two patients.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    values = np.asarray(values, np.float64)
    sums = np.zeros((names.size, values.shape[1] + 1))
    np.add.at(sums, index, np.column_stack([values, np.ones(len(values))]))

    def statistic(counts: np.ndarray) -> np.ndarray:
        drawn = counts.T @ sums
        means: np.ndarray = drawn[:, :-1] / drawn[:, -1:]
        return means

    return replicates(statistic, names.size, resamples=resamples, seed=seed)


def mean_figures(
    columns: Mapping[str, np.ndarray],
    patients: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    **known: Any,
) -> list[Figure]:
    """Return a figure for each column, its mean with the interval over patients.

    Parameters
    ----------
    columns
        Name → (n,) of each patch, place or image.
    patients
        (n,) whose it is.
    resamples, seed
        Of the bootstrap.
    **known
        Fields of :class:`.figures.Figure` that all share: reader, level, group, …
    """
    known = known | {"patients": len(set(patients))}
    try:
        got = mean_replicates(
            np.column_stack(list(columns.values())), patients, resamples=resamples, seed=seed
        )
    except SecondReaderError as error:
        return without_value(columns, str(error), **known)
    return [
        figure(name, estimate(got[:, i]), "patient bootstrap", **known)
        for i, name in enumerate(columns)
    ]
