"""A generator of today's kind: a small U-Net that says which way from noise to a patch.

As large as the paper's generator (two million numbers), and trained on as many patches.

References
----------
Lipman et al., "Flow matching for generative modeling" (ICLR 2023): straight paths from noise to data.
Esser et al., "Scaling rectified flow transformers …" (ICML 2024): times drawn logit-normally.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Flow", "flow_loss"]

_GRID = 32  # places of the widest level, each way, or more: a processor cannot afford every pixel
_GROUPS = 8


class Flow(nn.Module):
    """Velocities of patches (n, 1, side, side) in [-1, 1], by their time (n,) and class (n,)."""

    def __init__(self, side: int, classes: int, width: int) -> None:
        super().__init__()
        # A place's pixels become channels. Their noise has to pass the first level, half of which it
        # may fill: folded eight by eight into 32 channels, 256 x 256 pixels were never drawn but as noise.
        most = min(max(side // _GRID, 1), math.isqrt(width // 2))
        # Two levels halve what is folded.
        folded = max(n for n in range(1, most + 1) if n == 1 or side % (4 * n) == 0)
        self.side, self.folded, self.waves = side, folded, width
        own = (width, 2 * width, 4 * width)
        self.told = 4 * width
        self.classes = nn.Embedding(classes, self.told)
        self.time = nn.Sequential(nn.Linear(width, self.told), nn.SiLU())
        self.first = nn.Conv2d(self.folded**2, own[0], 3, padding=1)
        self.down = nn.ModuleList([_Unit(own[max(i - 1, 0)], own[i], self.told) for i in range(3)])
        self.middle = _Unit(own[2], own[2], self.told)
        self.up = nn.ModuleList(
            [_Unit(own[min(i + 1, 2)] + own[i], own[i], self.told) for i in reversed(range(3))]
        )
        self.last = nn.Sequential(
            nn.GroupNorm(_GROUPS, own[0]),
            nn.SiLU(),
            nn.Conv2d(own[0], self.folded**2, 3, padding=1),
        )

    def forward(self, image: Tensor, time: Tensor, kind: Tensor) -> Tensor:
        """Return the velocity at a place between noise and a patch."""
        told = self.time(_waves(time, self.waves)) + self.classes(kind)
        x = self.first(functional.pixel_unshuffle(image, self.folded))
        kept = []
        for level, unit in enumerate(self.down):
            x = unit(functional.avg_pool2d(x, 2) if level else x, told)
            kept.append(x)
        x = self.middle(x, told)
        for level, unit in enumerate(self.up):
            x = functional.interpolate(x, scale_factor=2.0) if level else x
            x = unit(torch.cat([x, kept[-1 - level]], 1), told)
        velocity: Tensor = functional.pixel_shuffle(self.last(x), self.folded)
        return velocity

    def draw(self, kind: Tensor, steps: int, where: torch.Generator) -> Tensor:
        """Return patches (n, 1, side, side) in [-1, 1] of classes (n,), by Euler's steps from noise."""
        x = torch.randn(len(kind), 1, self.side, self.side, generator=where, device=where.device)
        for step in range(steps):
            time = torch.full((len(kind),), step / steps, device=where.device)
            x = x + self(x, time, kind) / steps
        return x.clamp(-1, 1)


class _Unit(nn.Module):
    """Two convolutions, the second told time and class, with their input added."""

    def __init__(self, before: int, after: int, told: int) -> None:
        super().__init__()
        self.one = nn.Sequential(
            nn.GroupNorm(_GROUPS, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1)
        )
        self.told = nn.Linear(told, 2 * after)
        self.norm = nn.GroupNorm(_GROUPS, after)
        self.two = nn.Conv2d(after, after, 3, padding=1)
        self.across = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None, None].chunk(2, 1)
        new = functional.silu(self.norm(self.one(x)) * (1 + scale) + shift)
        both: Tensor = self.across(x) + self.two(new)
        return both


def _waves(time: Tensor, number: int) -> Tensor:
    """Return times (n,) as sines and cosines of rising frequency, (n, number)."""
    pace = torch.exp(torch.linspace(0, math.log(1000), number // 2, device=time.device))
    angle = time[:, None] * pace
    return torch.cat([angle.sin(), angle.cos()], 1)


def flow_loss(network: nn.Module, image: Tensor, kind: Tensor) -> Tensor:
    """Return the mean squared error of the velocity between noise and patches in [-1, 1]."""
    noise = torch.randn_like(image)
    time = torch.sigmoid(torch.randn(len(image), device=image.device))
    at = time[:, None, None, None]
    velocity = network((1 - at) * noise + at * image, time, kind)
    loss: Tensor = functional.mse_loss(velocity.float(), image - noise)
    return loss
