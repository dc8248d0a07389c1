"""The tissue classifier, the network that makes an image of its answers, and the heatmap's.

References
----------
An et al. (2018), section 3 and figures 1 and 2. Simonyan and Zisserman, "Very deep convolutional
networks" (ICLR 2015). Batch normalisation is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PLACES", "Aggregated", "HeatmapNet", "Pair", "Tissue"]

PLACES = 32
"""Of the heatmap, each way (section 4)."""


class Tissue(nn.Module):
    """Finding present or not: a patch to a logit, an image to a map of them.

    Parameters
    ----------
    widths
        Channels of blocks of two 3 x 3 convolutions and a pooling each; five of them.
    patch, stride
        Pixels of a patch, and from place to place of the map.
    surround
        Pixels round a patch that it is trained with. Where an image ends they are 0 in a crop, so they are
        0 in the map too.
    """

    def __init__(self, widths: tuple[int, ...], patch: int, stride: int, surround: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for after in widths:
            for inputs in (before, after):
                layers += [
                    nn.Conv2d(inputs, after, 3, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(inplace=True),
                ]
            layers.append(nn.MaxPool2d(2))
            before = after
        self.features: nn.Module = nn.Sequential(*layers)
        self.present = nn.Conv2d(before, 1, 1)
        cell = 2 ** len(widths)
        self.window, self.step = patch // cell, stride // cell
        self.surround, self.round = surround, surround // cell

    def forward(self, image: Tensor) -> Tensor:
        """Map prepared values (n, 1, h, w) to logits (n,), of the patch in the middle of each."""
        return self.called(self.seen(image))

    def seen(self, image: Tensor) -> Tensor:
        """Map (n, 1, h, w) to what is seen in the patch in the middle of each, (n, channels)."""
        features = self.features((image - 0.3) * 4)
        row, col = ((side - self.window) // 2 for side in features.shape[2:])
        inner = features[..., row : row + self.window, col : col + self.window]
        found: Tensor = inner.mean((2, 3))
        return found

    def local(self, image: Tensor) -> Tensor:
        """Map (n, 1, h, w) to what is seen in each patch at the stride, (n, rows, cols, channels).

        The first patch begins at the first pixel; convolution over the image, not crop by crop: a
        patch sees what lies round it, further than a crop reaches.
        """
        # Convolution pads with zeros after the grey values were shifted: what lies beyond an image would
        # be grey, and no patch was trained with that.
        features = self.features((functional.pad(image, [self.surround] * 4) - 0.3) * 4)
        rows, cols = (slice(self.round, side - self.round) for side in features.shape[2:])
        features = features[..., rows, cols]
        found: Tensor = functional.avg_pool2d(features, self.window, self.step).permute(0, 2, 3, 1)
        return found

    def called(self, seen: Tensor) -> Tensor:
        """Map what is seen (…, channels) to logits (…)."""
        return functional.linear(seen, self.present.weight.flatten(1), self.present.bias)[..., 0]


class Pair(nn.Module):
    """A place in two views, seen by one encoder, late fusion: what the other view adds to its logit.

    Section 4: "annotated regions can be paired from both CC and MLO angles, then shown simultaneously
    to a classifier which learns one set of features using either region". Without the other view
    nothing is added, so the answer is exactly that of one view.

    Parameters
    ----------
    tissue
        The classifier of one view; it stays as it is.
    width
        Of the layer between.
    """

    def __init__(self, tissue: Tissue, width: int) -> None:
        super().__init__()
        channels = tissue.present.in_channels
        self.tissue = tissue.requires_grad_(False)
        last = nn.Linear(width, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(2 * channels + 2, width), nn.ReLU(), last)

    def train(self, mode: bool = True) -> Pair:
        """Learn, or not; the classifier of one view never does."""
        super().train(mode)
        self.tissue.eval()
        return self

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Map two patches of one place, (n, 1, h, w) each, to the logit of the first, (n,)."""
        return self.joined(self.tissue.seen(own), self.tissue.seen(other))

    def joined(self, own: Tensor, other: Tensor) -> Tensor:
        """Map what is seen in a place and in the same of the other view, (n, channels), to (n,)."""
        alone, beside = self.tissue.called(own), self.tissue.called(other)
        told = torch.cat([own, other, alone[:, None] / 4, beside[:, None] / 4], 1)
        found: Tensor = alone + self.layers(told)[:, 0]
        return found


class Aggregated(nn.Module):
    """p(y|x) ≈ Σ p(y|z; C) q(z|x'), section 3: answers and their places to one of the image.

    Each place has a weight and an answer, both a small network's of (z, row, col); weights add up
    to 1 over the image. Rows and columns run from -1 to 1 over the breast, so that an image is called
    the same alone and in a batch of larger ones.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )

    def forward(self, local: Tensor, inside: Tensor) -> Tensor:
        """Map logits (n, rows, cols), and where there is breast (same, bool), to (n,) in [0, 1]."""
        n, rows, cols = local.shape
        row = _along(inside.any(2))[:, :, None].expand(n, rows, cols)
        col = _along(inside.any(1))[:, None, :].expand(n, rows, cols)
        place = torch.stack([row, col, col**2 + row**2], -1)
        told = self.layers(torch.cat([local[..., None] / 4, place], -1))
        # The answer itself leads: at first the weights follow it, as the maximum does.
        weight = (told[..., 0] + local).masked_fill(~inside, -1e4).flatten(1).softmax(1)
        answer = torch.sigmoid(told[..., 1] + local).flatten(1)
        found: Tensor = (weight * answer).sum(1)
        return found


def _along(breast: Tensor) -> Tensor:
    """Return where steps (n, k) lie on the breast, -1 at its first and 1 at its last; not beyond."""
    steps = torch.arange(breast.shape[1], device=breast.device)
    first = torch.where(breast, steps, breast.shape[1]).amin(1, keepdim=True)
    last = torch.where(breast, steps, -1).amax(1, keepdim=True)
    return (2 * (steps - first) / (last - first).clamp(min=1) - 1).clamp(-1, 1)


class HeatmapNet(nn.Module):
    """A small image to a map of 32 x 32, without or with the local answers beside it.

    Parameters
    ----------
    width
        Channels of the first block, doubled with each.
    local
        Whether local answers are concatenated to the output, and convolutions added (figure 2).
    size
        Pixels of the small image each way, 32 times a power of two: as often it is halved.
    """

    def __init__(self, width: int, local: bool, size: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for block in range((size // PLACES).bit_length() - 1):
            after = width * 2**block
            for inputs in (before, after):
                layers += [
                    nn.Conv2d(inputs, after, 3, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(inplace=True),
                ]
            layers.append(nn.MaxPool2d(2))
            before = after
        for _ in range(2):  # no fully connected layers: heat stays where its cause is
            layers += [
                nn.Conv2d(before, before, 5, padding=2, bias=False),
                nn.BatchNorm2d(before),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 1))
        self.joined = (
            nn.Sequential(
                nn.Conv2d(2, width, 3, padding=1), nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True),
                nn.Conv2d(width, 1, 1),
            )
            if local
            else None
        )  # fmt: skip

    def forward(self, image: Tensor, local: Tensor) -> Tensor:
        """Map (n, 1, s, s) and local answers (n, 1, 32, 32) to (n, 1, 32, 32)."""
        heat: Tensor = self.layers((image - 0.3) * 4)
        if self.joined is None:
            return heat
        sized = functional.interpolate(local, heat.shape[2:], mode="bilinear", align_corners=False)
        joined: Tensor = heat + self.joined(torch.cat([heat, sized], 1))
        return joined
