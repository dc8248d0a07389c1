"""Training: regions of whole images, windows that vote, or the shrunk image from their weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import binary_auroc
from torchvision.models import ResNet50_Weights, ResNet101_Weights
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from secondreader.domain import ImageSet, SecondReaderError
from secondreader.learning import augment as moving
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, FitSettings, fit
from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.initial import initialise, torchvision_weights
from secondreader.learning.model_folder import save_model
from secondreader.learning.prepared import Prepared
from secondreader.learning.watching import bar
from secondreader.methods.second_look.config import NAME, Config
from secondreader.methods.second_look.data import Regions, class_of, moved, ready, windows
from secondreader.methods.second_look.network import CLASSES, classifier, mask_rcnn

__all__ = ["cost", "train"]

_SHRUNK = (256, 256)


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
        If no region has a pathology, published weights are not at hand, or training fails.
    """
    if config.trains == "shrunk":
        config = config.model_copy(update={"size": _SHRUNK})
    with bar("preparing images", hardware) as progress:
        own, held = (ready(images, config, progress) for images in (train, val))
    torch.manual_seed(config.seed)
    if config.trains == "regions":
        network = _regions(own, held, config, run_dir, hardware)
    elif config.trains == "votes":
        network = _votes(own, held, config, run_dir, hardware)
    else:
        network = _shrunk(own, held, config, run_dir, hardware)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    if first_process():
        save_model(run_dir / "model", method=NAME, config=config, weights=weights)


def cost(config: Config, hardware: Hardware) -> tuple[Cost, ...]:
    """Return what the training will cost, timed on a batch of noise."""
    noise = torch.Generator().manual_seed(0)
    if config.trains == "regions":
        settings = config.regions
        mask = torch.zeros(1, *config.size, dtype=torch.bool)
        mask[:, 20:60, 20:60] = True
        batch = {
            "image": torch.rand((settings.batch, 1, *config.size), generator=noise),
            "boxes": [torch.tensor([[20.0, 20, 60, 60]])] * settings.batch,
            "labels": [torch.tensor([1])] * settings.batch,
            "masks": [mask] * settings.batch,
        }
        return (
            step_cost("regions", mask_rcnn(config), _region_loss, batch, settings.steps, hardware),
        )
    settings = config.votes if config.trains == "votes" else config.shrunk
    side = config.window if config.trains == "votes" else _SHRUNK[0]
    batch = {
        "image": torch.rand((settings.batch, 1, side, side), generator=noise),
        "label": torch.arange(settings.batch) % len(CLASSES),
    }
    return (
        step_cost(config.trains, classifier(config), _class_loss, batch, settings.steps, hardware),
    )


# ------------------------------------------------------------------------------------- regions


