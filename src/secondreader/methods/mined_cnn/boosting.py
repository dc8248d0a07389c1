"""Fitting the Haar cascade to a set's images: where its values come from, and what is kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors.torch

from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.patches import cut_out
from secondreader.learning.positions import draw
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods.mined_cnn.cascade import Node, cascade_arrays, cascade_from, passed
from secondreader.methods.mined_cnn.config import Config
from secondreader.methods.mined_cnn.data import Data
from secondreader.methods.mined_cnn.fitting import Shares, fit_cascade
from secondreader.methods.mined_cnn.haar import integral, values_at, values_of

__all__ = ["boosted"]

_ROUNDS = 4  # of drawing from an image, each of twice as many as the one before


def boosted(own: Data, config: Config, folder: Path, hardware: Hardware) -> list[Node]:
    """Fit the cascade; nodes are kept as they are fitted, and a second call goes on after the last.

    ``nodes.json`` beside them says of each node how many stumps it has, what share of the positives it
    was fitted to it keeps, what share of the negatives it lets through, and how many there were.

    Parameters
    ----------
    own
        What is learnt from.
    config
        The method's settings.
    folder
        Of the nodes' files.
    hardware
        What to use.

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    settings = config.cascade
    file, notes = folder / "nodes.safetensors", folder / "nodes.json"
    nodes: list[Node] = []
    if file.is_file():
        nodes = cascade_from(safetensors.torch.load_file(file), "")
    told = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else []
    windows = _windows(own, config)

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

        def kept(number: int, shares: Shares, negatives: int) -> None:
            told[number:] = [
                {
                    "stumps": len(nodes[number].cuts),
                    "positives": len(windows) // settings.window,
                    "positives kept": shares.kept,
                    "negatives": negatives,
                    "negatives let through": shares.through,
                }
            ]
            if first_process():
                write_whole(notes, json.dumps(told, indent=1) + "\n")
                write_whole(file, safetensors.torch.save(cascade_arrays(nodes, "")))
            progress(number + 1, settings.nodes)

        def positives(features: np.ndarray) -> np.ndarray:
            return values_of(windows, features)

        return fit_cascade(positives, negatives, values, settings, config.seed, kept, nodes)


def _windows(own: Data, config: Config) -> np.ndarray:
    """Return the windows of all calcifications, one under another, (n * window, window) float32.

    Each as it is, and some copies of it moved by up to a pixel, turned and mirrored: the networks learn
    from as much.
    """
    wide, copies = config.cascade.window, config.cascade.copies
    rng = np.random.default_rng(config.seed)
    where = np.repeat(own.positive.at(np.arange(len(own.positive))), copies, axis=0)
    copy = np.arange(len(where)) % copies > 0
    where[copy, 1:] += rng.integers(-1, 2, (int(copy.sum()), 2))
    cut = cut_out(own.images, where, wide).numpy()[:, 0]
    turns, mirrored = rng.integers(0, 4, len(cut)), rng.random(len(cut)) < 0.5
    for number in np.flatnonzero(copy).tolist():
        turned = np.rot90(cut[number], int(turns[number]))
        cut[number] = (turned[:, ::-1] if mirrored[number] else turned).copy()
    return cut.reshape(-1, wide)


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
