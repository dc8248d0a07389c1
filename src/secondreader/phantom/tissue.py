"""What the beam meets on its way through a breast in one view: millimetres of each material.

Everything is made on one grid of 0.2 mm, whatever the detector, so that a woman is the same woman
in every system; finer than that, mammographic texture lies below quantum noise. Views are hung with
the chest wall on the left: rows run downwards, columns from the chest wall to the nipple.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from secondreader.domain import View
from secondreader.phantom.anatomy import Breast, Fold
from secondreader.phantom.projection import BEHIND_MM, project
from secondreader.phantom.stroma import (
    GRID_MM,
    enlarged,
    enlarged_to,
    fibres,
    parenchyma,
    part,
    septa,
)
from secondreader.phantom.texture import smooth_field
from secondreader.phantom.tubes import Curve, Node

__all__ = [
    "SKIN_MM",
    "Field",
    "Tissue",
    "expected_share",
    "field",
    "from_skin_mm",
    "tissue",
]

SKIN_MM = 1.5
_AIR_MM = 14.0  # beyond the nipple, and above and below in CC


@dataclass(frozen=True, slots=True)
class Field:
    """What a view shows: mm from the nipple's row to the upper and lower border, and across."""

    top_mm: float
    bottom_mm: float
    across_mm: float
    behind_mm: float

    def shape(self, pitch_mm: float) -> tuple[int, int]:
        """Return (rows, cols) at a pixel pitch."""
        return round((self.bottom_mm - self.top_mm) / pitch_mm), round(self.across_mm / pitch_mm)

    def pixel(
        self, place_mm: tuple[float, float, float], view: View, pitch_mm: float
    ) -> tuple[float, float]:
        """Return (row, col) of a place (x, y, z) in breast coordinates."""
        down, x = project(np.array([place_mm]), view)[0]
        return self.grid(float(down), float(x), pitch_mm)

    def grid(self, down_mm: float, x_mm: float, pitch_mm: float) -> tuple[float, float]:
        """Return (row, col) of what lies ``down_mm`` below the nipple's row, at depth ``x_mm``."""
        row = (down_mm - self.top_mm) / pitch_mm - 0.5
        return row, (x_mm + self.behind_mm) / pitch_mm - 0.5


@dataclass(frozen=True, eq=False, slots=True)
class Tissue:
    """Path lengths in mm on the grid of `GRID_MM`, each (rows, cols) float32.

    ``thickness`` is all tissue; ``glandular``, ``skin`` and ``muscle`` are parts of it, the rest is
    fat. ``paddle`` is what the thickness would be without the rounding at the edge.
    """

    field: Field
    thickness: np.ndarray
    glandular: np.ndarray
    skin: np.ndarray
    muscle: np.ndarray
    paddle: float


def field(breast: Breast, view: View) -> Field:
    """Return what a view of a breast shows."""
    if view is View.CC:
        high = breast.half_mm * 1.02 + _AIR_MM
        return Field(-high, high, breast.depth_mm + _AIR_MM, 0.0)
    tail, fold = breast.outline[2:]
    up = breast.half_mm * (0.95 + 0.75 * tail)
    return Field(
        -up,
        breast.half_mm * (1.02 + 0.25 * fold) + 0.5 * _AIR_MM,
        breast.depth_mm + BEHIND_MM + _AIR_MM,
        BEHIND_MM,
    )


def tissue(breast: Breast, view: View) -> Tissue:
    """Make one view of a breast; the same for the same breast, whatever is done with it after."""
    seen = field(breast, view)
    rows, cols = seen.shape(GRID_MM)
    down = (seen.top_mm + (np.arange(rows) + 0.5) * GRID_MM).astype(np.float32)
    x = ((np.arange(cols) + 0.5) * GRID_MM - seen.behind_mm).astype(np.float32)
    rng = np.random.default_rng((breast.seed, list(View).index(view)))
    paddle = breast.thickness_mm * (1.0 if view is View.CC else breast.mlo_thicker)

    depth = _from_skin(breast, view, down, x)  # mm inside the skin line, negative outside
    radius = 0.5 * paddle * float(rng.uniform(0.55, 0.95))
    tilt = float(rng.normal(0.0, 0.06))  # the paddle bends and tilts
    local = paddle * (1 + tilt * (0.5 - x / breast.depth_mm)).astype(np.float32)[None, :]
    thickness = _chord(depth, radius) * local
    skin = thickness - _chord(depth - SKIN_MM, radius) * np.maximum(local - 2 * SKIN_MM, 0)

    muscle = np.zeros_like(thickness)
    if view is View.MLO:
        muscle = _muscle(rng, breast, seen, down, x, thickness)
        for fold in breast.folds:
            heaped = _heaped(fold, seen, down, x) * (depth > 0)
            thickness = thickness + heaped
            skin = skin + heaped
    # Under the muscle lies nothing of the breast itself.
    room = np.clip(thickness - skin - muscle, 0, None)
    place = _place(breast, view, down, x)
    glandular = parenchyma(rng, breast, place, down, x, depth) * np.clip(room - 6, 0, None)
    glandular += fibres(rng, breast, down, x, depth)
    if breast.septa:
        own = np.random.default_rng((breast.seed, list(View).index(view), 11))
        glandular += breast.septa * septa(own, breast, place, down, x, depth)
    glandular += _tubes((*breast.ducts, *breast.vessels), view, seen, (rows, cols))
    for node in breast.nodes:
        _add_node(glandular, node, view, seen)
    return Tissue(seen, thickness, np.minimum(glandular, room), skin, muscle, paddle)


