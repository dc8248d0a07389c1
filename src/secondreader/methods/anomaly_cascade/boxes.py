"""The baseline that finds boxes: Faster R-CNN with a feature pyramid, whose middles are the points.

References
----------
Zhang et al. (2019), section 4.3, "FPN FRCN". Ren et al., "Faster R-CNN" (NeurIPS 2015). Lin et al.,
"Feature pyramid networks" (CVPR 2017). The networks are torchvision's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

from secondreader.learning.patches import cut
from secondreader.methods.anomaly_cascade.config import BoxSettings, Config

__all__ = ["faster_rcnn", "found_boxes"]

_SMALL = 64  # channels of the small pyramid
_OVERLAP = 32  # pixels that tiles share at each side


def faster_rcnn(settings: BoxSettings) -> FasterRCNN:
    """Return the network, for one grey channel and one class beside the background."""
    small = settings.backbone == "resnet18"
    backbone = _small_backbone() if small else resnet_fpn_backbone(
        backbone_name=settings.backbone,
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
    )  # fmt: skip
    backbone.body.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    sides = tuple((side,) for side in settings.anchors)
    more = {}
    if small:
        head = TwoMLPHead(_SMALL * 7 * 7, 256)
        more = {"box_head": head, "box_predictor": FastRCNNPredictor(256, 2)}
    return FasterRCNN(
        backbone,
        num_classes=None if small else 2,
        min_size=settings.patch,
        max_size=settings.patch,
        image_mean=[0.5],
        image_std=[0.25],
        rpn_anchor_generator=AnchorGenerator(sides, ((1.0,),) * len(sides)),
        # A tile holds few calcifications: no more is proposed than could be drawn in it.
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=150,
        box_score_thresh=settings.least,
        box_nms_thresh=0.3,
        box_detections_per_img=100,
        **more,
    )


def _small_backbone() -> BackboneWithFPN:
    """Return a ResNet18 with a pyramid a quarter as wide as torchvision's, for processors."""
    body = resnet18(weights=None, norm_layer=nn.BatchNorm2d)
    stages = {f"layer{k + 1}": str(k) for k in range(4)}
    return BackboneWithFPN(body, stages, [64, 128, 256, 512], _SMALL)


@torch.inference_mode()
def found_boxes(
    network: FasterRCNN, prepared: np.ndarray, mask: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles (n, 2) and scores (n,) of a prepared image's boxes, highest first.

    Tiles of the training patches' size overlap; of each only what lies in its own part is taken.
    """
    where = next(network.parameters()).device
    size, step = config.boxes.patch, config.boxes.patch - 2 * _OVERLAP
    points, scores = [np.zeros((0, 2))], [np.zeros(0)]
    for row in range(0, prepared.shape[0], step):
        for col in range(0, prepared.shape[1], step):
            if not mask[row : row + step, col : col + step].any():
                continue
            corner = (row - _OVERLAP, col - _OVERLAP)
            tile = cut(prepared, corner[0] + size // 2, corner[1] + size // 2, size)
            got = network([torch.from_numpy(tile.astype(np.float32))[None].to(where)])[0]
            middle = (got["boxes"][:, [1, 0]] + got["boxes"][:, [3, 2]]).cpu().double().numpy() / 2
            middle += (
                np.array(corner) - 0.5
            )  # a box's edges lie half a pixel before its first pixel
            own = (
                (middle >= (row - 0.5, col - 0.5)) & (middle < (row + step - 0.5, col + step - 0.5))
            ).all(1)
            points.append(middle[own])
            scores.append(got["scores"].cpu().double().numpy()[own])
    at, score = np.concatenate(points), np.concatenate(scores)
    places = np.clip(np.rint(at).astype(int), 0, np.array(mask.shape) - 1)
    kept = np.flatnonzero(mask[places[:, 0], places[:, 1]])
    order = kept[np.argsort(-score[kept], kind="stable")][: config.most]
    return at[order], score[order]
