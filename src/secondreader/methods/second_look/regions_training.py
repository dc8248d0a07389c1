"""Training of the region detector on whole images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, ResNet101_Weights
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from secondreader.domain import SecondReaderError
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware
from secondreader.learning.initial import initialise, torchvision_weights
from secondreader.learning.prepared import Prepared
from secondreader.learning.ranking import auc
from secondreader.methods.second_look.config import Config
from secondreader.methods.second_look.data import Regions, image_classes, moved
from secondreader.methods.second_look.network import mask_rcnn

__all__ = ["region_loss", "train_regions"]


def train_regions(
    own: Prepared, held: Prepared, config: Config, run_dir: Path, hardware: Hardware
) -> nn.Module:
    """Train the detector; its best weights by the area under the curve by image are left in it."""
    data, fixed = Regions.of(own, config), Regions.of(held, config)
    if not any(data.masks):
        raise SecondReaderError(
            "regions: got no lesion with a region and a pathology, expected some to learn from"
        )
    network: nn.Module = mask_rcnn(config)
    _start_regions(network, config)
    fit(
        network,
        region_loss,
        partial(data.batch, count=config.regions.batch, config=config),
        partial(_region_figures, held=fixed, config=config),
        config.regions,
        figure="auc",
        run_dir=run_dir,
        stage="regions",
        seed=config.seed,
        hardware=hardware,
        augment=partial(moved, config=config),
    )
    return network


def _start_regions(network: nn.Module, config: Config) -> None:
    """Put initial weights in; COCO's are of ResNet50, ImageNet's of either backbone."""
    if config.backbone == "small" and config.init in ("coco", "imagenet"):
        raise SecondReaderError(
            f"--init: got {config.init} for the small network, expected none, a file or a model folder"
        )
    if config.init == "coco":
        # Of ResNet101 there is none; the pyramid and the heads are the same.
        weights = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
        initialise(network, "coco", published={"coco": lambda: torchvision_weights(weights)})
    elif config.init == "imagenet":
        body = ResNet101_Weights if config.backbone == "resnet101" else ResNet50_Weights
        published = {"imagenet": lambda: torchvision_weights(body.IMAGENET1K_V1)}
        initialise(network.backbone.body, "imagenet", published=published)  # type: ignore[arg-type, union-attr]
    else:
        initialise(network, config.init, prefix="network.")


def region_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the sum of torchvision's losses: proposals, classes, boxes, masks."""
    targets = [
        {"boxes": boxes, "labels": labels, "masks": masks.to(torch.uint8)}
        for boxes, labels, masks in zip(
            batch["boxes"], batch["labels"], batch["masks"], strict=True
        )
    ]
    losses: Mapping[str, Tensor] = network(list(batch["image"]), targets)
    return torch.stack(list(losses.values())).sum()


@contextmanager
def _without_masks(network: nn.Module) -> Iterator[None]:
    """Let the detector find boxes alone: its masks take twice the time of all else."""
    heads: Any = network.roi_heads
    pool = heads.mask_roi_pool
    heads.mask_roi_pool = None
    try:
        yield
    finally:
        heads.mask_roi_pool = pool


def _region_figures(network: nn.Module, held: Regions, config: Config) -> Mapping[str, float]:
    """Return the area under the curve by image: its strongest malignant region.

    Malignant is an image with a malignant lesion of the kinds that are learnt: a detector of masses is
    not chosen by the clusters that it cannot find.
    """
    where = next(network.parameters()).device
    scores, truth = [], []
    for index, kind in enumerate(image_classes(held.images, config).tolist()):
        if kind < 0:
            continue
        image = held.at(np.array([index]), config)["image"].to(where)
        with _without_masks(network):
            (got,) = network(list(image))
        own = got["scores"][got["labels"] == 1]
        scores.append(float(own.max()) if len(own) else 0.0)
        truth.append(kind == 1)
    return {"auc": auc(scores, truth)}
