"""Training of classifiers: of windows, of generated patches, and of whole images, shrunk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet50_Weights, ResNet101_Weights

from secondreader.domain import SecondReaderError
from secondreader.learning import augment as moving
from secondreader.learning.fit import Batch, FitSettings, fit
from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.initial import initialise, torchvision_weights
from secondreader.learning.patches import whole
from secondreader.learning.prepared import Prepared
from secondreader.learning.ranking import auc
from secondreader.learning.run_folder import write_whole
from secondreader.learning.sampling import generator
from secondreader.methods.second_look import generators
from secondreader.methods.second_look.config import SHRUNK, Config
from secondreader.methods.second_look.data import image_classes
from secondreader.methods.second_look.network import classifier
from secondreader.methods.second_look.windows import TURNS, Windows, windows

__all__ = ["class_loss", "train_check", "train_shrunk", "train_votes"]


def train_votes(
    own: Prepared, held: Prepared, config: Config, run_dir: Path, hardware: Hardware
) -> nn.Module:
    """Train the classifier of windows; how many different patches there were is left in RUN."""
    data = windows(own, config, patches=config.patches)
    if not data.drawn.get(0, np.zeros(0)).size or len(data.drawn) < 2:
        raise SecondReaderError(
            f"windows: got {data.counts()} patches by class, expected some with a lesion and some "
            "without; give more data"
        )
    _note(run_dir, data)
    figures = partial(_class_figures, batches=_fixed(windows(held, config, reading=True), config))
    batches = partial(data.batch, count=config.votes.batch, config=config)
    network = _started(config)
    return _classified(network, batches, figures, config.votes, config, run_dir, hardware)


def train_check(
    own: Prepared, held: Prepared, config: Config, run_dir: Path, hardware: Hardware
) -> dict[str, nn.Module]:
    """Train a classifier of few, of generated, or of both sorts of patches, and validate on real.

    Returns the classifier as ``network``, and the generators, if there are any, as ``generator``.
    """
    data = windows(own, config, patches=config.gan_patches)
    other = windows(held, config, reading=True)
    _note(run_dir, data)
    made: dict[str, nn.Module] = {}
    batches = partial(data.batch, count=config.check.batch, config=config)
    if config.generator != "none":
        networks = generators.trained(data, other, config, run_dir, hardware)
        made["generator"] = networks
        images, kinds = generators.patches(networks, config, run_dir, hardware)
        batches = partial(
            _with_generated, own=data, images=images, kinds=kinds, config=config
        )  # fmt: skip
        config = config.model_copy(update={"init": "none"})  # what was said of it is done
        torch.manual_seed(config.seed)  # the classifier is the same, whatever was drawn before
    figures = partial(_class_figures, batches=_fixed(other, config))
    network = _started(config)
    made["network"] = _classified(
        network, batches, figures, config.check, config, run_dir, hardware
    )
    return made


def train_shrunk(
    own: Prepared, held: Prepared, config: Config, run_dir: Path, hardware: Hardware
) -> nn.Module:
    """Train the classifier of whole images, shrunk."""
    data, fixed = _Shrunk(own, config), _Shrunk(held, config)
    numbers = np.flatnonzero(fixed.label >= 0)
    batches = [fixed.at(numbers[i : i + 64]) for i in range(0, len(numbers), 64)]
    figures = partial(_class_figures, batches=batches)
    draw = partial(data.batch, count=config.shrunk.batch, config=config)
    return _classified(_started(config), draw, figures, config.shrunk, config, run_dir, hardware)


def _note(run_dir: Path, data: Windows) -> None:
    if first_process():
        of = {str(k): len(np.unique(own // TURNS)) for k, own in sorted(data.drawn.items())}
        nothing = float((data.label == 0).mean()) if len(data.label) else None
        told = {
            "windows": len(data.label),
            "share of nothing": nothing,
            "patches drawn from": data.counts(),
            "windows of those": of,
        }
        write_whole(run_dir / "patches.json", json.dumps(told, indent=1) + "\n")


def _fixed(held: Windows, config: Config) -> list[Batch]:
    return [held.batch(step, 64, config) for step in range(-(-config.validation_patches // 64))]


def _with_generated(
    step: int, own: Windows, images: np.ndarray, kinds: np.ndarray, config: Config
) -> Batch:
    """Return a batch of `generated_share` generated patches, and real ones for the rest."""
    rng = generator(config.seed, step)
    count = config.check.batch
    number = rng.integers(len(images), size=round(count * config.generated_share))
    drawn = torch.from_numpy(images[number].astype(np.float32) / 255)[:, None]
    batch: Batch = {
        "image": drawn,
        "label": torch.from_numpy(kinds[number].astype(np.int64)),
        "where": [f"generated {n}" for n in number.tolist()],
    }
    if len(number) == count:
        return batch
    real = own.batch(step, count - len(number), config)
    return {
        "image": torch.cat([batch["image"], real["image"]]),
        "label": torch.cat([batch["label"], real["label"]]),
        "where": [*batch["where"], *real["where"]],
    }


class _Shrunk:
    """Whole images, shrunk, each of its most severe lesion's class; -1 where it is unknown."""

    def __init__(self, images: Prepared, config: Config) -> None:
        self.images = images
        self.label = image_classes(images, config)

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step, mirrored at random: there are few images, and many are drawn."""
        rng = generator(config.seed, step)
        # Classes alike, as far as there are any.
        kinds = np.unique(self.label[self.label >= 0])
        pick = [
            int(rng.choice(np.flatnonzero(self.label == kinds[rng.integers(len(kinds))])))
            for _ in range(count)
        ]
        batch = self.at(np.array(pick))
        mirrored = [
            image.flip([axis for axis, on in ((-2, up), (-1, across)) if on])
            for image, (up, across) in zip(
                batch["image"], rng.integers(2, size=(count, 2)).tolist(), strict=True
            )
        ]
        return {**batch, "image": torch.stack(mirrored)}

    def at(self, numbers: np.ndarray) -> Batch:
        return {
            "image": whole(self.images, numbers, SHRUNK),
            "label": torch.from_numpy(self.label[numbers]),
            "where": [self.images.records[int(i)].path for i in numbers],
        }


def _started(config: Config) -> nn.Module:
    network = classifier(config)
    if config.init in ("imagenet", "coco") and config.backbone != "small":
        body = ResNet101_Weights if config.backbone == "resnet101" else ResNet50_Weights
        published = {"imagenet": lambda: torchvision_weights(body.IMAGENET1K_V1)}
        initialise(network, "imagenet", published=published)
    else:
        initialise(network, config.init, prefix="network.")
    return network


def _classified(
    network: nn.Module,
    batches: Callable[[int], Batch],
    figures: Callable[[nn.Module], Mapping[str, float]],
    settings: FitSettings,
    config: Config,
    run_dir: Path,
    hardware: Hardware,
) -> nn.Module:
    fit(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        class_loss,
        batches,
        figures,
        settings,
        figure="auc" if config.trains == "shrunk" else "balanced_accuracy",
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


def class_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of a batch's classes."""
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    loss: Tensor = functional.cross_entropy(network(image).float(), batch["label"])
    return loss


def _class_figures(network: nn.Module, batches: list[Batch]) -> Mapping[str, float]:
    """Return malignant against the rest, and the accuracy over classes, each counting alike."""
    where = next(network.parameters()).device
    logits = torch.cat([network(b["image"].to(where)).float().cpu() for b in batches])
    label = torch.cat([b["label"] for b in batches])
    sure, right = torch.softmax(logits, 1)[:, 1], logits.argmax(1) == label
    recalls = [right[label == kind].float().mean() for kind in label.unique()]
    return {
        "auc": auc(sure.numpy(), (label == 1).numpy()),
        "balanced_accuracy": float(torch.stack(recalls).mean()),
    }
