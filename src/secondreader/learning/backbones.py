"""A residual network small enough to train on a processor; larger ones are torchvision's."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.models.resnet import BasicBlock

__all__ = ["SMALL_DEPTHS", "drawn", "shortcut", "small_resnet"]

SMALL_DEPTHS = (32, 64, 128, 256)
"""Channels of the stages of `small_resnet`, half of ResNet18's."""


def small_resnet(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """Return a ResNet of basic blocks, two a stage, for one grey channel: 2.8 million parameters.

    Children: the stem, then four stages; a place of the last stands for 32 x 32 pixels.

    Parameters
    ----------
    norm
        Makes the normalisation of so many channels.
    """
    stages: list[nn.Module] = [
        nn.Sequential(
            nn.Conv2d(1, SMALL_DEPTHS[0], 7, stride=2, padding=3, bias=False),
            norm(SMALL_DEPTHS[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
    ]
    before = SMALL_DEPTHS[0]
    for number, depth in enumerate(SMALL_DEPTHS):
        stride = 1 if number == 0 else 2
        across = shortcut(before, depth, stride, norm)
        stages.append(
            nn.Sequential(
                BasicBlock(before, depth, stride, across, norm_layer=norm),
                BasicBlock(depth, depth, norm_layer=norm),
            )
        )
        before = depth
    network = nn.Sequential(*stages)
    drawn(network)
    return network


def shortcut(
    before: int, after: int, stride: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d
) -> nn.Sequential | None:
    """Return what a residual unit adds its input through, ``None`` where that is the input itself."""
    if before == after and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm(after))


def drawn(network: nn.Module) -> None:
    """Draw convolutions as He et al. (2015) do."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
