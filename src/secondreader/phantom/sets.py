"""Named sets of phantom women: the same from their name, wherever and whenever they are made.

A set says how many women each part has, what they have, and through which system they are seen. The
number in its name is that of how images come out: whatever changes it changes the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from secondreader.domain import Kind, Part, SecondReaderError
from secondreader.phantom.anatomy import ANATOMIES
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import exam_truth
from secondreader.phantom.vendors import DRAWN, VENDORS

__all__ = ["SETS", "NamedSet", "Woman", "named", "women"]

_THIRDS = (1 / 3, 1 / 3, 1 / 3)  # normal, benign, malignant
_SCREENED = (
    0.909,
    0.085,
    0.006,
)  # of 1,000 women 6 have cancer, and 85 something benign to look at


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set.

    Parameters
    ----------
    about
        What it is for.
    seed
        Of its women.
    parts
        Part → number of women.
    shares
        Of normal women, women with benign lesions only, and women with a malignant one. Thirds are
        dealt in turn, so that every part has as many of each.
    vendors
        The systems that its women are dealt to; those asked for by a suffix replace them. ``drawn`` is
        a system of her own for each.
    tested
        Those of the test part, where they are others.
    first
        Part → of how many women of the parent set these are the first; parts begin where the
        parent's do.
    calcifications
        Part → how many microcalcifications its images must hold: women are drawn until they do.
    anatomy
        Version of their bodies, see `anatomy.woman`.
    """

    about: str
    seed: int
    parts: tuple[tuple[Part, int], ...]
    shares: tuple[float, float, float] = _THIRDS
    vendors: tuple[str, ...] = ("hologic",)
    tested: tuple[str, ...] = ()
    first: tuple[tuple[Part, int], ...] = ()
    calcifications: tuple[tuple[Part, int], ...] = ()
    anatomy: int = 1


@dataclass(frozen=True, slots=True)
class Woman:
    """One woman of a set: her number, part, contents and system."""

    index: int
    part: Part
    contents: Contents
    vendor: str


_BENCH = (
    (Part.TRAIN, 200),
    (Part.VALIDATION, 100),
    (Part.CALIBRATION, 100),
    (Part.TEST, 300),
)
SETS = {
    "tiny": NamedSet(
        "a few women, made in seconds: for tests and for trying",
        20260401,
        ((Part.TRAIN, 9), (Part.VALIDATION, 6), (Part.CALIBRATION, 6), (Part.TEST, 6)),
        vendors=("film",),
    ),
    "bench-1": NamedSet(
        "the benchmark: a third each malignant, benign only, normal", 20260402, _BENCH
    ),
    "bench-1-small": NamedSet(
        "the first women of bench-1, for tables made on a processor",
        20260402,
        ((Part.TRAIN, 100), (Part.VALIDATION, 40), (Part.CALIBRATION, 40), (Part.TEST, 80)),
        first=_BENCH,
    ),
    **{
        f"default-{anatomy}": NamedSet(
            "what the reader in the box learns from: a system of her own for each woman, drawn at "
            "random; the test part through the five named ones; the number is that of the anatomy",
            20260405,
            ((Part.TRAIN, 160), (Part.VALIDATION, 60), (Part.CALIBRATION, 90), (Part.TEST, 90)),
            vendors=("drawn",),
            tested=("hologic", "ge", "siemens", "film", "film50"),
            anatomy=anatomy,
        )
        for anatomy in range(1, ANATOMIES + 1)
    },
    "mordang-1": NamedSet(
        "women until there are 11,711 training and 5,298 test calcifications, of three vendors",
        20260403,
        # Parts begin one after another: what was put last leaves the women of the others as they were.
        (
            (Part.TRAIN, 100_000),
            (Part.TEST, 100_000),
            (Part.VALIDATION, 60),
            (Part.CALIBRATION, 60),
        ),
        shares=(0.0, 0.4, 0.6),
        vendors=("hologic", "ge", "siemens"),
        calcifications=((Part.TRAIN, 11_711), (Part.TEST, 5_298)),
    ),
    "screening-1": NamedSet(
        "women as screening sees them, about 6 cancers among 1,000",
        20260404,
        (
            (Part.TRAIN, 4000),
            (Part.VALIDATION, 1000),
            (Part.CALIBRATION, 1000),
            (Part.TEST, 4000),
        ),
        shares=_SCREENED,
        vendors=("hologic", "ge", "siemens"),
    ),
}


def named(text: str) -> tuple[str, NamedSet, str | None]:
    """Return the name, the set and the system or systems of ``NAME[:VENDOR[+VENDOR...]]``.

    Raises
    ------
    SecondReaderError
        If there is no such set or system.
    """
    name, colon, vendor = text.partition(":")
    if name not in SETS:
        raise SecondReaderError(
            f"phantom: got {text!r}, expected a folder or one of {', '.join(SETS)}, "
            f"each with :{', :'.join([*VENDORS, DRAWN])} if wanted"
        )
    systems = vendor.split("+") if colon else []
    unknown = [system for system in systems if system not in (*VENDORS, DRAWN)]
    if unknown or len(set(systems)) < len(systems):
        raise SecondReaderError(
            f"phantom: got system {vendor!r}, expected one of {', '.join([*VENDORS, DRAWN])}, or several of "
            "them parted by +"
        )
    return name, SETS[name], vendor or None


def women(chosen: NamedSet, vendor: str | None = None) -> Iterator[Woman]:
    """Yield the women of a set, in order.

    Parameters
    ----------
    chosen
        The set.
    vendor
        The system that they are all seen through; the set's own if ``None``. Several, parted by
        ``+``, are dealt to three women at a time, so that each sees as many of each sort.
    """
    asked = vendor.split("+") if vendor is not None else []
    start = dict(_starts(chosen.first or chosen.parts))
    least = dict(chosen.calcifications)
    for part, count in chosen.parts:
        held = 0
        for number in range(count):
            index = start[part] + number
            contents = _contents(chosen, index, number)
            if asked:
                system = asked[number // len(_THIRDS) % len(asked)]
            elif part is Part.TEST and chosen.tested:
                system = chosen.tested[number // len(_THIRDS) % len(chosen.tested)]
            else:
                system = chosen.vendors[index % len(chosen.vendors)]
            yield Woman(index, part, contents, f"{DRAWN}-{index}" if system == DRAWN else system)
            if part in least:
                held += _calcifications(chosen.seed, index, system, contents)
                if held >= least[part]:
                    break


def _starts(parts: tuple[tuple[Part, int], ...]) -> Iterator[tuple[Part, int]]:
    start = 0
    for part, count in parts:
        yield part, start
        start += count


def _contents(chosen: NamedSet, index: int, number: int) -> Contents:
    order = list(Contents)
    if chosen.shares == _THIRDS:
        return order[number % 3]
    rng = np.random.default_rng((chosen.seed, index, 3))
    return order[int(rng.choice(3, p=np.array(chosen.shares) / sum(chosen.shares)))]


def _calcifications(seed: int, index: int, vendor: str, contents: Contents) -> int:
    """Count the calcifications of a woman's clusters, each as often as it is seen."""
    made = exam_truth(seed, index, vendor=vendor, contents=contents)
    return sum(
        t.kind is Kind.MICROCALCIFICATION and t.part_of is not None
        for image in made.images
        for t in image.truth
    )
