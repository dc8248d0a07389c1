"""Training the baseline of boxes; see `boxes`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights

from secondreader.learning import augment as moving
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware
from secondreader.learning.initial import initialise, torchvision_weights
from secondreader.learning.patches import cut_out, names
from secondreader.learning.ranking import auc_of
from secondreader.learning.targets import boxes_in, edges_of
from secondreader.methods.anomaly_cascade.boxes import faster_rcnn
from secondreader.methods.anomaly_cascade.config import HIT_MM, BoxSettings, Config
from secondreader.methods.anomaly_cascade.maps import Patches

__all__ = ["boxes_cost", "train_boxes"]

_LEAST = 4.0  # pixels: a smaller box is widened, none of fewer pixels can overlap an anchor


def train_boxes(
    own: Patches, held: Patches, config: Config, run_dir: Path, hardware: Hardware
) -> FasterRCNN:
    """Train the baseline, and return it with its best weights.

    Parameters
    ----------
    own, held
        Patches to learn from, and to stop by.
    config
        The method's settings.
    run_dir
        The run folder; a finished stage is only loaded.
    hardware
        What to use.

    Raises
    ------
    SecondReaderError
        If published weights are wanted and not at hand, or training fails.
    """
    torch.manual_seed(config.seed)
    network = faster_rcnn(config.boxes)
    _start(network, config.boxes)
    count = config.boxes.fit.batch
    steps = -(-config.validation_patches // count)
    fixed = [_batch(step, held, count, config, still=True) for step in range(steps)]
    fit(
        network,
        _loss,
        partial(_batch, own=own, count=count, config=config),
        partial(_figures, batches=fixed, config=config),
        config.boxes.fit,
        figure="auc",
        run_dir=run_dir,
        stage="boxes",
        seed=config.seed,
        hardware=hardware,
        augment=partial(_augmented, config=config),
    )
    return network


def boxes_cost(config: Config, hardware: Hardware) -> Cost:
    """Return what the baseline will cost, timed on a batch of noise."""
    size, count = config.boxes.patch, config.boxes.fit.batch
    image = torch.rand((count, 1, size, size), generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "boxes": [torch.tensor([[20.0, 20, 28, 28]])] * count}
    return step_cost(
        "boxes", faster_rcnn(config.boxes), _loss, batch, config.boxes.fit.steps, hardware
    )


def _start(network: FasterRCNN, settings: BoxSettings) -> None:
    """Put initial weights in: a detector's into all of it, a classifier's into its backbone."""
    if settings.backbone == "resnet50":
        weights = FasterRCNN_ResNet50_FPN_Weights.COCO_V1
        initialise(
            network, settings.init, published={"coco": lambda: torchvision_weights(weights)},
            prefix="boxes.",
        )  # fmt: skip
    elif settings.init == "imagenet":
        body = {"imagenet": lambda: torchvision_weights(ResNet18_Weights.IMAGENET1K_V1)}
        initialise(network.backbone.body, "imagenet", published=body)
    else:
        initialise(network, settings.init, prefix="boxes.")


def _batch(step: int, own: Patches, count: int, config: Config, still: bool = False) -> Batch:
    """Return the batch of a step: ``image`` (n, 1, h, w), and ``boxes`` of each, (k, 4) x0 y0 x1 y1."""
    size = config.boxes.patch
    wide = size if still else size + moving.margin(config.augment, size)
    where = own.places(step, count, size, config)
    # What counts for nothing cannot be left out of a detector's loss: patches that hold it are.
    where = where[~own.holds_ignored(where, wide)]
    seen = boxes_in(own.boxes, where, (wide, wide))
    return {
        "image": cut_out(own.images, where, wide),
        "boxes": [edges_of(torch.from_numpy(boxes).float(), _LEAST) for boxes, _ in seen],
        "where": names(own.images, where),
    }


def _augmented(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    old, new = batch["image"].shape[-1], config.boxes.patch
    matrices = moving.affine(config.augment, len(batch["image"]), where)
    image, _ = moving.geometric(batch["image"], matrices, new)
    changed = moving.intensity(image, config.augment, where)
    image = torch.where(image > 0, changed.clamp(1e-3, 1), image)
    moved = [
        moving.moved_edges(own, matrix, old, new)[0]
        for own, matrix in zip(batch["boxes"], matrices, strict=True)
    ]
    return {**batch, "image": image, "boxes": moved}


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    targets = [
        {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)}
        for boxes in batch["boxes"]
    ]
    losses: Mapping[str, Tensor] = network(list(batch["image"]), targets)
    return torch.stack(list(losses.values())).sum()


def _figures(network: nn.Module, batches: list[Batch], config: Config) -> Mapping[str, float]:
    """Return how often a calcification's best box lies above all of a patch without any."""
    where = next(network.parameters()).device
    reach = HIT_MM / config.spacing_mm
    found, empty = [], []
    for batch in batches:
        for got, truth in zip(network(list(batch["image"].to(where))), batch["boxes"], strict=True):
            middle = (got["boxes"][:, :2] + got["boxes"][:, 2:]).cpu() / 2
            scores = torch.cat([got["scores"].cpu(), torch.zeros(1)])
            if not len(truth):
                empty.append(float(scores.max()))
                continue
            apart = torch.cdist((truth[:, :2] + truth[:, 2:]) / 2, middle)
            near = torch.cat([apart <= reach, torch.ones(len(truth), 1, dtype=torch.bool)], 1)
            found += torch.where(near, scores, 0.0).amax(1).tolist()
    return {"auc": auc_of(found, empty)}
