"""Decision trees as arrays: what a model folder holds instead of a pickle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

__all__ = ["forest_arrays", "forest_scores"]


def forest_arrays(forest: RandomForestClassifier, prefix: str) -> dict[str, Tensor]:
    """Return a fitted forest of two classes as tensors, trees one after another.

    Parameters
    ----------
    forest
        Fitted with labels 0 and 1.
    prefix
        Of the names.

    Returns
    -------
    dict
        ``first`` (trees,) the number of each tree's root; ``left``, ``right`` (nodes,) the numbers
        of a node's children, its own for a leaf; ``feature``, ``threshold`` (nodes,); ``share``
        (nodes,) of class 1.
    """
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in ("left", "right", "feature", "threshold", "share")
    }
    first, total = [], 0
    one = list(forest.classes_).index(1)
    for estimator in forest.estimators_:
        tree = estimator.tree_
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        parts["left"].append(total + np.where(leaf, own, tree.children_left))
        parts["right"].append(total + np.where(leaf, own, tree.children_right))
        parts["feature"].append(np.maximum(tree.feature, 0))
        parts["threshold"].append(np.where(leaf, np.inf, tree.threshold))
        counts = tree.value[:, 0, :]
        parts["share"].append(counts[:, one] / counts.sum(axis=1))
        first.append(total)
        total += tree.node_count
    kinds = {"threshold": np.float64, "share": np.float64}
    arrays = {n: np.concatenate(v).astype(kinds.get(n, np.int32)) for n, v in parts.items()}
    arrays["first"] = np.array(first, np.int32)
    return {f"{prefix}{name}": torch.from_numpy(value) for name, value in arrays.items()}


def forest_scores(arrays: Mapping[str, Tensor], prefix: str, features: np.ndarray) -> np.ndarray:
    """Return the forest's mean share of class 1, (n,) float64, for features (n, k).

    Equal to scikit-learn's ``predict_proba``, which compares features as float32.
    """
    left, right, feature, threshold, share, first = (
        arrays[f"{prefix}{name}"].numpy()
        for name in ("left", "right", "feature", "threshold", "share", "first")
    )
    values = features.astype(np.float32).astype(np.float64)
    at = np.broadcast_to(first, (len(values), len(first))).copy()  # (n, trees)
    rows = np.arange(len(values))[:, None]
    while True:
        # A leaf is its own child on both sides.
        below = np.where(values[rows, feature[at]] <= threshold[at], left[at], right[at])
        if (below == at).all():
            break
        at = below
    mean: np.ndarray = share[at].mean(axis=1)
    return mean
