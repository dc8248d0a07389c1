"""A cascade of boosted nodes, read and stored: each lets nearly all positives through.

How nodes are fitted, see `fitting`.

References
----------
Bria et al. (2014), sections 2.3 and 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from secondreader.domain import SecondReaderError
from secondreader.methods.mined_cnn.haar import (
    integral,
    values_at,
    votes_everywhere,
)

__all__ = [
    "Node",
    "cascade_arrays",
    "cascade_from",
    "passed",
    "scores",
    "scores_by_count",
]

_STRIP = 64  # rows


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
        found: np.ndarray = (values > self.cuts).astype(np.float32) @ (2 * self.votes)
        found -= self.votes.sum()
        return found


def passed(nodes: Sequence[Node], sums: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Say which positions (n, 2) every node lets through, (n,) bool; ``sums`` as `integral` gives."""
    alive = np.arange(len(at))
    for node in nodes:
        alive = alive[node.sums(values_at(sums, node.features, at[alive])) >= node.least]
    through = np.zeros(len(at), bool)
    through[alive] = True
    return through


def scores(
    nodes: list[Node], prepared: np.ndarray, window: int, asked: np.ndarray | None = None
) -> np.ndarray:
    """Return the cascade's score of every pixel, or of those asked for, (rows, cols) float32 in [0, 1].

    Votes are halves of logarithms of odds, so that those of all nodes that looked at a position are
    added up: S of at most M. One that the k-th of n nodes throws away lies in the k-th n-th of the lower
    half of the scale, one that passes all in the upper half, each by its share (S + M) / 2M.
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


def scores_by_count(
    nodes: Sequence[Node], prepared: np.ndarray, window: int, at: np.ndarray
) -> np.ndarray:
    """Return the scores of positions (n, 2) by the first node, by the first two, and so on, (nodes, n).

    As `scores` gives them, to rounding; each node looks at a position once.
    """
    sums = integral(prepared, window)
    came = np.full(len(at), len(nodes))  # the node that throws a position away
    shares = np.zeros((len(nodes), len(at)), np.float32)
    walk = _walk(
        nodes, len(at), lambda node, own: node.sums(values_at(sums, node.features, at[own]))
    )
    for number, (own, share, through) in enumerate(walk):
        shares[number, own] = share
        came[own[~through]] = number
    thrown = np.minimum(came, len(nodes) - 1), np.arange(len(at))
    out = np.zeros_like(shares)
    for number in range(len(nodes)):
        low = _thrown(came, shares[thrown], number + 1)
        out[number] = np.where(came > number, 0.5 + shares[number] / 2, low)
    return out


def _strip(nodes: Sequence[Node], inside: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the scores of a strip of pixels (rows, cols)."""
    shape = (inside.shape[0], inside.shape[1])
    out = np.zeros(shape, np.float32)
    at = np.argwhere(inside)

    def votes(node: Node, own: np.ndarray) -> np.ndarray:
        # Of all pixels as soon as one is asked for: gathering features of single ones costs far more.
        if not len(own):
            return np.zeros(0, np.float32)
        total = votes_everywhere(sums, node.features, node.cuts, node.votes, shape)
        found: np.ndarray = total[at[own, 0], at[own, 1]]
        return found

    for number, (own, share, through) in enumerate(_walk(nodes, len(at), votes)):
        found = np.where(through, 0.5 + share / 2, _thrown(number, share, len(nodes)))
        out[at[own, 0], at[own, 1]] = found
    return out


def _walk(
    nodes: Sequence[Node], count: int, votes: Callable[[Node, np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield, node by node, which of so many positions it looks at, their shares, and which pass it.

    ``votes`` gives a node's sums of votes for some of the positions.
    """
    own, total, most = np.arange(count), np.zeros(count, np.float32), 0.0
    for node in nodes:
        found = votes(node, own)
        total += found
        most += float(np.abs(node.votes).sum())
        through = found >= node.least
        yield own, np.clip((total + most) / max(2 * most, 1e-6), 0, 1), through
        own, total = own[through], total[through]


def _thrown(number: int | np.ndarray, share: np.ndarray, count: int) -> np.ndarray:
    """Return the scores of what a node of so many throws away.

    Never quite the next node's step, nor the half of what passes.
    """
    found: np.ndarray = (number + np.float32(0.999) * share) / np.float32(2 * count)
    return found


def cascade_arrays(nodes: list[Node], prefix: str) -> dict[str, Tensor]:
    """Return a cascade as tensors, nodes one after another."""
    return {
        f"{prefix}features": torch.from_numpy(np.concatenate([n.features for n in nodes])),
        f"{prefix}cuts": torch.from_numpy(np.concatenate([n.cuts for n in nodes])),
        f"{prefix}votes": torch.from_numpy(np.concatenate([n.votes for n in nodes])),
        f"{prefix}least": torch.tensor([n.least for n in nodes], dtype=torch.float64),
        f"{prefix}stumps": torch.tensor([len(n.cuts) for n in nodes]),
    }


def cascade_from(arrays: Mapping[str, Tensor], prefix: str, window: int) -> list[Node]:
    """Return the cascade that `cascade_arrays` stored, of windows so wide.

    Raises
    ------
    SecondReaderError
        If an array is missing, or is none of a cascade: rectangles beyond a window would be looked for
        outside of the image.
    """
    names = ("features", "cuts", "votes", "least", "stumps")
    if missing := [name for name in names if f"{prefix}{name}" not in arrays]:
        raise SecondReaderError(f"cascade: got no {prefix}{missing[0]}, expected one")
    every, cut, vote, lowest, stumps = (arrays[f"{prefix}{name}"].numpy() for name in names)
    total = int(stumps.sum()) if stumps.ndim == 1 and (stumps >= 0).all() else 0
    shapes = ((total, 2, 5), (total,), (total,), stumps.shape)
    if not total or tuple(a.shape for a in (every, cut, vote, lowest)) != shapes:
        raise SecondReaderError(
            f"cascade: got {prefix}stumps of {stumps.tolist()} for {len(cut)} cuts, expected "
            "numbers that add up to them, and as many features and votes"
        )
    if not all(np.isfinite(a).all() for a in (every, cut, vote)) or np.isnan(lowest).any():
        raise SecondReaderError(
            "cascade: got numbers that are none (NaN, infinity), expected numbers"
        )
    first, size = every[..., :2], every[..., 2:4]
    if (
        (every[..., :4] % 1).any()
        or (first < 0).any()
        or (size < 1).any()
        or (first + size > window).any()
    ):
        raise SecondReaderError(
            f"cascade: got a rectangle that reaches out of a window of {window}, expected all inside"
        )
    ends = np.cumsum(stumps)
    features, cuts, votes = (np.split(of, ends[:-1]) for of in (every, cut, vote))
    least = lowest.tolist()
    return [Node(*parts) for parts in zip(features, cuts, votes, least, strict=True)]
