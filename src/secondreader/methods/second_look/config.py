"""Settings of Second Look; every default is the paper's, or says that it is ours.

References
----------
Thatte, Gunapal, Landesman, Lam, "Second Look: cancer detection in mammograms using public data sets"
(2017): it has no section numbers, the headings are named.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from secondreader.domain import Kind
from secondreader.learning.augment import AugmentSettings
from secondreader.learning.fit import FitSettings

__all__ = ["GENERATED", "NAME", "SHRUNK", "Config"]

NAME = "second_look"
GENERATED = (0, 1, 2)
"""The classes that are generated: nothing, malignant, benign. The paper does not name its three."""
SHRUNK = (256, 256)
"""Rows, cols of a whole image, shrunk ("Convnets, Patches and Transfer")."""


class Config(BaseModel):
    """Settings of the region detector, and of the patches that vote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0  # ours
    # "Mask-RCNN": COCO. imagenet starts the backbone only; a folder, a file, or none. Classifiers of
    # windows take ImageNet's for either.
    init: str = "coco"
    trains: Literal[
        "regions",  # Mask R-CNN on whole images
        "votes",  # windows in four classes; the image is called by its worst
        "shrunk",  # "Convnets, Patches and Transfer": the whole image at 256 x 256, from the
        # weights of a votes model that `init` names
        "check",  # "General Adversarial Networks": windows as votes, of few or of generated patches
    ] = "regions"
    # Ours: what counts as a region; single calcifications are too small for the network.
    kinds: tuple[Kind, ...] = (
        Kind.MASS, Kind.CALCIFICATION_CLUSTER, Kind.ARCHITECTURAL_DISTORTION, Kind.ASYMMETRY,
    )  # fmt: skip
    patients: int | None = Field(default=None, gt=0)  # ours: so many of the train part
    backbone: Literal["resnet101", "resnet50", "small"] = "resnet101"  # Matterport's; small is ours
    size: tuple[int, int] = (1024, 1024)  # ours, Matterport's default: rows, cols of an image
    # Ours: sides of anchors in pixels of that size, one a level of the pyramid. A lesion of 0.5 to
    # 1.2 % of the image ("Abstract") has sides of 70 to 110 pixels.
    anchors: tuple[int, ...] = (16, 32, 64, 128, 256)
    # Ours: scores below are not kept. An image without any scores 0 as all such do: a network that has
    # just begun is sure of nothing, and with a higher one most of its images would be alike.
    least: float = Field(default=0.001, ge=0, lt=1)
    most: int = Field(default=50, gt=0)  # ours: regions of an image, of each class
    window: int = Field(default=256, ge=32, multiple_of=32)  # "Convnets, Patches …"
    cut_from: tuple[int, int] = (1024, 1024)  # ours: rows, cols of the image windows are cut from
    # "Convnets, Patches …": varied. Fractions of a window from one to the next; ours.
    stride: float = Field(default=0.5, gt=0, le=1)
    read_stride: float = Field(default=0.5, gt=0, le=1)  # in reading, validation and figures
    covered: float = Field(default=0.5, gt=0, le=1)  # ours: of a lesion, or of a window, to be its
    # "Convnets, Patches …": 40,000 to 1.2 million, by windows and their turns and mirror images; so
    # many different ones are drawn from. None: all there are.
    patches: int | None = Field(default=None, gt=0)
    positive_share: float = Field(default=0.5, gt=0, lt=1)  # ours: with a lesion, kinds alike
    # "General Adversarial Networks": what draws patches. flow is ours, a generator of today's kind.
    # Where there is one, init names a model whose generators are taken, or none: they are trained.
    generator: Literal["none", "dcgan", "flow"] = "none"
    gan_patches: int = Field(default=4000, gt=0)  # real ones, three classes alike
    generated: int = Field(default=60000, gt=0)  # drawn, three classes alike
    generated_share: float = Field(default=1.0, ge=0, le=1)  # of a batch; the rest is real
    noise: int = Field(default=4000, gt=0)  # figure 1a
    flow_width: int = Field(default=32, ge=8, multiple_of=8)  # channels of its first level
    flow_steps: int = Field(default=16, gt=0)  # from noise to a patch
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
    # Radford et al. (2016), which the paper names: Adam, 2e-4, momentum 0.5. 1,000 epochs of a third
    # of 4,000 patches in batches of 64; validation, which only draws pictures, every 50 epochs.
    dcgan: FitSettings = FitSettings(
        learning_rate=2e-4, momentum=0.5, steps=20840, batch=64, validate_every=1042,
    )  # fmt: skip
    flow: FitSettings = FitSettings(  # ours: as many patches as the three generators see in all
        learning_rate=1e-3, schedule="cosine", steps=62520, batch=64, validate_every=3126, clip=1.0,
    )  # fmt: skip
    # "General Adversarial Networks": 25 epochs of 60,000; the rest is ours.
    check: FitSettings = FitSettings(
        learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", steps=23438, batch=64,
        validate_every=938, clip=5.0,
    )  # fmt: skip
    validation_patches: int = Field(default=2048, gt=4)  # ours

    def sized(self) -> Config:
        """Return it with the size of what it is trained on as its `size`; windows show as much."""
        size = {"regions": self.size, "shrunk": SHRUNK}.get(self.trains, self.cut_from)
        window = max(round(self.window * size[0] / self.cut_from[0] / 32), 1) * 32
        return self.model_copy(update={"size": size, "cut_from": size, "window": window})

    def step(self, *, reading: bool = True) -> int:
        """Return the pixels from window to window."""
        return max(round((self.read_stride if reading else self.stride) * self.window), 1)
