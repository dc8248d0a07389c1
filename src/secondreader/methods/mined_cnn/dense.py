"""Reading every position of an image: the first network everywhere, the second where it must."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from secondreader.learning.folding import folded
from secondreader.methods.mined_cnn.network import WINDOW, Dense

__all__ = ["everywhere", "quick", "somewhere"]

_ROWS = 512  # of a strip
_AT_ONCE = 4096  # windows


@torch.inference_mode()
def everywhere(network: nn.Sequential, prepared: np.ndarray) -> np.ndarray:
    """Return a network's score at every pixel, (rows, cols) float32 in [0, 1].

    Strips overlap by the window, so that memory stays small and the result is that of the whole.

    Parameters
    ----------
    network
        Of patches, folded or not.
    prepared
        (rows, cols) float16 or float32.
    """
    where = next(network.parameters()).device
    dense = Dense(network)
    rows, cols = prepared.shape
    out = np.zeros((rows, cols), np.float32)
    for top in range(0, rows, _ROWS):
        low, high = max(top - WINDOW, 0), min(top + _ROWS + WINDOW, rows)
        strip = prepared[low:high]
        inside = np.flatnonzero(strip.any(axis=0))
        if not len(inside):
            continue
        left, right = max(int(inside[0]) - WINDOW, 0), min(int(inside[-1]) + WINDOW + 1, cols)
        image = torch.from_numpy(strip[:, left:right].astype(np.float32))[None, None].to(where)
        found = torch.sigmoid(dense(image.contiguous(memory_format=torch.channels_last)).float())
        end = min(top + _ROWS, rows)
        out[top:end, left:right] = found[0, 0, top - low : end - low].cpu().numpy()
    return out


@torch.inference_mode()
def somewhere(network: nn.Sequential, prepared: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return a network's score at some positions, (n,) float32 in [0, 1].

    Parameters
    ----------
    network
        Of patches, folded or not.
    prepared
        (rows, cols).
    positions
        (n, 2) int (row, col).
    """
    where = next(network.parameters()).device
    before, after = WINDOW // 2, WINDOW - WINDOW // 2 - 1
    padded = np.pad(prepared.astype(np.float32), ((before, after), (before, after)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW))
    found = [np.zeros(0, np.float32)]
    for low in range(0, len(positions), _AT_ONCE):
        at = positions[low : low + _AT_ONCE]
        patches = torch.from_numpy(views[at[:, 0], at[:, 1]])[:, None].to(where)
        logit = network(patches.contiguous(memory_format=torch.channels_last))
        found.append(torch.sigmoid(logit.float()).flatten().cpu().numpy())
    return np.concatenate(found)


def quick(network: nn.Sequential) -> nn.Sequential:
    """Return a network of patches folded for reading."""
    parts = list(folded(network).children())
    kept = [p for p in parts if not isinstance(p, nn.Identity)]
    return nn.Sequential(*kept).eval()
