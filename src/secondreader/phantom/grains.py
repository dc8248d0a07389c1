"""Calcifications as grains: ellipsoids whose path length along a beam is known exactly.

Every shape, a speck, a rod, a rim, a popcorn, is a sum of ellipsoids; a rim subtracts one. A chord
through an ellipsoid has a closed form, and a pixel shows the mean of the chords over its area, so
that volume is conserved whatever the pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secondreader.domain import View
from secondreader.phantom.projection import axes

__all__ = ["Grains", "joined", "random_rotation", "render", "single"]

_FINE = 5  # points each way that a pixel's mean is taken over


@dataclass(frozen=True, eq=False, slots=True)
class Grains:
    """Ellipsoids ``(p - centre)ᵀ form (p - centre) <= 1`` in mm, in breast coordinates.

    Parameters
    ----------
    centres
        (n, 3), relative to their lesion's place.
    forms
        (n, 3, 3), symmetric and positive.
    weights
        (n,): how much of each counts; -1 takes away.
    owners
        (n,) int: the number of the calcification that each is a part of.
    """

    centres: np.ndarray
    forms: np.ndarray
    weights: np.ndarray
    owners: np.ndarray


def single(
    centre: np.ndarray, semi_axes: np.ndarray, rotation: np.ndarray, owner: int, weight: float = 1.0
) -> Grains:
    """Return one ellipsoid."""
    form = rotation @ np.diag(1 / np.asarray(semi_axes, np.float64) ** 2) @ rotation.T
    return Grains(np.array([centre]), form[None], np.array([weight]), np.array([owner]))


def joined(parts: list[Grains]) -> Grains:
    """Return several as one."""
    return Grains(
        np.concatenate([p.centres for p in parts]),
        np.concatenate([p.forms for p in parts]),
        np.concatenate([p.weights for p in parts]),
        np.concatenate([p.owners for p in parts]),
    )


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Draw a rotation, (3, 3), evenly."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(q * np.sign(np.diag(r)))


def render(
    grains: Grains, view: View, pitch_mm: float, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Sum path lengths on the pixel grid of a view.

    Parameters
    ----------
    grains
        What to render.
    view, pitch_mm
        The grid.
    centre
        Image (row, col) of the lesion's place.

    Returns
    -------
    path, owner, row0, col0
        (rows, cols) float32 mm; (rows, cols) int32, the calcification that has most of each pixel,
        -1 where there is none; the image's pixel that the first is.
    """
    turn = axes(view)
    flat = grains.centres @ turn.T
    forms = turn @ grains.forms @ turn.T
    rows = centre[0] + flat[:, 0] / pitch_mm
    cols = centre[1] + flat[:, 1] / pitch_mm
    along = forms[:, 2, 2]
    shadow = forms[:, :2, :2] - forms[:, :2, 2:] @ forms[:, 2:, :2] / along[:, None, None]
    reach = np.sqrt(np.stack([np.linalg.inv(shadow)[:, i, i] for i in (0, 1)], 1)) / pitch_mm + 1.0
    row0, col0 = (
        int(np.floor((rows - reach[:, 0]).min())),
        int(np.floor((cols - reach[:, 1]).min())),
    )
    row1, col1 = int(np.ceil((rows + reach[:, 0]).max())), int(np.ceil((cols + reach[:, 1]).max()))
    path = np.zeros((row1 - row0 + 1, col1 - col0 + 1), np.float32)
    owner = np.full(path.shape, -1, np.int32)
    most = np.zeros_like(path)
    fine = (np.arange(_FINE) - (_FINE - 1) / 2) / _FINE
    for i in range(rows.size):
        r = np.arange(int(np.floor(rows[i] - reach[i, 0])), int(np.ceil(rows[i] + reach[i, 0])) + 1)
        c = np.arange(int(np.floor(cols[i] - reach[i, 1])), int(np.ceil(cols[i] + reach[i, 1])) + 1)
        u = (((r[:, None] + fine).ravel() - rows[i]) * pitch_mm)[:, None]
        v = (((c[:, None] + fine).ravel() - cols[i]) * pitch_mm)[None, :]
        (a, b), (_, d) = shadow[i]
        inside = np.clip(1 - (a * u * u + 2 * b * u * v + d * v * v), 0, None)
        chord = 2 * np.sqrt(inside / along[i])
        mean = chord.reshape(r.size, _FINE, c.size, _FINE).mean(axis=(1, 3))
        here = np.s_[r[0] - row0 : r[-1] - row0 + 1, c[0] - col0 : c[-1] - col0 + 1]
        path[here] += np.float32(grains.weights[i]) * mean.astype(np.float32)
        wins = (mean > most[here]) & (mean > 0)
        owner[here][wins] = grains.owners[i]
        most[here][wins] = mean[wins]
    return np.maximum(path, 0), owner, row0, col0
