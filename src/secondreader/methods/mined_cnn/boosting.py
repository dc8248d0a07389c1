"""Fitting the Haar cascade to a set's images: where its values come from, and what is kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors.torch

from secondreader.domain import SecondReaderError
from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.patches import cut_out
from secondreader.learning.positions import draw
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods.mined_cnn.cascade import (
    Node,
    cascade_arrays,
    cascade_from,
    passed,
    scores_by_count,
)
from secondreader.methods.mined_cnn.config import Config
from secondreader.methods.mined_cnn.data import Data
from secondreader.methods.mined_cnn.fitting import Fitted, fit_cascade, last
from secondreader.methods.mined_cnn.haar import integral
from secondreader.methods.mined_cnn.judging import mean_sensitivity, validated

__all__ = ["boosted"]

_THROUGH = "negatives let through"


def boosted(own: Data, held: Data, config: Config, folder: Path, hardware: Hardware) -> list[Node]:
    """Fit the cascade; nodes are kept as they are fitted, and a second call goes on after the last.

    By how many of its nodes it is read is chosen as a network's checkpoint is, on validation positions.
    ``nodes.json`` says so, and of each node how many stumps it has, what share of the positives it was
    fitted to it keeps, what share of the negatives it lets through, and how many there were.

    Parameters
    ----------
    own, held
        What is learnt from, and chosen by.
    config
        The method's settings.
    folder
        Of the nodes' files.
    hardware
        What to use.

    Returns
    -------
    list of Node
        Those that it is read by.

    Raises
    ------
    SecondReaderError
        If there is no positive or no negative.
    """
    settings = config.cascade
    file, notes = folder / "nodes.safetensors", folder / "nodes.json"
    nodes: list[Node] = []
    told: list[dict[str, float]] = []
    if file.is_file():
        nodes, told = _so_far(file, notes, settings.window)
    positives = _positives(own, config)

    def negatives(fitted: list[Node], count: int) -> np.ndarray:
        rng = np.random.default_rng((config.seed, len(fitted)))
        where = np.zeros((0, 3), np.int64)
        if fitted:
            where = _let_through(own, fitted, count, config, rng)
        elif len(own.negative):
            where = draw(own.negative, rng, count)
        cut = _windows(own, where, settings.window)
        for of in (own, held):
            of.images.let_go()  # a node's boosting looks at no image, and takes a gigabyte
        return cut

    with bar("boosting nodes", hardware) as progress:

        def kept(number: int, fitted: Fitted, negatives: int) -> None:
            told[number:] = [
                {
                    "stumps": len(fitted.node.cuts),
                    "positives": len(positives),
                    "positives kept": fitted.kept,
                    "negatives": negatives,
                    _THROUGH: fitted.through,
                }
            ]
            if first_process():
                write_whole(notes, json.dumps({"nodes": told}, indent=1) + "\n")
                write_whole(file, safetensors.torch.save(cascade_arrays(nodes, "")))
            progress(number + 1, settings.nodes)

        if not (told and last(told[-1][_THROUGH])):
            fit_cascade(positives, negatives, settings, config.seed, kept, nodes)
    found = _judged(nodes, held, config)
    count = int(np.argmax(found)) + 1
    if first_process():
        chosen = {"nodes": told, "mean sensitivity by so many": found, "read by": count}
        write_whole(notes, json.dumps(chosen, indent=1) + "\n")
    return nodes[:count]


def _so_far(file: Path, notes: Path, window: int) -> tuple[list[Node], list[dict[str, float]]]:
    """Return the nodes that are kept, and what is noted of them."""
    try:
        nodes = cascade_from(safetensors.torch.load_file(file), "", window)
        # A kill between the two files leaves notes of a node that is not there.
        told = json.loads(notes.read_text(encoding="utf-8"))["nodes"][: len(nodes)]
        if len(told) < len(nodes) or not all(float(of[_THROUGH]) >= 0 for of in told):
            raise ValueError("notes of fewer nodes")
    except (
        SecondReaderError,
        safetensors.SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:
        raise SecondReaderError(
            f"run: cannot go on from {file} and {notes.name} ({error}), expected both as they were "
            "written; without them the cascade is boosted anew"
        ) from None
    return nodes, told


def _judged(nodes: list[Node], held: Data, config: Config) -> list[float]:
    """Return the mean sensitivity on validation positions by the first node, the first two, and so on."""
    both = validated(held, config)
    found = [np.zeros((len(nodes), len(where)), np.float32) for where in both]
    for image in range(len(held.images)):
        prepared = np.asarray(held.images.pixels(image))
        for known, where in zip(found, both, strict=True):
            own = np.flatnonzero(where[:, 0] == image)
            known[:, own] = scores_by_count(nodes, prepared, config.cascade.window, where[own, 1:])
    return [mean_sensitivity(*of) for of in zip(*found, strict=True)]


def _windows(own: Data, where: np.ndarray, wide: int) -> np.ndarray:
    """Return the windows round positions (n, 3), (n, wide, wide) float16, as images are prepared."""
    cut: np.ndarray = cut_out(own.images, where, wide, np.float16).numpy()[:, 0]
    return cut


def _positives(own: Data, config: Config) -> np.ndarray:
    """Return the windows of all calcifications, (n, window, window) float16.

    Each as it is, and some copies of it moved by up to a pixel, turned and mirrored: the networks learn
    from as much.
    """
    wide, copies = config.cascade.window, config.cascade.copies
    rng = np.random.default_rng(config.seed)
    where = np.repeat(own.positive.at(np.arange(len(own.positive))), copies, axis=0)
    copy = np.arange(len(where)) % copies > 0
    where[copy, 1:] += rng.integers(-1, 2, (int(copy.sum()), 2))
    cut = _windows(own, where, wide)
    turns, mirrored = rng.integers(0, 4, len(cut)), rng.random(len(cut)) < 0.5
    for number in np.flatnonzero(copy).tolist():
        turned = np.rot90(cut[number], int(turns[number]))
        cut[number] = (turned[:, ::-1] if mirrored[number] else turned).copy()
    return cut


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

    Only as many are looked at as it takes: twice as many in each round as in the one before.
    """
    numbers = np.asarray(own.negative.of_image(image), np.int64)
    sums = integral(np.asarray(own.images.pixels(image)), window)
    found = np.zeros((0, 3), np.int64)
    order = rng.permutation(numbers)
    begun, size = 0, 2 * most
    while len(found) < most and begun < len(order):
        where = own.negative.at(np.sort(order[begun : begun + size]))
        found = np.concatenate([found, where[passed(nodes, sums, where[:, 1:])]])
        begun, size = begun + size, size * 2
    return found[np.sort(rng.permutation(len(found))[:most])]