def from_skin_mm(breast: Breast, view: View, down_mm: float, x_mm: float) -> float:
    """Return how far inside the skin line a place is in a view, roughly; negative outside."""
    down = np.linspace(down_mm - 30, down_mm + 30, 121)
    reach = _reach(breast, view, down)
    inside = x_mm < reach[60]
    far = np.hypot(down - down_mm, np.where((reach > x_mm) == inside, reach - x_mm, 0.0))
    return float(far.min() if inside else -far.min())


def expected_share(breast: Breast, view: View, down_mm: float, x_mm: float) -> float:
    """Return the share of glandular tissue that is to be expected at a place, in [0, 1]."""
    place = _place(breast, view, np.array([down_mm]), np.array([x_mm]))[0, 0]
    logit = np.log(breast.glandular / (1 - breast.glandular)) + 2.0 * (float(place) - 0.2)
    return float(1 / (1 + np.exp(-logit)))


def _place(breast: Breast, view: View, down: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return how likely parenchyma is by place alone: most in the middle, less all around."""
    centre_down, _ = project(np.array([breast.centre_mm]), view)[0]
    level = ((down - centre_down) / (0.66 * breast.half_mm))[:, None]
    along = ((x - breast.centre_mm[0]) / (0.52 * breast.depth_mm))[None, :]
    return np.asarray(1.6 * (1 - level**2 - along**2), np.float32)


def _chord(depth: np.ndarray, radius: float) -> np.ndarray:
    """Return tissue thickness in that of the middle: the edge of a compressed breast is round."""
    inside = np.clip(depth / radius, 0, 1)
    return np.asarray(np.sqrt(1 - (1 - inside) ** 2), np.float32)


def _reach(breast: Breast, view: View, down: np.ndarray) -> np.ndarray:
    """Return x in mm of the skin line in each row; far below 0 where there is no breast."""
    depth, half = breast.depth_mm, breast.half_mm
    power, root, tail, fold = breast.outline
    if view is View.CC:
        level = np.abs(down / half)
        return np.asarray(_bulge(level, power, root) * depth)
    whole = depth + BEHIND_MM
    level = np.where(down < 0, -down / (1.22 * half), down / (0.98 * half))
    bulge = _bulge(level, power, root) * whole
    # The axillary tail above, the fold below, joined smoothly.
    above = np.clip(-down / half - 0.25, 0, None)
    upper = tail * whole * (1 - np.exp(-1.6 * above)) * (0.95 + 0.1 * above)
    lower = fold * whole * (1 - np.exp(-4.0 * np.clip(down / half - 0.45, 0, None)))
    joined = (np.abs(bulge) ** 2.5 + upper**2.5 + lower**2.5) ** 0.4
    none = (bulge <= 0) & (joined < 0.5)
    return np.asarray(np.where(none, -50.0, joined) - BEHIND_MM)


def _bulge(level: np.ndarray, power: float, root: float) -> np.ndarray:
    return np.asarray(np.clip(1 - np.clip(level, 0, None) ** power, 0, None) ** (1 / root))


def _from_skin(breast: Breast, view: View, down: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return mm from the skin line, inside positive; the borders of the field are no skin."""
    step = 3  # the distance is smooth: a grid of 0.6 mm does
    pad = 90
    coarse = GRID_MM * step
    rows, cols = -(-down.size // step), -(-x.size // step)
    far_down = down[0] + (np.arange(-pad, rows + pad) * step + 1) * GRID_MM
    far_x = x[0] + (np.arange(-pad, cols + pad) * step + 1) * GRID_MM
    reach = _reach(breast, view, far_down)
    inside = far_x[None, :] < reach[:, None]
    nipple = ((far_x[None, :] - breast.depth_mm + 1.5) / 6.0) ** 2 + (far_down[:, None] / 5.0) ** 2
    inside |= nipple < 1
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    # From centre to centre is half a pixel too far on either side.
    distance -= 0.5 * np.sign(distance)
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), 1.2)
    cut = smooth[pad : pad + rows, pad : pad + cols] * np.float32(coarse)
    return enlarged(cut, step)[: down.size, : x.size]


