"""The same figures for parts of the data: by vendor, density, view, BI-RADS, age, lesion kind and size.

A group by what is known of an image keeps the images that have that value. A group by what a lesion
is keeps every image without a cancer, and of the cancerous those with such a lesion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from secondreader.domain import Kind, Lesion, Pathology
from secondreader.evaluation.scored import ScoredImage
from secondreader.geometry import diameter

__all__ = ["SIZES_MM", "by_image", "by_lesion", "lesion_groups", "of_kinds", "only"]

SIZES_MM = (0.25, 0.5, 1.0, 5.0, 10.0, 20.0)


def by_image(images: Sequence[ScoredImage]) -> Iterator[tuple[str, tuple[ScoredImage, ...]]]:
    """Yield ``name=value`` and the images that have it, for names with two values or more."""
    values: dict[str, dict[str, list[ScoredImage]]] = {}
    for image in images:
        for name, value in image.groups:
            values.setdefault(name, {}).setdefault(value, []).append(image)
    for name, members in sorted(values.items()):
        if len(members) > 1:
            for value, chosen in sorted(members.items()):
                yield f"{name}={value}", tuple(chosen)


def lesion_groups(lesion: Lesion, spacing_mm: tuple[float, float] | None) -> tuple[str, ...]:
    """Return the groups of a lesion: its kind, and its size where it has one in millimetres."""
    groups = () if lesion.kind is None else (f"kind={lesion.kind}",)
    if lesion.region is None or spacing_mm is None or diameter(lesion.region) == 0:
        return groups
    size = diameter(lesion.region) * (spacing_mm[0] + spacing_mm[1]) / 2
    above = [f"{mm:g}" for mm in SIZES_MM if size < mm]
    below = [f"{mm:g}" for mm in SIZES_MM if size >= mm]
    words = f"{below[-1] if below else 0}-{above[0]} mm" if above else f"over {below[-1]} mm"
    return (*groups, f"size={words}")


def by_lesion(images: Sequence[ScoredImage]) -> Iterator[tuple[str, tuple[ScoredImage, ...]]]:
    """Yield lesion groups with the images that score them: cancers of other groups become unknown."""
    has = {
        image.image_id: {
            g
            for s in image.lesions
            if s.pathology is Pathology.MALIGNANT
            for g in lesion_groups(s, image.spacing_mm)
        }
        for image in images
    }
    for group in sorted(set().union(*has.values())):
        yield (
            group,
            tuple(
                replace(i, malignant=None, lesions=())
                if i.label() and group not in has[i.image_id]
                else i
                for i in images
            ),
        )


def only(
    images: Sequence[ScoredImage], group: str, kinds: Collection[Kind]
) -> tuple[ScoredImage, ...]:
    """Return images whose lesions of some kinds that are outside a group are of unknown kind.

    Hit rules ignore lesions of unknown kind.
    """
    return tuple(
        replace(
            i,
            lesions=tuple(
                replace(s, kind=None)
                if s.kind in kinds and group not in lesion_groups(s, i.spacing_mm)
                else s
                for s in i.lesions
            ),
        )
        for i in images
    )


def of_kinds(
    images: Sequence[ScoredImage], kinds: Collection[Kind], ruled: Collection[Kind]
) -> tuple[ScoredImage, ...]:
    """Return images as a reader is to be judged that looks for lesions of some kinds alone.

    Lesions of other kinds are no cancers; an image whose only cancers they are, or of whose cancer
    nobody knows the kind, is of unknown class. To hit rules of the kinds `ruled` they are of unknown
    kind, hence ignored.
    """

    def changed(lesion: Lesion) -> Lesion:
        if lesion.kind is None or lesion.kind in kinds:
            return lesion
        return replace(lesion, kind=None if lesion.kind in ruled else lesion.kind, pathology=None)

    made = []
    for image in images:
        lesions = tuple(changed(s) for s in image.lesions)
        own = any(s.pathology is Pathology.MALIGNANT for s in lesions)
        unknown = image.label() is True and not own
        malignant = None if unknown else image.malignant
        made.append(replace(image, malignant=malignant, lesions=lesions))
    return tuple(made)
