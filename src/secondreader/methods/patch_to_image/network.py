"""The patch classifier and the whole-image classifiers that are made of it.

References
----------
Shen et al. (2019), sections 2.2 and 3.1.4, figure 1. The backbones and bottlenecks are torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torchvision.models import resnet50
from torchvision.models.vgg import cfgs, make_layers

from secondreader.learning.backbones import SMALL_DEPTHS, drawn, shortcut, small_resnet
from secondreader.methods.patch_to_image.architecture import Architecture, Resnet, Vgg

__all__ = [
    "CLASSES",
    "COLUMNS",
    "MALIGNANT",
    "ImageClassifier",
    "PatchClassifier",
    "backbone",
]

CLASSES = (
    "background",
    "benign mass",
    "malignant mass",
    "benign calcification",
    "malignant calcification",
)
MALIGNANT = (2, 4)
COLUMNS = ("malignant", "abnormal")
"""What the outputs of the whole-image classifier say."""


def backbone(
    name: str, start: Callable[[nn.Module], None] = lambda network: None
) -> tuple[nn.Sequential, int]:
    """Return the layers below global average pooling, for one grey channel, and their depth.

    ``start`` puts weights into torchvision's network before it is taken apart.
    """
    if name == "resnet50":
        whole = resnet50()
        whole.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        start(whole)
        first = (whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        stages = (whole.layer1, whole.layer2, whole.layer3, whole.layer4)
        return nn.Sequential(nn.Sequential(*first), *stages), 2048
    if name == "resnet_small":
        return small_resnet(), SMALL_DEPTHS[-1]
    thinner = 4 if name.startswith("vgg_small") else 1
    depths = [d if isinstance(d, str) else d // thinner for d in cfgs["D"]]
    layers = make_layers(depths, batch_norm=name.endswith("_bn"))  # type: ignore[arg-type]
    layers[0] = nn.Conv2d(1, 64 // thinner, 3, padding=1)
    drawn(layers)
    start(nn.ModuleDict({"features": layers}))
    blocks: list[nn.Sequential] = []
    held: list[nn.Module] = []
    for layer in layers:
        held.append(layer)
        if isinstance(layer, nn.MaxPool2d):  # the end of a block
            blocks.append(nn.Sequential(*held))
            held = []
    return nn.Sequential(*blocks), 512 // thinner


class PatchClassifier(nn.Module):
    """A patch to five classes; an image to a map of them.

    Parameters
    ----------
    name
        One of `BACKBONES`.
    window
        Places each way that a patch has at the end of the backbone: 7 for 224 pixels.
    start
        Puts weights into the backbone.
    saving
        Gradient checkpointing of the backbone: each stage is computed again on the way back, and in
        it each residual unit once more, so that one unit's values are held at a time.
    """

    def __init__(
        self,
        name: str,
        window: int = 7,
        start: Callable[[nn.Module], None] = lambda network: None,
        *,
        saving: bool = False,
    ) -> None:
        super().__init__()
        self.features, depth = backbone(name, start)
        self.classes = nn.Linear(depth, len(CLASSES))
        self.window, self.saving = window, saving
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(()))

    def scaled(self, image: Tensor) -> Tensor:
        """Take the training images' mean grey value off prepared values, as section 3.1.2 does.

        The paper's values run to 255, prepared ones to 1: times four they spread as those that
        ImageNet's weights know, whose standard deviation is about a quarter of the range.
        """
        return ((image - self.mean) * 4).contiguous(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Map prepared values (n, 1, h, w) to logits (n, 5)."""
        out: Tensor = self.classes(self.places(image).mean((2, 3)))
        return out

    def places(self, image: Tensor) -> Tensor:
        """Map prepared values (n, 1, h, w) to features (n, d, h / 32, w / 32)."""
        x = self.scaled(image)
        for stage in self.features:
            if self.saving and self.training and torch.is_grad_enabled():
                x = _again(partial(_units, stage), stage, x)
            else:
                x = stage(x)
        return x

    def heatmap(self, features: Tensor) -> Tensor:
        """Map features (n, d, h, w) to logits (n, 5, h, w): the patch classifier round every place.

        The classifier averages a patch's places before its last layer; here each place averages as
        many round it, fewer at the border.
        """
        mean = functional.avg_pool2d(
            functional.pad(features, _half(self.window)), self.window, 1, divisor_override=1
        )
        inside = features.new_ones((1, 1, *features.shape[2:]))
        count = functional.avg_pool2d(
            functional.pad(inside, _half(self.window)), self.window, 1, divisor_override=1
        )
        weight = self.classes.weight[:, :, None, None]
        return functional.conv2d(mean / count, weight, self.classes.bias)


