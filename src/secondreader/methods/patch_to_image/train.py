"""Training, stage by stage: patches, then the whole images that their classifier is made into.

References
----------
Shen et al. (2019), sections 3.1.2 and 3.2.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from secondreader.domain import ImageSet
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fewer import some_patients
from secondreader.learning.fit import Batch, FitSettings, fit
from secondreader.learning.hardware import Hardware, device, first_process
from secondreader.learning.model_folder import save_model
from secondreader.learning.patches import cut_out
from secondreader.learning.prepared import Prepared
from secondreader.learning.ranking import auc
from secondreader.learning.run_folder import write_whole
from secondreader.learning.watching import bar
from secondreader.methods.patch_to_image.architecture import STRIDE, parse
from secondreader.methods.patch_to_image.config import NAME, Config
from secondreader.methods.patch_to_image.data import (
    Patches,
    Whole,
    augmented,
    patches,
    ready,
)
from secondreader.methods.patch_to_image.forest import train_forest
from secondreader.methods.patch_to_image.network import (
    COLUMNS,
    ImageClassifier,
    PatchClassifier,
)
from secondreader.methods.patch_to_image.start import image_classifier, patch_classifier

__all__ = ["cost", "train"]

_AT_ONCE = 32
Layers = Callable[[Any], list[nn.Module]]
"""Which layers of a network learn in a stage."""


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
        If a class is empty, published weights are wanted and not at hand, or training fails.
    """
    train = some_patients(train, config.patients, config.seed)
    torch.manual_seed(config.seed)
    began = patch_classifier(config)  # what is missing is said before images are prepared
    network: PatchClassifier | ImageClassifier = began
    with bar("preparing images", hardware) as progress:
        own, held = (ready(images, config, progress, hardware.workers) for images in (train, val))
    trees: Mapping[str, Tensor] = {}
    if config.trains in ("image", "patch"):
        given, fixed = (patches(images, config) for images in (own, held))
        network = _patches(began, given, fixed, config, run_dir, hardware)
    if config.trains in ("image", "top", "tune"):
        network = _whole(config, image_classifier(began, config), own, held, run_dir, hardware)
    elif config.trains == "forest":
        with bar("regions of the heatmaps", hardware) as progress:
            trees = train_forest(began, Whole.of(own), config, progress)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()} | dict(
        trees
    )
    if first_process():
        save_model(run_dir / "model", method=NAME, config=config, weights=weights)


