"""Mask R-CNN for grey images, and the classifier of windows.

References
----------
Thatte et al. (2017), "Mask-RCNN": Matterport's, ResNet101 with a feature pyramid, 63,744,170
parameters. He et al., "Mask R-CNN" (ICCV 2017). The networks are torchvision's, of 63.0 million: its
region proposals have 256 channels where Matterport's have 512 (0.6 million less), and it counts no
running means.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import resnet50, resnet101
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.resnet import Bottleneck

from secondreader.learning.backbones import SMALL_DEPTHS, small_resnet
from secondreader.methods.second_look.config import Config

__all__ = ["CLASSES", "classifier", "mask_rcnn"]

CLASSES = ("nothing", "malignant", "benign", "benign without callback")
_NARROW = 64  # channels of the small network's pyramid and heads
_OVERLAP = 0.3  # of two regions of a label, of which one is kept
_EVERY = 10**6  # regions, more than there can be


class _GroupNorm(nn.GroupNorm):
    """Group normalisation of whole rows, in whatever format an image comes.

    Of channels that lie side by side, as convolutions want them, PyTorch's takes a processor several times as
    long in bfloat16 (`benchmarks/second_look_speed.py`).
    """

    def forward(self, input: Tensor) -> Tensor:
        done = super().forward(input.contiguous())
        beside = input.is_contiguous(memory_format=torch.channels_last)
        return done.contiguous(memory_format=torch.channels_last) if beside else done


# A batch of few images has no statistics (Wu and He, ECCV 2018), and one of real and generated patches
# has those of neither.
_SMALL_NORM = partial(_GroupNorm, 8)


class _StillNorm(nn.BatchNorm2d):
    """Batch normalisation that keeps the statistics it began with, as Matterport's does.

    Two images a batch tell too little of them.
    """

    def train(self, mode: bool = True) -> _StillNorm:
        return super().train(False)


class _ByLabel(RoIHeads):
    """Torchvision's heads, that keep the strongest `most` regions of each label.

    Torchvision's keep so many of all labels together, and the benign ones crowd the malignant out.
    """

    most: int

    @classmethod
    def of(cls, heads: RoIHeads, config: Config) -> _ByLabel:
        """Return heads of the same parts; what is told of training is torchvision's own."""
        made = cls(
            heads.box_roi_pool, heads.box_head, heads.box_predictor,
            0.5, 0.5, 512, 0.25, None,
            config.least, _OVERLAP, _EVERY,
            heads.mask_roi_pool, heads.mask_head, heads.mask_predictor,
        )  # fmt: skip
        made.most = config.most
        return made

    def postprocess_detections(
        self, *args: object
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return boxes, scores and labels of each image, by falling score."""
        found = zip(*super().postprocess_detections(*args), strict=True)
        kept = []
        for boxes, scores, labels in found:
            rank = torch.zeros_like(labels)  # of its label, from 1: they come by falling score
            for label in labels.unique():
                own = labels == label
                rank[own] = own.cumsum(0)[own]
            few = rank <= self.most
            kept.append((boxes[few], scores[few], labels[few]))
        boxes, scores, labels = (list(of) for of in zip(*kept, strict=True))
        return boxes, scores, labels


def mask_rcnn(config: Config) -> MaskRCNN:
    """Return the detector, for one grey channel and `CLASSES`."""
    sides = tuple((side,) for side in config.anchors)
    common = {
        "min_size": min(config.size),
        "max_size": max(config.size),
        "image_mean": [0.3],
        "image_std": [0.25],
        "rpn_anchor_generator": AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides)),
        "rpn_pre_nms_top_n_test": 500,
        "rpn_post_nms_top_n_test": 200,
    }
    network = _small(common) if config.backbone == "small" else _large(config, common)
    network.roi_heads = _ByLabel.of(network.roi_heads, config)
    return network


def _large(config: Config, common: dict[str, object]) -> MaskRCNN:
    """Return a detector upon a ResNet of torchvision; with weights to begin from, statistics stay.

    From nothing it has group normalisation: batches of two images have none to keep.
    """
    backbone = resnet_fpn_backbone(
        backbone_name=config.backbone,
        weights=None,
        norm_layer=partial(_GroupNorm, 32) if config.init == "none" else _StillNorm,
        trainable_layers=5,
    )
    backbone.body.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    if config.init != "none":
        # COCO's weights are of ResNet50: units that ResNet101 alone has begin by adding nothing, as
        # no statistics tame them.
        for module in backbone.body.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
    return MaskRCNN(backbone, len(CLASSES), **common)


def _small(common: dict[str, object]) -> MaskRCNN:
    """Return a detector of about four million parameters, for processors, to be trained from nothing."""
    layers = {str(stage): str(stage - 1) for stage in range(1, 5)}
    body = small_resnet(_SMALL_NORM)
    backbone = BackboneWithFPN(body, layers, list(SMALL_DEPTHS), _NARROW)
    narrow = {
        "box_head": TwoMLPHead(_NARROW * 7 * 7, 2 * _NARROW),
        "box_predictor": FastRCNNPredictor(2 * _NARROW, len(CLASSES)),
        "mask_head": MaskRCNNHeads(_NARROW, (_NARROW, _NARROW), 1),
        "mask_predictor": MaskRCNNPredictor(_NARROW, _NARROW, len(CLASSES)),
    }
    return MaskRCNN(backbone, None, **{**common, **narrow})


def classifier(config: Config) -> nn.Module:
    """Return the network of windows and shrunk images: (n, 1, h, w) to logits (n, 4)."""
    if config.backbone == "small":
        return nn.Sequential(
            small_resnet(_SMALL_NORM), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(SMALL_DEPTHS[-1], len(CLASSES)),
        )  # fmt: skip
    made = resnet101 if config.backbone == "resnet101" else resnet50
    network: nn.Module = made(num_classes=len(CLASSES))
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return network
