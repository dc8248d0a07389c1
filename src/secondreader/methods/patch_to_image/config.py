"""Settings of patches to image; every default is the paper's, or says that it is ours.

References
----------
Shen et al., "Deep learning to improve breast cancer early detection on screening mammography"
(2019): section and table numbers below are this paper's.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from secondreader.domain import SecondReaderError
from secondreader.learning.augment import AugmentSettings
from secondreader.learning.fit import FitSettings
from secondreader.methods.patch_to_image.architecture import STRIDE, parse

__all__ = ["NAME", "Config"]

NAME = "patch_to_image"


class Config(BaseModel):
    """Settings of the patch classifier and of the whole-image classifier made of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0  # ours
    # Of the patch classifier: imagenet as in section 3.1.2, none (its randomly initialised rows), or
    # a model folder, which `trains` may take whole.
    init: str = "imagenet"
    trains: Literal[
        "image",  # patches, then the whole image, sections 3.1.3 and 3.1.4
        "patch",  # the patch classifier alone; an image scores as its most malignant place
        "top",  # the whole image on the patch classifier of the model folder `init`
        "tune",  # the whole network of `init` on image labels only, section 3.2
        "forest",  # regions of the heatmap of `init` and a random forest, section 3.1.4, two-step
    ] = "image"
    architecture: str = "resnet50 + 256x1 + 128x1"  # table 2's best
    size: tuple[int, int] = (1152, 896)  # section 3.1.1: rows, cols that an image is brought to
    # Ours: whether a breast of fewer pixels is enlarged to that; at native resolution it is not.
    enlarge: bool = True
    patch: int = Field(default=224, ge=32, multiple_of=32)  # section 3.1.1
    patch_set: Literal["s10", "s1"] = "s10"  # section 3.1.1
    overlap: float = Field(default=0.9, gt=0, le=1)  # section 3.1.1
    # Ours, from the discussion: a patch is drawn so many times more often, the surer the classifier
    # is of another class; from the last stage on, of random weights in the second half.
    hard: float = Field(default=0.0, ge=0)
    # Ours: what an image scores as: "malignant" as in the paper, "abnormal" for any lesion on
    # record.
    scores: Literal["malignant", "abnormal"] = "malignant"
    saving: bool = False  # ours: gradient checkpointing
    # Ours: pixels each way of the overlapping tiles that an image is read in, for images that memory
    # does not hold at once; the features are the same.
    tile: int | None = Field(default=None, ge=1024, multiple_of=32)
    patients: int | None = Field(default=None, gt=0)  # table 4: so many patients of the train part
    # Section 3.1.2: flips, ±25°, shear ±0.2 rad, zoom 0.8…1.2, ±20 of 255 grey values.
    augment: AugmentSettings = AugmentSettings(
        turns=False, rotation=25.0, shear=0.2, zoom=0.2, shift=20 / 255
    )
    # Section 3.1.2, three stages: the last layer; 46 layers of ResNet50 or 11 of VGG16; all. Steps
    # are for S10 of CBIS-DDSM, about 1,900 images, 1,200 steps an epoch: 3, 10 and 37 epochs.
    last: FitSettings = FitSettings(learning_rate=1e-3, steps=3600, batch=32, validate_every=1200)
    upper: FitSettings = FitSettings(learning_rate=1e-4, steps=12000, batch=32, validate_every=1200)
    every: FitSettings = FitSettings(learning_rate=1e-5, steps=44400, batch=32, validate_every=1200)
    # The constant 1e-3 of randomly initialised networks: `init` none.
    scratch: FitSettings = FitSettings(
        learning_rate=1e-3, steps=60000, batch=32, validate_every=1200
    )
    # Section 3.1.2, two stages on whole images, batch 2: 30 and 20 epochs of 950 steps, then up to
    # 200 more while they help.
    top: FitSettings = FitSettings(
        learning_rate=1e-4, weight_decay=1e-3, steps=28500, batch=2, validate_every=950
    )
    whole: FitSettings = FitSettings(
        learning_rate=1e-5,
        weight_decay=1e-2,
        steps=209000,
        batch=2,
        validate_every=950,
        patience=20,
    )
    # Section 3.2: 200 epochs of 140 steps on INbreast.
    tune: FitSettings = FitSettings(
        learning_rate=1e-5, weight_decay=1e-2, steps=28000, batch=2, validate_every=140
    )
    # Section 3.1.4, two-step.
    cutoffs: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)
    trees: int = Field(default=500, gt=0)
    depth: int = Field(default=9, gt=0)
    least_split: int = Field(default=300, gt=1)
    validation_patches: int = Field(default=640, gt=4)  # ours
    # Ours: what is shown as heatmap, and detections are made of: where the whole-image network finds
    # its malignancy (class activation map), or the patch classifier's malignant classes, which is all
    # that patches, forests and fully connected layers have. Without a heatmap in the network the layer
    # that tells classes stays what it was for patches, while the features under it go on learning.
    shows: Literal["patches", "activation"] = "activation"
    marked: float = Field(default=0.5, gt=0, lt=1)  # ours: a place of the heatmap that is marked

    @field_validator("size")
    @classmethod
    def _whole_places(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < STRIDE or any(side % STRIDE for side in size):
            raise ValueError(f"expected two multiples of {STRIDE}")
        return size

    @field_validator("architecture")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse(text)
        return text

    @model_validator(mode="after")
    def _poolable(self) -> Config:
        pool, places = parse(self.architecture).pool, [side // STRIDE for side in self.size]
        if pool > min(places):
            raise SecondReaderError(
                f"size: got {list(self.size)}, a heatmap of {places[0]} x {places[1]} places, expected "
                f"at least {pool} each way for {self.architecture!r}"
            )
        return self