def cost(config: Config, hardware: Hardware) -> tuple[Cost, ...]:
    """Return what each stage will cost, timed on batches of noise."""
    noise = torch.Generator().manual_seed(0)
    network = PatchClassifier(parse(config.architecture).backbone, config.patch // STRIDE)
    costs = []
    if config.trains in ("image", "patch"):
        settings = config.scratch if config.init == "none" else config.every
        batch = {
            "image": torch.rand((settings.batch, 1, config.patch, config.patch), generator=noise),
            "label": torch.arange(settings.batch) % 5,
            "weight": torch.ones(settings.batch),
        }
        costs.append(step_cost("patches", network, _patch_loss, batch, settings.steps, hardware))
    if config.trains in ("image", "top", "tune"):
        whole = image_classifier(network, config.model_copy(update={"trains": "top"}))
        settings = config.tune if config.trains == "tune" else config.whole
        batch = {
            "image": torch.rand((settings.batch, 1, *config.size), generator=noise),
            "label": (torch.arange(2 * settings.batch).reshape(-1, 2) % 2).float(),
        }
        costs.append(step_cost("whole images", whole, _image_loss, batch, settings.steps, hardware))
    return tuple(costs)


# ------------------------------------------------------------------------------------- patches


def _patches(
    network: PatchClassifier,
    own: Patches,
    held: Patches,
    config: Config,
    run_dir: Path,
    hardware: Hardware,
) -> PatchClassifier:
    """Train the patch classifier: three stages from given weights, one from none."""
    network.mean.fill_(_mean(own.images))
    fixed = [
        held.batch(step, _AT_ONCE, config)
        for step in range(-(-config.validation_patches // _AT_ONCE))
    ]
    sums: np.ndarray | None = None

    def stage(name: str, settings: FitSettings, layers: Layers) -> None:
        fit(
            network.to(memory_format=torch.channels_last),
            _patch_loss,
            partial(own.batch, count=settings.batch, config=config, sums=sums),
            partial(_patch_figures, batches=fixed, config=config),
            settings,
            # Half of the patches are background: by plain accuracy a network that calls all of them
            # so is hard to beat early. The classes count alike, as in the loss.
            figure="balanced",
            run_dir=run_dir,
            stage=name,
            seed=config.seed,
            hardware=hardware,
            augment=partial(augmented, config=config, size=config.patch),
            groups=partial(_only, layers=layers),
        )

    if config.init == "none":
        settings = config.scratch
        if config.hard > 0:  # it has to have learnt something to say what is hard
            settings = settings.model_copy(update={"steps": -(-settings.steps // 2)})
            stage("patches-first", settings, lambda n: [n])
            sums = _hard(network, own, config, run_dir / "stages" / "hard.npy", hardware)
        stage("patches", settings, lambda n: [n])
        return network
    stage("patches-last", config.last, lambda n: [n.classes])
    stage("patches-upper", config.upper, _upper)
    if config.hard > 0:
        sums = _hard(network, own, config, run_dir / "stages" / "hard.npy", hardware)
    stage("patches", config.every, lambda n: [n])
    return network


def _upper(network: PatchClassifier) -> list[nn.Module]:
    """Return the layers of the second stage: 46 of Keras' ResNet50, 11 of its VGG16, from the top.

    46 layers reach down through the fifth stage and the last unit of the fourth; 11 through the last
    two blocks of VGG16.
    """
    stages = list(network.features)
    fourth = stages[-2]
    assert isinstance(fourth, nn.Sequential)
    unit = fourth if isinstance(fourth[0], nn.Conv2d) else fourth[-1]
    return [network.classes, stages[-1], unit]


def _only(network: nn.Module, layers: Layers) -> list[dict[str, Any]]:
    """Let some layers learn, and hold the others."""
    wanted = {id(p) for layer in layers(network) for p in layer.parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in wanted)
    return [{"params": [p for p in network.parameters() if p.requires_grad]}]


def _mean(images: Prepared) -> float:
    """Return the mean grey value of the training images (section 3.1.2), the breast's."""
    sums = [
        (float(pixels[pixels > 0].sum(dtype=np.float64)), int((pixels > 0).sum()))
        for pixels in (np.asarray(images.pixels(i)) for i in range(len(images)))
    ]
    return sum(s for s, _ in sums) / max(sum(n for _, n in sums), 1)


@torch.no_grad()
def _hard(
    network: PatchClassifier, own: Patches, config: Config, file: Path, hardware: Hardware
) -> np.ndarray:
    """Return cumulative weights of patches: 1 + ``hard`` times how sure the classifier is of others."""
    if not file.is_file():
        where = device(hardware)
        network.to(where).eval()
        wrong = []
        for low in range(0, len(own.label), _AT_ONCE):
            numbers = np.arange(low, min(low + _AT_ONCE, len(own.label)))
            image = cut_out(own.images, own.where.at(numbers), config.patch).to(where)
            sure = torch.softmax(network(image).float(), 1).cpu().numpy()
            wrong.append(1 - sure[np.arange(len(numbers)), own.label[numbers]])
        stream = io.BytesIO()
        np.save(stream, np.cumsum(1 + config.hard * np.concatenate(wrong)), allow_pickle=False)
        write_whole(file, stream.getvalue())
    sums: np.ndarray = np.load(file, allow_pickle=False)
    return sums


def _patch_loss(network: nn.Module, batch: Batch) -> Tensor:
    each = functional.cross_entropy(
        network(batch["image"]).float(), batch["label"], reduction="none"
    )
    loss: Tensor = (each * batch["weight"]).mean()
    return loss


def _patch_figures(network: nn.Module, batches: list[Batch], config: Config) -> Mapping[str, float]:
    """Return accuracy, as table 1 has it, the mean of the classes' own, and the loss."""
    where = next(network.parameters()).device
    found, label = [], []
    for batch in batches:
        rest = (batch["image"].shape[-1] - config.patch) // 2
        inner = slice(rest, rest + config.patch)
        found.append(network(batch["image"][..., inner, inner].to(where)).float().cpu())
        label.append(batch["label"])
    logits, known = torch.cat(found), torch.cat(label)
    correct = (logits.argmax(1) == known).float()
    loss = functional.cross_entropy(logits, known, reduction="none")
    own = [
        (float(correct[known == c].mean()), float(loss[known == c].mean())) for c in known.unique()
    ]
    return {
        "accuracy": float(correct.mean()),
        "balanced": sum(right for right, _ in own) / len(own),
        "validation_loss": sum(lost for _, lost in own) / len(own),  # classes alike, as in training
    }


# ------------------------------------------------------------------------------------- whole images


def _whole(
    config: Config,
    network: ImageClassifier,
    own: Prepared,
    held: Prepared,
    run_dir: Path,
    hardware: Hardware,
) -> ImageClassifier:
    """Train on whole images: first what is new on top, then all; or all at once, to tune."""
    data, fixed = Whole.of(own), Whole.of(held)

    def stage(name: str, settings: FitSettings, layers: Layers) -> None:
        fit(
            network.to(memory_format=torch.channels_last),
            _image_loss,
            partial(data.batch, count=settings.batch, config=config),
            partial(_image_figures, held=fixed, config=config),
            settings,
            figure="auc",
            run_dir=run_dir,
            stage=name,
            seed=config.seed,
            hardware=hardware,
            augment=partial(augmented, config=config, size=None),
            groups=partial(_only, layers=layers),
        )

    if config.trains == "tune":
        stage("tune", config.tune, _used)
        return network
    stage("top", config.top, lambda n: [n.top, n.outputs])
    stage("whole", config.whole, _used)
    return network


def _used(network: ImageClassifier) -> list[nn.Module]:
    """Return the layers that an image's score comes through: without a heatmap no classes of patches.

    They would get no gradient, which several processes would wait for.
    """
    told = [network.patches.classes] if network.what.heatmap else []
    return [network.patches.features, *told, network.top, network.outputs]


def _image_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of both outputs, where they are known."""
    return _entropy(network(batch["image"]).float(), batch["label"])


def _entropy(logits: Tensor, label: Tensor) -> Tensor:
    known = ~torch.isnan(label)
    return functional.binary_cross_entropy_with_logits(logits[known], label[known])


def _image_figures(network: nn.Module, held: Whole, config: Config) -> Mapping[str, float]:
    """Return the area under the curve by image, malignant and abnormal each against the rest; the loss.

    In the loss malignant images count as much as the others, as they do in the batches of training:
    what the two losses differ by is no share of cancers.
    """
    where = next(network.parameters()).device
    found = []
    # An image of native size takes 4 GB, and training there is to fit in 8.
    at_once = 1 if config.saving else 4
    for low in range(0, len(held.images), at_once):
        batch = held.at(np.arange(low, min(low + at_once, len(held.images))), config)
        found.append(network(batch["image"].to(where)).float().cpu())
    scores, truth = torch.cat(found), torch.from_numpy(held.truth)
    kinds = [truth[:, 0] == malignant for malignant in (0, 1)]
    losses = [float(_entropy(scores[own], truth[own])) for own in kinds if own.any()]
    figures = {"validation_loss": sum(losses) / len(losses) if losses else math.nan}
    for column, name in enumerate(COLUMNS):
        known = ~torch.isnan(truth[:, column])
        figures[name] = auc(scores[known, column].numpy(), truth[known, column].numpy())
    return {"auc": figures[config.scores], **figures}
