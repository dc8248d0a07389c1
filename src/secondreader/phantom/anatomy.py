"""A woman's two breasts in three dimensions, and how a view projects them.

Breast coordinates in mm: ``x`` from the chest wall towards the nipple, ``y`` towards lateral, ``z``
towards the head; the nipple lies at (depth, 0, 0). A CC view looks along z, so its rows run along
-y (lateral on top); an MLO view looks along a direction 45 degrees between, so its rows run along
-(z + y) / sqrt(2). Columns run along x in both: a lesion's distance from the nipple, measured along
x, is the same in both views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from secondreader.domain import Kind, Laterality, View

__all__ = ["Breast", "Calcification", "Finding", "breast", "project", "woman"]


@dataclass(frozen=True, slots=True)
class Calcification:
    """One microcalcification: its place (x, y, z) and its diameter in mm."""

    place: tuple[float, float, float]
    diameter_mm: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A mass, or a cluster with its calcifications, at (x, y, z); ``radius_mm`` bounds it."""

    lesion_id: str
    kind: Kind
    place: tuple[float, float, float]
    radius_mm: float
    malignant: bool
    calcifications: tuple[Calcification, ...] = ()


@dataclass(frozen=True, slots=True)
class Breast:
    """One breast: half height and depth in mm, compressed thickness, how much of it is glandular."""

    laterality: Laterality
    half_height_mm: float
    depth_mm: float
    thickness_mm: float
    glandular: float
    seed: int
    findings: tuple[Finding, ...]


def woman(seed: int, index: int) -> tuple[Breast, Breast]:
    """Make a woman's breasts, R and L, much alike; one of them has a cluster, one a mass."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, index)))
    half, depth = rng.uniform(62, 92), rng.uniform(62, 105)
    thickness, glandular = rng.uniform(35, 75), rng.uniform(0.15, 0.6)
    sides = [Laterality.R, Laterality.L]
    with_cluster, with_mass = rng.integers(2, size=2)
    made = []
    for number, side in enumerate(sides):
        findings = []
        if number == with_cluster:
            findings.append(_cluster(rng, half, depth, thickness))
        if number == with_mass:
            findings.append(_mass(rng, half, depth, thickness))
        made.append(
            breast(
                side,
                half * rng.uniform(0.96, 1.04),
                depth * rng.uniform(0.96, 1.04),
                thickness,
                glandular,
                int(rng.integers(2**31)),
                tuple(findings),
            )
        )
    return made[0], made[1]


def breast(
    laterality: Laterality,
    half_height_mm: float,
    depth_mm: float,
    thickness_mm: float,
    glandular: float,
    seed: int,
    findings: tuple[Finding, ...] = (),
) -> Breast:
    """Return a breast; all lengths in mm, ``glandular`` a fraction."""
    return Breast(
        laterality, half_height_mm, depth_mm, thickness_mm, glandular, seed, tuple(findings)
    )


def project(place: tuple[float, float, float], view: View) -> tuple[float, float]:
    """Return (down, x): mm below the nipple's row, mm from the chest wall, in a view."""
    x, y, z = place
    if view is View.CC:
        return -y, x
    return -(z + y) / math.sqrt(2), x


def _somewhere(
    rng: np.random.Generator, half: float, depth: float, thickness: float
) -> tuple[float, float, float]:
    """Draw a place well inside the breast, whatever the view."""
    x = float(rng.uniform(0.2, 0.62) * depth)
    y = float(rng.uniform(-0.32, 0.32) * half)
    z = float(rng.uniform(-0.32, 0.32) * half)
    return x, y, z


def _cluster(rng: np.random.Generator, half: float, depth: float, thickness: float) -> Finding:
    place = _somewhere(rng, half, depth, thickness)
    radius = float(rng.uniform(3, 6))
    calcifications = []
    for _ in range(int(rng.integers(7, 18))):
        offset = rng.normal(0, radius / 2.2, 3)
        offset *= min(1.0, radius / max(float(np.linalg.norm(offset)), 1e-6))
        where = (place[0] + offset[0], place[1] + offset[1], place[2] + offset[2])
        diameter = float(np.clip(rng.lognormal(math.log(0.36), 0.3), 0.18, 0.8))
        calcifications.append(
            Calcification((float(where[0]), float(where[1]), float(where[2])), diameter)
        )
    return Finding(
        "cluster-1",
        Kind.CALCIFICATION_CLUSTER,
        place,
        radius,
        bool(rng.random() < 0.4),
        tuple(calcifications),
    )


def _mass(rng: np.random.Generator, half: float, depth: float, thickness: float) -> Finding:
    radius = float(rng.uniform(4, 9))
    place = _somewhere(rng, half, depth, thickness)
    return Finding("mass-1", Kind.MASS, place, radius, bool(rng.random() < 0.4))
