"""Mask R-CNN for grey images, and the classifier of windows.

References
----------
Thatte et al. (2017), "Mask-RCNN": Matterport's, ResNet101 with a feature pyramid, 63,744,170
parameters. He et al., "Mask R-CNN" (ICCV 2017). The networks are torchvision's, of 62.9 million: its
region proposals have 256 channels where Matterport's have 512 (0.6 million less), and it counts no
running means.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet50, resnet101
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from secondreader.learning.backbones import SMALL_DEPTHS, small_resnet
from secondreader.methods.second_look.config import Config

__all__ = ["CLASSES", "classifier", "mask_rcnn"]

CLASSES = ("nothing", "malignant", "benign", "benign without callback")
_NARROW = 64  # channels of the small network's pyramid and heads


def mask_rcnn(config: Config) -> MaskRCNN:
    """Return the detector, for one grey channel and `CLASSES`."""
    sides = tuple((side,) for side in config.anchors)
    common = {
        "min_size": min(config.size),
        "max_size": max(config.size),
        "image_mean": [0.3],
        "image_std": [0.25],
        "rpn_anchor_generator": AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides)),
        "box_score_thresh": config.least,
        "box_nms_thresh": 0.3,
        "box_detections_per_img": config.most,
        "rpn_pre_nms_top_n_test": 500,
        "rpn_post_nms_top_n_test": 200,
    }
    if config.backbone == "small":
        return _small(common)
    backbone = resnet_fpn_backbone(
        backbone_name=config.backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    backbone.body.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return MaskRCNN(backbone, len(CLASSES), **common)


def _small(common: dict[str, object]) -> MaskRCNN:
    """Return a detector of about four million parameters, for processors."""
    layers = {str(stage): str(stage - 1) for stage in range(1, 5)}
    backbone = BackboneWithFPN(small_resnet(), layers, list(SMALL_DEPTHS), _NARROW)
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
            small_resnet(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(SMALL_DEPTHS[-1], len(CLASSES)),
        )  # fmt: skip
    made = resnet101 if config.backbone == "resnet101" else resnet50
    network: nn.Module = made(num_classes=len(CLASSES))
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return network
