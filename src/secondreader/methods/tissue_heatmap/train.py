"""Training: the tissue classifier, what makes an image's score of its answers, the heatmap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import binary_auroc

from secondreader.domain import ImageSet, SecondReaderError
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware, device, first_process
from secondreader.learning.initial import initialise
from secondreader.learning.kept import kept_arrays
from secondreader.learning.model_folder import save_model
from secondreader.learning.prepared import Prepared
from secondreader.learning.sampling import generator
from secondreader.learning.watching import bar
from secondreader.methods.tissue_heatmap.config import NAME, Config
from secondreader.methods.tissue_heatmap.data import (
    Patches,
    Small,
    augmented,
    middle,
    patches,
    ready,
)
from secondreader.methods.tissue_heatmap.local import answers, inside
from secondreader.methods.tissue_heatmap.network import Aggregated, HeatmapNet, Tissue

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
        own, held = (ready(images, config, progress) for images in (train, val))
    torch.manual_seed(config.seed)
    tissue = _tissue(patches(own, config), patches(held, config), config, run_dir, hardware)
    parts: dict[str, nn.Module] = {"tissue": tissue}
    if config.trains != "tissue":
        told = [
            _told(tissue, images, config, run_dir / "stages" / "answers" / name, hardware)
            for name, images in (("train", own), ("validation", held))
        ]
        parts["image"] = _image(told[0], told[1], config, run_dir, hardware)
        parts["heatmap"] = _heatmap(own, held, told, config, run_dir, hardware)
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
    of = config.tissue
    image = torch.rand((of.batch, 1, config.patch, config.patch), generator=noise)
    batch = {"image": image, "label": (image[:, 0, 0, 0] > 0.5).float()}
    network = Tissue(config.widths, config.patch, config.stride)
    costs = [step_cost("tissue", network, _tissue_loss, batch, of.steps, hardware)]
    if config.trains != "tissue":
        of = config.heatmap
        heat = {
            "image": torch.rand((of.batch, 1, config.small, config.small), generator=noise),
            "target": torch.rand((of.batch, 1, 32, 32), generator=noise),
            "local": torch.rand((of.batch, 1, 32, 32), generator=noise),
        }
        net = HeatmapNet(config.heat_width, config.trains == "heatmap", config.small)
        costs.append(step_cost("heatmap", net, _heat_loss, heat, of.steps, hardware))
    return tuple(costs)


# ------------------------------------------------------------------------------------- tissue


def _tissue(
    own: Patches, held: Patches, config: Config, run_dir: Path, hardware: Hardware
) -> Tissue:
    network = Tissue(config.widths, config.patch, config.stride)
    initialise(network, config.init, prefix="tissue.")
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
    logits = torch.cat([network(middle(b, config).to(where)).float().cpu() for b in batches])
    label = torch.cat([b["label"] for b in batches])
    error = float(((logits > 0) != (label > 0.5)).float().mean())
    return {"auc": float(binary_auroc(logits, label.long())), "error": error}


# ------------------------------------------------------------------------------------- images


@dataclass(frozen=True, eq=False)
class _Told:
    """The answers of each image, where there is breast, and whether it is malignant (nan: unknown)."""

    local: tuple[np.ndarray, ...]
    inside: tuple[np.ndarray, ...]
    truth: np.ndarray


def _told(
    network: Tissue, images: Prepared, config: Config, folder: Path, hardware: Hardware
) -> _Told:
    """Ask the tissue classifier about every image, each kept in a file."""
    network.to(device(hardware)).eval()

    def asked(index: int) -> np.ndarray:
        return answers(network, np.asarray(images.pixels(index)), config)

    with bar("reading tissue", hardware) as progress:
        local = kept_arrays(folder, len(images), asked, progress)
    breast = [
        inside(np.asarray(images.pixels(i)), config, found.shape) for i, found in enumerate(local)
    ]
    truth = [np.nan if r.malignant is None else float(r.malignant) for r in images.records]
    return _Told(tuple(local), tuple(breast), np.array(truth, np.float32))


def _stacked(told: _Told, numbers: np.ndarray) -> Batch:
    """Return answers as logits in one shape, what is missing outside the breast."""
    shape = np.max([told.local[i].shape for i in numbers], axis=0)
    local = np.zeros((len(numbers), *shape), np.float32)
    breast = np.zeros(local.shape, bool)
    for place, i in enumerate(numbers.tolist()):
        rows, cols = told.local[i].shape
        clipped = np.clip(told.local[i], 1e-6, 1 - 1e-6)
        local[place, :rows, :cols] = np.log(clipped / (1 - clipped))
        breast[place, :rows, :cols] = told.inside[i]
    return {
        "local": torch.from_numpy(local),
        "inside": torch.from_numpy(breast),
        "label": torch.from_numpy(told.truth[numbers]),
        "where": [str(i) for i in numbers],
    }


def _image(
    own: _Told, held: _Told, config: Config, run_dir: Path, hardware: Hardware
) -> Aggregated:
    """Train what makes one answer of an image's, p(y|z; C)."""
    kinds = [np.flatnonzero(own.truth == value) for value in (1, 0)]
    if not all(map(len, kinds)):
        raise SecondReaderError(
            f"images: got {len(kinds[0])} malignant and {len(kinds[1])} that are not, expected some of both"
        )

    network = Aggregated()
    known = np.flatnonzero(~np.isnan(held.truth))
    fit(
        network,
        _image_loss,
        partial(_image_batch, own=own, config=config),
        partial(_image_figures, batch=_stacked(held, known)),
        config.image,
        figure="auc",
        run_dir=run_dir,
        stage="image",
        seed=config.seed,
        hardware=hardware,
    )
    return network


