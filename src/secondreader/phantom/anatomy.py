"""A woman and her two breasts in three dimensions: what all four views are projections of.

Breast coordinates in mm: ``x`` from the chest wall towards the nipple, ``y`` towards lateral, ``z``
towards the head; the nipple lies at (depth, 0, 0). `secondreader.phantom.projection` says how a view
sees them. An MLO view reaches ``BEHIND_MM`` further to the chest than a CC view does, so that what
lies behind x = 0 is seen in MLO only.

References
----------
BI-RADS Atlas, 5th edition (2013), densities A to D; their shares among screened women are about
10, 40, 40 and 10 % (Sprague et al., JNCI 106 (2014)). Huang et al., "The characterization of breast
anatomical metrics using dedicated breast CT", Med. Phys. 38 (2011): sizes, skin of 1.5 mm. Boone et
al. (same group) and Yaffe et al., "The myth of the 50-50 breast", Med. Phys. 36 (2009): volume
glandular fractions, 14 % in the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from secondreader.domain import Laterality
from secondreader.phantom.lesions import Abnormality
from secondreader.phantom.tubes import Curve, Node, ducts, nodes, vessels

__all__ = ["ANATOMIES", "Breast", "Fold", "Woman", "woman"]

ANATOMIES = 5
"""Versions of the body, each with what the one before lacked beside real films; a set says which."""
_DENSITY = {  # share of women, glandular fraction by volume, strength of fibres
    "A": (0.10, (0.02, 0.06), 0.8),
    "B": (0.40, (0.05, 0.16), 1.0),
    "C": (0.40, (0.15, 0.34), 1.0),
    "D": (0.10, (0.32, 0.60), 0.7),
}


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold of skin in the axilla, which the paddle catches in MLO: a line with tissue heaped on one side.

    It begins at the chest side ``down_mm`` below the field's upper edge and runs ``across_mm`` towards the
    skin line, ``slope`` mm downwards in each, bowed by ``bow_mm``. ``thick_mm`` of skin are added at its
    edge, less and less over ``wide_mm`` above it.
    """

    down_mm: float
    across_mm: float
    slope: float
    bow_mm: float
    thick_mm: float
    wide_mm: float


@dataclass(frozen=True, eq=False, slots=True)
class Breast:
    """One breast; lengths in mm, as compressed.

    Parameters
    ----------
    laterality
        Which.
    depth_mm
        Chest wall to nipple.
    half_mm
        Half the height at the chest wall, in CC.
    thickness_mm
        Compressed, in CC; in MLO ``thickness_mm * mlo_thicker``.
    glandular
        Fraction of the volume.
    centre_mm
        Where the parenchyma has its middle, in breast coordinates.
    outline
        The two exponents of the superellipse that the skin line is, and how far the axillary tail
        and the fold below reach, in depths.
    muscle
        The pectoral muscle in MLO: its width at the top in that of the axillary tail, its length
        along the chest wall in that from the top to the nipple's level, and its curvature.
    seed
        Of the textures.
    septa
        How strong the crisp walls between compartments of fat are, beyond the fibres; 0: there are none.
    dark
        How strong the dark lines of fine stroma are, fat between fibres.
    winding
        How far strands wind on their way to the nipple; 0: they are straight.
    uneven
        How much more fine stroma there is in some places than in others; 0: as much everywhere.
    firm
        Of the pectoral muscle in MLO: its share of the thickness, over how many mm from its edge it grows to
        that, and how strong its strands are; ``None``: as the first anatomy draws them.
    folds
        Of skin, in MLO.
    """

    laterality: Laterality
    depth_mm: float
    half_mm: float
    thickness_mm: float
    mlo_thicker: float
    glandular: float
    clumps: float
    fibres: float
    centre_mm: tuple[float, float, float]
    outline: tuple[float, float, float, float]
    muscle: tuple[float, float, float]
    ducts: tuple[Curve, ...]
    vessels: tuple[Curve, ...]
    nodes: tuple[Node, ...]
    abnormalities: tuple[Abnormality, ...]
    seed: int
    septa: float = 0.0
    dark: float = 1.0
    winding: float = 1.0
    uneven: float = 0.25
    firm: tuple[float, float, float] | None = None
    folds: tuple[Fold, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Woman:
    """Age in years, BI-RADS density, breasts R and L, much alike."""

    age: int
    density: str
    breasts: tuple[Breast, Breast]


def woman(rng: np.random.Generator, anatomy: int = 1) -> Woman:
    """Draw a woman without abnormalities, the same one whatever the ``anatomy``, one of `ANATOMIES`."""
    density = str(rng.choice(list(_DENSITY), p=[share for share, _, _ in _DENSITY.values()]))
    # Density falls with age: A is rare at 45, D at 75.
    age = int(np.clip(rng.normal(64 - 4 * "ABCD".index(density), 7), 45, 75))
    (low, high), fibres = _DENSITY[density][1], _DENSITY[density][2]
    depth = float(np.clip(rng.lognormal(math.log(86 - 5 * "ABCD".index(density)), 0.17), 48, 125))
    shared = {
        "depth_mm": depth,
        "half_mm": float(np.clip(depth * rng.normal(0.95, 0.08), 52, 115)),
        "thickness_mm": float(np.clip(rng.normal(28 + 0.34 * depth, 7), 25, 85)),
        "mlo_thicker": float(rng.uniform(0.95, 1.15)),
        "glandular": float(rng.uniform(low, high)),
        "clumps": float(rng.uniform(0.5, 1.3)),
        "fibres": fibres * float(rng.lognormal(0, 0.25)),
        "droop": float(rng.uniform(-0.05, 0.12)),
    }
    right = _breast(rng, Laterality.R, shared)
    left = _breast(rng, Laterality.L, shared)
    breasts = (_mended(right, anatomy), _mended(left, anatomy))
    if anatomy >= 5:
        breasts = _spread(breasts)
    return Woman(age, density, breasts)


def _mended(breast: Breast, anatomy: int) -> Breast:
    """Return a breast with what the first anatomy lacked beside real films.

    2: tissue skewed to the bright, by a web of crisp septa in place of most fibres, fewer dark lines and
    smoother lobes, fine stroma that is less even, and strands that wind less. 3: pectoral muscles as narrow and steep as women's.
    5: pectoral muscles as bright and plain as on film, and folds of skin in the axilla.
    """
    rng = np.random.default_rng((breast.seed, 13))  # its own stream: what else is drawn stays
    septa = float(rng.uniform(0.6, 1.3))
    muscle = (
        float(rng.uniform(0.25, 0.85)),
        float(rng.uniform(0.6, 1.2)),
        float(rng.normal(0.0, 0.05)),
    )
    if anatomy >= 2:
        breast = replace(
            breast,
            septa=septa,
            dark=0.6,
            uneven=0.5,
            winding=0.35,
            clumps=0.4 * breast.clumps,
            fibres=0.35 * breast.fibres,
        )
    if anatomy >= 3:
        breast = replace(breast, muscle=muscle)
    if anatomy >= 5:
        firm = (
            float(rng.uniform(0.65, 1.0)),
            float(rng.uniform(3.0, 9.0)),
            float(rng.uniform(0.0, 0.06)),
        )
        breast = replace(breast, firm=firm, folds=_folds(rng))
    return breast


def _folds(rng: np.random.Generator) -> tuple[Fold, ...]:
    """Draw a fold or two of skin in the axilla of some breasts."""
    made = []
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 3))):
            fold = Fold(
                down_mm=float(rng.uniform(2, 45)),
                across_mm=float(rng.uniform(20, 90)),
                slope=float(rng.normal(-0.1, 0.3)),
                bow_mm=float(rng.normal(0, 4)),
                thick_mm=float(rng.uniform(0.8, 4)),
                wide_mm=float(rng.lognormal(math.log(3), 0.6)),
            )
            made.append(fold)
    return tuple(made)


