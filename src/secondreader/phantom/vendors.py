"""Imaging systems that a phantom can be seen through.

Likenesses in pitch, bits, spectrum, sharpness, noise and display; no maker's measured numbers are
claimed. What is said of detectors follows published ranges.

References
----------
Monnin et al., "A comparison of the performance of digital mammography systems", Med. Phys. 34
(2007): MTF and DQE of amorphous selenium and caesium iodide detectors. Bick and Diekmann, "Digital
mammography" (Springer, 2010): anode and filter, detector exposures of 60 to 120 µGy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["DRAWN", "VENDORS", "Display", "Film", "Vendor", "name_of", "system"]

DRAWN = "drawn"
"""The name of systems that are drawn at random; one of them is ``drawn-NUMBER``."""
_SEED = 20260410
_PITCHES = {False: (0.065, 0.07, 0.085, 0.094, 0.1), True: (0.05, 0.1, 0.2)}  # of film: True
_BITS = {False: (10, 12, 14), True: (8, 10, 12)}


@dataclass(frozen=True, slots=True)
class Display:
    """From attenuation to display values.

    ``lift`` is how much of the fall towards the skin is made up for, ``sharpen`` and ``sharpen_mm``
    an unsharp mask, ``gamma`` bends the curve (1 is straight), ``range`` the multiple of the
    breast's own spread that the window holds.
    """

    lift: float
    sharpen: float
    sharpen_mm: float
    gamma: float
    span: float


@dataclass(frozen=True, slots=True)
class Film:
    """A screen-film system and its scanner.

    Optical density is ``base + span / (1 + exp(-slope * (log10 exposure - log10 speed)))``;
    ``grain`` is the spread of density seen through an aperture of 0.05 mm; the scanner stores
    densities up to ``scanned`` linearly, black lowest.
    """

    base: float
    span: float
    slope: float
    grain: float
    scanned: float


@dataclass(frozen=True, slots=True)
class Vendor:
    """A system.

    Parameters
    ----------
    name, model
        As written into files.
    pitch_mm, bits
        Of the detector, or of the scanner.
    energy_kev
        At which its spectrum is taken.
    quanta_mm2
        Detected per mm² behind the middle of the breast.
    blur_mm
        Sigma of the detector's blur; ``tail_mm`` that of the ``tail`` share with a wide one.
    smooth_noise
        The share of quantum noise that is blurred with the signal (none in direct detectors).
    electronic
        Spread of electronic noise in quanta of 0.1 mm pixels.
    scatter
        Scattered per primary quantum behind 50 mm, after the grid.
    drawn
        The number of a system that was drawn at random.
    """

    name: str
    model: str
    pitch_mm: float
    bits: int
    energy_kev: float
    quanta_mm2: float
    blur_mm: float
    tail: float
    tail_mm: float
    smooth_noise: float
    electronic: float
    scatter: float
    display: Display
    film: Film | None = None
    drawn: int | None = None


def _film(model: str, pitch_mm: float, bits: int) -> Vendor:
    return Vendor(
        "secondreader phantom",
        model,
        pitch_mm,
        bits,
        18.5,
        quanta_mm2=2.2e5,
        blur_mm=0.055,
        tail=0.25,
        tail_mm=0.16,
        smooth_noise=0.9,
        electronic=0.0,
        scatter=0.28,
        display=Display(0.0, 0.0, 1.0, 1.0, 1.0),
        film=Film(base=0.2, span=3.6, slope=3.4, grain=0.05, scanned=3.2),
    )


VENDORS = {
    "hologic": Vendor(
        "secondreader phantom", "hologic-like", 0.07, 12, 20.5,
        quanta_mm2=2.6e5, blur_mm=0.02, tail=0.05, tail_mm=0.12, smooth_noise=0.1,
        electronic=12.0, scatter=0.22,
        display=Display(lift=0.75, sharpen=1.2, sharpen_mm=0.7, gamma=1.15, span=1.05),
    ),
    "ge": Vendor(
        "secondreader phantom", "ge-like", 0.1, 12, 19.5,
        quanta_mm2=2.6e5, blur_mm=0.055, tail=0.3, tail_mm=0.18, smooth_noise=0.8,
        electronic=10.0, scatter=0.25,
        display=Display(lift=0.85, sharpen=0.6, sharpen_mm=0.8, gamma=0.9, span=1.2),
    ),
    "siemens": Vendor(
        "secondreader phantom", "siemens-like", 0.085, 12, 20.0,
        quanta_mm2=2.4e5, blur_mm=0.025, tail=0.08, tail_mm=0.12, smooth_noise=0.15,
        electronic=14.0, scatter=0.25,
        display=Display(lift=0.6, sharpen=0.8, sharpen_mm=0.6, gamma=1.15, span=1.1),
    ),
    "film": _film("film-like 200 um", 0.2, 8),
    "film50": _film("film-like 50 um", 0.05, 12),
}  # fmt: skip


def system(name: str) -> Vendor:
    """Return a system by its name, or ``drawn-NUMBER``: one like a named one, its settings drawn anew.

    Readers that are to serve systems they have never seen are trained on as many as there are women:
    pitch, bits, spectrum, dose, sharpness, noise, scatter, film, and how a maker displays are drawn.

    Raises
    ------
    KeyError
        If there is none of that name.
    """
    word, _, number = name.partition("-")
    if word != DRAWN or not number.isdecimal():
        return VENDORS[name]
    rng = np.random.default_rng((_SEED, int(number)))
    likeness = VENDORS[str(rng.choice(list(VENDORS)))]

    def about(value: float, spread: float) -> float:
        return value * float(np.exp(rng.normal(0, spread)))

    def share(value: float, spread: float) -> float:
        return float(np.clip(value + rng.normal(0, spread), 0, 1))

    film = likeness.film is not None
    return replace(
        likeness,
        pitch_mm=float(rng.choice(_PITCHES[film])),
        bits=int(rng.choice(_BITS[film])),
        energy_kev=likeness.energy_kev + float(rng.normal(0, 0.7)),
        quanta_mm2=about(likeness.quanta_mm2, 0.25),
        blur_mm=about(likeness.blur_mm, 0.25),
        tail=share(likeness.tail, 0.05),
        tail_mm=about(likeness.tail_mm, 0.2),
        smooth_noise=share(likeness.smooth_noise, 0.15),
        electronic=about(likeness.electronic, 0.3),
        scatter=about(likeness.scatter, 0.2),
        display=Display(
            lift=share(likeness.display.lift, 0.15),
            sharpen=max(likeness.display.sharpen + float(rng.normal(0, 0.4)), 0.0),
            sharpen_mm=about(likeness.display.sharpen_mm, 0.3),
            gamma=about(likeness.display.gamma, 0.15),
            span=float(rng.uniform(0.85, 1.5)),
        ),
        film=None if likeness.film is None else _film_like(likeness.film, rng),
        drawn=int(number),
    )


def _film_like(film: Film, rng: np.random.Generator) -> Film:
    return Film(
        base=film.base * float(np.exp(rng.normal(0, 0.2))),
        span=float(rng.uniform(3.0, 3.9)),
        slope=film.slope * float(np.exp(rng.normal(0, 0.12))),
        grain=film.grain * float(np.exp(rng.normal(0, 0.3))),
        scanned=float(rng.uniform(2.8, 3.6)),
    )


def name_of(vendor: Vendor) -> str:
    """Return the name that `system` makes a system of."""
    if vendor.drawn is not None:
        return f"{DRAWN}-{vendor.drawn}"
    return next(name for name, known in VENDORS.items() if known == vendor)
