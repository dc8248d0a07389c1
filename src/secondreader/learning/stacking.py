"""How the scores of several readers make one: arrays in, weights out; what a panel learns by."""

from __future__ import annotations

import itertools

import numpy as np
from sklearn.linear_model import LogisticRegression

from secondreader.learning.ranking import auc

__all__ = ["best", "even", "logits", "stacked"]


def best(scores: np.ndarray, truth: np.ndarray, count: int) -> list[int]:
    """Return the members, in order, whose mean has the largest area; all subsets of a few are tried."""
    members = scores.shape[1]
    if count >= members:
        return list(range(members))
    if members <= 12:
        subsets = itertools.combinations(range(members), count)
        found = max(subsets, key=lambda own: auc(scores[:, own].mean(axis=1), truth))
        return list(found)
    chosen: list[int] = []
    while len(chosen) < count:
        rest = [i for i in range(members) if i not in chosen]
        chosen.append(max(rest, key=lambda i: auc(scores[:, [*chosen, i]].mean(axis=1), truth)))
    return sorted(chosen)


def logits(scores: np.ndarray) -> np.ndarray:
    """Return scores on the scale that a logistic regression adds on; those above 1 by their logarithm."""
    inside = np.clip(scores, 1e-6, None)
    found: np.ndarray = np.where(
        scores <= 1,
        np.log(inside) - np.log1p(-np.clip(inside, None, 1 - 1e-6)),
        np.log(inside) + 13.8,
    )
    return found


def even(scores: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    """Return weights that make the mean of logits, each about its mean and in units of its spread."""
    del truth
    own = logits(scores)
    weights = 1 / np.maximum(own.std(axis=0), 1e-3) / scores.shape[1]
    return (*(float(w) for w in weights), -float(own.mean(axis=0) @ weights))


def stacked(scores: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    """Fit weights; a member whose weight would be negative is left out, with weight 0."""
    used = list(range(scores.shape[1]))
    while used:
        fitted = LogisticRegression(C=1.0).fit(logits(scores[:, used]), truth)
        own = fitted.coef_[0]
        if (own >= 0).all():
            weights = np.zeros(scores.shape[1])
            weights[used] = own
            return (*(float(w) for w in weights), float(fitted.intercept_[0]))
        used.pop(int(own.argmin()))
    # Nobody's scores rise with the truth: all that is known is how often it is true.
    share = (truth.sum() + 1) / (len(truth) + 2)
    return (*(0.0 for _ in range(scores.shape[1])), float(np.log(share / (1 - share))))