def _spread(breasts: tuple[Breast, Breast]) -> tuple[Breast, Breast]:
    """Return both breasts with parenchyma where women have it: further back or in front, higher or lower."""
    rng = np.random.default_rng((breasts[0].seed, 17))
    forward = float(np.clip(rng.normal(-0.13, 0.16), -0.4, 0.2))
    up = float(np.clip(rng.normal(-0.07, 0.18), -0.45, 0.35))

    def moved(breast: Breast) -> Breast:
        x, y, z = breast.centre_mm
        depth = breast.depth_mm
        return replace(breast, centre_mm=(x + forward * depth, y, z + up * depth))

    return moved(breasts[0]), moved(breasts[1])


def _breast(rng: np.random.Generator, side: Laterality, shared: dict[str, float]) -> Breast:
    def near(name: str, spread: float) -> float:
        return shared[name] * float(np.clip(rng.normal(1, spread), 1 - 3 * spread, 1 + 3 * spread))

    depth, half = near("depth_mm", 0.025), near("half_mm", 0.025)
    # The parenchyma leans to the upper outer quadrant.
    centre = (
        depth * float(rng.uniform(0.5, 0.66)),
        half * float(rng.uniform(0.0, 0.18)),
        half * float(rng.uniform(-0.02, 0.2)) - half * shared["droop"],
    )
    thickness = near("thickness_mm", 0.03)
    return Breast(
        laterality=side,
        depth_mm=depth,
        half_mm=half,
        thickness_mm=thickness,
        mlo_thicker=shared["mlo_thicker"],
        glandular=near("glandular", 0.08),
        clumps=shared["clumps"],
        fibres=shared["fibres"],
        centre_mm=centre,
        outline=(
            float(rng.uniform(2.0, 2.7)),
            float(rng.uniform(1.55, 2.1)),
            float(rng.uniform(0.38, 0.74)),
            float(rng.uniform(0.0, 0.3)),
        ),
        muscle=(
            float(rng.uniform(0.65, 1.1)),
            float(rng.uniform(0.75, 1.2)),
            float(rng.normal(0.0, 0.05)),
        ),
        ducts=ducts(rng, depth, half, centre),
        vessels=vessels(rng, depth, half),
        nodes=nodes(rng, depth, half),
        abnormalities=(),
        seed=int(rng.integers(2**31)),
    )
