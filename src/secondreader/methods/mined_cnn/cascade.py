"""A cascade of boosted nodes: each lets nearly all positives through, and throws negatives away.

References
----------
Bria et al. (2014), sections 2.3 and 2.4: nodes are boosted by a ranking loss, RankBoost of Freund et
al. (2003), whose weights for two classes factor into one for each; with the exponential loss it is
AdaBoost. Negatives are drawn anew for each node from what the nodes before let through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from secondreader.domain import SecondReaderError
from secondreader.methods.mined_cnn.config import CascadeSettings
from secondreader.methods.mined_cnn.haar import (
    drawn_features,
    integral,
    values_at,
    values_everywhere,
)

__all__ = [
    "Node",
    "cascade_arrays",
    "cascade_from",
    "fit_cascade",
    "fit_node",
    "passed",
    "scores",
]

_BINS = 128
_MANY = 100_000  # positions of a class that its quantiles are taken of
_FEWEST = 200  # negatives without which no further node is trained
_STRIP = 64  # rows
_MOST_GATHERED = 0.3  # of a strip's pixels


@dataclass(frozen=True, eq=False)
class Node:
    """Stumps in order, and the sum of their votes below which a position is thrown away.

    Parameters
    ----------
    features
        (k, 2, 5) float32, see `haar.drawn_features`.
    cuts, votes
        (k,) float32: a stump votes ``votes`` where its feature lies above its cut, else minus that.
    least
        The threshold of the sum.
    """

    features: np.ndarray
    cuts: np.ndarray
    votes: np.ndarray
    least: float

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the summed votes (n,) for values (n, k) of the features."""
        found: np.ndarray = np.where(values > self.cuts, self.votes, -self.votes).sum(
            axis=1, dtype=np.float32
        )
        return found


def passed(nodes: Sequence[Node], sums: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Say which positions (n, 2) every node lets through, (n,) bool; ``sums`` as `integral` gives."""
    alive = np.arange(len(at))
    for node in nodes:
        alive = alive[node.sums(values_at(sums, node.features, at[alive])) >= node.least]
    through = np.zeros(len(at), bool)
    through[alive] = True
    return through


def fit_node(
    values: np.ndarray,
    truth: np.ndarray,
    features: np.ndarray,
    settings: CascadeSettings,
    *,
    last: bool = False,
) -> tuple[Node, float]:
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
    Node, float
        The node, and the share of these negatives that it lets through.
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
    return node, through


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
    positive: np.ndarray,
    negatives: Callable[[list[Node], int], np.ndarray],
    values: Callable[[np.ndarray, np.ndarray], np.ndarray],
    settings: CascadeSettings,
    seed: int,
    on_node: Callable[[int, float], None] = lambda number, through: None,
    nodes: list[Node] | None = None,
) -> list[Node]:
    """Fit node after node.

    Parameters
    ----------
    positive
        (p, k) positions of calcifications.
    negatives
        Gives positions (n, k) that the nodes so far let through: (nodes, how many at most).
    values
        Gives values (n, f) float32 of features (f, 2, 5) at positions (n, k).
    settings, seed
        How, and from where.
    on_node
        Called with each node's number and the share of negatives that it lets through.
    nodes
        Those that are fitted already; new ones are put to them before `on_node` is called.

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    nodes = [] if nodes is None else nodes
    for number in range(len(nodes), settings.nodes):
        rng = np.random.default_rng((seed, number))
        features = drawn_features(settings.window, settings.features, rng)
        other = negatives(nodes, settings.negatives)
        if not len(positive) or (not len(other) and not nodes):
            raise SecondReaderError(
                f"cascade: got {len(positive)} positions of calcifications and {len(other)} of other "
                "tissue, expected some of both"
            )
        if len(other) < _FEWEST and nodes:
            break  # the nodes so far let nothing through: there is nothing to learn from
        every = values(np.concatenate([positive, other]), features)
        truth, last = np.arange(len(every)) < len(positive), number == settings.nodes - 1
        node, through = fit_node(every, truth, features, settings, last=last)
        nodes.append(node)
        on_node(number, through)
    return nodes


def scores(
    nodes: list[Node], prepared: np.ndarray, window: int, asked: np.ndarray | None = None
) -> np.ndarray:
    """Return the cascade's score of every pixel, or of those asked for, (rows, cols) float32 in [0, 1].

    A position that the k-th of n nodes throws away lies between (k - 1) / n and k / n, by how far its
    votes go towards passing; what passes all lies in the last of n + 1 such steps.
    """
    rows, cols = prepared.shape
    sums = integral(prepared, window)
    out = np.zeros((rows, cols), np.float32)
    asked = prepared != 0 if asked is None else asked
    # Strips, so that what is added up stays in the processor's cache.
    for top in range(0, rows, _STRIP):
        inside = asked[top : top + _STRIP]
        if inside.any():
            part = sums[top : top + len(inside) + window]
            out[top : top + _STRIP] = _strip(nodes, inside, part)
    return out


def _strip(nodes: Sequence[Node], inside: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the scores of a strip of pixels (rows, cols)."""
    shape = (inside.shape[0], inside.shape[1])
    out = np.zeros(shape, np.float32)
    at = np.argwhere(inside)
    steps = len(nodes) + 1
    for number, node in enumerate(nodes):
        if number == 0 and len(at) > _MOST_GATHERED * inside.size:
            # Everywhere at once: shifting an integral image is cheaper than gathering from it.
            votes = np.zeros(shape, np.float32)
            for feature, cut, vote in zip(node.features, node.cuts, node.votes, strict=True):
                votes += np.where(values_everywhere(sums, feature, shape) > cut, vote, -vote)
            found = votes[at[:, 0], at[:, 1]]
        else:
            found = node.sums(values_at(sums, node.features, at))
        most = float(np.abs(node.votes).sum()) or 1.0
        through = found >= node.least
        towards = (found[~through] + most) / max(node.least + most, 1e-6)
        thrown = at[~through]
        out[thrown[:, 0], thrown[:, 1]] = (number + np.clip(towards, 0, 0.999)) / steps
        at, found = at[through], found[through]
        if number == len(nodes) - 1:
            beyond = (found - node.least) / max(most - node.least, 1e-6)
            out[at[:, 0], at[:, 1]] = (number + 1 + beyond) / steps
    return np.clip(out, 0, 1)


def cascade_arrays(nodes: list[Node], prefix: str) -> dict[str, Tensor]:
    """Return a cascade as tensors, nodes one after another."""
    return {
        f"{prefix}features": torch.from_numpy(np.concatenate([n.features for n in nodes])),
        f"{prefix}cuts": torch.from_numpy(np.concatenate([n.cuts for n in nodes])),
        f"{prefix}votes": torch.from_numpy(np.concatenate([n.votes for n in nodes])),
        f"{prefix}least": torch.tensor([n.least for n in nodes], dtype=torch.float64),
        f"{prefix}stumps": torch.tensor([len(n.cuts) for n in nodes]),
    }


def cascade_from(arrays: Mapping[str, Tensor], prefix: str) -> list[Node]:
    """Return the cascade that `cascade_arrays` stored."""
    ends = np.cumsum(arrays[f"{prefix}stumps"].numpy())
    features, cuts, votes = (
        np.split(arrays[f"{prefix}{name}"].numpy(), ends[:-1])
        for name in ("features", "cuts", "votes")
    )
    least = arrays[f"{prefix}least"].tolist()
    return [Node(*parts) for parts in zip(features, cuts, votes, least, strict=True)]
