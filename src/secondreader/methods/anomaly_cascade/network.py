"""The reconstruction network: a U-Net of three stages down and three up.

References
----------
Zhang et al. (2019), section 3.1.1 and figure 2: three down and three up stages of three
convolutions each, with skips. Ronneberger et al., "U-Net" (MICCAI 2015). He et al., "Delving deep
into rectifiers" (ICCV 2015): initialisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secondreader.methods.anomaly_cascade.config import Config

__all__ = ["HALO", "STRIDE", "UNet", "first_stage"]

STRIDE = 8
"""Images are padded to a multiple of this."""
HALO = 80
"""Pixels beyond which nothing changes an output: the receptive field's radius, 73, rounded up to STRIDE."""


class UNet(nn.Module):
    """Grey image to one map of the same size.

    Parameters
    ----------
    width
        Channels of the first stage; doubled with each of the next.
    norm
        Whether batch normalisation stands behind each convolution; the paper does not say.
    onto
        Whether the network draws the difference from the image, and the image is added: to redraw
        what is there then need not be learnt.
    """

    def __init__(self, width: int, norm: bool = False, onto: bool = False) -> None:
        super().__init__()
        self.onto = onto
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            [_stage(i, o, norm) for i, o in zip([1, *widths[:-1]], widths, strict=True)]
        )
        self.bottom = _stage(widths[-1], 8 * width, norm)
        self.lift = nn.ModuleList(
            [nn.ConvTranspose2d(i, o, 2, 2) for i, o in zip([8 * width, *widths[:0:-1]], widths[::-1], strict=True)]
        )  # fmt: skip
        self.up = nn.ModuleList([_stage(2 * w, w, norm, Joined) for w in widths[::-1]])
        self.out = nn.Conv2d(width, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.ConvTranspose2d):
                # Of kernels as large as their stride each output has one pixel of every input.
                nn.init.normal_(module.weight, std=(2 / module.in_channels) ** 0.5)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if onto:
            # Near nothing, not nothing: |0| has no gradient.
            nn.init.normal_(self.out.weight, std=0.05)

    def forward(self, image: Tensor) -> Tensor:
        """Map (n, 1, h, w) to (n, 1, h, w); h and w multiples of `STRIDE`."""
        x, kept = image, []
        for stage in self.down:
            x = stage(x)  # (n, width · 2^k, h / 2^k, w / 2^k)
            kept.append(x)
            x = halved(x)
        x = self.bottom(x)  # (n, 8 · width, h / 8, w / 8)
        for lift, stage, skip in zip(self.lift, self.up, kept[::-1], strict=True):
            assert isinstance(stage, nn.Sequential)
            layers = list(stage)
            x = layers[0](lift(x), skip)
            for layer in layers[1:]:
                x = layer(x)
        out: Tensor = self.out(x)
        return image + out if self.onto else out


def first_stage(config: Config) -> UNet:
    """Return the first stage's network, drawn from the global generator."""
    return UNet(config.width, config.norm, config.onto)


class Joined(nn.Conv2d):
    """A convolution of two blocks of channels as of one behind the other, without laying them so.

    To lay eight channels beside eight takes a processor longer than to convolve them.
    """

    def forward(self, one: Tensor, other: Tensor) -> Tensor:  # type: ignore[override]
        """Map (n, k, h, w) and (n, inputs - k, h, w) to (n, outputs, h, w)."""
        weight, channels = self.weight, one.shape[1]
        out = nn.functional.conv2d(one, weight[:, :channels], self.bias, padding=self.padding)
        return out.add_(nn.functional.conv2d(other, weight[:, channels:], padding=self.padding))


def halved(image: Tensor) -> Tensor:
    """Return the largest of each 2 x 2 pixels, (n, c, h / 2, w / 2); a pooling, some times quicker."""
    rows = torch.maximum(image[..., ::2, :], image[..., 1::2, :])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def _stage(
    inputs: int, outputs: int, norm: bool, opens: type[nn.Conv2d] = nn.Conv2d
) -> nn.Sequential:
    """Three convolutions, the first of a kind of its own."""
    layers: list[nn.Module] = []
    for kind, first in ((opens, inputs), (nn.Conv2d, outputs), (nn.Conv2d, outputs)):
        layers.append(kind(first, outputs, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
