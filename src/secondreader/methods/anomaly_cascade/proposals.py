"""From a map of suspicion to points: whole images in tiles, components, their middles and sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max
from skimage.segmentation import watershed
from torch import nn

from secondreader import imaging
from secondreader.learning.hardware import autocast
from secondreader.methods.anomaly_cascade.config import HIT_MM, Config
from secondreader.methods.anomaly_cascade.losses import suspicion
from secondreader.methods.anomaly_cascade.network import HALO, STRIDE
from secondreader.methods.anomaly_cascade.prepare import network_input

__all__ = [
    "RATES",
    "Candidates",
    "components",
    "highest",
    "looked_at",
    "proposals",
    "recalls",
    "suspicion_map",
]

RATES = (5, 10, 15, 20, 30)
"""False positives an image at which table 3 gives recalls."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Proposals of each image, (n, 2) in pixels of its grid, and their scores (n,)."""

    positions: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]


@torch.inference_mode()
def suspicion_map(
    network: nn.Module,
    prepared: np.ndarray,
    config: Config,
    device: torch.device | None = None,
    *,
    half: bool | None = None,
) -> np.ndarray:
    """Return the suspicion of every pixel of a prepared image, (rows, cols) float32.

    Tiles overlap by more than the receptive field: the map is that of the whole image in one pass.
    In bfloat16 where the device computes in it, unless ``half`` says otherwise: it changes no
    proposal's rank that matters (``benchmarks/cascade_precision.py``).
    """
    where = device or next(network.parameters()).device
    rows, cols = prepared.shape
    # Beyond the image lies background, as around patches in training: at the chest wall too, where
    # a convolution's own zeros would be tissue of middle grey.
    high, wide = -(-rows // STRIDE) * STRIDE, -(-cols // STRIDE) * STRIDE
    padded = np.zeros((high + 2 * HALO, wide + 2 * HALO), np.float32)
    padded[HALO : HALO + rows, HALO : HALO + cols] = prepared
    out = np.zeros((high, wide), np.float32)
    for top in range(0, high, config.tile):
        bottom = min(top + config.tile, high)
        # Of each strip only the columns that hold breast.
        held = np.flatnonzero((prepared[top:bottom] > 0).any(axis=0))
        if not held.size:
            continue
        left = held[0] // STRIDE * STRIDE
        right = min(-(-(held[-1] + 1) // STRIDE) * STRIDE, wide)
        around = padded[top : bottom + 2 * HALO, left : right + 2 * HALO]
        tile = torch.from_numpy(around.copy())[None, None].to(where)
        image = network_input(tile, config).contiguous(memory_format=torch.channels_last)
        with autocast(where, half):
            drawn = network(image)
        found = suspicion(image, drawn, config)[0, 0].cpu().numpy()
        out[top:bottom, left:right] = found[HALO:-HALO, HALO:-HALO]
    return out[:rows, :cols]


def looked_at(prepared: np.ndarray, config: Config) -> np.ndarray:
    """Return where points may lie: the breast without what lies next to the skin."""
    return imaging.away_from_skin(prepared > 0, config.skin_mm / config.spacing_mm)


def proposals(
    suspicious: np.ndarray, mask: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a map (section 3.2): the ``most`` highest of its components.

    Parameters
    ----------
    suspicious
        (rows, cols) float32.
    mask
        (rows, cols) bool: where points may lie.
    config
        Threshold, least size, number, and whether touching calcifications are parted.

    Returns
    -------
    positions, scores
        (n, 2) float64 in pixels of the map, and (n,) float64, highest first.
    """
    middle, total, size = components(suspicious, mask, config.cut, config)
    return highest(middle, total, size, config.least_pixels or 1, config.most)


def highest(
    middle: np.ndarray, total: np.ndarray, size: np.ndarray, least: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and scores of the ``most`` highest components of at least so many pixels."""
    kept = np.flatnonzero(size >= least)
    order = kept[np.argsort(-total[kept], kind="stable")][:most]
    return middle[order], total[order]


def components(
    suspicious: np.ndarray, mask: np.ndarray, cut: float, config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the connected components above a threshold, in no order.

    Returns
    -------
    middle, total, size
        (n, 2) float64, weighted by suspicion; (n,) float64, the summed suspicion; (n,) pixels.
    """
    above = (suspicious > cut) & mask
    labels, count = ndimage.label(above, np.ones((3, 3)))
    if count == 0:
        return np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64)
    if config.split_mm > 0:
        labels, count = _parted(suspicious, labels, config.split_mm / config.spacing_mm)
    rows, cols = np.nonzero(labels)
    own = labels[rows, cols] - 1
    weight = suspicious[rows, cols].astype(np.float64)
    total = np.bincount(own, weight, count)
    size = np.bincount(own, minlength=count)
    middle = np.column_stack(
        [np.bincount(own, weight * axis, count) / total for axis in (rows, cols)]
    )
    return middle, total, size


def recalls(
    found: Candidates,
    truth: Sequence[np.ndarray],
    ignored: Sequence[np.ndarray],
    spacing_mm: float,
    rates: Sequence[float] = RATES,
) -> np.ndarray:
    """Return the recall at so many false positives an image, (rates,): section 4.4's rule.

    For choices on validation images; figures come from `evaluation`.

    Parameters
    ----------
    found
        Proposals of each image.
    truth, ignored
        Middles of calcifications, and pixels near which a proposal is no false alarm, per image.
    spacing_mm
        Of the grid.
    rates
        False positives an image.
    """
    reach = HIT_MM / spacing_mm
    best, false = [], []
    for at, score, own, other in zip(found.positions, found.scores, truth, ignored, strict=True):
        high = np.full(len(own), -np.inf)
        right = np.zeros(len(at), bool)
        if len(at) and len(own):
            for i, near in enumerate(cKDTree(at).query_ball_point(own, reach)):
                right[near] = True
                high[i] = score[near].max() if near else -np.inf
        if len(at) and len(other):
            right |= cKDTree(other).query(at)[0] <= reach
        best.append(high)
        false.append(score[~right])
    falls = np.sort(np.concatenate([np.zeros(0), *false]))[::-1]
    hits = np.concatenate([np.zeros(0), *best])
    if not len(hits):
        return np.full(len(rates), np.nan)
    got = []
    for rate in rates:
        allowed = int(rate * len(found.positions))
        # Above the first false positive that is one too many.
        least = falls[allowed] if allowed < len(falls) else -np.inf
        got.append(float(np.mean((hits > least) & np.isfinite(hits))))
    return np.array(got)


def _parted(suspicious: np.ndarray, labels: np.ndarray, apart: float) -> tuple[np.ndarray, int]:
    """Part each component at its maxima, which lie at least ``apart`` pixels from one another."""
    smooth = ndimage.gaussian_filter(suspicious, apart / 4)
    at = peak_local_max(
        smooth, min_distance=max(round(apart), 1), labels=labels, exclude_border=False
    )
    seeds = np.zeros(labels.shape, np.int32)
    seeds[at[:, 0], at[:, 1]] = np.arange(1, len(at) + 1)
    # A component too small or flat for a maximum of its own stays whole.
    without = np.setdiff1d(np.arange(1, labels.max() + 1), labels[at[:, 0], at[:, 1]])
    for number, (row, col) in enumerate(
        ndimage.maximum_position(suspicious, labels, without), len(at) + 1
    ):
        seeds[row, col] = number
    parted = watershed(-smooth, seeds, mask=labels > 0)
    return parted, int(seeds.max())
