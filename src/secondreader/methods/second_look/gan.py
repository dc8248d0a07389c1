"""The networks that the paper drew its generated images with, layer by layer.

References
----------
Thatte et al. (2017), figures 1a and 1b: a DCGAN, noise of 4,000 numbers, images of 256 x 256; every
layer and its number of parameters is printed there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim.swa_utils import update_bn

__all__ = ["NOISE", "Dcgan", "dcgan_loss", "discriminator", "generator"]

NOISE = 4000  # what 32,776,192 parameters of a layer to 8,192 say
_LEAK = 0.2  # ours: the paper prints no slope
_BATCH, _BATCHES = (
    64,
    50,
)  # that statistics are taken of: as many images as training's, some thousands


def generator(side: int = 256, noise: int = NOISE) -> nn.Sequential:
    """Return figure 1a's network: (n, noise) to images (n, 1, side, side) in [-1, 1].

    ``side`` 256 is the paper's; half or a quarter of it begin at a smaller map, for processors.
    """
    first = side // 32
    layers: list[nn.Module] = [
        nn.Linear(noise, 128 * first * first),
        nn.LeakyReLU(_LEAK),
        nn.BatchNorm1d(128 * first * first),
        nn.Unflatten(1, (128, first, first)),
    ]
    before = 128
    for after in (64, 32, 16, 8):
        layers += [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(before, after, 5, padding=2),
            nn.LeakyReLU(_LEAK),
            nn.BatchNorm2d(after),
        ]
        before = after
    return nn.Sequential(
        *layers, nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 5, padding=2), nn.Tanh()
    )


def discriminator(side: int = 256) -> nn.Sequential:
    """Return figure 1b's network: (n, 1, side, side) to logits (n, 1)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, stride=2, padding=2),
        nn.LeakyReLU(_LEAK),
        nn.Dropout(0.3),  # ours: the paper prints no rate
        nn.Conv2d(32, 64, 5, stride=2, padding=2),
        nn.LeakyReLU(_LEAK),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(64 * (side // 4) ** 2, 1),
    )


class Dcgan(nn.Module):
    """Both networks, trained against each other in the same step."""

    steps: Tensor

    def __init__(self, side: int = 256, noise: int = NOISE) -> None:
        super().__init__()
        self.generator, self.discriminator = generator(side, noise), discriminator(side)
        self.noise = noise
        # Counted, as the last network is wanted: of two that play against each other none is best.
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def draw(self, count: int, where: torch.Generator) -> Tensor:
        """Return images (count, 1, side, side) in [-1, 1]."""
        drawn = torch.randn(count, self.noise, generator=where, device=where.device)
        images: Tensor = self.generator(drawn)
        return images

    def settle(self, where: torch.Generator) -> None:
        """Take the statistics that single images are drawn with from what the generator makes now.

        Those kept while it was trained are of generators before it, whose images were others.
        """
        noise = (
            torch.randn(_BATCH, self.noise, generator=where, device=where.device)
            for _ in range(_BATCHES)
        )
        with torch.no_grad():
            update_bn(noise, self.generator)


def dcgan_loss(network: nn.Module, image: Tensor) -> Tensor:
    """Return what both lose on real images (n, 1, side, side) in [-1, 1], in one sum.

    The discriminator learns from real and from drawn images, the generator from what the
    discriminator, held still, says of the drawn ones (Goodfellow et al., 2014: -log D).
    """
    assert isinstance(network, Dcgan)
    network.steps += 1
    judge = network.discriminator
    drawn = network.generator(torch.randn(len(image), network.noise, device=image.device))
    still = {name: value.detach() for name, value in judge.named_parameters()}
    loss: Tensor = (
        functional.softplus(-judge(image).float()).mean()
        + functional.softplus(judge(drawn.detach()).float()).mean()
        + functional.softplus(-functional_call(judge, still, (drawn,)).float()).mean()
    )
    return loss
