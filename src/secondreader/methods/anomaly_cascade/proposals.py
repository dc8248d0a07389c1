"""From a map of suspicion to points: whole images in tiles, components, their middles and sums."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from secondreader.methods.anomaly_cascade.config import Config
from secondreader.methods.anomaly_cascade.losses import suspicion
from secondreader.methods.anomaly_cascade.network import HALO, STRIDE
from secondreader.methods.anomaly_cascade.prepare import network_input

__all__ = ["proposals", "suspicion_map"]


@torch.inference_mode()
def suspicion_map(
    network: nn.Module, prepared: np.ndarray, config: Config, device: torch.device | None = None
) -> np.ndarray:
    """Return the suspicion of every pixel of a prepared image, (rows, cols) float32.

    Tiles overlap by more than the receptive field: the map is that of the whole image in one pass.
    """
    where = device or next(network.parameters()).device
    rows, cols = prepared.shape
    # Background around, as around the breast: a multiple of the stride each way.
    high, wide = -(-rows // STRIDE) * STRIDE, -(-cols // STRIDE) * STRIDE
    padded = np.zeros((high, wide), np.float32)
    padded[:rows, :cols] = prepared
    out = np.zeros((high, wide), np.float32)
    for top in range(0, high, config.tile):
        for left in range(0, wide, config.tile):
            r0, c0 = max(top - HALO, 0), max(left - HALO, 0)
            r1, c1 = min(top + config.tile + HALO, high), min(left + config.tile + HALO, wide)
            bottom, right = min(top + config.tile, high), min(left + config.tile, wide)
            if not padded[top:bottom, left:right].any():
                continue
            tile = torch.from_numpy(padded[r0:r1, c0:c1].copy())[None, None].to(where)
            image = network_input(tile, config).contiguous(memory_format=torch.channels_last)
            found = suspicion(image, network(image), config)[0, 0].cpu().numpy()
            out[top:bottom, left:right] = found[top - r0 : bottom - r0, left - c0 : right - c0]
    return out[:rows, :cols]


def proposals(
    suspicious: np.ndarray, mask: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a map (section 3.2).

    Connected components above the threshold, each at its middle weighted by suspicion, with its
    summed suspicion as score; the ``most`` highest of them.

    Parameters
    ----------
    suspicious
        (rows, cols) float32.
    mask
        (rows, cols) bool: where points may lie.
    config
        Threshold, least size, number.

    Returns
    -------
    positions, scores
        (n, 2) float64 in pixels of the map, and (n,) float64, highest first.
    """
    above = (suspicious > config.cut) & mask
    labels, count = ndimage.label(above, np.ones((3, 3)))
    if count == 0:
        return np.zeros((0, 2)), np.zeros(0)
    rows, cols = np.nonzero(above)
    own = labels[rows, cols] - 1
    weight = suspicious[rows, cols].astype(np.float64)
    total = np.bincount(own, weight, count)
    size = np.bincount(own, minlength=count)
    middle = np.column_stack(
        [np.bincount(own, weight * axis, count) / total for axis in (rows, cols)]
    )
    kept = np.flatnonzero(size >= config.least_pixels)
    order = kept[np.argsort(-total[kept], kind="stable")][: config.most]
    return middle[order], total[order]
