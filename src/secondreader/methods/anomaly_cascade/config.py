"""Settings of the anomaly cascade; every default is the paper's, or says that it is ours.

References
----------
Zhang et al., "Cascaded generative and discriminative learning for microcalcification detection in
breast mammograms" (CVPR 2019): section and equation numbers below are this paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from secondreader.domain import Lesion
from secondreader.learning.augment import AugmentSettings
from secondreader.learning.calcifications import truth_pixels, without_outlines
from secondreader.learning.fit import FitSettings

__all__ = ["HIT_MM", "NAME", "BoxSettings", "Config"]

NAME = "anomaly_cascade"
HIT_MM = 1.0
"""Section 4.4: a mark so near to a calcification is right."""

Objective = Literal[
    "t_test",  # equation 6
    "equation_10",  # equation 6 without variances, "L1 w/o λ" of table 5
    "mean_squared",  # plain reconstruction, section 4.5
    "huber",  # equations 7 to 9, which need no truth
    "cross_entropy",  # the U-Net baseline of section 4.3
]


class BoxSettings(BaseModel):
    """Settings of the baseline that finds boxes: Faster R-CNN with a feature pyramid, section 4.3."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Literal["resnet50", "resnet18"] = "resnet50"  # section 4.3
    init: str = "coco"  # ours, the paper is silent; for resnet50 only, the others: imagenet
    patch: int = Field(default=448, gt=63)  # ours: pixels of a training patch and of a tile
    # Ours: sides of anchors in pixels, one a level of the pyramid; calcifications have at most 14.
    anchors: tuple[int, ...] = (8, 16, 32, 64, 128)
    least: float = Field(default=0.01, ge=0, lt=1)  # ours: scores below are not kept
    fit: FitSettings = FitSettings(  # ours
        optimizer="sgd",
        learning_rate=0.005,
        weight_decay=1e-4,
        steps=20000,
        batch=8,
        validate_every=500,
        patience=10,
        clip=10.0,
    )


