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

__all__ = ["AugmentSettings", "affine", "geometric", "intensity", "margin", "moved"]


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
    wide = size * turned * (1 + math.tan(settings.shear)) / (1 - settings.zoom)
    return 2 * math.ceil((wide - size) / 2 + 3 * settings.elastic)


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


def geometric(
    patches: Tensor, matrices: Tensor, size: int, masks: Tensor | None = None,
    *, elastic: float = 0.0, where: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Move the pixels of patches, and of masks with them, and cut the middle out.

    Parameters
    ----------
    patches
        (n, c, h, w) float.
    matrices
        As `affine` draws them.
    size
        Pixels of the new patch each way.
    masks
        (n, k, h, w), moved to the nearest pixel.
    elastic
        Spread of a smooth displacement in pixels, drawn from ``where``.

    Returns
    -------
    tuple of Tensor
        (n, c, size, size), and the masks alike.
    """
    n, _, height, width = patches.shape
    steps = torch.arange(size, device=patches.device) - (size - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y], -1).expand(n, -1, -1, -1)
    if elastic > 0 and where is not None:
        coarse = torch.randn(n, 2, 5, 5, generator=where, device=patches.device) * elastic
        bent = functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
        places = places + bent.permute(0, 2, 3, 1)
    moved_to = torch.einsum("nij,nhwj->nhwi", matrices.to(patches.dtype), places.to(patches.dtype))
    grid = moved_to * 2 / torch.tensor([width, height], device=patches.device, dtype=patches.dtype)
    out = functional.grid_sample(patches, grid, "bilinear", "zeros", align_corners=False)
    if masks is None:
        return out, None
    turned = functional.grid_sample(masks.to(patches.dtype), grid, "nearest", align_corners=False)
    return out, turned.to(masks.dtype)


def moved(points: Tensor, matrices: Tensor, old: int, new: int) -> Tensor:
    """Return where points (n, k, 2), (row, col) of a patch of ``old`` pixels, are after `geometric`."""
    xy = points.flip(-1) - (old - 1) / 2
    placed: Tensor = (xy @ torch.linalg.inv(matrices).transpose(-1, -2)).flip(-1)
    return placed + (new - 1) / 2


def intensity(patches: Tensor, settings: AugmentSettings, where: torch.Generator) -> Tensor:
    """Shift grey values, and stretch them about each patch's mean."""
    n = patches.shape[0]
    draws = torch.rand(2, n, 1, 1, 1, generator=where, device=patches.device) * 2 - 1
    mean = patches.mean(dim=(1, 2, 3), keepdim=True)
    changed: Tensor = (patches - mean) * (1 + settings.gain * draws[0])
    return changed + mean + settings.shift * draws[1]
