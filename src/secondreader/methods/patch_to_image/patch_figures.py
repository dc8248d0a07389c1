"""How many of a part's patches a patch classifier gets right: the paper's table 1."""

from __future__ import annotations

import numpy as np
import torch

from secondreader.domain import ImageSet, SecondReaderError
from secondreader.evaluation.figures import Figure, without_value
from secondreader.evaluation.means import mean_figures
from secondreader.learning.patches import cut_out
from secondreader.methods.patch_to_image.config import Config
from secondreader.methods.patch_to_image.data import Patches, patches, ready
from secondreader.methods.patch_to_image.network import CLASSES, PatchClassifier

__all__ = ["found_classes", "patch_figures"]

_AT_ONCE = 64


def patch_figures(
    network: PatchClassifier,
    images: ImageSet,
    config: Config,
    *,
    reader: str,
    resamples: int,
    seed: int,
) -> list[Figure]:
    """Return the accuracy over all patches of a part and over those of each class, of level patch.

    The patches are drawn as those of training are, by the configuration's seed, and not augmented.

    Parameters
    ----------
    network
        In evaluation mode.
    images
        Of the part.
    config
        Which patch set, and how large.
    reader
        Whose figures.
    resamples, seed
        Of the bootstrap over patients.
    """
    known = {"reader": reader, "level": "patch", "label_rule": "all"}
    try:
        drawn = patches(ready(images, config), config)
    except SecondReaderError as error:
        return without_value(["accuracy"], str(error), **known)
    right = found_classes(network, drawn, config) == drawn.label
    records = [drawn.images.records[int(i)] for i in drawn.where.at(np.arange(len(right)))[:, 0]]
    patients = np.array([f"{r.dataset}/{r.patient_id}" for r in records])
    figures = []
    for number, name in (("", "all patches"), *enumerate(CLASSES)):
        own = np.ones(len(right), bool) if number == "" else drawn.label == number
        if own.any():
            figures += mean_figures(
                {"accuracy": right[own]}, patients[own].tolist(), resamples=resamples, seed=seed,
                group="" if number == "" else f"class={name}", positives=int(own.sum()), **known,
            )  # fmt: skip
    return figures


@torch.inference_mode()
def found_classes(network: PatchClassifier, drawn: Patches, config: Config) -> np.ndarray:
    """Return the class that is found of each patch, (n,) int64."""
    where = network.mean.device
    found = [np.zeros(0, np.int64)]
    for low in range(0, len(drawn.label), _AT_ONCE):
        numbers = np.arange(low, min(low + _AT_ONCE, len(drawn.label)))
        image = cut_out(drawn.images, drawn.where.at(numbers), config.patch)
        found.append(network(image.to(where)).argmax(1).cpu().numpy())
    return np.concatenate(found)