def _image_batch(step: int, own: _Told, config: Config) -> Batch:
    rng = generator(config.seed, step)
    kinds = [np.flatnonzero(own.truth == value) for value in (1, 0)]
    pick = np.array([rng.choice(kinds[i % 2]) for i in range(config.image.batch)])
    return _stacked(own, pick)


def _image_loss(network: nn.Module, batch: Batch) -> Tensor:
    with torch.autocast(batch["local"].device.type, enabled=False):
        found = network(batch["local"].float(), batch["inside"]).clamp(1e-6, 1 - 1e-6)
        return functional.binary_cross_entropy(found, batch["label"])


def _image_figures(network: nn.Module, batch: Batch) -> Mapping[str, float]:
    """Return the area under the curve by image, and that of the plain maximum beside it."""
    where = next(network.parameters()).device
    found = network(batch["local"].to(where), batch["inside"].to(where)).float().cpu()
    highest = batch["local"].masked_fill(~batch["inside"], -1e4).flatten(1).amax(1)
    label = batch["label"].long()
    return {
        "auc": float(binary_auroc(found, label)),
        "maximum": float(binary_auroc(torch.sigmoid(highest), label)),
    }


# ------------------------------------------------------------------------------------- heatmap


def _heatmap(
    own: Prepared,
    held: Prepared,
    told: list[_Told],
    config: Config,
    run_dir: Path,
    hardware: Hardware,
) -> HeatmapNet:
    sets = []
    for images, known in zip((own, held), told, strict=True):
        with bar("shrinking images", hardware) as progress:
            sets.append(Small.of(images, known.local, config, progress))
    data, fixed = sets
    if not len(data.paths) or not len(fixed.paths):
        raise SecondReaderError(
            "heatmap: got no CC view in training or validation, expected some; or --set views=both"
        )
    network = HeatmapNet(config.heat_width, config.trains == "heatmap", config.small)
    fit(
        network.to(memory_format=torch.channels_last),
        _heat_loss,
        partial(data.batch, count=config.heatmap.batch, config=config),
        partial(_heat_figures, held=fixed),
        config.heatmap,
        figure="closeness",
        run_dir=run_dir,
        stage="heatmap",
        seed=config.seed,
        hardware=hardware,
    )
    return network


def _heat_loss(network: nn.Module, batch: Batch) -> Tensor:
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    return functional.mse_loss(network(image, batch["local"]).float(), batch["target"])


def _heat_figures(network: nn.Module, held: Small) -> Mapping[str, float]:
    """Return the mean squared error, and it with its sign turned: what is largest is best."""
    where = next(network.parameters()).device
    errors = []
    for low in range(0, len(held.paths), 16):
        rows = slice(low, low + 16)
        found = network(held.image[rows].to(where), held.local[rows].to(where)).float().cpu()
        errors.append(((found - held.target[rows]) ** 2).mean((1, 2, 3)))
    error = float(torch.cat(errors).mean())
    return {"closeness": -error, "heatmap_mse": error}
