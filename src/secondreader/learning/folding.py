"""A trained network made quick to read with: batch normalisation folded into convolutions."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["folded"]


def folded(network: nn.Module) -> nn.Module:
    """Return a copy for reading: the same function to rounding, with fewer passes over memory.

    Parameters
    ----------
    network
        In evaluation mode; its ``forward`` may not branch on values.

    Returns
    -------
    torch.nn.Module
        With channels last.
    """
    normed = any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()
    )
    quick: nn.Module = copy.deepcopy(network).eval()
    if normed:
        _fold_neighbours(quick)
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in quick.modules()):
            quick = fuse(quick)
    return quick.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fold_neighbours(network: nn.Module) -> None:
    """Fold what stands behind a convolution in a sequence; convolutions of any kind, which a trace loses."""
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            kept: dict[str, nn.Module] = {}
            for name, layer in module._modules.items():  # the same one may stand there twice
                last = next(reversed(kept), None)
                before = None if last is None else kept[last]
                if layer is None:
                    continue
                if last and isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                    kept[last] = fuse_conv_bn_eval(before, layer)
                else:
                    kept[name] = layer
            module._modules = dict(kept)
