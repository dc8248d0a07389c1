"""A trained network made quick to read with: batch normalisation folded into convolutions."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

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
    quick: nn.Module = fuse(network.eval())
    return quick.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
