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

import numba
import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.methods.mined_cnn.cascade import Node
from secondreader.methods.mined_cnn.config import CascadeSettings
from secondreader.methods.mined_cnn.haar import drawn_features, values_of

__all__ = ["Fitted", "fit_cascade", "fit_node", "in_bins", "last"]

_BINS = 128
_MANY = 20_000  # positions of a class that its quantiles are taken of
_CHUNK = 16_384  # positions whose values are held at once
_HAIR = 1e-5  # of all votes
_LOWER = 1e-4  # of eight noises: how far float32 may round the features of a window
_LITTLE = 0.1  # of negatives thrown away: those after would learn from what it learnt from
_FEWEST = 200  # negatives without which no further node is trained


class Fitted(NamedTuple):
    """A node, and what it does with what it was fitted to.

    Parameters
    ----------
    node
        As many stumps as it takes to throw away enough negatives, or all.
    kept, through
        The share of positives that the node keeps, of negatives that it lets through. One that needed
        all its stumps may let through more than it should.
    """

    node: Node
    kept: float
    through: float


def fit_node(
    bins: tuple[np.ndarray, np.ndarray],
    truth: np.ndarray,
    features: np.ndarray,
    settings: CascadeSettings,
) -> Fitted:
    """Boost stumps, until the node throws away enough negatives and keeps nearly all positives.

    Parameters
    ----------
    bins
        What `in_bins` gives: of a million windows nothing else need be held.
    truth
        (n,) bool: which are positives.
    features
        (f, 2, 5).
    settings
        How many stumps, what to keep and to throw, which loss.

    Returns
    -------
    Fitted
        The node, and what it does with these windows.
    """
    binned, edges = bins
    sums = np.zeros(len(truth), np.float32)
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
        # The highest threshold that keeps enough positives, and a hair less: rounding must not lose the
        # last of them where votes are added up in another order.
        ranked = np.sort(sums[truth])
        least = float(ranked[int((1 - settings.kept) * len(ranked))]) - _HAIR * sum(map(abs, votes))
        through = float((sums[~truth] >= least).mean())
        if through <= 1 - settings.thrown:
            break
    node = Node(features[chosen], np.array(cuts, np.float32), np.array(votes, np.float32), least)
    return Fitted(node, float((sums[truth] >= least).mean()), through)


def in_bins(
    windows: np.ndarray, truth: np.ndarray, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin of each feature of each window, (f, n) uint8, and the bins' edges (f, bins - 1).

    ``windows`` are (n, w, w), ``truth`` (n,) bool says which are positives, ``features`` are (f, 2, 5).
    A value lies above the k-th edge if more than k edges lie below it: bins say all there is to say,
    and of a million windows a thousand values each would take gigabytes.
    """
    edges = _edges(windows, truth, features)
    binned = np.zeros((len(features), len(windows)), np.uint8)
    for low in range(0, len(windows), _CHUNK):
        values = values_of(windows[low : low + _CHUNK], features)
        for number, own in enumerate(edges):
            binned[number, low : low + _CHUNK] = np.searchsorted(
                own, values[:, number], side="left"
            )
    return binned, edges


def _edges(windows: np.ndarray, truth: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return where each feature may be cut, (f, bins - 1) float32: half by quantiles of either class.

    Quantiles of all would be those of the negatives, and none would lie where positives do.
    """

    def quantiles(own: np.ndarray, at: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(own)
        some = values_of(windows[rows[:: max(len(rows) // _MANY, 1)]], features)
        found: np.ndarray = np.quantile(some, at, axis=0).astype(np.float32)
        return found

    half = _BINS // 2
    # A hair below, so that a positive still lies above its own where sums are rounded in another way.
    ours = quantiles(truth, np.linspace(0, 1, half)) - np.float32(_LOWER)
    theirs = quantiles(~truth, np.linspace(0, 1, half + 1)[1:-1])
    edges: np.ndarray = np.sort(np.concatenate([ours, theirs]), axis=0).T
    return np.ascontiguousarray(edges)


def _stump(binned: np.ndarray, signed: np.ndarray) -> tuple[int, int, float]:
    """Return the feature and its edge that tell classes apart best, and the vote, ½ ln of right over wrong.

    ``signed`` (n,) are the weights, those of negatives below 0. For the exponential loss that vote is
    the best one; for the ranking loss it is Freund's, which lowers a bound of it.
    """
    below = np.cumsum(_histograms(binned, signed, _BINS), axis=1)[:, :-1]
    # Right minus wrong where "above the cut" says positive.
    gain = float(signed.sum()) - 2 * below
    number, at = (int(v) for v in np.unravel_index(np.abs(gain).argmax(), gain.shape))
    right = float(np.clip((1 + gain[number, at]) / 2, 1e-6, 1 - 1e-6))
    return number, at, 0.5 * float(np.log(right / (1 - right)))


# Compiled anew by each process that needs it: where no folder can be written a cache would be an error.
@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def _histograms(binned: np.ndarray, signed: np.ndarray, bins: int) -> np.ndarray:
    """Return the weight in each bin of each feature, (f, bins): `numpy.bincount` casts each byte first."""
    out = np.zeros((len(binned), bins))
    for number in range(len(binned)):
        for at in range(len(signed)):
            out[number, binned[number, at]] += signed[at]
    return out


def fit_cascade(
    positives: np.ndarray,
    negatives: Callable[[list[Node], int], np.ndarray],
    settings: CascadeSettings,
    seed: int,
    on_node: Callable[[int, Fitted, int], None] = lambda number, fitted, negatives: None,
    nodes: list[Node] | None = None,
) -> list[Node]:
    """Fit node after node.

    One that cannot throw half away with all its stumps is followed by others all the same: each learns
    from fresh negatives, by features of its own. How many are of use, validation must say.

    Parameters
    ----------
    positives
        (p, w, w) windows of calcifications.
    negatives
        Gives windows (n, w, w) of positions that the nodes so far let through: (nodes, how many at
        most).
    settings, seed
        How, and from where.
    on_node
        Called with each node's number, what was fitted, and how many negatives it was fitted to.
    nodes
        Those that are fitted already; new ones are put to them before `on_node` is called.

    Returns
    -------
    list of Node
        As many as the settings say, or fewer where next to nothing is let through, or thrown away
        (`last`).

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    nodes = [] if nodes is None else nodes
    for number in range(len(nodes), settings.nodes):
        rng = np.random.default_rng((seed, number))
        features = drawn_features(settings.window, settings.features, rng)
        other = negatives(list(nodes), settings.negatives)
        if not len(positives) or (not len(other) and not nodes):
            raise SecondReaderError(
                f"cascade: got {len(positives)} positions of calcifications and {len(other)} of other "
                "tissue, expected some of both"
            )
        if len(other) < _FEWEST and nodes:
            break  # the nodes so far let nothing through: there is nothing to learn from
        count = len(other)
        every = np.concatenate([positives, other])
        truth = np.arange(len(every)) < len(positives)
        del other  # hundreds of megabytes, as `every` is: boosting needs neither
        bins = in_bins(every, truth, features)
        del every
        fitted = fit_node(bins, truth, features, settings)
        del bins
        nodes.append(fitted.node)
        on_node(number, fitted, count)
        if last(fitted.through):
            break
    return nodes


def last(through: float) -> bool:
    """Say whether a node that lets such a share of negatives through is the last: it throws no tenth away."""
    return through > 1 - _LITTLE
