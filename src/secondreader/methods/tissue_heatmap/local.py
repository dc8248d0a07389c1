"""The tissue classifier over a whole image, and where in the pixels its answers come from.

References
----------
An et al. (2018), section 3, "Aggregated local results" and "Pixel-wise saliency".
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from secondreader.learning.folding import folded
from secondreader.learning.patches import cut
from secondreader.methods.tissue_heatmap.config import Config
from secondreader.methods.tissue_heatmap.network import Tissue

__all__ = ["answers", "entropy", "inside", "middles", "quick", "saliency", "seen"]

_ROWS = 32  # places of a strip
_HALO = 96  # pixels beyond which nothing changes an answer: the receptive field reaches 78
_AT_ONCE = 16


@torch.inference_mode()
def seen(network: Tissue, prepared: np.ndarray, config: Config) -> Tensor:
    """Return what is seen in every patch at the stride, (rows, cols, channels) float32, on the CPU.

    Place (i, j) is the patch that begins at pixel (i, j) times the stride; an image smaller than a
    patch is one patch. Strips overlap by more than the receptive field: the whole in one pass.
    """
    where = next(network.parameters()).device
    step, patch = config.stride, config.patch
    rows, cols = (max((side - patch + step - 1) // step, 0) + 1 for side in prepared.shape)
    wide = np.zeros(((rows - 1) * step + patch, (cols - 1) * step + patch), np.float32)
    wide[: prepared.shape[0], : prepared.shape[1]] = prepared
    strips = []
    above = -(-_HALO // step)  # places
    for first in range(0, rows, _ROWS):
        last = min(first + _ROWS, rows)
        low, high = max(first - above, 0), min(last + above, rows)
        strip = wide[low * step : (high - 1) * step + patch]
        image = torch.from_numpy(strip)[None, None].to(where)
        found = network.local(image.contiguous(memory_format=torch.channels_last)).float()
        strips.append(found[0, first - low : last - low].cpu())
    return torch.cat(strips)


@torch.inference_mode()
def answers(network: Tissue, prepared: np.ndarray, config: Config) -> np.ndarray:
    """Return the answer of every patch at the stride, (rows, cols) float32 in [0, 1]; see `seen`."""
    found = seen(network, prepared, config)
    where = next(network.parameters()).device
    called: np.ndarray = torch.sigmoid(network.called(found.to(where))).cpu().numpy()
    return called


def middles(places: np.ndarray, config: Config) -> np.ndarray:
    """Return the pixels (n, 2) that places (n, 2) have their middle at: `cut` takes it as its centre."""
    found: np.ndarray = places * config.stride + config.patch // 2
    return found


def inside(prepared: np.ndarray, config: Config, shape: tuple[int, ...]) -> np.ndarray:
    """Return which of the answers' patches hold breast, over a tenth of their pixels, (rows, cols) bool."""
    step, patch, block = config.stride, config.patch, math.gcd(config.stride, config.patch)
    tall, wide = (-(-side // block) * block for side in prepared.shape)
    breast = np.zeros((tall, wide), bool)
    breast[: prepared.shape[0], : prepared.shape[1]] = prepared > 0
    # Patches begin and end with blocks: few sums, and whole numbers.
    blocks = breast.reshape(tall // block, block, wide // block, block).sum((1, 3))
    sums = np.pad(blocks.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ends = [np.add.outer((0, patch), np.arange(count) * step) for count in shape]
    (r0, r1), (c0, c1) = (
        np.minimum(end // block, side // block)
        for end, side in zip(ends, (tall, wide), strict=True)
    )
    held = sums[r1][:, c1] - sums[r0][:, c1] - sums[r1][:, c0] + sums[r0][:, c0]
    rows, cols = (
        np.diff(np.minimum(end, side), axis=0)[0]
        for end, side in zip(ends, prepared.shape, strict=True)
    )
    found: np.ndarray = held > 0.1 * np.outer(rows, cols)
    if not found.any():
        found[:] = True
    return found


def entropy(logit: Tensor) -> Tensor:
    """Return H of a binary answer, -Σ p log p, (n,)."""
    sure = functional.logsigmoid(logit)
    unsure = functional.logsigmoid(-logit)
    return -(sure.exp() * sure + unsure.exp() * unsure)


def saliency(
    network: Tissue,
    prepared: np.ndarray,
    tiles: np.ndarray,
    config: Config,
    *,
    alike: bool = False,
) -> np.ndarray:
    """Return |∂H/∂x| of tiles, summed at their places in the whole image.

    The slope vanishes where a tile is sure, for its entropy then lies flat: sure tiles say little.

    Parameters
    ----------
    network
        The tissue classifier.
    prepared
        (rows, cols).
    tiles
        (n, 2) int: places (row, col) of `answers`, those inside the heatmap and positive.
    config
        Patch and stride.
    alike
        Bring the slope of each tile to a sum of 1, so that all say as much (ours).

    Returns
    -------
    numpy.ndarray
        (rows, cols) float32, 0 where nothing lies of a tile and of what is seen round it.
    """
    where = next(network.parameters()).device
    half, size, round_ = config.patch // 2, config.seen, config.surround
    padded = np.zeros((prepared.shape[0] + size, prepared.shape[1] + size), np.float32)
    for low in range(0, len(tiles), _AT_ONCE):
        some = tiles[low : low + _AT_ONCE] * config.stride
        crops = np.stack([cut(prepared, r + half, c + half, size) for r, c in some.tolist()])
        image = torch.from_numpy(crops.astype(np.float32))[:, None].to(where).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(entropy(network(image).float()).sum(), image)
        steep = slope[:, 0].abs()
        if alike:
            steep = steep / steep.sum((1, 2), keepdim=True).clamp(min=1e-30)
        for (row, col), own in zip(some.tolist(), steep.cpu().numpy(), strict=True):
            padded[row : row + size, col : col + size] += own
    rows, cols = (slice(round_, round_ + side) for side in prepared.shape)
    return padded[rows, cols]


def quick(network: Tissue) -> Tissue:
    """Return a copy that reads and does not learn: the same to rounding, without batch normalisation."""
    read = copy.deepcopy(network).eval()
    read.features = folded(read.features)
    return read.requires_grad_(False)
