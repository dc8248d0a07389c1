"""Settings of Second Look; every default is the paper's, or says that it is ours.

References
----------
Thatte, Gunapal, Landesman, Lam, "Second Look: cancer detection in mammograms using public data sets"
(2017): it has no section numbers, the headings are named.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from secondreader.learning.augment import AugmentSettings
from secondreader.learning.fit import FitSettings

__all__ = ["NAME", "Config"]

NAME = "second_look"


class Config(BaseModel):
    """Settings of the region detector, and of the patches that vote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0  # ours
    # "Mask-RCNN": COCO. imagenet starts the backbone only; a folder, a file, or none.
    init: str = "coco"
    trains: Literal[
        "regions",  # Mask R-CNN on whole images
        "votes",  # windows in four classes; the image is called by its worst
        "shrunk",  # "Convnets, Patches and Transfer": the whole image at 256 x 256, from the
        # weights of a votes model that `init` names
    ] = "regions"
    backbone: Literal["resnet101", "resnet50", "small"] = "resnet101"  # Matterport's; small is ours
    size: tuple[int, int] = (1024, 1024)  # ours, Matterport's default: rows, cols of an image
    # Ours: sides of anchors in pixels of that size, one a level of the pyramid. A lesion of 0.5 to
    # 1.2 % of the image ("Abstract") has sides of 70 to 110 pixels.
    anchors: tuple[int, ...] = (16, 32, 64, 128, 256)
    least: float = Field(default=0.02, ge=0, lt=1)  # ours: scores below are not kept
    most: int = Field(default=20, gt=0)  # ours: regions of an image
    window: int = Field(default=256, ge=32, multiple_of=32)  # "Convnets, Patches …"
    stride: int = Field(default=128, gt=0)  # ours: pixels from window to window, in reading too
    covered: float = Field(default=0.5, gt=0, le=1)  # ours: of a lesion, or of a window, to be its
    # "Convnets, Patches …": 40,000 to 1.2 million, by windows and their turns and mirror images; so
    # many different ones are drawn from. None: all there are.
    patches: int | None = Field(default=None, gt=0)
    positive_share: float = Field(default=0.5, gt=0, lt=1)  # ours: windows with a lesion in a batch
    augment: AugmentSettings = AugmentSettings(shift=0.02, gain=0.1)  # ours
    # "Mask-RCNN": batches of 2, learning rate 0.002, later 0.0002; the steps are ours.
    regions: FitSettings = FitSettings(
        optimizer="sgd", learning_rate=0.002, weight_decay=1e-4, schedule="plateau", steps=40000,
        batch=2, validate_every=1000, patience=12, clip=5.0,
    )  # fmt: skip
    votes: FitSettings = FitSettings(  # ours, the paper is silent
        learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", steps=20000, batch=64,
        validate_every=1000, clip=5.0,
    )  # fmt: skip
    shrunk: FitSettings = FitSettings(  # ours
        learning_rate=1e-4, weight_decay=1e-4, schedule="cosine", steps=2000, batch=32,
        validate_every=100, clip=5.0,
    )  # fmt: skip
    validation_patches: int = Field(default=640, gt=4)  # ours
