"""Networks as the paper's tables write them, and what the words mean.

``resnet50 + [512-512-1024]x2 + [512-512-1024]x2``, ``vgg16 + 256x1 + 128x1``,
``resnet50 + heatmap + [64-64-256]x2 + [128-128-512]x2``, ``resnet50 + heatmap + pool5 + fc64 + fc32``.

References
----------
Shen et al. (2019), section 2.2: a VGG block is NxK, N the depth and K the number of its 3 x 3
convolutions, then 2 x 2 max pooling; a Resnet block is [L-M-N]xK, K bottleneck units, the first with
stride 2. Tables 2 and 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from secondreader.domain import SecondReaderError

__all__ = ["BACKBONES", "STRIDE", "Architecture", "Resnet", "Vgg", "parse"]

STRIDE = 32
"""Pixels of the image a place of the features stands for."""
BACKBONES = ("resnet50", "vgg16", "vgg16_bn", "resnet_small", "vgg_small", "vgg_small_bn")
"""Patch classifiers: the paper's two, VGG with batch normalisation as its discussion wishes, and for
processors a ResNet of 2.8 million parameters and VGG16 a quarter as deep, 0.9 million."""


@dataclass(frozen=True, slots=True)
class Vgg:
    """A block of ``count`` 3 x 3 convolutions of one depth."""

    depth: int
    count: int


@dataclass(frozen=True, slots=True)
class Resnet:
    """A block of ``count`` bottleneck units of three depths."""

    depths: tuple[int, int, int]
    count: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """A whole-image classifier.

    Parameters
    ----------
    backbone
        The patch classifier, one of `BACKBONES`.
    heatmap
        Whether its heatmap stands between it and what follows.
    blocks
        Convolutional blocks on top.
    pool
        Size and stride of max pooling of the heatmap, where fully connected layers follow.
    full
        Widths of fully connected layers; with them there are no blocks.
    """

    backbone: str
    heatmap: bool = False
    blocks: tuple[Vgg | Resnet, ...] = ()
    pool: int = 0
    full: tuple[int, ...] = ()


def parse(text: str) -> Architecture:
    """Read an architecture.

    Raises
    ------
    SecondReaderError
        If a part is none, or the parts do not fit together; says which.
    """
    backbone, *rest = (part.strip() for part in text.split("+"))
    if backbone not in BACKBONES:
        raise _wrong(text, backbone, f"one of {', '.join(BACKBONES)} first")
    heatmap = bool(rest) and rest[0] == "heatmap"
    blocks: list[Vgg | Resnet] = []
    full: list[int] = []
    pool = 0
    for part in rest[1 if heatmap else 0 :]:
        if got := re.fullmatch(r"\[(\d+)-(\d+)-(\d+)\]x(\d+)", part):
            one, two, three, count = map(int, got.groups())
            blocks.append(Resnet((one, two, three), count))
        elif got := re.fullmatch(r"(\d+)x(\d+)", part):
            blocks.append(Vgg(int(got[1]), int(got[2])))
        elif (got := re.fullmatch(r"pool(\d+)", part)) and heatmap and not full:
            pool = int(got[1])
        elif (got := re.fullmatch(r"fc(\d+)", part)) and heatmap:
            full.append(int(got[1]))
        else:
            raise _wrong(text, part, "NxK, [L-M-N]xK, or after heatmap poolN and fcN")
    if bool(blocks) == bool(full):
        raise _wrong(text, text, "either blocks, or heatmap with fully connected layers")
    if pool and not full:
        raise _wrong(text, f"pool{pool}", "fully connected layers after it")
    return Architecture(backbone, heatmap, tuple(blocks), pool, tuple(full))


def _wrong(text: str, part: str, wanted: str) -> SecondReaderError:
    return SecondReaderError(f"architecture: got {part!r}, expected {wanted} (in {text!r})")
