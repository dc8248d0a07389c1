"""Training, stage by stage: the tissue classifier, two views of a place, then whole images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from secondreader.domain import ImageSet, SecondReaderError
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware, device, first_process
from secondreader.learning.initial import initialise
from secondreader.learning.model_folder import load_into, load_model_folder, save_model
from secondreader.learning.prepared import Prepared
from secondreader.learning.ranking import auc
from secondreader.learning.watching import bar
from secondreader.methods.tissue_heatmap.config import NAME, Config
from secondreader.methods.tissue_heatmap.data import (
    Patches,
    augmented,
    middle,
    patches,
    ready,
)
from secondreader.methods.tissue_heatmap.local import answers, quick, seen
from secondreader.methods.tissue_heatmap.network import HeatmapNet, Pair, Tissue
from secondreader.methods.tissue_heatmap.views import Pairs, pairs, together
from secondreader.methods.tissue_heatmap.whole import (
    Told,
    heat_loss,
    told,
    train_heatmap,
    train_image,
)

__all__ = ["cost", "train"]

_PARTS = ("train", "validation")


def train(
    config: Config, train: ImageSet, val: ImageSet, run_dir: Path, *, hardware: Hardware
) -> None:
    """Train, and leave the model in RUN/model; a second call goes on where the first was stopped.

    Parameters
    ----------
    config
        The method's settings.
    train, val
        Images to learn from, and to stop by.
    run_dir
        The run folder.
    hardware
        What to use.

    Raises
    ------
    SecondReaderError
        If there is no annotation, or training fails.
    """
    with bar("preparing images", hardware) as progress:
        sets = [
            patches(ready(images, config, progress, hardware.workers), config)
            for images in (train, val)
        ]
    tissue = _tissue(sets, config, run_dir, hardware)
    parts: dict[str, nn.Module] = {"tissue": tissue}
    if config.trains != "tissue" or config.two_views:
        folder = run_dir / "stages" / "answers"
        known = [_one_view(tissue, of.images, config, folder / name, hardware)
                 for of, name in zip(sets, _PARTS, strict=True)]  # fmt: skip
    if config.two_views:
        paired = [pairs(of, t.local, t.inside, config) for of, t in zip(sets, known, strict=True)]
        pair = _pair(tissue, paired, config, run_dir, hardware)
        parts["pair"] = pair.layers
    if config.trains != "tissue":
        if config.two_views:
            folder = run_dir / "stages" / "answers-of-two-views"
            known = [_two_views(pair, of, config, folder / name, hardware)
                     for of, name in zip(paired, _PARTS, strict=True)]  # fmt: skip
        parts["image"] = train_image(known, config, run_dir, hardware)
        own, held = (of.images for of in sets)
        parts["heatmap"] = train_heatmap(own, held, known, config, run_dir, hardware)
    weights = {
        f"{part}.{name}": value
        for part, network in parts.items()
        for name, value in network.state_dict().items()
    }
    if first_process():
        save_model(run_dir / "model", method=NAME, config=config, weights=weights)


def cost(config: Config, hardware: Hardware) -> tuple[Cost, ...]:
    """Return what each stage will cost, timed on batches of noise."""
    noise = torch.Generator().manual_seed(0)
    network = Tissue(config.widths, config.patch, config.stride, config.surround)
    costs = []

    def patches_of(count: int) -> Tensor:
        return torch.rand((count, 1, config.seen, config.seen), generator=noise)

    if config.init == "none" or config.trains == "tissue":
        of = config.tissue
        batch = {"image": patches_of(of.batch), "label": torch.ones(of.batch)}
        costs.append(step_cost("tissue", network, _tissue_loss, batch, of.steps, hardware))
    if config.two_views:
        of = config.pairs
        batch = {name: patches_of(of.batch) for name in ("image", "other")}
        batch["label"] = torch.ones(of.batch)
        pair = Pair(network, config.pair_width)
        costs.append(step_cost("pairs", pair, _pair_loss, batch, of.steps, hardware))
    if config.trains != "tissue":
        of = config.heatmap
        heat = {
            "image": torch.rand((of.batch, 1, config.small, config.small), generator=noise),
            "target": torch.rand((of.batch, 1, 32, 32), generator=noise),
            "local": torch.rand((of.batch, 1, 32, 32), generator=noise),
        }
        net = HeatmapNet(config.heat_width, config.trains == "heatmap", config.small)
        costs.append(step_cost("heatmap", net, heat_loss, heat, of.steps, hardware))
    return tuple(costs)


# ------------------------------------------------------------------------------------- tissue


def _tissue(sets: list[Patches], config: Config, run_dir: Path, hardware: Hardware) -> Tissue:
    """Train the classifier of one view; or take it from another model, where more is built on it."""
    torch.manual_seed(config.seed)
    network = Tissue(config.widths, config.patch, config.stride, config.surround)
    if config.init != "none" and config.trains != "tissue":
        path = Path(config.init)
        folder = path / "model" if (path / "model").is_dir() else path
        other, weights = load_model_folder(folder, NAME, Config)
        for name in ("spacing_mm", "canvas_mm", "patch", "surround", "stride"):
            theirs, ours = getattr(other, name), getattr(config, name)
            if theirs != ours:
                raise SecondReaderError(
                    f"--init: got a classifier of {name}={theirs}, expected {ours}: {folder}"
                )
        load_into(network, weights, "tissue.")
        return network.eval()
    initialise(network, config.init, prefix="tissue.")
    own, held = sets
    fixed = [held.batch(step, 64, config) for step in range(-(-config.validation_patches // 64))]
    fit(
        network.to(memory_format=torch.channels_last),
        _tissue_loss,
        partial(own.batch, count=config.tissue.batch, config=config),
        partial(_tissue_figures, batches=fixed, config=config),
        config.tissue,
        figure="auc",
        run_dir=run_dir,
        stage="tissue",
        seed=config.seed,
        hardware=hardware,
        augment=partial(augmented, config=config),
    )
    return network


def _tissue_loss(network: nn.Module, batch: Batch) -> Tensor:
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    return functional.binary_cross_entropy_with_logits(network(image).float(), batch["label"])


def _tissue_figures(
    network: nn.Module, batches: list[Batch], config: Config
) -> Mapping[str, float]:
    where = next(network.parameters()).device
    logits = torch.cat(
        [network(middle(b["image"], config).to(where)).float().cpu() for b in batches]
    )
    label = torch.cat([b["label"] for b in batches])
    error = float(((logits > 0) != (label > 0.5)).float().mean())
    return {"auc": auc(logits, label), "error": error}


def _one_view(
    network: Tissue, images: Prepared, config: Config, folder: Path, hardware: Hardware
) -> Told:
    reader = quick(network).to(device(hardware))

    def asked(index: int) -> np.ndarray:
        return answers(reader, np.asarray(images.pixels(index)), config)

    return told(images, asked, config, folder, hardware)


# ------------------------------------------------------------------------------------- two views


def _pair(
    tissue: Tissue, sets: list[Pairs], config: Config, run_dir: Path, hardware: Hardware
) -> Pair:
    """Train what the other view adds to the answer of one."""
    torch.manual_seed(config.seed)
    network = Pair(tissue, config.pair_width)
    own, held = sets
    # By the rule that a reader has: chosen by ids it might need what no reader is told.
    fixed = [
        held.batch(step, 64, config, ids=False)
        for step in range(-(-config.validation_patches // 64))
    ]
    fit(
        network,
        _pair_loss,
        partial(own.batch, count=config.pairs.batch, config=config),
        partial(_pair_figures, batches=fixed, config=config),
        config.pairs,
        figure="auc",
        run_dir=run_dir,
        stage="pairs",
        seed=config.seed,
        hardware=hardware,
        augment=partial(augmented, config=config),
    )
    return network


def _pair_loss(network: nn.Module, batch: Batch) -> Tensor:
    found = network(batch["image"], batch["other"]).float()
    return functional.binary_cross_entropy_with_logits(found, batch["label"])


def _pair_figures(network: nn.Module, batches: list[Batch], config: Config) -> Mapping[str, float]:
    """Return the area under the curve of both views, and of one beside it."""
    assert isinstance(network, Pair)
    where = next(network.parameters()).device
    both, one = [], []
    for batch in batches:
        own, other = (middle(batch[name], config).to(where) for name in ("image", "other"))
        both.append(network(own, other).float().cpu())
        one.append(network.tissue(own).float().cpu())
    label = torch.cat([b["label"] for b in batches])
    return {"auc": auc(torch.cat(both), label), "one_view": auc(torch.cat(one), label)}


def _two_views(network: Pair, own: Pairs, config: Config, folder: Path, hardware: Hardware) -> Told:
    """Ask about every image with its other view beside it, where it has one."""
    network.to(device(hardware)).eval()
    reader = quick(network.tissue)

    @lru_cache(maxsize=4)  # the views of a breast lie side by side
    def looked(index: int) -> Tensor:
        return seen(reader, np.asarray(own.images.pixels(index)), config)

    def asked(index: int) -> np.ndarray:
        other = int(own.other[index])
        beside = looked(other) if other >= 0 else None
        return together(network, looked(index), beside, own.columns[index])

    return told(own.images, asked, config, folder, hardware)
