"""Boosting a cascade's nodes, one after another, each on negatives that those before let through.

References
----------
Bria et al. (2014), sections 2.3 and 2.4: nodes are boosted by a ranking loss, RankBoost of Freund et
al. (2003), whose weights for two classes factor into one for each; with the exponential loss it is
AdaBoost. Negatives are drawn anew for each node from what the nodes before let through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.methods.mined_cnn.cascade import Node
from secondreader.methods.mined_cnn.config import CascadeSettings
from secondreader.methods.mined_cnn.haar import drawn_features

__all__ = ["Fitted", "Pair", "fit_cascade", "fit_node", "read_by"]

Pair = tuple[Node, Node]
"""A node, and the same with all its stumps."""

_BINS = 128
_MANY = 100_000  # positions of a class that its quantiles are taken of
_FEWEST = 200  # negatives without which no further node is trained


class Fitted(NamedTuple):
    """A node, and what it would be as the last of a cascade.

    Parameters
    ----------
    node
        As many stumps as it takes to throw away enough negatives, or all.
    whole
        All stumps: what passes every node is ranked by the last one's votes, and the few of a node that
        stopped early tell hardly any scores apart.
    kept, through
        The share of positives that the node keeps, of negatives that it lets through, of those that it
        was fitted to. One that needed all its stumps may let through more than it should.
    """

    node: Node
    whole: Node
    kept: float
    through: float


def fit_node(
    values: np.ndarray, truth: np.ndarray, features: np.ndarray, settings: CascadeSettings
) -> Fitted:
    """Boost stumps, until the node throws away enough negatives and keeps nearly all positives, and on.

    Parameters
    ----------
    values
        (n, f) float32, values of the features; of a million positions they are most of the memory.
    truth
        (n,) bool: which are positives.
    features
        (f, 2, 5).
    settings
        How many stumps, what to keep and to throw, which loss.
    """
    edges = _edges(values, truth)
    # A value lies above the k-th edge if more than k edges lie below it: bins say all there is to say.
    binned = np.stack(
        [np.searchsorted(edges[k], values[:, k], side="left") for k in range(len(features))]
    ).astype(np.uint8)
    sums = np.zeros(len(values), np.float32)
    chosen: list[int] = []
    cuts: list[float] = []
    votes: list[float] = []
    least, fitted = -np.inf, None
    for _ in range(settings.stumps):
        weight = np.exp(np.where(truth, -sums, sums).astype(np.float64))
        if settings.loss == "ranking":
            weight[truth] /= 2 * weight[truth].sum()
            weight[~truth] /= 2 * weight[~truth].sum()
        else:
            weight /= weight.sum()
        number, edge, vote = _stump(binned, np.where(truth, weight, -weight))
        if vote == 0:
            break
        chosen.append(number)
        cuts.append(float(edges[number, edge]))
        votes.append(vote)
        sums += np.where(binned[number] > edge, vote, -vote).astype(np.float32)
        # The highest threshold that keeps enough positives.
        ranked = np.sort(sums[truth])
        least = float(ranked[int((1 - settings.kept) * len(ranked))])
        through = float((sums[~truth] >= least).mean())
        if fitted is None and through <= 1 - settings.thrown:
            kept = float((sums[truth] >= least).mean())
            fitted = _node(features[chosen], cuts, votes, least), kept, through
    whole = _node(features[chosen], cuts, votes, least)
    if fitted is None:
        fitted = whole, float((sums[truth] >= least).mean()), float((sums[~truth] >= least).mean())
    return Fitted(fitted[0], whole, *fitted[1:])


def _node(features: np.ndarray, cuts: list[float], votes: list[float], least: float) -> Node:
    return Node(features, np.array(cuts, np.float32), np.array(votes, np.float32), least)


def _edges(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return where each feature may be cut, (f, bins - 1) float32: half by quantiles of either class.

    Quantiles of all would be those of the negatives, and none would lie where positives do.
    """

    def quantiles(own: np.ndarray, at: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(own)
        some = values[rows[:: max(len(rows) // _MANY, 1)]]
        found: np.ndarray = np.quantile(some, at, axis=0).astype(np.float32)
        return found

    half = _BINS // 2
    # A hair below, so that the lowest positive itself still lies above the lowest of them.
    ours = np.nextafter(quantiles(truth, np.linspace(0, 1, half)), np.float32(-np.inf))
    theirs = quantiles(~truth, np.linspace(0, 1, half + 1)[1:-1])
    edges: np.ndarray = np.sort(np.concatenate([ours, theirs]), axis=0).T
    return edges


def _stump(binned: np.ndarray, signed: np.ndarray) -> tuple[int, int, float]:
    """Return the feature, its edge and the vote that lower the loss most: ½ ln of right over wrong.

    ``signed`` (n,) are the weights, those of negatives below 0.
    """
    best = (0, 0, 0.0)
    strongest = 0.0
    total = float(signed.sum())
    for number, bins in enumerate(binned):
        below = np.cumsum(np.bincount(bins, signed, _BINS))[:-1]
        # Right minus wrong where "above the cut" says positive.
        gain = total - 2 * below
        at = int(np.abs(gain).argmax())
        if abs(gain[at]) > strongest:
            strongest = abs(float(gain[at]))
            right = float(np.clip((1 + gain[at]) / 2, 1e-6, 1 - 1e-6))
            best = (number, at, 0.5 * float(np.log(right / (1 - right))))
    return best


def fit_cascade(
    positives: Callable[[np.ndarray], np.ndarray],
    negatives: Callable[[list[Node], int], np.ndarray],
    values: Callable[[np.ndarray, np.ndarray], np.ndarray],
    settings: CascadeSettings,
    seed: int,
    on_node: Callable[[int, Fitted, int], None] = lambda number, fitted, negatives: None,
    pairs: list[Pair] | None = None,
) -> list[Pair]:
    """Fit node after node.

    Parameters
    ----------
    positives
        Gives values (p, f) float32 of features (f, 2, 5) at calcifications.
    negatives
        Gives positions (n, k) that the nodes so far let through: (nodes, how many at most).
    values
        Gives values (n, f) float32 of features at positions (n, k).
    settings, seed
        How, and from where.
    on_node
        Called with each node's number, what was fitted, and how many negatives it was fitted to.
    pairs
        Those that are fitted already; new ones are put to them before `on_node` is called.

    Returns
    -------
    list of (Node, Node)
        Each node, and the same as the last of a cascade (`read_by`): as many as the settings say, or
        fewer where next to nothing is let through.

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    pairs = [] if pairs is None else pairs
    for number in range(len(pairs), settings.nodes):
        rng = np.random.default_rng((seed, number))
        features = drawn_features(settings.window, settings.features, rng)
        own, other = positives(features), negatives([n for n, _ in pairs], settings.negatives)
        if not len(own) or (not len(other) and not pairs):
            raise SecondReaderError(
                f"cascade: got {len(own)} positions of calcifications and {len(other)} of other "
                "tissue, expected some of both"
            )
        if len(other) < _FEWEST and pairs:
            break  # the nodes so far let nothing through: there is nothing to learn from
        every = np.concatenate([own, values(other, features)])
        fitted = fit_node(every, np.arange(len(every)) < len(own), features, settings)
        pairs.append((fitted.node, fitted.whole))
        on_node(number, fitted, len(other))
    return pairs


def read_by(pairs: list[Pair], count: int) -> list[Node]:
    """Return the cascade of the first so many nodes."""
    return [*(node for node, _ in pairs[: count - 1]), pairs[count - 1][1]]
