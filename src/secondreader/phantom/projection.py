"""How a view sees the breast: where a place falls on the image, and how far along the beam it lies.

Breast coordinates in mm: x from the chest wall towards the nipple, y towards lateral, z towards the
head. A CC beam runs along z, an MLO beam halfway between y and z. Rows run downwards on the image,
which is lateral on top in CC and the axilla on top in MLO; columns run along x.
"""

from __future__ import annotations

import math

import numpy as np

from secondreader.domain import View

__all__ = ["BEHIND_MM", "axes", "project"]

BEHIND_MM = 18.0
"""How far behind x = 0 an MLO view reaches."""

_HALF = 1 / math.sqrt(2)
_AXES = {  # rows of a rotation: down, across, along the beam
    View.CC: np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    View.MLO: np.array([[0.0, -_HALF, -_HALF], [1.0, 0.0, 0.0], [0.0, -_HALF, _HALF]]),
}


def axes(view: View) -> np.ndarray:
    """Return (3, 3): the unit vectors of down, across and along the beam, in breast coordinates.

    Raises
    ------
    ValueError
        For a view that a phantom does not have.
    """
    if view not in _AXES:
        raise ValueError(f"view: got {view}, expected CC or MLO")
    return _AXES[view]


def project(points_mm: np.ndarray, view: View) -> np.ndarray:
    """Return (n, 2) float64, mm downwards and mm across (= x), of places (n, 3) in mm."""
    flat: np.ndarray = np.asarray(points_mm, np.float64) @ axes(view)[:2].T
    return flat
