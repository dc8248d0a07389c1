"""Reading positions of an image: all of them at once where many are wanted, patches where few are."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from secondreader.learning.folding import folded
from secondreader.methods.mined_cnn.network import AROUND, WINDOW, densely

__all__ = ["everywhere", "in_turn", "joined", "quick", "score_of", "somewhere", "where_wanted"]

_BLOCK = 128  # pixels each way: what a network makes of them stays in a processor's cache
_DENSE = 0.015  # of a block's pixels: where more are wanted, all of them cost less than those
_AT_ONCE = 4096  # windows


def score_of(logit: Tensor) -> Tensor:
    """Return scores in [0, 1]: the logistic of half a logit.

    Of a whole one float32 says 1 from 17 on, where the surest of millions of positions lie: what is
    alike cannot be ranked.
    """
    return torch.sigmoid(logit / 2)


def everywhere(network: nn.Sequential, prepared: np.ndarray) -> np.ndarray:
    """Return a network's score at every pixel of the breast, (rows, cols) float32 in [0, 1].

    Parameters
    ----------
    network
        Of patches, folded or not.
    prepared
        (rows, cols) float16 or float32; 0 outside the breast.
    """
    return where_wanted(network, prepared, prepared != 0)


@torch.inference_mode()
def where_wanted(network: nn.Sequential, prepared: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return a network's score where it is wanted, (rows, cols) float32, elsewhere 0.

    Block by block whatever costs less: all at once by convolution, with the block's surroundings, or
    patch by patch; they are the same to rounding.

    Parameters
    ----------
    network
        Of patches, folded or not.
    prepared
        (rows, cols).
    wanted
        (rows, cols) bool.
    """
    device = next(network.parameters()).device
    out = np.zeros(prepared.shape, np.float32)
    few = wanted.copy()
    rows, cols = prepared.shape
    # Outside the breast lies 0; all blocks are of one shape.
    padded = np.pad(prepared, [(AROUND[0], AROUND[1] + -size % _BLOCK) for size in (rows, cols)])
    for top, left in itertools.product(range(0, rows, _BLOCK), range(0, cols, _BLOCK)):
        block = np.s_[top : top + _BLOCK, left : left + _BLOCK]
        own = wanted[block]
        if own.mean() <= _DENSE:
            continue
        around = padded[top : top + _BLOCK + WINDOW - 1, left : left + _BLOCK + WINDOW - 1]
        image = torch.from_numpy(around.astype(np.float32))[None, None].to(device)
        logit = densely(network, image.contiguous(memory_format=torch.channels_last)).float()
        found = score_of(logit[0, 0]).cpu().numpy()
        out[block] = np.where(own, found[: own.shape[0], : own.shape[1]], 0)
        few[block] = False
    at = np.argwhere(few)
    out[at[:, 0], at[:, 1]] = somewhere(network, prepared, at)
    return out


def in_turn(
    first: nn.Sequential,
    second: nn.Sequential,
    prepared: np.ndarray,
    asked: np.ndarray,
    least: float,
) -> np.ndarray:
    """Return the score of two networks where it is asked for, (rows, cols) float32, elsewhere 0.

    Parameters
    ----------
    first, second
        Of patches, folded or not; the second looks only where the first says enough.
    prepared
        (rows, cols).
    asked
        (rows, cols) bool.
    least
        What is enough.
    """
    known = where_wanted(first, prepared, asked)
    after = where_wanted(second, prepared, asked & (known >= least))
    found: np.ndarray = np.where(asked, joined(known, after, least), np.float32(0))
    return found


def joined(first: np.ndarray, second: np.ndarray, least: float) -> np.ndarray:
    """Return one score of two networks', float32 in [0, 1] of their shape.

    What the first rules out scores below one half, by what the first says of it; what it lets through
    scores above, by what the second says.
    """
    low = np.minimum(first / max(least, 1e-9), 1) * 0.5
    found: np.ndarray = np.where(first >= least, 0.5 + second / 2, low).astype(np.float32)
    return found


@torch.inference_mode()
def somewhere(network: nn.Sequential, prepared: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return a network's score at some positions, (n,) float32 in [0, 1], patch by patch.

    Parameters
    ----------
    network
        Of patches, folded or not.
    prepared
        (rows, cols).
    positions
        (n, 2) int (row, col).
    """
    device = next(network.parameters()).device
    padded = np.pad(prepared.astype(np.float32), AROUND)
    views = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW))
    found = [np.zeros(0, np.float32)]
    for low in range(0, len(positions), _AT_ONCE):
        at = positions[low : low + _AT_ONCE]
        # In batches of few sizes, powers of two: of each a convolution keeps what it prepared for it.
        at = at[np.minimum(np.arange(1 << (len(at) - 1).bit_length()), len(at) - 1)]
        patches = torch.from_numpy(views[at[:, 0], at[:, 1]])[:, None].to(device)
        logit = network(patches.contiguous(memory_format=torch.channels_last))
        found.append(score_of(logit.float()).flatten().cpu().numpy())
    return np.concatenate(found)[: len(positions)]


def quick(network: nn.Sequential) -> nn.Sequential:
    """Return a network of patches folded for reading."""
    parts = list(folded(network).children())
    kept = [p for p in parts if not isinstance(p, nn.Identity)]
    return nn.Sequential(*kept).eval()