class Config(BaseModel):
    """Settings of the cascade, of its parts, and of what it is compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0  # ours
    init: str = "none"  # section 4.1: from scratch, He initialisation
    detector: Literal[
        "cascade",  # both stages, the paper's
        "proposals",  # the first stage alone, tables 3 and 4
        "joint",  # both stages, then trained on as one network: the paper's last sentence
        "boxes",  # Faster R-CNN, a baseline of section 4.3
    ] = "cascade"
    # Whether the first stage is trained, or taken from the model folder that `init` names: rows of a
    # table that share it need not train it again.
    first_stage: Literal["train", "init"] = "train"
    second_stage: Literal["train", "init"] = "train"  # likewise; then the first stage is its too
    spacing_mm: float = Field(default=0.07, gt=0, le=0.25)  # section 4.1
    coarsest_mm: float = Field(
        default=0.25, gt=0
    )  # ours: a calcification would be less than a pixel
    depth: Literal["8-bit", "full"] = "8-bit"  # section 4.1 maps to 0…255; full is ours
    # Ours, the paper is silent: grey values in [0, 1] are centred and spread over 4, so that tissue
    # has about unit spread. The margin β = 0.8 is in these units.
    input_scale: float = Field(default=4.0, gt=0)
    objective: Objective = "t_test"
    residual: Literal["l1", "l2", "smooth_l1"] = "l1"  # equation 1, table 5
    beta: float = Field(default=0.8, gt=0)  # section 4.1
    lambda_positive: float = Field(default=1.0, ge=0)  # section 4.1
    lambda_negative: float = Field(default=0.1, ge=0)  # section 4.1
    width: int = Field(default=16, gt=0)  # ours: channels of the first stage, doubled in each
    # Ours, the paper is silent: batch normalisation in the first stage.
    norm: bool = False
    # Section 3.1.1 draws the whole image. Ours: the difference from it, which needs no learning
    # where there is none.
    redraws: Literal["whole", "difference"] = "whole"
    patch: int = Field(default=112, gt=15)  # section 4.1
    positive_share: float = Field(default=0.5, ge=0, le=1)  # section 4.1: 1 : 1
    largest_mm: float = Field(default=1.0, gt=0)  # section 4.2: larger calcifications are left out
    point_mm: float = Field(
        default=0.5, gt=0
    )  # ours: the disc that a truth without outline becomes
    # Ours, the paper is silent on how its points become masks: what a truth without an outline
    # becomes, the disc or what `segmented` finds at it; and whether outlines that are there are used.
    points: Literal["disc", "segment"] = "disc"
    outlines: bool = True
    # Of a proposal and of its smallest component; None: chosen on validation images, as the paper
    # must have done, which only hints at r > β (section 3.1.2).
    threshold: float | None = Field(default=None, gt=0)
    least_pixels: int | None = Field(default=None, gt=0)
    # Ours: a component is parted where its maxima lie this far from one another; 0 parts none, as
    # in the paper, whose unsolved case are calcifications that touch (section 5).
    split_mm: float = Field(default=0.0, ge=0)
    most: int = Field(default=300, gt=0)  # ours: proposals kept in a view
    skin_mm: float = Field(default=3.0, ge=0)  # ours: next to the skin nothing is looked for
    cluster_least: int = Field(
        default=3, gt=1
    )  # ours, as spot_filter has it: calcifications of a cluster
    cluster_mm2: float = Field(default=100.0, gt=0)  # ours, likewise
    tile: int = Field(default=512, ge=64, multiple_of=8)  # ours: rows of an inference tile
    augment: AugmentSettings = AugmentSettings(shift=0.02, gain=0.1)  # ours
    fit: FitSettings = FitSettings(  # section 4.1: Adam 1e-3, weight decay 1e-4; the rest is ours
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=1e-4,
        steps=20000,
        batch=32,
        validate_every=500,
        patience=10,
        clip=1.0,
    )
    validation_images: int = Field(default=40, gt=1)  # ours: the first stage's best step by these
    validation_patches: int = Field(
        default=400, gt=1
    )  # ours: half with a calcification, half without
    reducer: Literal["resnet50", "small"] = "resnet50"  # section 3.2; small is ours
    reducer_init: str = "imagenet"  # section 4.1
    crop: int = Field(default=56, gt=7)  # section 3.2: pixels round a proposal
    crop_to: int = Field(default=224, gt=7)  # section 3.2: what they are enlarged to
    # Section 4.1: all proposals and all calcifications, without any extra drawing: None. Ours: the
    # share of calcifications in a batch.
    reducer_share: float | None = Field(default=None, gt=0, lt=1)
    reducer_fit: FitSettings = FitSettings(  # section 4.1: SGD 1e-3; the rest is ours
        optimizer="sgd",
        learning_rate=1e-3,
        weight_decay=1e-4,
        steps=20000,
        batch=64,
        validate_every=500,
        patience=8,
        schedule="plateau",
        clip=5.0,
    )
    joint_most: int = Field(default=6, gt=0)  # ours: places of a patch that both stages judge
    joint_fit: FitSettings = FitSettings(  # ours
        optimizer="adam",
        learning_rate=1e-4,
        weight_decay=1e-4,
        steps=5000,
        batch=16,
        validate_every=250,
        patience=6,
        clip=1.0,
    )
    boxes: BoxSettings = BoxSettings()

    @model_validator(mode="after")
    def _stages_of_one_model(self) -> Config:
        if self.second_stage == "init" and self.first_stage == "train":
            raise ValueError("got second_stage=init with first_stage=train, expected both init")
        return self

    @property
    def onto(self) -> bool:
        """Whether the first stage's drawing is added to the image; a logit never is."""
        return self.redraws == "difference" and self.objective != "cross_entropy"

    @property
    def cut(self) -> float:
        """The value of the map above which a pixel is proposed: as chosen, else the paper's hint."""
        if self.threshold is not None:
            return self.threshold
        return 0.5 if self.objective == "cross_entropy" else self.beta

    def truth(
        self, lesions: Sequence[Lesion], image: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Return what `truth_pixels` says of a prepared image under these settings."""
        return truth_pixels(
            lesions if self.outlines else without_outlines(lesions),
            (image.shape[0], image.shape[1]),
            spacing_mm=self.spacing_mm,
            largest_mm=self.largest_mm,
            point_mm=self.point_mm,
            image=image if self.points == "segment" else None,
        )
