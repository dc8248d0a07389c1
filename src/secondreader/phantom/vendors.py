"""Imaging systems that a phantom can be seen through."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VENDORS", "Vendor"]


@dataclass(frozen=True, slots=True)
class Vendor:
    """A system: its pixel pitch, bits, blur (sigma of a Gaussian) and noise.

    ``quanta`` is the number of quanta in a pixel of 0.1 mm behind fat; noise follows from it.
    """

    name: str
    model: str
    pitch_mm: float
    bits: int
    blur_mm: float
    quanta: float
    film: bool = False


VENDORS = {
    "hologic": Vendor("secondreader phantom", "hologic-like", 0.07, 12, 0.05, 45000),
    "ge": Vendor("secondreader phantom", "ge-like", 0.1, 12, 0.07, 45000),
    "siemens": Vendor("secondreader phantom", "siemens-like", 0.085, 12, 0.06, 45000),
    "film": Vendor("secondreader phantom", "film-like", 0.2, 8, 0.08, 30000, film=True),
}
"""Likenesses in pitch and bits; no maker's numbers beyond those are claimed."""
