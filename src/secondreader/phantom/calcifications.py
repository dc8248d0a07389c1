"""Calcifications by what radiologists call them: shapes, sizes, and how they lie.

References
----------
BI-RADS Atlas, 5th edition (2013): morphology and distribution. Lanyi, "Diagnosis and Differential
Diagnosis of Breast Calcifications" (Springer, 1988): sizes and arrangements.
"""

from __future__ import annotations

import numpy as np

from secondreader.phantom.grains import Grains, joined, random_rotation, single

__all__ = ["BENIGN", "MORPHOLOGIES", "SPREADS", "benign_grains", "cluster_grains"]

SPREADS = ("grouped", "linear", "segmental")
"""How the calcifications of a cluster lie."""
# Median diameter in mm, its spread (of the logarithm), median number.
MORPHOLOGIES = {
    "fine-pleomorphic": (0.30, 0.35, 13),
    "amorphous": (0.17, 0.25, 18),
    "coarse-heterogeneous": (0.60, 0.25, 8),
    "punctate": (0.28, 0.25, 9),
    "fine-linear-branching": (0.22, 0.25, 9),
}
BENIGN = ("vascular", "rod-like", "popcorn", "rim", "skin", "suture", "large")
"""Calcifications that are benign at sight."""


def cluster_grains(
    rng: np.random.Generator, morphology: str, spread: str, radius_mm: float
) -> Grains:
    """Make the calcifications of a cluster, each 0.1 to 1 mm wide, relative to its middle."""
    median, sigma, number = MORPHOLOGIES[morphology]
    count = int(np.clip(rng.lognormal(np.log(number), 0.4), 4, 60))
    places = _places(rng, count, spread, radius_mm)
    diameters = np.clip(rng.lognormal(np.log(median), sigma, count), 0.1, 1.0)
    direction = rng.normal(size=3)
    parts = [
        _one(rng, morphology, place, float(diameter), owner, direction)
        for owner, (place, diameter) in enumerate(zip(places, diameters, strict=True))
    ]
    return joined(parts)


def benign_grains(rng: np.random.Generator, name: str) -> Grains:
    """Make calcifications that are benign at sight."""
    match name:
        case "vascular":
            return _tram_tracks(rng)
        case "rod-like":
            return joined([_rod(rng, owner) for owner in range(int(rng.integers(1, 6)))])
        case "popcorn":
            return _popcorn(rng)
        case "rim":
            return _rim(rng, float(rng.uniform(1.5, 6.0)), np.zeros(3), 0)
        case "skin":
            count = int(rng.integers(1, 5))
            places = rng.normal(0, 6, (count, 3))
            sizes = rng.uniform(0.5, 1.1, count)
            return joined([_rim(rng, float(s), p, i) for i, (s, p) in enumerate(zip(sizes, places, strict=True))])  # fmt: skip
        case "suture":
            return _suture(rng)
    axes = float(rng.uniform(0.55, 1.3)) * rng.uniform(0.8, 1.2, 3)
    return single(np.zeros(3), axes, random_rotation(rng), 0)


def _places(rng: np.random.Generator, count: int, spread: str, radius: float) -> np.ndarray:
    """Draw where calcifications lie: in a ball, along a duct, or in the wedge of a segment."""
    if spread == "grouped":
        offsets = rng.normal(0, 0.45 * radius, (count, 3))
        far = np.linalg.norm(offsets, axis=1, keepdims=True)
        return np.asarray(offsets * np.minimum(1, radius / np.maximum(far, 1e-9)))
    # Ducts and segments run towards the nipple, along x.
    along = rng.uniform(-1, 1, count) * radius
    width = 0.08 * radius if spread == "linear" else 0.3 * radius * (1.2 - along / radius) / 2
    slope = rng.normal(0, 0.25, 2)
    across = rng.normal(0, 1, (count, 2)) * np.broadcast_to(np.asarray(width), (count,))[:, None]
    bend = 0.12 * radius * np.sin(2.5 * along / radius)[:, None] * rng.normal(0, 1, 2)
    return np.column_stack([along, across + along[:, None] * slope + bend])


def _one(
    rng: np.random.Generator,
    morphology: str,
    place: np.ndarray,
    diameter: float,
    owner: int,
    direction: np.ndarray,
) -> Grains:
    half = diameter / 2
    if morphology == "punctate":
        return single(place, half * rng.uniform(0.9, 1.1, 3), np.eye(3), owner)
    if morphology == "amorphous":
        # Powder: too small to have a shape, and thin.
        return single(place, half * rng.uniform(0.7, 1.3, 3), random_rotation(rng), owner, 0.7)
    if morphology == "fine-linear-branching":
        return _branch(rng, place, half, owner, direction)
    lumps = int(rng.integers(2, 5))
    parts = []
    for _ in range(lumps):
        axes = half * rng.uniform(0.35, 0.9, 3)
        shift = rng.normal(0, 0.45 * half, 3)
        parts.append(single(place + shift, axes, random_rotation(rng), owner, 0.75))
    return joined(parts)


