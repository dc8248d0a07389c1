"""Settings of the tissue classifier and the heatmap; every default is the paper's, or says it is ours.

References
----------
An, Shameer, Subramanian, "Mammography assessment using multi-scale deep classifiers" (2018).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from secondreader.learning.augment import AugmentSettings
from secondreader.learning.fit import FitSettings

__all__ = ["NAME", "Config"]

NAME = "tissue_heatmap"


class Config(BaseModel):
    """Settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0  # ours
    # The paper says nothing of other weights. A model folder: with trains=tissue its classifier is
    # trained on; else it is taken as it is, for section 3 trains the heatmap after it.
    init: str = "none"
    trains: Literal[
        "heatmap",  # tissue classifier, image score from its answers, heatmap regression with them
        "baseline",  # the same, the heatmap without them: table 3's first row
        "tissue",  # the tissue classifier alone, table 2: an image scores as its worst place
    ] = "heatmap"
    # Section 3: half of DDSM's 42 to 50 µm; ×0.33 is 0.14 mm, ×0.25 is 0.19 mm.
    spacing_mm: float = Field(default=0.09, gt=0, le=0.4)
    coarsest_mm: float = Field(default=0.4, gt=0)  # ours: no finer is made of coarser than this
    # Section 3: 2048 pixels of 0.045 mm, square, with the nipple on its border. Ours, None: all of
    # the breast, so that nothing lies outside.
    canvas_mm: float | None = Field(default=92.0, gt=0)
    # Ours, the paper does not say: 192 pixels of 0.09 mm are 17 mm, as wide as a mass in the middle.
    # Other magnifications take as many millimetres: 128 pixels of 0.14 mm, 96 of 0.19.
    patch: int = Field(default=192, ge=32, multiple_of=32)
    # Ours: pixels round a patch that its classifier sees with it in training. Read in one pass a patch sees
    # what lies round it; trained on crops that end at the patch it sees zeros there.
    surround: int = Field(default=32, ge=0, multiple_of=32)
    stride: int = Field(default=64, ge=32, multiple_of=32)  # section 3, "Aggregated local results"
    grid: int = Field(default=32, gt=0)  # section 3: pixels from negative to negative
    # Ours, the paper says "very large": in mm, so that all magnifications have the same findings.
    largest_mm: float = Field(default=25.0, gt=0)
    # Ours: VGG13's convolutions, half as wide; five, as patches are read in cells of 32 pixels.
    widths: tuple[int, ...] = Field(default=(32, 64, 128, 256, 256), min_length=5, max_length=5)
    positive_share: float = Field(default=0.5, gt=0, lt=1)  # ours: against 1 : 100
    small: Literal[64, 128, 256, 512] = 256  # section 3: pixels of the whole image
    target_sigma: float = Field(
        default=1.0, gt=0
    )  # ours: places; annotations are blurred, section 4
    views: Literal["cc", "both"] = "cc"  # section 4, table 1; both is ours
    heat_width: int = Field(default=32, gt=0)  # ours
    gate: float = Field(default=0.2, gt=0, lt=1)  # ours: of the heatmap's highest place
    marked: float = Field(default=0.5, gt=0, lt=1)  # section 3.2: a positive tile
    most: int = Field(default=10, gt=0)  # ours: detections of an image
    most_tiles: int = Field(default=120, gt=0)  # ours: of an image, the surest; bounds the time
    # Section 4 names it as the next step: a place is judged with the same place in the other view.
    two_views: bool = False
    # Ours: both views show a place as far behind the nipple as it lies; they agree to so much.
    depth_mm: float = Field(default=8.0, gt=0)
    pair_width: int = Field(default=32, gt=0)  # ours
    # Section 4: brightness, rotation, offset, flips, cropping; the numbers are ours.
    augment: AugmentSettings = AugmentSettings(rotation=20, zoom=0.1, shift=0.05, gain=0.1)
    # Ours: pixels that a positive may lie off the middle, half the stride: so far off it may be read.
    offset: int = Field(default=32, ge=0)
    # Ours: of whole images. Rows may be mirrored in CC only: preparation brings every chest wall to one
    # side, and in MLO the muscle lies above.
    heat_augment: AugmentSettings = AugmentSettings(
        turns=False, rotation=5, zoom=0.05, shift=0.05, gain=0.1
    )
    tissue: FitSettings = FitSettings(  # ours
        learning_rate=5e-4, weight_decay=1e-4, schedule="cosine", steps=20000, batch=64,
        validate_every=1000, clip=5.0,
    )  # fmt: skip
    image: FitSettings = FitSettings(  # ours
        learning_rate=1e-2, weight_decay=1e-3, steps=400, batch=64, validate_every=50, patience=4
    )
    pairs: FitSettings = FitSettings(  # ours
        learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", steps=3000, batch=64,
        validate_every=300, clip=5.0,
    )  # fmt: skip
    # Ours; decay apart from the gradient, which near a map of zeros is no larger than Adam's own.
    heatmap: FitSettings = FitSettings(
        optimizer="adamw", learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", steps=6000, batch=16,
        validate_every=300, clip=5.0,
    )  # fmt: skip
    validation_patches: int = Field(default=512, gt=4)  # ours

    @property
    def seen(self) -> int:
        """Pixels of a patch and of what is seen round it."""
        return self.patch + 2 * self.surround
