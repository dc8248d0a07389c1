"""Augmentation of a batch, on its device: one resampling for everything that moves pixels.

Pure functions of a batch and a generator. What lies in the pixels, masks and points, follows them.
Patches are cut larger than they are wanted (`margin`), so that no border is seen.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

__all__ = [
    "AugmentSettings",
    "affine",
    "bend",
    "geometric",
    "intensity",
    "margin",
    "moved",
    "moved_boxes",
    "moved_edges",
]

_MOST = 3  # times its spread: how far an elastic displacement reaches, each way


class AugmentSettings(BaseModel):
    """How far a patch may be changed; 0 and False leave it as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flips: bool = True
    turns: bool = True  # by 90 degrees
    rotation: float = Field(default=0.0, ge=0, le=180)  # degrees either way
    shear: float = Field(default=0.0, ge=0, lt=1)  # radians either way
    zoom: float = Field(default=0.0, ge=0, lt=0.9)  # 0.2 is 0.8 to 1.2
    elastic: float = Field(default=0.0, ge=0)  # pixels, as a spread
    shift: float = Field(default=0.0, ge=0)  # of grey values, either way
    gain: float = Field(default=0.0, ge=0, lt=1)  # of grey values about their mean, either way


def margin(settings: AugmentSettings, size: int) -> int:
    """Return how many pixels larger a patch must be cut, so that moving shows no border."""
    turned = abs(math.sin(math.radians(min(settings.rotation, 45)))) + math.cos(
        math.radians(min(settings.rotation, 45))
    )
    if settings.rotation == 0:
        turned = 1.0
    reach = size + 2 * _MOST * settings.elastic
    wide = reach * turned * (1 + math.tan(settings.shear)) / (1 - settings.zoom)
    return 2 * math.ceil((wide - size) / 2)


def affine(settings: AugmentSettings, count: int, where: torch.Generator) -> Tensor:
    """Draw matrices (count, 2, 2) that take places (x, y) of the new patch to those of the old.

    Both are counted from the middle of their patch, in pixels.
    """

    def even(reach: float) -> Tensor:
        return (torch.rand(count, generator=where, device=where.device) * 2 - 1) * reach

    def coin() -> Tensor:
        return torch.randint(0, 2, (count,), generator=where, device=where.device) * 2.0 - 1

    angle = even(math.radians(settings.rotation))
    if settings.turns:
        quarter = torch.randint(0, 4, (count,), generator=where, device=where.device)
        angle = angle + quarter * (math.pi / 2)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    lean = torch.eye(2, device=where.device).repeat(count, 1, 1)
    lean[:, 0, 1] = even(settings.shear).tan()
    scale = 1 / (1 + even(settings.zoom))
    flip = torch.stack([coin(), coin()], -1) if settings.flips else torch.ones_like(cos)[:, None]
    drawn: Tensor = turn @ lean * scale[:, None, None] * flip[:, None, :]
    return drawn


def bend(count: int, size: int, spread: float, where: torch.Generator) -> Tensor:
    """Draw smooth displacements of new patches, (count, 2, size, size) of (x, y) in pixels.

    Five random points each way, bicubic between; never more than three times the spread, for
    which `margin` leaves room.
    """
    coarse = torch.randn(count, 2, 5, 5, generator=where, device=where.device) * spread
    smooth = functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return smooth.clamp(-_MOST * spread, _MOST * spread)


