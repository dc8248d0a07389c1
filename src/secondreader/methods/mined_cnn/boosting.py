"""Fitting the Haar cascade to a set's images: where its negatives come from, and what is kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch

from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.positions import draw
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods.mined_cnn.cascade import (
    Node,
    cascade_arrays,
    cascade_from,
    fit_cascade,
    passed,
)
from secondreader.methods.mined_cnn.config import Config
from secondreader.methods.mined_cnn.data import Data
from secondreader.methods.mined_cnn.haar import integral, values_at

__all__ = ["boosted"]

_ROUNDS = 4  # of drawing from an image, each of twice as many as the one before


def boosted(own: Data, config: Config, folder: Path, hardware: Hardware) -> list[Node]:
    """Fit the cascade; nodes are kept as they are fitted, and a second call goes on after the last.

    Parameters
    ----------
    own
        What is learnt from.
    config
        The method's settings.
    folder
        Of the nodes' file.
    hardware
        What to use.

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    settings = config.cascade
    file = folder / "nodes.safetensors"
    begun: list[Node] = []
    if file.is_file():
        begun = cascade_from(safetensors.torch.load_file(file), "")
    nodes = list(begun)

    def values(where: np.ndarray, features: np.ndarray) -> np.ndarray:
        out = np.zeros((len(where), len(features)), np.float32)
        for image in np.unique(where[:, 0]):
            at = np.flatnonzero(where[:, 0] == image)
            sums = integral(np.asarray(own.images.pixels(int(image))), settings.window)
            out[at] = values_at(sums, features, where[at, 1:])
        return out

    def negatives(fitted: list[Node], count: int) -> np.ndarray:
        rng = np.random.default_rng((config.seed, len(fitted)))
        if not fitted:
            return draw(own.negative, rng, count) if len(own.negative) else np.zeros((0, 3), int)
        return _let_through(own, fitted, count, config, rng)

    with bar("boosting nodes", hardware) as progress:

        def kept(number: int, through: float) -> None:
            del through
            if first_process():
                write_whole(file, safetensors.torch.save(cascade_arrays(nodes, "")))
            progress(number + 1, settings.nodes)

        positive = own.positive.at(np.arange(len(own.positive)))
        return fit_cascade(positive, negatives, values, settings, config.seed, kept, nodes)


def _let_through(
    own: Data, nodes: list[Node], count: int, config: Config, rng: np.random.Generator
) -> np.ndarray:
    """Return negatives (n, 3) that a cascade lets through, about evenly from some images."""
    chosen = rng.permutation(len(own.images))[: config.cascade.images]
    each = -(-count // max(len(chosen), 1))
    found = [
        _of_image(own, nodes, int(image), each, config.cascade.window, rng) for image in chosen
    ]
    return np.concatenate([np.zeros((0, 3), np.int64), *found])[:count]


def _of_image(
    own: Data, nodes: list[Node], image: int, most: int, window: int, rng: np.random.Generator
) -> np.ndarray:
    """Return at most so many negatives (n, 3) of an image that a cascade lets through.

    Only as many are looked at as it takes: of the first round, half are expected to pass each node.
    """
    numbers = np.asarray(own.negative.of_image(image), np.int64)
    sums = integral(np.asarray(own.images.pixels(image)), window)
    found = np.zeros((0, 3), np.int64)
    order = rng.permutation(numbers)
    begun, size = 0, most << len(nodes)
    for _ in range(_ROUNDS):
        where = own.negative.at(np.sort(order[begun : begun + size]))
        found = np.concatenate([found, where[passed(nodes, sums, where[:, 1:])]])
        begun, size = begun + size, size * 2
        if len(found) >= most or begun >= len(order):
            break
    return found[np.sort(rng.permutation(len(found))[:most])]