def _branch(
    rng: np.random.Generator, place: np.ndarray, half: float, owner: int, direction: np.ndarray
) -> Grains:
    """A cast of a duct: a broken line of thin grains, now and then with a branch."""
    heading = direction / np.linalg.norm(direction) + rng.normal(0, 0.35, 3)
    parts, at = [], place.copy()
    for step in range(int(rng.integers(2, 5))):
        heading = heading + rng.normal(0, 0.25, 3)
        if step == 2 and rng.random() < 0.5:
            heading = heading + rng.normal(0, 1.0, 3)
        unit = heading / np.linalg.norm(heading)
        long = half * float(rng.uniform(1.2, 2.2))
        turn = np.column_stack([unit, *_across(unit)])
        axes = np.array([long, *(half * 0.55 * rng.uniform(0.7, 1.2, 2))])
        parts.append(single(at, axes, turn, owner))
        at = at + unit * long * 1.4
    return joined(parts)


def _across(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    other = np.array([1.0, 0, 0]) if abs(unit[0]) < 0.8 else np.array([0, 1.0, 0])
    one = np.cross(unit, other)
    one /= np.linalg.norm(one)
    return one, np.cross(unit, one)


def _tram_tracks(rng: np.random.Generator) -> Grains:
    """Two walls of an artery, calcified in pieces."""
    length, bore = float(rng.uniform(10, 35)), float(rng.uniform(0.5, 1.1))
    steps = np.arange(0, length, 0.45)
    bend = (
        rng.normal(0, 3, 3)[None] * np.sin(steps / length * np.pi * rng.uniform(0.6, 1.6))[:, None]
    )
    heading = rng.normal(size=3) * np.array([1.0, 0.6, 0.6])
    unit = heading / np.linalg.norm(heading)
    one, other = _across(unit)
    parts = []
    middle = unit * (steps - length / 2)[:, None] + bend
    for side, wall in enumerate((one, -one, other, -other)):
        there = np.convolve(rng.normal(size=steps.size + 6), np.ones(7) / 7, "valid") > -0.05
        for i in np.flatnonzero(there):
            axes = np.array([0.35, 0.13, 0.13]) * rng.uniform(0.7, 1.2, 3)
            turn = np.column_stack([unit, one, other])
            # Every few millimetres are one calcification to whoever counts them.
            owner = side * 100 + int(steps[i] // 4)
            parts.append(single(middle[i] + bore * wall, axes, turn, owner))
    return joined(parts or [single(np.zeros(3), np.full(3, 0.3), np.eye(3), 0)])


def _rod(rng: np.random.Generator, owner: int) -> Grains:
    unit = np.array([1.0, 0, 0]) + rng.normal(0, 0.25, 3)
    unit /= np.linalg.norm(unit)
    turn = np.column_stack([unit, *_across(unit)])
    axes = np.array([rng.uniform(1.0, 4.0), *([rng.uniform(0.2, 0.45)] * 2)])
    return single(rng.normal(0, 5, 3), axes, turn, owner)


def _popcorn(rng: np.random.Generator) -> Grains:
    size = float(rng.uniform(2.0, 6.0))
    parts = []
    for _ in range(int(rng.integers(8, 20))):
        axes = size * rng.uniform(0.12, 0.3, 3)
        parts.append(single(rng.normal(0, 0.35 * size, 3), axes, random_rotation(rng), 0, 0.6))
    return joined(parts)


def _rim(rng: np.random.Generator, diameter: float, place: np.ndarray, owner: int) -> Grains:
    """A shell: what is calcified is the wall."""
    half = diameter / 2 * rng.uniform(0.9, 1.1, 3)
    wall = min(0.25 * diameter / 2 + 0.05, 0.35)
    turn = random_rotation(rng)
    return joined([single(place, half, turn, owner), single(place, half - wall, turn, owner, -1.0)])


def _suture(rng: np.random.Generator) -> Grains:
    parts, at = [], np.zeros(3)
    heading = rng.normal(size=3)
    turn_by = rng.normal(0, 0.5, 3)
    for _ in range(int(rng.integers(6, 14))):
        heading = heading / np.linalg.norm(heading) + turn_by * 0.35
        unit = heading / np.linalg.norm(heading)
        axes = np.array([0.6, 0.15, 0.15])
        parts.append(single(at, axes, np.column_stack([unit, *_across(unit)]), 0))
        at = at + unit * 0.9
    grains = joined(parts)
    middle = grains.centres.mean(axis=0)
    return Grains(grains.centres - middle, grains.forms, grains.weights, grains.owners)
