"""Training, stage by stage: maps, their threshold, the second stage; or the baseline of boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from secondreader.domain import ImageSet, SecondReaderError
from secondreader.learning.cost import Cost
from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.model_folder import load_into, load_model_folder, save_model
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods.anomaly_cascade.boxes_training import boxes_cost, train_boxes
from secondreader.methods.anomaly_cascade.candidates import best_cut, candidates
from secondreader.methods.anomaly_cascade.config import NAME, Config
from secondreader.methods.anomaly_cascade.joint import joint_cost, train_joint
from secondreader.methods.anomaly_cascade.maps import Patches, maps_cost, patches, train_maps
from secondreader.methods.anomaly_cascade.network import UNet, first_stage
from secondreader.methods.anomaly_cascade.reduction import reducer
from secondreader.methods.anomaly_cascade.reduction_training import (
    reducer_cost,
    train_reducer,
    windows_of,
)

__all__ = ["cost", "train"]


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
        If there is no calcification, or training fails.
    """
    with bar("preparing images", hardware) as progress:
        own, held = (patches(images, config, progress, hardware.workers) for images in (train, val))
    if config.detector == "boxes":
        found: dict[str, nn.Module] = {"boxes": train_boxes(own, held, config, run_dir, hardware)}
    else:
        asked = {name: getattr(config, name) for name in ("threshold", "least_pixels")}
        first, config = _first(own, held, config, run_dir, hardware)
        found = {"unet": first}
        if config.detector != "proposals":
            found["reducer"], config = _second(first, own, held, config, run_dir, hardware)
        if config.detector == "joint":
            train_joint(first, found["reducer"], own, held, config, run_dir, hardware)
            # Both have moved: what is proposed is chosen anew.
            config = config.model_copy(update=asked)
            config = _with_cut(first, held, config, run_dir / "joint-cut.json", hardware)
    weights = {
        f"{part}.{name}": value
        for part, network in found.items()
        for name, value in network.state_dict().items()
    }
    if first_process():
        save_model(run_dir / "model", method=NAME, config=config, weights=weights)


def cost(config: Config, hardware: Hardware) -> tuple[Cost, ...]:
    """Return what each stage will cost."""
    if config.detector == "boxes":
        return (boxes_cost(config, hardware),)
    costs = [maps_cost(config, hardware)] if config.first_stage == "train" else []
    if config.detector != "proposals" and config.second_stage == "train":
        costs.append(reducer_cost(config, hardware))
    if config.detector == "joint":
        costs.append(joint_cost(config, hardware))
    return tuple(costs)


def _first(
    own: Patches, held: Patches, config: Config, run_dir: Path, hardware: Hardware
) -> tuple[UNet, Config]:
    """Return the first stage, trained or taken over, and the settings with its threshold."""
    if config.first_stage == "train":
        network = train_maps(own, held, config, run_dir, hardware)
        return network, _with_cut(network, held, config, run_dir / "cut.json", hardware)
    before, weights = _taken(config)
    network = first_stage(before)
    load_into(network, {n: v for n, v in weights.items() if n.startswith("unet.")}, "unet.")
    if (before.spacing_mm, before.depth) != (config.spacing_mm, config.depth):
        # Prepared images must be the ones that the first stage knows.
        raise SecondReaderError(
            f"first_stage: got spacing_mm={config.spacing_mm:g}, depth={config.depth}, expected those "
            f"of the first stage, {before.spacing_mm:g} and {before.depth}: {config.init}"
        )
    names = ["width", "norm", "redraws", "input_scale", "objective", "residual", "beta",
             "lambda_positive", "lambda_negative"]  # fmt: skip
    if before.split_mm == config.split_mm:
        names += ["threshold", "least_pixels"]
    config = config.model_copy(update={name: getattr(before, name) for name in names})
    network = network.to(memory_format=torch.channels_last)
    return network, _with_cut(network, held, config, run_dir / "cut.json", hardware)


def _taken(config: Config) -> tuple[Config, Mapping[str, torch.Tensor]]:
    """Return settings and weights of the model folder that ``init`` names."""
    folder = Path(config.init)
    return load_model_folder(
        folder / "model" if (folder / "model").is_dir() else folder, NAME, Config
    )


def _second(
    first: UNet, own: Patches, held: Patches, config: Config, run_dir: Path, hardware: Hardware
) -> tuple[nn.Module, Config]:
    """Return the second stage, trained or taken over, and the settings with what it looks at."""
    if config.second_stage == "init":
        before, weights = _taken(config)
        network = reducer(before).to(memory_format=torch.channels_last)
        load_into(
            network, {n: v for n, v in weights.items() if n.startswith("reducer.")}, "reducer."
        )
        seen = {name: getattr(before, name) for name in ("reducer", "crop", "crop_to")}
        return network, config.model_copy(update=seen)
    found = []
    for name, of in (("train", own), ("validation", held)):
        with bar(f"proposing on the {name} part", hardware) as progress:
            folder = run_dir / "stages" / "candidates" / name
            made = candidates(first, of, config, folder, hardware, progress)
        found.append(windows_of(of, made, config))
    return train_reducer(found[0], found[1], config, run_dir, hardware), config


def _with_cut(
    network: UNet, held: Patches, config: Config, file: Path, hardware: Hardware
) -> Config:
    """Return the settings with threshold and smallest component, chosen once on validation images."""
    if config.threshold is not None and config.least_pixels is not None:
        return config
    if not file.is_file():
        with bar("choosing the threshold", hardware) as progress:
            threshold, least, tried = best_cut(network, held, config, hardware, progress)
        told = {"threshold": threshold, "least_pixels": least, "tried": tried}
        write_whole(file, json.dumps(told, indent=1) + "\n")
    told = json.loads(file.read_text(encoding="utf-8"))
    return config.model_copy(
        update={
            "threshold": config.threshold or told["threshold"],
            "least_pixels": config.least_pixels or told["least_pixels"],
        }
    )
