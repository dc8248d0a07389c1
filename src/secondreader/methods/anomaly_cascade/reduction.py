"""False-positive reduction: what a proposal looks like from near decides whether it stays.

References
----------
Zhang et al. (2019), section 3.2: windows of 56 x 56 pixels round each proposal, enlarged to
224 x 224, judged by a ResNet50; the final score is the product of both stages' scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet50_Weights, resnet50

from secondreader.learning.hardware import autocast
from secondreader.learning.initial import torchvision_weights
from secondreader.learning.patches import cut
from secondreader.methods.anomaly_cascade.config import Config
from secondreader.methods.anomaly_cascade.prepare import network_input

__all__ = ["PUBLISHED", "enlarged", "probabilities", "reducer", "windows"]

_AT_ONCE = 64

PUBLISHED: Mapping[str, Callable[[], Mapping[str, Tensor]]] = {
    "imagenet": lambda: torchvision_weights(ResNet50_Weights.IMAGENET1K_V1)
}
"""What ``reducer_init`` may name besides a file or a model folder; for the ResNet50."""


def reducer(config: Config) -> nn.Module:
    """Return the second stage's network: (n, 1, crop_to, crop_to) to one logit (n, 1).

    ``small`` is ours, for processors: four stages of two 3 x 3 convolutions, 0.3 million parameters.
    """
    if config.reducer == "small":
        return _small(24)
    network: nn.Module = resnet50(num_classes=1)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return network


def windows(prepared: np.ndarray, positions: np.ndarray, size: int) -> Tensor:
    """Cut the surroundings of proposals.

    Parameters
    ----------
    prepared
        (rows, cols), as `prepare` gives it.
    positions
        (n, 2) in its pixels; rounded.
    size
        Pixels each way.

    Returns
    -------
    Tensor
        (n, 1, size, size) float32.
    """
    out = np.empty((len(positions), 1, size, size), np.float32)
    for window, (row, col) in zip(out[:, 0], np.rint(positions).astype(int).tolist(), strict=True):
        window[:] = cut(prepared, row, col, size)
    return torch.from_numpy(out)


def enlarged(patches: Tensor, config: Config) -> Tensor:
    """Return windows (n, 1, crop, crop) as the network sees them, (n, 1, crop_to, crop_to)."""
    image = network_input(patches, config)
    if image.shape[-1] != config.crop_to:
        size = (config.crop_to, config.crop_to)
        image = functional.interpolate(image, size, mode="bilinear", align_corners=False)
    return image.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def probabilities(
    network: nn.Module,
    prepared: np.ndarray,
    positions: np.ndarray,
    config: Config,
    *,
    half: bool | None = None,
) -> np.ndarray:
    """Return how sure the second stage is of each proposal, (n,) float64 in [0, 1].

    Uncalibrated: a factor of the score, no probability of anything. In bfloat16 where the device
    computes in it, unless ``half`` says otherwise.
    """
    where = next(network.parameters()).device
    found = [np.zeros(0)]
    for low in range(0, len(positions), _AT_ONCE):
        cutout = windows(prepared, positions[low : low + _AT_ONCE], config.crop).to(where)
        with autocast(where, half):
            logit = network(enlarged(cutout, config))[:, 0]
        found.append(torch.sigmoid(logit.float()).cpu().double().numpy())
    return np.concatenate(found)


def _small(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 1
    for stage in range(4):
        after = width * 2 ** min(stage, 2)
        for inputs in (before, after):
            layers += [
                nn.Conv2d(inputs, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        layers.append(nn.MaxPool2d(2) if stage < 3 else nn.AdaptiveAvgPool2d(1))
        before = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before, 1))