def _tubes(curves: Iterable[Curve], view: View, seen: Field, shape: tuple[int, int]) -> np.ndarray:
    """Return mm of tissue along the beam through tubes: a chord of a circle across each."""
    radius_at = np.zeros(shape, np.float32)
    for curve in curves:
        flat = project(curve.points, view)
        length = np.hypot(*np.diff(flat, axis=0).T).sum()
        fine = np.linspace(0, len(flat) - 1, max(int(2 * length / GRID_MM), 2))
        steps = np.arange(len(flat))
        rows = (np.interp(fine, steps, flat[:, 0]) - seen.top_mm) / GRID_MM - 0.5
        cols = (np.interp(fine, steps, flat[:, 1]) + seen.behind_mm) / GRID_MM - 0.5
        radii = np.interp(fine, steps, curve.radius_mm)
        r, c = np.rint(rows).astype(int), np.rint(cols).astype(int)
        keep = (r >= 0) & (c >= 0) & (r < shape[0]) & (c < shape[1])
        np.maximum.at(radius_at, (r[keep], c[keep]), radii[keep].astype(np.float32))
    if not radius_at.any():
        return radius_at
    distance, nearest = ndimage.distance_transform_edt(radius_at == 0, return_indices=True)
    radius = radius_at[nearest[0], nearest[1]]
    chord = 2 * np.sqrt(np.clip(radius**2 - (distance * GRID_MM) ** 2, 0, None))
    # A wall seen edge-on, and the grid's own half pixel, soften it; contrast is blood or fluid in fat.
    return np.asarray(ndimage.gaussian_filter(chord.astype(np.float32), 1.2) * 0.7, np.float32)


def _add_node(glandular: np.ndarray, node: Node, view: View, seen: Field) -> None:
    """Add an ellipsoid with a hilum of fat to ``glandular``, in place."""
    row, col = seen.pixel(node.place_mm, view, GRID_MM)
    reach = int(node.radius_mm * 1.6 / GRID_MM) + 2
    rows = slice(max(round(row) - reach, 0), max(round(row) + reach, 0))
    cols = slice(max(round(col) - reach, 0), max(round(col) + reach, 0))
    patch = glandular[rows, cols]
    if patch.size == 0:
        return
    r = (np.arange(patch.shape[0])[:, None] + rows.start - row) * GRID_MM / (1.35 * node.radius_mm)
    c = (np.arange(patch.shape[1])[None, :] + cols.start - col) * GRID_MM / node.radius_mm
    body = np.sqrt(np.clip(1 - r**2 - c**2, 0, None))
    hilum = np.sqrt(np.clip(0.3 - r**2 - (c + 0.45) ** 2, 0, None))
    patch += (1.1 * node.radius_mm * np.clip(body - hilum, 0, None)).astype(np.float32)


def _muscle(
    rng: np.random.Generator,
    breast: Breast,
    seen: Field,
    down: np.ndarray,
    x: np.ndarray,
    thickness: np.ndarray,
) -> np.ndarray:
    """Return mm of pectoral muscle: a wedge from the upper chest side, its fibres along its edge."""
    width, length, bend = breast.muscle
    wide = width * breast.outline[2] * (breast.depth_mm + BEHIND_MM)
    long = length * -seen.top_mm
    below = (down - seen.top_mm) / long  # 0 at the top, 1 where the edge meets the chest wall
    edge = wide * (1 - below) + bend * breast.depth_mm * np.sin(np.pi * np.clip(below, 0, 1))
    slope = np.hypot(1.0, wide / long)
    into = (edge[:, None] - (x[None, :] + BEHIND_MM)) / slope
    into += 1.2 * enlarged_to(
        smooth_field(rng, part(thickness.shape, 8), 1.6, (12, 12)), thickness.shape
    )
    grows = float(rng.uniform(7, 16))
    if breast.firm is not None:
        grows = breast.firm[1]
    ramp = 1 - np.exp(-np.clip(into, 0, None) / grows)
    edge_soft = 1 / (1 + np.exp(-np.clip(into / 0.7, -30, 30)))
    along = (x[None, :] + BEHIND_MM) * np.float32(1 / wide) + below[:, None]
    strands = np.interp(
        along.ravel() * 60,
        np.arange(-10, 300),
        ndimage.gaussian_filter1d(rng.normal(0, 1, 310), 1.0),
    ).reshape(along.shape)
    most, strength = float(rng.uniform(0.45, 0.85)), 0.08
    if breast.firm is not None:
        most, _, strength = breast.firm
    share = most * ramp * edge_soft * (1 + strength * strands)
    return np.asarray(np.clip(share, 0, 1) * np.clip(thickness - 6, 0, None), np.float32)


def _heaped(fold: Fold, seen: Field, down: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return mm of skin that a fold adds: sharp below its line, less and less above it, fading to its end."""
    along = np.clip((x + BEHIND_MM) / fold.across_mm, 0, 1)
    line = (
        seen.top_mm
        + fold.down_mm
        + fold.slope * fold.across_mm * along
        + fold.bow_mm * np.sin(np.pi * along)
    )
    above = line[None, :] - down[:, None]
    side = np.exp(-np.clip(above, 0, None) / fold.wide_mm) / (
        1 + np.exp(-np.clip(above / 0.3, -30, 30))
    )
    ends = np.sqrt(np.clip(1 - along, 0, 1))[None, :]
    return np.asarray(fold.thick_mm * side * ends, np.float32)
