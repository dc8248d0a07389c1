"""Training on whole images: what makes one score of the answers, and the heatmap.

References
----------
An et al. (2018), section 3, the equation and "Baseline heatmap regression".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from secondreader.domain import SecondReaderError
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware
from secondreader.learning.kept import kept_arrays
from secondreader.learning.prepared import Prepared
from secondreader.learning.ranking import auc
from secondreader.learning.sampling import generator
from secondreader.learning.watching import bar
from secondreader.methods.tissue_heatmap.config import Config
from secondreader.methods.tissue_heatmap.data import Small, warmed
from secondreader.methods.tissue_heatmap.local import inside
from secondreader.methods.tissue_heatmap.network import Aggregated, HeatmapNet

__all__ = ["Told", "heat_loss", "told", "train_heatmap", "train_image"]


@dataclass(frozen=True, eq=False)
class Told:
    """The answers of each image, where there is breast, and whether it is malignant (nan: unknown)."""

    local: tuple[np.ndarray, ...]
    inside: tuple[np.ndarray, ...]
    truth: np.ndarray


def told(
    images: Prepared,
    answer: Callable[[int], np.ndarray],
    config: Config,
    folder: Path,
    hardware: Hardware,
) -> Told:
    """Ask about every image by its number, each answer kept in a file."""
    with bar("reading tissue", hardware) as progress:
        local = kept_arrays(folder, len(images), answer, progress)
    breast = [
        inside(np.asarray(images.pixels(i)), config, found.shape) for i, found in enumerate(local)
    ]
    truth = [np.nan if r.malignant is None else float(r.malignant) for r in images.records]
    return Told(tuple(local), tuple(breast), np.array(truth, np.float32))


def _stacked(told: Told, numbers: np.ndarray) -> Batch:
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


def train_image(
    known: Sequence[Told], config: Config, run_dir: Path, hardware: Hardware
) -> Aggregated:
    """Train what makes one answer of an image's, p(y|z; C), on the answers of both sets."""
    own, held = known
    kinds = [np.flatnonzero(own.truth == value) for value in (1, 0)]
    if not all(map(len, kinds)):
        raise SecondReaderError(
            f"images: got {len(kinds[0])} malignant and {len(kinds[1])} that are not, expected some of both"
        )

    torch.manual_seed(config.seed)
    network = Aggregated()
    told_of = np.flatnonzero(~np.isnan(held.truth))
    fit(
        network,
        _image_loss,
        partial(_image_batch, own=own, config=config),
        partial(_image_figures, batch=_stacked(held, told_of)),
        config.image,
        figure="auc",
        run_dir=run_dir,
        stage="image",
        seed=config.seed,
        hardware=hardware,
    )
    return network


def _image_batch(step: int, own: Told, config: Config) -> Batch:
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
    return {"auc": auc(found, batch["label"]), "maximum": auc(highest, batch["label"])}


def train_heatmap(
    own: Prepared,
    held: Prepared,
    known: Sequence[Told],
    config: Config,
    run_dir: Path,
    hardware: Hardware,
) -> HeatmapNet:
    """Train the heatmap regression of small images, ``known`` being the answers of both sets."""
    sets = []
    for images, answers in zip((own, held), known, strict=True):
        with bar("shrinking images", hardware) as progress:
            sets.append(Small.of(images, answers.local, config, progress))
    data, fixed = sets
    if not len(data.paths) or not len(fixed.paths):
        raise SecondReaderError(
            "heatmap: got no CC view in training or validation, expected some; or --set views=both"
        )
    torch.manual_seed(config.seed)
    network = HeatmapNet(config.heat_width, config.trains == "heatmap", config.small)
    fit(
        network.to(memory_format=torch.channels_last),
        heat_loss,
        partial(data.batch, count=config.heatmap.batch, config=config),
        partial(_heat_figures, held=fixed),
        config.heatmap,
        figure="closeness",
        run_dir=run_dir,
        stage="heatmap",
        seed=config.seed,
        hardware=hardware,
        augment=partial(warmed, config=config),
    )
    return network


def heat_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error of a batch's heatmaps."""
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    return functional.mse_loss(network(image, batch["local"]).float(), batch["target"])


def _heat_figures(network: nn.Module, held: Small) -> Mapping[str, float]:
    """Return the mean squared error, it with its sign turned, for what is largest is best, and of zeros.

    Images with a malignant finding and those without weigh alike, as in training and in what is
    measured: most have none, and a network that says nothing would come out best.
    """
    where = next(network.parameters()).device
    errors = []
    for low in range(0, len(held.paths), 16):
        rows = slice(low, low + 16)
        found = network(held.image[rows].to(where), held.local[rows].to(where)).float().cpu()
        errors.append(((found - held.target[rows]) ** 2).mean((1, 2, 3)))
    hot = held.target.flatten(1).amax(1) > 0
    zeros = (held.target**2).mean((1, 2, 3))

    def alike(of: Tensor) -> float:
        return float(np.mean([of[k].mean() for k in (hot, ~hot) if k.any()]))

    error = alike(torch.cat(errors))
    return {"closeness": -error, "heatmap_mse": error, "zero_map_mse": alike(zeros)}
