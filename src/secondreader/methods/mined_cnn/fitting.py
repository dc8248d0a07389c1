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

__all__ = ["Shares", "fit_cascade", "fit_node"]

_BINS = 128
_MANY = 100_000  # positions of a class that its quantiles are taken of
_FEWEST = 200  # negatives without which no further node is trained


class Shares(NamedTuple):
    """What a node does to what it was fitted to: the shares of positives kept, of negatives let through."""

    kept: float
    through: float


def fit_node(
    values: np.ndarray,
    truth: np.ndarray,
    features: np.ndarray,
    settings: CascadeSettings,
    *,
    last: bool = False,
) -> tuple[Node, Shares]:
    """Boost stumps until the node throws away enough negatives and keeps nearly all positives.

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
    last
        Whether all stumps are boosted, even if fewer would do: what passes every node is ranked by the
        last one's votes, and the few of a node that stops early tell hardly any scores apart.

    Returns
    -------
    Node, Shares
        The node, and what it does to these positives and negatives: one that needed all its stumps may
        throw away less than it should.
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
    least, through = -np.inf, 1.0
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
        if through <= 1 - settings.thrown and not last:
            break
    node = Node(features[chosen], np.array(cuts, np.float32), np.array(votes, np.float32), least)
    return node, Shares(float((sums[truth] >= least).mean()), through)


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
    on_node: Callable[[int, Shares, int], None] = lambda number, shares, negatives: None,
    nodes: list[Node] | None = None,
) -> list[Node]:
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
        Called with each node's number, its shares, and how many negatives it was fitted to.
    nodes
        Those that are fitted already; new ones are put to them before `on_node` is called.

    Returns
    -------
    list of Node
        As many as the settings say, or fewer where the last of them lets next to nothing through.

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    nodes = [] if nodes is None else nodes

    def fit(number: int, other: np.ndarray, last: bool) -> None:
        rng = np.random.default_rng((seed, number))
        features = drawn_features(settings.window, settings.features, rng)
        own = positives(features)
        if not len(own) or not len(other):
            raise SecondReaderError(
                f"cascade: got {len(own)} positions of calcifications and {len(other)} of other "
                "tissue, expected some of both"
            )
        every = np.concatenate([own, values(other, features)])
        node, shares = fit_node(
            every, np.arange(len(every)) < len(own), features, settings, last=last
        )
        nodes[number:] = [node]
        on_node(number, shares, len(other))

    for number in range(len(nodes), settings.nodes):
        other = negatives(nodes, settings.negatives)
        if len(other) < _FEWEST and nodes:
            # Too little is let through to learn from: the node before is the last, with all its stumps.
            fit(number - 1, negatives(nodes[:-1], settings.negatives), True)
            break
        fit(number, other, number == settings.nodes - 1)
    return nodes