class ImageClassifier(nn.Module):
    """An image to two logits: malignant, and anything abnormal (ours beside the paper's one).

    Parameters
    ----------
    patches
        The patch classifier that it is made of; its layers become this network's.
    what
        What stands on top.
    places
        (rows, cols) of the features, for fully connected layers, which know one size only.
    """

    def __init__(
        self, patches: PatchClassifier, what: Architecture, places: tuple[int, int]
    ) -> None:
        super().__init__()
        self.patches, self.what = patches, what
        depth = len(CLASSES) if what.heatmap else patches.classes.in_features
        self.top = nn.Sequential()
        if what.full:
            rows, cols = (-(-side // max(what.pool, 1)) for side in places)
            flat = depth * rows * cols
            for width in what.full:
                self.top += nn.Sequential(nn.Linear(flat, width), nn.ReLU(inplace=True))
                flat = width
            # The shortcut, section 2.2: each class's strongest place goes straight to the output.
            self.outputs = nn.Linear(flat + depth, 2)
        else:
            for block in what.blocks:
                layers, depth = _block(block, depth)
                self.top.append(layers)
            self.outputs = nn.Linear(depth, 2)
        drawn(self.top)

    def features(self, image: Tensor) -> Tensor:
        """Map prepared values (n, 1, h, w) to the patch classifier's features."""
        return self.patches.places(image)

    def before_pooling(self, features: Tensor) -> Tensor:
        """Map features to what global average pooling gets, (n, d, h, w); not with full layers."""
        x = functional.relu(self.patches.heatmap(features)) if self.what.heatmap else features
        out: Tensor = self.top(x)
        return out

    def activation(self, features: Tensor, column: int) -> Tensor:
        """Return where an output comes from, (n, h, w) logits whose mean is that output's.

        References
        ----------
        Zhou et al., "Learning deep features for discriminative localization" (CVPR 2016).
        """
        weight, bias = self.outputs.weight[column], self.outputs.bias[column]
        found: Tensor = torch.einsum("ndhw,d->nhw", self.before_pooling(features), weight) + bias
        return found

    def forward(self, image: Tensor) -> Tensor:
        """Map prepared values (n, 1, h, w) to logits (n, 2)."""
        return self.judged(self.features(image))

    def judged(self, features: Tensor) -> Tensor:
        """Map features to logits (n, 2)."""
        if not self.what.full:
            out: Tensor = self.outputs(self.before_pooling(features).mean((2, 3)))
            return out
        heat = functional.relu(self.patches.heatmap(features))
        if self.what.pool > 1:  # places left over at the border are pooled too
            pooled = functional.max_pool2d(heat, self.what.pool, ceil_mode=True)
        else:
            pooled = heat
        joined: Tensor = self.outputs(
            torch.cat([self.top(pooled.flatten(1)), heat.amax((2, 3))], dim=1)
        )
        return joined


def _again(run: Callable[[Tensor], Tensor], of: nn.Module, x: Tensor) -> Tensor:
    """Run part of a network, and once more on the way back instead of holding its values."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _counted_once(of)

    out: Tensor = checkpoint(run, x, use_reentrant=False, context_fn=contexts)
    return out


def _units(stage: nn.Module, x: Tensor) -> Tensor:
    units = list(stage.children())
    if isinstance(units[0], nn.Conv2d):  # no residual units: layers that work in place
        out: Tensor = stage(x)
        return out
    for unit in units:
        x = _again(unit, unit, x)
    return x


@contextmanager
def _counted_once(network: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from counting a batch again that is only computed again."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum


def _half(window: int) -> tuple[int, int, int, int]:
    before, after = (window - 1) // 2, window // 2
    return before, after, before, after


def _block(block: Vgg | Resnet, depth: int) -> tuple[nn.Sequential, int]:
    """Return a block on top, which halves the places, and its depth."""
    layers: list[nn.Module] = []
    if isinstance(block, Vgg):
        for _ in range(block.count):
            layers += [
                nn.Conv2d(depth, block.depth, 3, padding=1, bias=False),
                nn.BatchNorm2d(block.depth),
                nn.ReLU(inplace=True),
            ]
            depth = block.depth
        return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)), depth
    for number in range(block.count):
        layers.append(_Unit(depth, block.depths, 2 if number == 0 else 1))
        depth = block.depths[2]
    return nn.Sequential(*layers), depth


class _Unit(nn.Module):
    """A bottleneck of any three depths; torchvision's has the last four times the first."""

    def __init__(self, before: int, depths: tuple[int, int, int], stride: int) -> None:
        super().__init__()
        one, two, three = depths
        self.layers = nn.Sequential(
            nn.Conv2d(before, one, 1, bias=False), nn.BatchNorm2d(one), nn.ReLU(inplace=True),
            nn.Conv2d(one, two, 3, stride, 1, bias=False), nn.BatchNorm2d(two), nn.ReLU(inplace=True),
            nn.Conv2d(two, three, 1, bias=False), nn.BatchNorm2d(three),
        )  # fmt: skip
        self.across = shortcut(before, three, stride) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.layers(x) + self.across(x))
