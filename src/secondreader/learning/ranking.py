"""How well scores tell two classes apart, for choices on validation data; figures come from `evaluation`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

__all__ = ["auc", "auc_of"]


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the ROC curve; nan where one class is missing.

    By ranks of the scores as they are: torchmetrics takes values outside [0, 1] for logits, and the
    single-precision sigmoid makes one of all that lie above 17.

    Parameters
    ----------
    scores
        (n,) of any scale.
    labels
        (n,) of 0 and 1.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(labels).astype(bool)
    if truth.all() or not truth.any():
        return float("nan")
    return float(roc_auc_score(truth, values))


def auc_of(positive: ArrayLike, negative: ArrayLike) -> float:
    """Return the same of the scores of both classes."""
    own, other = (np.asarray(v, np.float64).ravel() for v in (positive, negative))
    return auc(np.concatenate([own, other]), np.arange(own.size + other.size) < own.size)
