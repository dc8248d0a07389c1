"""A woman's four views through one system, with the truth of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from secondreader import geometry
from secondreader.domain import Intent, Laterality, Pathology, SecondReaderError, View
from secondreader.phantom.acquisition import acquire
from secondreader.phantom.anatomy import ANATOMIES, Breast, Woman, woman
from secondreader.phantom.contents import Contents, populate, textured, visible
from secondreader.phantom.lesions import Layers, Truth, layers, mirrored
from secondreader.phantom.tissue import field, tissue
from secondreader.phantom.vendors import VENDORS, Vendor, system

__all__ = ["VIEWS", "PhantomExam", "PhantomImage", "exam", "exam_image", "exam_truth"]

VIEWS = (
    (Laterality.R, View.CC),
    (Laterality.L, View.CC),
    (Laterality.R, View.MLO),
    (Laterality.L, View.MLO),
)
"""The images of an exam, in order."""


@dataclass(frozen=True, eq=False, slots=True)
class PhantomImage:
    """One view: stored values (rows, cols) uint16, and its truth in pixels of this image.

    ``stored`` is larger = denser for For Presentation and larger = more quanta for For Processing;
    ``None`` where only the truth was asked for.
    """

    laterality: Laterality
    view: View
    shape: tuple[int, int]
    stored: np.ndarray | None
    truth: tuple[Truth, ...]
    malignant: bool


@dataclass(frozen=True, eq=False, slots=True)
class PhantomExam:
    """One woman; the same for the same seed, index and contents, whatever else was made."""

    seed: int
    index: int
    contents: Contents
    vendor: Vendor
    intent: Intent
    age: int
    density: str
    thickness_mm: float
    images: tuple[PhantomImage, ...]
    anatomy: int = 1


def exam(
    seed: int,
    index: int,
    *,
    vendor: str = "hologic",
    contents: Contents | None = None,
    intent: Intent = Intent.FOR_PRESENTATION,
    conspicuity_scale: float = 1.0,
    anatomy: int = 1,
) -> PhantomExam:
    """Make a four-view exam.

    Parameters
    ----------
    seed, index
        Woman number ``index`` of the set that ``seed`` names.
    vendor
        One of `VENDORS`.
    contents
        What she has; ``None`` draws it, a third each.
    intent
        Film has For Presentation only.
    conspicuity_scale
        Makes every lesion stand out more or less; see `populate`.
    anatomy
        Version of the body, 1 to `anatomy.ANATOMIES`.

    Raises
    ------
    SecondReaderError
        For a vendor or an anatomy that is none, negative numbers, or film For Processing.
    """
    made = exam_truth(
        seed,
        index,
        vendor=vendor,
        contents=contents,
        intent=intent,
        conspicuity_scale=conspicuity_scale,
        anatomy=anatomy,
    )
    who = _woman(seed, index, made.contents, conspicuity_scale, anatomy)
    images = tuple(_with_pixels(image, who, made) for image in made.images)
    return replace(made, images=images)


def exam_truth(
    seed: int,
    index: int,
    *,
    vendor: str = "hologic",
    contents: Contents | None = None,
    intent: Intent = Intent.FOR_PRESENTATION,
    conspicuity_scale: float = 1.0,
    anatomy: int = 1,
) -> PhantomExam:
    """Make the truth of an exam without its pixels, in a fraction of the time.

    Parameters and errors are those of `exam`.
    """
    try:
        seen_through = system(vendor)
    except KeyError:
        raise SecondReaderError(
            f"--vendor: got {vendor!r}, expected one of {', '.join(VENDORS)}"
        ) from None
    if not 1 <= anatomy <= ANATOMIES:
        raise SecondReaderError(f"anatomy: got {anatomy}, expected 1 to {ANATOMIES}")
    if seed < 0 or index < 0:
        raise SecondReaderError(f"--seed: got {min(seed, index)}, expected 0 or more")
    if seen_through.film is not None and intent is Intent.FOR_PROCESSING:
        raise SecondReaderError(
            f"--intent: got {intent} for {vendor}, expected a digital vendor: film has none"
        )
    if contents is None:
        contents = list(Contents)[int(np.random.default_rng((seed, index, 2)).integers(3))]
    who = _woman(seed, index, contents, conspicuity_scale, anatomy)
    images = tuple(_truth(_breast(who, side), view, seen_through) for side, view in VIEWS)
    return PhantomExam(
        seed,
        index,
        contents,
        seen_through,
        intent,
        who.age,
        who.density,
        who.breasts[0].thickness_mm,
        images,
        anatomy,
    )


def exam_image(
    seed: int,
    index: int,
    laterality: Laterality,
    view: View,
    *,
    vendor: str,
    contents: Contents,
    intent: Intent = Intent.FOR_PRESENTATION,
    anatomy: int = 1,
) -> np.ndarray:
    """Make the stored values of one image of an exam, as `exam` makes them."""
    breast = _breast(_woman(seed, index, contents, 1.0, anatomy), laterality)
    return _stored(breast, view, system(vendor), intent)


def _woman(
    seed: int, index: int, contents: Contents, conspicuity_scale: float, anatomy: int
) -> Woman:
    body = woman(np.random.default_rng((seed, index, 0)), anatomy)
    # Lesions have their own stream: the same woman, with and without.
    who = populate(np.random.default_rng((seed, index, 1)), body, contents, conspicuity_scale)
    return textured(who) if anatomy >= 4 else who


def _breast(who: Woman, side: Laterality) -> Breast:
    return who.breasts[0] if side is Laterality.R else who.breasts[1]


def _layers(breast: Breast, view: View, vendor: Vendor) -> tuple[Layers, ...]:
    seen = field(breast, view)
    return tuple(
        layers(lesion, view, vendor.pitch_mm, seen.pixel(lesion.place_mm, view, vendor.pitch_mm))
        for lesion in breast.abnormalities
    )


def _truth(breast: Breast, view: View, vendor: Vendor) -> PhantomImage:
    shape = field(breast, view).shape(vendor.pitch_mm)
    truth: list[Truth] = []
    for lesion, layer in zip(breast.abnormalities, _layers(breast, view, vendor), strict=True):
        seen = visible(breast, lesion, view, float(layer.soft_mm.max(initial=0)))
        truth += [replace(part, visible=seen) for part in layer.truth if _in_field(part, shape)]
    if breast.laterality is Laterality.R:
        truth = [mirrored(part, shape) for part in truth]
    malignant = any(part.pathology is Pathology.MALIGNANT for part in truth)
    return PhantomImage(breast.laterality, view, shape, None, tuple(truth), malignant)


def _in_field(part: Truth, shape: tuple[int, int]) -> bool:
    row, col = geometry.centre(part.region)
    return 0 <= row <= shape[0] - 1 and 0 <= col <= shape[1] - 1


def _with_pixels(image: PhantomImage, who: Woman, made: PhantomExam) -> PhantomImage:
    breast = _breast(who, image.laterality)
    return replace(image, stored=_stored(breast, image.view, made.vendor, made.intent))


def _stored(breast: Breast, view: View, vendor: Vendor, intent: Intent) -> np.ndarray:
    noise = np.random.default_rng((breast.seed, VIEWS.index((breast.laterality, view)), 7))
    stored = acquire(tissue(breast, view), vendor, _layers(breast, view, vendor), noise, intent)
    hung = stored[:, ::-1] if breast.laterality is Laterality.R else stored
    return np.ascontiguousarray(hung)
