"""A cascade of boosted nodes: each lets nearly all positives through, and throws negatives away.

References
----------
Bria et al. (2014), sections 2.3 and 2.4: nodes are boosted by a ranking loss, RankBoost of Freund et
al. (2003), whose weights for two classes factor into one for each; with the exponential loss it is
AdaBoost. Negatives are drawn anew for each node from what the nodes before let through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

__all__ = ["Node", "cascade_arrays", "cascade_from", "fit_cascade", "fit_node", "scores"]

_BINS = 64
_FEWEST = 200  # negatives without which no further node is trained


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


def fit_node(
    positive: np.ndarray, negative: np.ndarray, features: np.ndarray, settings: CascadeSettings
) -> tuple[Node, float]:
    """Boost stumps until the node throws away enough negatives and keeps nearly all positives.

    Parameters
    ----------
    positive, negative
        (p, f) and (n, f) float32, values of the features.
    features
        (f, 2, 5).
    settings
        How many stumps, what to keep and to throw, which loss.

    Returns
    -------
    Node, float
        The node, and the share of these negatives that it lets through.
    """
    values = np.concatenate([positive, negative])
    truth = np.arange(len(values)) < len(positive)
    edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0).astype(np.float32)
    binned = np.stack(
        [np.searchsorted(edges[:, k], values[:, k], side="left") for k in range(len(features))]
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
        number, cut, vote = _stump(binned, edges, weight, truth)
        if vote == 0:
            break
        chosen.append(number)
        cuts.append(cut)
        votes.append(vote)
        sums += np.where(values[:, number] > cut, vote, -vote).astype(np.float32)
        # The highest threshold that keeps enough positives.
        ranked = np.sort(sums[truth])
        least = float(ranked[int((1 - settings.kept) * len(ranked))])
        through = float((sums[~truth] >= least).mean())
        if through <= 1 - settings.thrown:
            break
    node = Node(features[chosen], np.array(cuts, np.float32), np.array(votes, np.float32), least)
    return node, through


def _stump(
    binned: np.ndarray, edges: np.ndarray, weight: np.ndarray, truth: np.ndarray
) -> tuple[int, float, float]:
    """Return the feature, cut and vote that lower the loss most: ½ ln of right over wrong."""
    signed = np.where(truth, weight, -weight)
    best = (0, 0.0, 0.0)
    strongest = 0.0
    total = float(signed.sum())
    for number, bins in enumerate(binned):
        below = np.cumsum(np.bincount(bins, signed, _BINS))[:-1]
        # Right minus wrong where "above the cut" says positive.
        edge = total - 2 * below
        at = int(np.abs(edge).argmax())
        if abs(edge[at]) > strongest:
            strongest = abs(float(edge[at]))
            right = float(np.clip((1 + edge[at]) / 2, 1e-6, 1 - 1e-6))
            best = (number, float(edges[at, number]), 0.5 * float(np.log(right / (1 - right))))
    return best


def fit_cascade(
    positives: Callable[[np.ndarray], np.ndarray],
    negatives: Callable[[list[Node], np.ndarray, int], np.ndarray],
    settings: CascadeSettings,
    seed: int,
    on_node: Callable[[int, float], None] = lambda number, through: None,
) -> list[Node]:
    """Fit node after node.

    Parameters
    ----------
    positives
        Gives values (p, f) of features at every positive that there is.
    negatives
        Gives values (n, f) at negatives that the nodes so far let through: (nodes, features, number).
    settings, seed
        How, and from where.
    on_node
        Called with each node's number and the share of negatives that it lets through.

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    nodes: list[Node] = []
    for number in range(settings.nodes):
        rng = np.random.default_rng((seed, number))
        features = drawn_features(settings.window, settings.features, rng)
        own, other = positives(features), negatives(nodes, features, settings.negatives)
        if not len(own) or (not len(other) and not nodes):
            raise SecondReaderError(
                f"cascade: got {len(own)} positions of calcifications and {len(other)} of other "
                "tissue, expected some of both"
            )
        if len(other) < _FEWEST and nodes:
            break  # the nodes so far let nothing through: there is nothing to learn from
        node, through = fit_node(own, other, features, settings)
        nodes.append(node)
        on_node(number, through)
    return nodes


def scores(nodes: list[Node], prepared: np.ndarray, window: int) -> np.ndarray:
    """Return the cascade's score of every pixel, (rows, cols) float32 in [0, 1].

    A position that the k-th of n nodes throws away lies between (k - 1) / n and k / n, by how far its
    votes go towards passing; what passes all lies in the last of n + 1 such steps.
    """
    rows, cols = prepared.shape
    sums = integral(prepared, window)
    out = np.zeros((rows, cols), np.float32)
    at = np.argwhere(prepared != 0)
    steps = len(nodes) + 1
    for number, node in enumerate(nodes):
        if number == 0:
            # Everywhere at once: shifting an integral image is cheaper than gathering from it.
            votes = np.zeros((rows, cols), np.float32)
            for feature, cut, vote in zip(node.features, node.cuts, node.votes, strict=True):
                above = values_everywhere(sums, feature, (rows, cols)) > cut
                votes += np.where(above, vote, -vote).astype(np.float32)
            found = votes[at[:, 0], at[:, 1]]
        else:
            found = node.sums(values_at(sums, node.features, at))
        most = float(np.abs(node.votes).sum()) or 1.0
        passed = found >= node.least
        span = max(most - node.least, 1e-6)
        if number == len(nodes) - 1:
            last = at[passed]
            out[last[:, 0], last[:, 1]] = (number + 1 + (found[passed] - node.least) / span) / steps
        thrown = at[~passed]
        towards = (found[~passed] + most) / max(node.least + most, 1e-6)
        out[thrown[:, 0], thrown[:, 1]] = (number + np.clip(towards, 0, 0.999)) / steps
        at = at[passed]
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