def geometric(
    patches: Tensor, matrices: Tensor, size: int, masks: Tensor | None = None,
    *, elastic: float = 0.0, where: torch.Generator | None = None, bent: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Move the pixels of patches, and of masks with them, and cut the middle out.

    Everything that moves pixels is one resampling (bilinear, 0 outside).

    Parameters
    ----------
    patches
        (n, c, h, w) float32.
    matrices
        As `affine` draws them.
    size
        Pixels of the new patch each way.
    masks
        (n, k, h, w), moved to the nearest pixel.
    elastic
        Spread of a smooth displacement in pixels, drawn from ``where``.
    bent
        The displacement itself, as `bend` draws it: for whom points must follow it.

    Returns
    -------
    tuple of Tensor
        (n, c, size, size), and the masks alike.
    """
    n, _, height, width = patches.shape
    steps = torch.arange(size, device=patches.device) - (size - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y], -1).expand(n, -1, -1, -1)
    if bent is None and elastic > 0 and where is not None:
        bent = bend(n, size, elastic, where)
    if bent is not None:
        places = places + bent.permute(0, 2, 3, 1)
    moved_to = torch.einsum("nij,nhwj->nhwi", matrices.to(patches.dtype), places.to(patches.dtype))
    grid = moved_to * 2 / torch.tensor([width, height], device=patches.device, dtype=patches.dtype)
    out = functional.grid_sample(patches, grid, "bilinear", "zeros", align_corners=False)
    if masks is None:
        return out, None
    turned = functional.grid_sample(masks.to(patches.dtype), grid, "nearest", align_corners=False)
    return out, turned.to(masks.dtype)


def moved(
    points: Tensor, matrices: Tensor, old: int, new: int, bent: Tensor | None = None
) -> Tensor:
    """Return where points of a patch are after `geometric`.

    Parameters
    ----------
    points
        (n, k, 2) float, (row, col) in the old patch.
    matrices, bent
        As given to `geometric`.
    old, new
        Pixels of the old and the new patch each way.

    Returns
    -------
    Tensor
        (n, k, 2), (row, col) in the new patch; some may lie outside it.
    """
    xy = points.flip(-1) - (old - 1) / 2
    straight = xy @ torch.linalg.inv(matrices).transpose(-1, -2)
    placed = straight
    if bent is not None:
        # The place p whose displaced place p + u(p) is the point: p = point - u(p), to a fixed
        # point, which is found quickly as smooth displacements differ little between neighbours.
        for _ in range(12):
            at = (placed * 2 / new)[:, :, None]  # (n, k, 1, 2)
            u = functional.grid_sample(bent, at, padding_mode="border", align_corners=False)
            placed = straight - u[..., 0].transpose(1, 2)
    there: Tensor = placed.flip(-1) + (new - 1) / 2
    return there


def moved_boxes(
    boxes: Tensor, matrices: Tensor, old: int, new: int, bent: Tensor | None = None
) -> Tensor:
    """Return the upright boxes round what boxes have become after `geometric`.

    Of a turned box the corners reach further than most lesions in it: where there are masks, the
    boxes of the moved masks are tighter.

    Parameters
    ----------
    boxes
        (n, k, 4) float, (row0, col0, row1, col1) from pixel centre to pixel centre.
    matrices, old, new, bent
        As of `moved`.

    Returns
    -------
    Tensor
        (n, k, 4), not clipped to the new patch.
    """
    low, high = boxes[..., :2] - 0.5, boxes[..., 2:] + 0.5
    # Corners and the middles of edges, which an elastic displacement may push out.
    parts = torch.linspace(0, 1, 5, device=boxes.device)
    r, c = torch.meshgrid(parts, parts, indexing="ij")
    share = torch.stack([r, c], -1).reshape(-1, 2)
    points = low[..., None, :] + (high - low)[..., None, :] * share  # (n, k, 25, 2)
    n, k = boxes.shape[:2]
    there = moved(points.reshape(n, k * len(share), 2), matrices, old, new, bent)
    there = there.reshape(n, k, len(share), 2)
    return torch.cat([there.amin(2) + 0.5, there.amax(2) - 0.5], -1)


def moved_edges(edges: Tensor, matrix: Tensor, old: int, new: int) -> tuple[Tensor, Tensor]:
    """Return one patch's boxes, as torchvision has them, after `geometric`.

    Parameters
    ----------
    edges
        (k, 4) of (x0, y0, x1, y1), see `secondreader.learning.targets.edges_of`.
    matrix
        (2, 2), the patch's own.
    old, new
        Pixels of the old and the new patch each way.

    Returns
    -------
    edges, kept
        (m, 4), clipped to the patch, and (k,) bool: those with at least half of their area in it.
    """
    inner = torch.cat([edges[:, :2].flip(1), edges[:, 2:].flip(1) - 1], 1)[None]
    there = moved_boxes(inner, matrix[None], old, new)[0]
    outer = torch.cat([there[:, :2].flip(1), there[:, 2:].flip(1) + 1], 1)
    shown = outer.clamp(0, new)
    sides = shown[:, 2:] - shown[:, :2]
    kept = (sides.amin(1) >= 1) & (sides.prod(1) >= (outer[:, 2:] - outer[:, :2]).prod(1) / 2)
    return shown[kept], kept


def intensity(patches: Tensor, settings: AugmentSettings, where: torch.Generator) -> Tensor:
    """Shift grey values, and stretch them about each patch's mean."""
    n = patches.shape[0]
    draws = torch.rand(2, n, 1, 1, 1, generator=where, device=patches.device) * 2 - 1
    mean = patches.mean(dim=(1, 2, 3), keepdim=True)
    changed: Tensor = (patches - mean) * (1 + settings.gain * draws[0])
    return changed + mean + settings.shift * draws[1]
