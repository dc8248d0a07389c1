"""How much each material of a breast attenuates X-rays.

Linear attenuation follows from elemental mass attenuation coefficients, mass fractions and density;
between tabulated energies both axes are logarithmic. A system is taken at one effective energy.

References
----------
Hubbell and Seltzer, NISTIR 5632 (1995), tables of X-ray mass attenuation coefficients: elements.
Hammerstein et al., "Absorbed radiation dose in mammography", Radiology 130 (1979): adipose and
glandular tissue, skin. ICRU Report 44 (1989): skeletal muscle. Johns and Yaffe, "X-ray
characterisation of normal and neoplastic breast tissues", Phys. Med. Biol. 32 (1987): carcinoma
attenuates about 5 % more than glandular tissue. Warren et al., "Effect of image quality on
calcification detection in digital mammography", Med. Phys. 39 (2012): hydroxyapatite and oxalate as
the two ends of what calcifications are made of.
"""

from __future__ import annotations

import math
from enum import StrEnum

__all__ = ["CARCINOMA", "Material", "attenuation"]

CARCINOMA = 1.05
"""Attenuation of a carcinoma, in that of glandular tissue (Johns and Yaffe 1987)."""


class Material(StrEnum):
    """What a breast is made of."""

    ADIPOSE = "adipose"
    GLANDULAR = "glandular"
    SKIN = "skin"
    MUSCLE = "muscle"
    HYDROXYAPATITE = "hydroxyapatite"
    OXALATE = "oxalate"


_ENERGIES_KEV = (15.0, 20.0, 30.0)
_ELEMENTS_CM2_G = {
    "H": (0.3764, 0.3695, 0.3570),
    "C": (0.8073, 0.4420, 0.2562),
    "N": (1.236, 0.6178, 0.3066),
    "O": (1.836, 0.8651, 0.3779),
    "P": (12.39, 5.352, 1.700),
    "Ca": (29.79, 13.06, 4.080),
}
# Density in g/cm³, and mass fractions; what is left to 1 (ash) is taken as the rest is.
_COMPOSITIONS: dict[Material, tuple[float, dict[str, float]]] = {
    Material.ADIPOSE: (0.93, {"H": 0.112, "C": 0.619, "N": 0.017, "O": 0.251, "P": 0.001}),
    Material.GLANDULAR: (1.04, {"H": 0.102, "C": 0.184, "N": 0.032, "O": 0.677, "P": 0.005}),
    Material.SKIN: (1.09, {"H": 0.098, "C": 0.178, "N": 0.050, "O": 0.667, "P": 0.007}),
    Material.MUSCLE: (1.05, {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.714, "P": 0.007}),
    Material.HYDROXYAPATITE: (3.16, {"H": 0.002, "O": 0.414, "P": 0.185, "Ca": 0.399}),
    Material.OXALATE: (2.12, {"H": 0.014, "C": 0.164, "O": 0.548, "Ca": 0.274}),
}


def attenuation(material: Material, energy_kev: float) -> float:
    """Return the linear attenuation of a material in 1/mm.

    Raises
    ------
    ValueError
        Outside 15 to 30 keV, the range of mammography that is tabulated here.
    """
    if not _ENERGIES_KEV[0] <= energy_kev <= _ENERGIES_KEV[-1]:
        raise ValueError(f"energy_kev: got {energy_kev:g}, expected 15 to 30")
    density, fractions = _COMPOSITIONS[material]
    total = sum(fractions.values())
    mass = sum(share / total * _element(name, energy_kev) for name, share in fractions.items())
    return density * mass / 10.0


def _element(name: str, energy_kev: float) -> float:
    values = _ELEMENTS_CM2_G[name]
    low = 0 if energy_kev <= _ENERGIES_KEV[1] else 1
    left, right = _ENERGIES_KEV[low : low + 2]
    part = math.log(energy_kev / left) / math.log(right / left)
    return float(values[low] ** (1 - part) * values[low + 1] ** part)
