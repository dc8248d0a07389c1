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

from dataclasses import dataclass

__all__ = ["VENDORS", "Display", "Film", "Vendor"]


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
