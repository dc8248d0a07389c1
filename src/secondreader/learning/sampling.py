"""Which positions are drawn: in shares of classes, by weight, each image alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.learning.positions import Positions, draw

__all__ = [
    "balanced",
    "cumulative",
    "draw_weighted",
    "each_image_alike",
    "generator",
]


def generator(seed: int, step: int) -> np.random.Generator:
    """Return the generator of one step: a batch is a function of seed and step."""
    return np.random.default_rng((seed, step))


def balanced(
    classes: Mapping[str, Positions],
    shares: Mapping[str, float],
    rng: np.random.Generator,
    count: int,
    weights: Mapping[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch's positions, so many of each class.

    Where shares do not divide the batch, each class gets the whole number below or above its
    share, at random, so that over many batches it has its share exactly.

    Parameters
    ----------
    classes
        Name → positions. For whole images, one position an image will do.
    shares
        The same names → fraction of the batch, in all 1.
    rng
        The step's generator.
    count
        How many.
    weights
        Name → `cumulative` weights, for classes that are not drawn evenly.

    Returns
    -------
    where, label
        (count, 3) int64 of (image, row, col), and (count,) int64, the number of the class in order.

    Raises
    ------
    SecondReaderError
        If a class that is wanted has no position.
    ValueError
        If shares and classes do not have the same names, or shares do not add up to 1.
    """
    if set(shares) != set(classes) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"shares: got {dict(shares)}, expected {list(classes)} adding up to 1")
    for name, share in shares.items():
        if share > 0 and len(classes[name]) == 0:
            raise SecondReaderError(
                f"data to learn from or to choose by: got no {name}, expected at least one; give more data or "
                "another split"
            )
    numbers = _whole(np.array([count * shares[name] for name in classes]), rng)
    drawn = []
    for (name, positions), number in zip(classes.items(), numbers.tolist(), strict=True):
        if number and weights is not None and name in weights:
            drawn.append(draw_weighted(positions, weights[name], rng, number))
        elif number:
            drawn.append(draw(positions, rng, number))
    label = np.repeat(np.arange(len(numbers)), numbers)
    return np.concatenate([np.zeros((0, 3), np.int64), *drawn]), label


def _whole(shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Round numbers down or up, at random, to integers of the same sum (systematic rounding)."""
    bounds = np.round(np.cumsum(shares), 6)
    if (bounds != np.rint(bounds)).any():
        bounds = np.floor(bounds + rng.random())
    return np.diff(bounds, prepend=0).astype(np.int64)


def cumulative(positions: Positions, weights: np.ndarray) -> np.ndarray:
    """Return what `draw_weighted` draws by.

    Parameters
    ----------
    positions
        n runs; of points, each is a run.
    weights
        (n,) float, not negative: the weight of each position of a run, such as a network's score.

    Returns
    -------
    numpy.ndarray
        (n,) float64, the sums of weights up to each run's end.

    Raises
    ------
    ValueError
        If a weight is negative or not a number, or if all are 0.
    """
    lengths = np.diff(positions.ends, prepend=0)
    weights = np.asarray(weights, np.float64)
    if not (weights >= 0).all() or not 0 < (total := float((weights * lengths).sum())) < np.inf:
        raise ValueError("weights: got some negative, or none above 0, expected a finite sum above")
    return np.cumsum(weights * lengths / total)


def draw_weighted(
    positions: Positions, sums: np.ndarray, rng: np.random.Generator, count: int
) -> np.ndarray:
    """Draw positions by weight, with replacement: (count, 3) int64 of (image, row, col).

    Parameters
    ----------
    positions
        As given to `cumulative`.
    sums
        What it returned.
    rng, count
        As of :func:`secondreader.learning.positions.draw`.
    """
    # The last sum itself is never drawn, so that what has no weight is never taken.
    places = rng.random(count) * sums[-1]
    runs = np.searchsorted(sums, np.minimum(places, np.nextafter(sums[-1], 0)), side="right")
    starts = np.where(runs > 0, positions.ends[runs - 1], 0)
    return positions.at(starts + rng.integers(positions.ends[runs] - starts))


def each_image_alike(positions: Positions) -> np.ndarray:
    """Return weights (n,) float64 of n runs with which every image is drawn equally often."""
    numbers = np.bincount(positions.image, np.diff(positions.ends, prepend=0))
    weights: np.ndarray = 1 / numbers[positions.image]
    return weights
