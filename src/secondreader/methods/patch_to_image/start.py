"""What a training starts from: weights drawn at random, ImageNet's, or a model folder's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, VGG16_BN_Weights, VGG16_Weights

from secondreader.domain import SecondReaderError
from secondreader.learning.initial import initialise, torchvision_weights
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.methods.patch_to_image.architecture import STRIDE, parse
from secondreader.methods.patch_to_image.config import NAME, Config
from secondreader.methods.patch_to_image.network import ImageClassifier, PatchClassifier

__all__ = ["image_classifier", "patch_classifier"]

_PUBLISHED: Mapping[str, Any] = {
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "vgg16": VGG16_Weights.IMAGENET1K_V1,
    "vgg16_bn": VGG16_BN_Weights.IMAGENET1K_V1,
}

_ON_PATCHES: Mapping[str, str] = {
    "top": "the patch classifier that the whole image's is to stand on",
    "forest": "the patch classifier whose heatmaps it is to judge",
}
"""What is trained from a patch classifier that has been learnt, in words."""


def patch_classifier(config: Config) -> PatchClassifier:
    """Return the patch classifier with its initial weights.

    Raises
    ------
    SecondReaderError
        If there are no such weights, those of a model folder are another network's, or a top or a
        forest is to stand on no patch classifier.
    """
    name = parse(config.architecture).backbone
    window = config.patch // STRIDE
    folder = _folder(config.init)
    if folder is None and (words := _ON_PATCHES.get(config.trains)):
        raise SecondReaderError(
            f"--init: got {config.init!r}, expected the model folder of {words}"
        )
    if config.init == "imagenet" and name in _PUBLISHED:
        published = {
            "imagenet": lambda: {
                key: value
                for key, value in torchvision_weights(_PUBLISHED[name]).items()
                if not key.startswith(("fc.", "classifier."))
            }
        }

        def start(network: nn.Module) -> None:
            initialise(network, "imagenet", published=published)

        return PatchClassifier(name, window, start, saving=config.saving)
    network = PatchClassifier(name, window, saving=config.saving)
    if folder is None:  # random weights, or a file of torchvision's
        initialise(network, config.init)
        return network
    _, weights = _taken(folder, config, ("size", "patch"))
    # A whole-image model holds its patch classifier: either kind of folder will do.
    whole = any(key.startswith("network.patches.") for key in weights)
    prefix = "network.patches." if whole else "network."
    load_into(network, {k: v for k, v in weights.items() if k.startswith(prefix)}, prefix)
    return network


def image_classifier(network: PatchClassifier, config: Config) -> ImageClassifier:
    """Return the whole-image classifier made of a patch classifier; to tune, all of `init`'s.

    Raises
    ------
    SecondReaderError
        If there is no whole-image classifier to tune, or it is another one.
    """
    rows, cols = (side // STRIDE for side in config.size)
    made = ImageClassifier(network, parse(config.architecture), (rows, cols))
    if config.trains == "tune":
        folder = _folder(config.init)
        if folder is None:
            raise SecondReaderError(
                f"--init: got {config.init!r}, expected the model folder that is to be tuned"
            )
        _, weights = _taken(folder, config, ("architecture", "size", "patch"))
        load_into(made, weights, "network.")
    return made


def _folder(init: str) -> Path | None:
    for folder in (Path(init) / "model", Path(init)):
        if (folder / "config.json").is_file():
            return folder
    return None


def _taken(
    folder: Path, config: Config, alike: tuple[str, ...]
) -> tuple[Config, dict[str, Tensor]]:
    """Return a model folder's settings and weights; those settings that matter must be the same."""
    other, weights = load_model_folder(folder, NAME, Config)
    for name in alike:
        got, own = getattr(other, name), getattr(config, name)
        if got != own:
            raise SecondReaderError(
                f"--init: got a model of {name} {got}, expected {own} as here (file: {folder})"
            )
    return other, weights
