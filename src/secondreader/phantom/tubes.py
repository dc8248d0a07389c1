"""Ducts, vessels and lymph nodes of a breast in three dimensions; coordinates are those of `anatomy`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from secondreader.phantom.projection import BEHIND_MM

__all__ = ["Curve", "Node", "ducts", "nodes", "vessels"]


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """A tube: ``points`` (n, 3) in mm, ``radius_mm`` (n,); a vessel or a duct."""

    points: np.ndarray
    radius_mm: np.ndarray


@dataclass(frozen=True, slots=True)
class Node:
    """A lymph node: an ellipsoid at (x, y, z) with a fatty hilum; MLO shows it, high and far back."""

    place_mm: tuple[float, float, float]
    radius_mm: float


def ducts(
    rng: np.random.Generator, depth: float, half: float, centre: tuple[float, float, float]
) -> tuple[Curve, ...]:
    """Draw ducts: from the nipple backwards in a fan, branching, thinner with each branch."""
    made: list[Curve] = []
    nipple = np.array([depth - 2.0, 0.0, 0.0])
    for _ in range(int(rng.integers(6, 12))):
        aim = np.array(centre) + rng.normal(0, 1, 3) * np.array(
            [0.2 * depth, half * 0.3, half * 0.3]
        )
        _branch(rng, made, nipple, aim - nipple, float(rng.uniform(0.35, 0.8)), 0.75 * depth, 0)
    return tuple(made)


def _branch(
    rng: np.random.Generator,
    made: list[Curve],
    start: np.ndarray,
    direction: np.ndarray,
    radius: float,
    length: float,
    depth: int,
) -> None:
    steps = max(int(length / 2), 4)
    heading = direction / np.linalg.norm(direction)
    turns = np.cumsum(rng.normal(0, 0.05, (steps, 3)), axis=0)
    headings = heading + turns
    headings /= np.linalg.norm(headings, axis=1, keepdims=True)
    points = start + np.cumsum(headings * (length / steps), axis=0)
    made.append(Curve(np.vstack([start, points]), np.linspace(radius, 0.45 * radius, steps + 1)))
    if depth == 2:
        return
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(steps // 4, 3 * steps // 4))
        new = headings[at] + rng.normal(0, 0.35, 3)
        _branch(
            rng,
            made,
            points[at],
            new,
            0.7 * radius,
            length * float(rng.uniform(0.3, 0.6)),
            depth + 1,
        )


def vessels(rng: np.random.Generator, depth: float, half: float) -> tuple[Curve, ...]:
    """Draw veins and arteries: from the chest wall forwards, tortuous, 1 to 3 mm wide."""
    made = []
    for _ in range(int(rng.integers(3, 7))):
        start = np.array(
            [-BEHIND_MM, rng.uniform(-0.75, 0.75) * half, rng.uniform(-0.6, 0.9) * half]
        )
        end = np.array([rng.uniform(0.45, 0.9) * depth, *(rng.uniform(-0.35, 0.35, 2) * half)])
        steps = 60
        along = np.linspace(0, 1, steps)[:, None]
        points = start + (end - start) * along
        for wavelength, size in ((55.0, 5.0), (18.0, 1.2), (7.0, 0.35)):
            phase = rng.uniform(0, 2 * np.pi, 3)
            turn = 2 * np.pi * np.linalg.norm(end - start) / wavelength
            points = points + size * rng.normal(1, 0.4, 3) * np.sin(turn * along + phase)
        radius = float(rng.lognormal(math.log(0.5), 0.4))
        made.append(Curve(points, radius * np.linspace(1, 0.5, steps)))
    return tuple(made)


def nodes(rng: np.random.Generator, depth: float, half: float) -> tuple[Node, ...]:
    """Draw a lymph node or two in the axilla of some breasts; now and then one in the breast."""
    made = []
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 3))):
            place = (
                float(rng.uniform(-8, 0.12 * depth)),
                float(rng.uniform(0.75, 1.1) * half),
                float(rng.uniform(0.85, 1.25) * half),
            )
            made.append(Node(place, float(rng.uniform(3.0, 7.5))))
    if rng.random() < 0.05:
        place = (
            float(rng.uniform(0.1, 0.5) * depth),
            float(rng.uniform(0.3, 0.6) * half),
            float(rng.uniform(0.2, 0.5) * half),
        )
        made.append(Node(place, float(rng.uniform(2.0, 4.0))))
    return tuple(made)
