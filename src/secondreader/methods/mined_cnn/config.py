"""Settings of the mined networks and of the cascade they are compared with.

Only the paper's abstract is to be had: two CNNs, hard negatives, positions of microcalcifications
against all others. Nearly every default is ours, chosen and said so.

References
----------
Mordang et al., "Automatic microcalcification detection in multi-vendor mammography using
convolutional neural networks" (IWDM 2016). Bria, Karssemeijer, Tortorella, "Learning from unbalanced
data: a cascade-based approach for detecting clustered microcalcifications" (MIA 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from secondreader.domain import Lesion
from secondreader.learning.augment import AugmentSettings
from secondreader.learning.calcifications import truth_pixels
from secondreader.learning.fit import FitSettings

__all__ = ["NAME", "CascadeSettings", "Config"]

NAME = "mined_cnn"


class CascadeSettings(BaseModel):
    """Settings of the cascade of boosted Haar features (Bria et al. 2014)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(default=12, ge=6, le=24)  # ours: 1.2 mm
    features: int = Field(default=1000, gt=0)  # ours: drawn from the window's for each node
    nodes: int = Field(default=10, gt=0)  # ours: at most; validation says how many are read
    stumps: int = Field(default=300, gt=0)  # ours: of a node at most
    kept: float = Field(default=0.99, gt=0, le=1)  # of positives in each node, as the issue says
    thrown: float = Field(default=0.5, gt=0, lt=1)  # of negatives in each node, likewise
    negatives: int = Field(default=200_000, gt=0)  # ours: of a node
    # Ours: that a node's negatives come from, at most; those of the first node come from all.
    images: int = Field(default=400, gt=0)
    # Ours: of each calcification, as it is and then moved, turned and mirrored, as the networks see it.
    copies: int = Field(default=4, gt=0)
    loss: Literal["ranking", "exponential"] = "ranking"  # Bria 2014; exponential is AdaBoost's


class Config(BaseModel):
    """Settings; all are ours but where a comment says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(default=0, ge=0)
    init: str = "none"
    detector: Literal[
        "cnn",  # two networks, the paper's
        "first",  # the first network alone, on random negatives
        "cascade",  # the state of the art it was compared with
    ] = "cnn"
    spacing_mm: float = Field(default=0.1, ge=0.02, le=0.25)
    coarsest_mm: float = Field(default=0.25, gt=0)
    # Noise of the same spread at every grey level, by a curve estimated from the image itself.
    stabilise: bool = True
    background_mm: float = Field(
        default=2.0, ge=0.2, le=50
    )  # what is smoother than this is taken off
    widths: tuple[PositiveInt, PositiveInt] = (
        8,
        24,
    )  # channels of the first and of the second network
    largest_mm: float = Field(default=1.0, gt=0, le=10)  # larger calcifications are left out
    point_mm: float = Field(
        default=0.5, gt=0, le=10
    )  # the disc that a truth without outline becomes
    away_mm: float = Field(
        default=1.0, gt=0, le=20
    )  # a negative lies so far from any calcification
    # Only images of makers whose name holds one of these are learnt from; of all if there is none.
    makers: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    # Other positions that are learnt from, and that a test looks at, evenly drawn; all if None. The
    # abstract has 27 and 18 million.
    negatives: int | None = Field(default=None, gt=0)
    tested: int | None = Field(default=None, gt=0)
    # Of an image: half are the hardest, half are drawn from all that the first network lets through.
    mined: int = Field(default=2000, gt=1)
    mined_apart_mm: float = Field(default=0.0, ge=0, le=20)  # of the hardest ones; 0: any pixels
    mined_images: int = Field(default=2000, gt=0)  # that are mined, at most
    rounds: int = Field(default=1, gt=0)  # the abstract has two networks: one round of mining
    # What the second network learns from: else it cannot be told what mining does from what more
    # training does.
    second_learns: Literal["mined", "random"] = "mined"
    positive_share: float = Field(default=0.5, gt=0, lt=1)
    # Of positives the first network must let through; of 0.99 and 0.95 chosen on validation images.
    pruned: float = Field(default=0.95, gt=0, lt=1)
    threshold: float | None = Field(
        default=None, ge=0, le=1
    )  # of the first network; None: chosen on validation images
    apart_mm: float = Field(default=0.4, gt=0, le=20)  # detections closer are one
    least: float = Field(default=0.125, ge=0, lt=1)  # scores below are not kept
    most: int = Field(default=300, gt=0)  # detections of a view
    skin_mm: float = Field(default=3.0, ge=0)
    cluster_least: int = Field(default=3, gt=1)  # as spot_filter has it
    cluster_mm2: float = Field(default=100.0, gt=0)
    augment: AugmentSettings = AugmentSettings(gain=0.1)
    first: FitSettings = FitSettings(
        learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", steps=4000, batch=256,
        validate_every=500, clip=5.0,
    )  # fmt: skip
    second: FitSettings = FitSettings(
        learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", steps=8000, batch=256,
        validate_every=500, clip=5.0,
    )  # fmt: skip
    cascade: CascadeSettings = CascadeSettings()
    # That checkpoints are chosen by; with fewer, little is seen of the rarest false positives.
    validation_negatives: int = Field(default=20_000, gt=100)

    def truth(
        self, lesions: Sequence[Lesion], shape: tuple[int, int]
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Return what `truth_pixels` says under these settings."""
        return truth_pixels(
            lesions,
            shape,
            spacing_mm=self.spacing_mm,
            largest_mm=self.largest_mm,
            point_mm=self.point_mm,
        )
