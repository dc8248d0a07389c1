"""Training: the first network on random negatives, the next on those that the last took for positives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from secondreader.detections import peaks
from secondreader.domain import ImageSet, SecondReaderError
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, FitSettings, fit
from secondreader.learning.hardware import Hardware, device, first_process
from secondreader.learning.initial import initialise
from secondreader.learning.kept import kept_arrays
from secondreader.learning.model_folder import save_model
from secondreader.learning.positions import Positions, of_where
from secondreader.learning.ranking import auc_of
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods.mined_cnn.boosting import boosted
from secondreader.methods.mined_cnn.cascade import cascade_arrays
from secondreader.methods.mined_cnn.config import NAME, Config
from secondreader.methods.mined_cnn.data import Data, augmented, data, wanted
from secondreader.methods.mined_cnn.dense import in_turn, joined, quick, somewhere, where_wanted
from secondreader.methods.mined_cnn.judging import mean_sensitivity, validated
from secondreader.methods.mined_cnn.network import WINDOW, patch_network

__all__ = ["cost", "network_loss", "train"]

_PASSED = 0.5  # what the first network lets through scores no less, see `dense.joined`


def train(
    config: Config, train: ImageSet, val: ImageSet, run_dir: Path, *, hardware: Hardware
) -> None:
    """Train, and leave the model in RUN/model; a second call goes on where the first was stopped.

    Parameters
    ----------
    config
        The method's settings.
    train, val
        Images to learn from, and to stop and choose by.
    run_dir
        The run folder.
    hardware
        What to use.

    Raises
    ------
    SecondReaderError
        If there is no calcification, nothing of ``init`` fits, or training fails.
    """
    _startable(config)
    with bar("preparing images", hardware) as progress:
        own = data(
            train, config, makers=config.makers, negatives=config.negatives, progress=progress,
            workers=hardware.workers,
        )  # fmt: skip
        held = data(val, config, makers=config.makers, progress=progress, workers=hardware.workers)
    for name, of in (("training", own), ("validation", held)):
        if not len(of.positive) or not len(of.negative):
            raise SecondReaderError(
                f"{name} data: got {len(of.positive)} calcifications and {len(of.negative)} other "
                "positions, expected some of both; give more data or another split"
            )
    if config.detector == "cascade":
        nodes = boosted(own, held, config, run_dir / "stages" / "cascade", hardware)
        weights = cascade_arrays(nodes, "cascade.")
    else:
        first = _network(own, held, config, config.first, "first", run_dir, hardware)
        weights = _named(first, "first.")
        config = config.model_copy(update={"threshold": _threshold(first, held, config, run_dir)})
        if config.detector == "cnn":
            # A later round mines what the first lets through and the second likes; what was hard for
            # those before stays, for the last network reads it too.
            hard, second = np.zeros((0, 3), np.int64), None
            for number in range(config.rounds):
                negative = None  # then a batch falls back on the set's own
                if config.second_learns == "mined":
                    folder = run_dir / "stages" / f"mined-{number}"
                    more = _mined(first, second, own, config, folder, hardware)
                    if not len(more):
                        raise SecondReaderError(
                            "mining: got no position that the first network lets through, expected some; "
                            "a lower threshold, or more positives to pass (pruned), would give some"
                        )
                    hard = np.unique(np.concatenate([hard, more]), axis=0)
                    negative = of_where(hard)
                stage = f"second-{number}"
                second = _network(
                    own, held, config, config.second, stage, run_dir, hardware, first, negative
                )
            assert second is not None
            weights |= _named(second, "second.")
    if first_process():
        save_model(run_dir / "model", method=NAME, config=config, weights=weights)


def _startable(config: Config) -> None:
    """Raise now where a network could not begin later, after the first is trained and images are mined."""
    if config.detector == "cascade":
        if config.init != "none":
            raise SecondReaderError(
                f"--init: got {config.init!r} for a cascade, expected none: it begins with its first node"
            )
        return
    for number, name in enumerate(("first", "second")[: 1 if config.detector == "first" else 2]):
        initialise(patch_network(config.widths[number]), config.init, prefix=f"{name}.")


def cost(config: Config, hardware: Hardware) -> tuple[Cost, ...]:
    """Return what each stage will cost, timed on a batch of noise."""
    costs = []
    plans = {"first": (config.widths[0], config.first), "second": (config.widths[1], config.second)}
    wanted = {"cnn": ("first", *["second"] * config.rounds), "first": ("first",), "cascade": ()}[
        config.detector
    ]
    for name in wanted:
        width, settings = plans[name]
        image = torch.rand(
            (settings.batch, 1, WINDOW, WINDOW), generator=torch.Generator().manual_seed(0)
        )
        batch = {"image": image, "label": (image[:, 0, 0, 0] > 0.5).float()}
        costs.append(
            step_cost(name, patch_network(width), network_loss, batch, settings.steps, hardware)
        )
    return tuple(costs)


def _network(
    own: Data,
    held: Data,
    config: Config,
    settings: FitSettings,
    stage: str,
    run_dir: Path,
    hardware: Hardware,
    first: nn.Sequential | None = None,
    negative: Positions | None = None,
) -> nn.Sequential:
    """Train one network, on random negatives, or after the first on mined ones.

    It is judged as it will read: the second after the first.
    """
    torch.manual_seed(config.seed)
    network = patch_network(config.widths[0 if first is None else 1])
    initialise(network, config.init, prefix="first." if first is None else "second.")
    before = None
    if first is not None:
        before = [_at(quick(first), held, where) for where in validated(held, config)]
    fit(
        network.to(memory_format=torch.channels_last),
        network_loss,
        partial(own.batch, count=settings.batch, config=config, negative=negative),
        partial(_figures, held=held, config=config, before=before),
        settings,
        figure="mean_sensitivity",
        run_dir=run_dir,
        stage=stage,
        seed=config.seed,
        hardware=hardware,
        augment=partial(augmented, config=config),
    )
    return network


def _mined(
    first: nn.Sequential,
    second: nn.Sequential | None,
    own: Data,
    config: Config,
    folder: Path,
    hardware: Hardware,
) -> np.ndarray:
    """Return negatives (n, 3) of each training image, or of some, kept image by image.

    Half are the highest peaks, half are drawn evenly from all that the first network lets through: the
    second must judge those too.
    """
    reading, after = (
        None if network is None else quick(network).to(device(hardware))
        for network in (first, second)
    )
    assert reading is not None
    shuffled = np.random.default_rng(config.seed).permutation(len(own.images))
    chosen = np.sort(shuffled[: config.mined_images]).tolist()
    least = config.threshold or 0.0

    def hard(number: int) -> np.ndarray:
        index = chosen[number]
        pixels = np.asarray(own.images.pixels(index))
        asked = wanted(own, index)
        if after is None:
            known = where_wanted(reading, pixels, asked)
        else:
            known = in_turn(reading, after, pixels, asked, least)
        enough = least if after is None else _PASSED
        passed = np.argwhere(asked & (known >= enough))
        if config.mined_apart_mm > 0:
            highest, _ = peaks(
                known,
                threshold=enough,
                min_distance=config.mined_apart_mm / config.spacing_mm,
                mask=asked,
                most=config.mined // 2,
            )
            spots = np.rint(highest).astype(np.int64)
        else:
            falling = np.argsort(-known[passed[:, 0], passed[:, 1]], kind="stable")
            spots = passed[falling[: config.mined // 2]]
        known[spots[:, 0], spots[:, 1]] = -1
        passed = passed[known[passed[:, 0], passed[:, 1]] >= 0]
        rng = np.random.default_rng((config.seed, index))
        drawn = passed[rng.permutation(len(passed))[: config.mined - len(spots)]]
        return np.insert(np.concatenate([spots, drawn]), 0, index, axis=1)

    with bar("mining hard negatives", hardware) as progress:
        rows = kept_arrays(folder, len(chosen), hard, progress)
    return np.concatenate([np.zeros((0, 3), np.int64), *rows])


def _threshold(network: nn.Sequential, held: Data, config: Config, run_dir: Path) -> float:
    """Return the first network's score that so many of the validation positives lie above.

    ``stages/let-through.json`` says what that does: of a share of negatives that is large, little was
    ruled out, and the second network does nearly all of the work.
    """
    reading = quick(network)
    positive, negative = validated(held, config)
    own = _at(reading, held, positive)
    least = config.threshold
    if least is None:
        # Of few positives no less than the share that is asked for.
        least = float(np.quantile(own, 1 - config.pruned, method="lower")) if len(own) else 0.5
    told = {
        "threshold": least,
        "positives": len(own),
        "positives kept": float((own >= least).mean()) if len(own) else None,
        "negatives": len(negative),
        "negatives let through": float((_at(reading, held, negative) >= least).mean()),
    }
    if first_process():
        write_whole(run_dir / "stages" / "let-through.json", json.dumps(told, indent=1) + "\n")
    return least


def _at(network: nn.Sequential, held: Data, where: np.ndarray) -> np.ndarray:
    """Return scores at positions (n, 3)."""
    found = np.zeros(len(where), np.float32)
    for image in np.unique(where[:, 0]):
        own = np.flatnonzero(where[:, 0] == image)
        found[own] = somewhere(network, np.asarray(held.images.pixels(int(image))), where[own, 1:])
    return found


def _at_in_turn(
    second: nn.Sequential, held: Data, where: np.ndarray, first: np.ndarray, least: float
) -> np.ndarray:
    """Return the score of both networks at positions (n, 3); the second looks where the first passes."""
    passed = first >= least
    after = np.zeros(len(where), np.float32)
    after[passed] = _at(second, held, where[passed])
    return joined(first, after, least)


def _named(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


def network_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of a batch."""
    logit = network(batch["image"].contiguous(memory_format=torch.channels_last)).flatten()
    return functional.binary_cross_entropy_with_logits(logit.float(), batch["label"])


def _figures(
    network: nn.Module, held: Data, config: Config, before: list[np.ndarray] | None
) -> Mapping[str, float]:
    """Return the mean sensitivity for a false-positive fraction of 1e-5 to 0.1, on a logarithmic axis.

    Of a second network by the score of both, ``before`` being the first's of the same positions.
    """
    assert isinstance(network, nn.Sequential)
    both = validated(held, config)
    if before is None:
        found = [_at(network, held, where) for where in both]
    else:
        found = [
            _at_in_turn(network, held, where, one, config.threshold or 0.0)
            for where, one in zip(both, before, strict=True)
        ]
    return {"mean_sensitivity": mean_sensitivity(*found), "auc": auc_of(*found)}