def _regions(
    own: Prepared, held: Prepared, config: Config, run_dir: Path, hardware: Hardware
) -> nn.Module:
    data, fixed = Regions.of(own), Regions.of(held)
    if not any(data.masks):
        raise SecondReaderError(
            "regions: got no lesion with a region and a pathology, expected some to learn from"
        )
    network: nn.Module = mask_rcnn(config)
    _start_regions(network, config)
    fit(
        network,
        _region_loss,
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


def _region_loss(network: nn.Module, batch: Batch) -> Tensor:
    targets = [
        {"boxes": boxes, "labels": labels, "masks": masks.to(torch.uint8)}
        for boxes, labels, masks in zip(
            batch["boxes"], batch["labels"], batch["masks"], strict=True
        )
    ]
    losses: Mapping[str, Tensor] = network(list(batch["image"]), targets)
    return torch.stack(list(losses.values())).sum()


def _region_figures(network: nn.Module, held: Regions, config: Config) -> Mapping[str, float]:
    """Return the area under the curve by image: its strongest malignant region."""
    where = next(network.parameters()).device
    scores, truth = [], []
    for index, record in enumerate(held.images.records):
        if record.malignant is None:
            continue
        image = held.at(np.array([index]), config)["image"].to(where)
        (got,) = network(list(image))
        own = got["scores"][got["labels"] == 1]
        scores.append(float(own.max()) if len(own) else 0.0)
        truth.append(record.malignant)
    return {"auc": float(binary_auroc(torch.tensor(scores), torch.tensor(truth).long()))}


# ------------------------------------------------------------------------------------- windows


def _votes(
    own: Prepared, held: Prepared, config: Config, run_dir: Path, hardware: Hardware
) -> nn.Module:
    data, other = windows(own, config), windows(held, config)
    if not len(data.positive) or not len(data.negative):
        raise SecondReaderError(
            f"windows: got {len(data.positive)} with a lesion and {len(data.negative)} without, "
            "expected some of both; give more data"
        )
    fixed = [other.batch(step, 64, config) for step in range(-(-config.validation_patches // 64))]
    figures = partial(_class_figures, batches=fixed)
    network = _started(config)
    batches = partial(data.batch, count=config.votes.batch, config=config)
    return _classified(network, batches, figures, config.votes, config, run_dir, hardware)


def _shrunk(
    own: Prepared, held: Prepared, config: Config, run_dir: Path, hardware: Hardware
) -> nn.Module:
    data, fixed = _Shrunk(own), _Shrunk(held)
    batches = [fixed.at(np.arange(i, min(i + 64, len(held)))) for i in range(0, len(held), 64)]
    figures = partial(_class_figures, batches=batches)
    draw = partial(data.batch, count=config.shrunk.batch, config=config)
    return _classified(_started(config), draw, figures, config.shrunk, config, run_dir, hardware)


class _Shrunk:
    """Whole images, shrunk, each of its most severe lesion's class."""

    def __init__(self, images: Prepared) -> None:
        self.images = images
        self.label = np.array(
            [min((k for s in own if (k := class_of(s))), default=0) for own in images.lesions],
            np.int64,
        )

    def batch(self, step: int, count: int, config: Config) -> Batch:
        rng = np.random.default_rng((config.seed, step))
        # Classes alike, as far as there are any.
        kinds = np.unique(self.label)
        pick = [
            int(rng.choice(np.flatnonzero(self.label == kinds[rng.integers(len(kinds))])))
            for _ in range(count)
        ]
        return self.at(np.array(pick))

    def at(self, numbers: np.ndarray) -> Batch:
        from secondreader.learning.patches import whole

        return {
            "image": whole(self.images, numbers, _SHRUNK),
            "label": torch.from_numpy(self.label[numbers]),
            "where": [self.images.records[int(i)].path for i in numbers],
        }


def _started(config: Config) -> nn.Module:
    network = classifier(config)
    if config.init == "imagenet" and config.backbone != "small":
        body = ResNet101_Weights if config.backbone == "resnet101" else ResNet50_Weights
        published = {"imagenet": lambda: torchvision_weights(body.IMAGENET1K_V1)}
        initialise(network, "imagenet", published=published)
    else:
        initialise(network, config.init, prefix="network.")
    return network


def _classified(
    network: nn.Module,
    batches: partial[Batch],
    figures: partial[Mapping[str, float]],
    settings: FitSettings,
    config: Config,
    run_dir: Path,
    hardware: Hardware,
) -> nn.Module:
    fit(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        _class_loss,
        batches,
        figures,
        settings,
        figure="auc",
        run_dir=run_dir,
        stage=config.trains,
        seed=config.seed,
        hardware=hardware,
        augment=partial(_shaded, config=config),
    )
    return network


def _shaded(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    image = batch["image"]
    changed = moving.intensity(image, config.augment, where)
    return {**batch, "image": torch.where(image > 0, changed.clamp(1e-3, 1), image)}


def _class_loss(network: nn.Module, batch: Batch) -> Tensor:
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    loss: Tensor = functional.cross_entropy(network(image).float(), batch["label"])
    return loss


def _class_figures(network: nn.Module, batches: list[Batch]) -> Mapping[str, float]:
    """Return malignant against the rest, and the accuracy over four classes as the paper has it."""
    where = next(network.parameters()).device
    logits = torch.cat([network(b["image"].to(where)).float().cpu() for b in batches])
    label = torch.cat([b["label"] for b in batches])
    sure = torch.softmax(logits, 1)[:, 1]
    return {
        "auc": float(binary_auroc(sure, (label == 1).long())),
        "accuracy": float((logits.argmax(1) == label).float().mean()),
    }
