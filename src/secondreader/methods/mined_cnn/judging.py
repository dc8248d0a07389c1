"""What is chosen by: the mean sensitivity over validation positions, on a logarithmic axis."""

from __future__ import annotations

import numpy as np

from secondreader.learning.positions import draw
from secondreader.methods.mined_cnn.config import Config
from secondreader.methods.mined_cnn.data import Data

__all__ = ["mean_sensitivity", "validated"]


def validated(held: Data, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Return all calcifications of the validation images, and negatives drawn once, (n, 3) each."""
    rng = np.random.default_rng(config.seed)
    negative = draw(held.negative, rng, config.validation_negatives)
    return held.positive.at(np.arange(len(held.positive))), negative


def mean_sensitivity(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the mean sensitivity of scores (p,), (n,) for false-positive fractions of 1e-5 to 0.1."""
    falling = np.sort(negative)[::-1]
    rates = np.geomspace(max(1e-5, 1 / len(falling)), 0.1, 50)
    cuts = falling[np.minimum((rates * len(falling)).astype(int), len(falling) - 1)]
    return float(np.mean([(positive > cut).mean() for cut in cuts]))
