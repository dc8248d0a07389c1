"""What lies between skin and chest wall beside fat: parenchyma, fibres, septa, seen from above.

All of it runs towards the nipple: fields are drawn on a grid of (around, away) of a point before it, and
then on the image's.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from secondreader.phantom.anatomy import Breast
from secondreader.phantom.texture import power_law, ridges, smooth_field

__all__ = ["GRID_MM", "enlarged", "enlarged_to", "fibres", "parenchyma", "part", "septa"]

GRID_MM = 0.2
_SLABS = (0.2, 0.4, 0.55)  # how soft the border of the parenchyma is in each


def parenchyma(
    rng: np.random.Generator,
    breast: Breast,
    place: np.ndarray,
    down: np.ndarray,
    x: np.ndarray,
    depth: np.ndarray,
) -> np.ndarray:
    """Return how much of the beam's way is glandular, (rows, cols) in [0, 1].

    The breast is three slabs of like density, each with its own lobes: what one view sees is their
    sum, which is smoother than any of them.

    Parameters
    ----------
    rng
        Its state decides it.
    breast
        Whose.
    place
        (rows, cols): how likely parenchyma is by place alone.
    down, x
        (rows,), (cols,): mm below the nipple's row, and of depth.
    depth
        (rows, cols): mm inside the skin line.
    """
    shape = depth.shape
    inside = depth[::4, ::4] > 6
    if not inside.any():
        return np.zeros(shape, np.float32)
    polar = _polar(rng, breast, down, x)
    total = np.zeros(shape, np.float32)
    for spread in _SLABS:
        likely = place + _fan(rng, polar, 3.6, 45.0, 1.9)
        lobules = smooth_field(rng, part(shape), 2 * GRID_MM, (2.6, 3.4))
        likely += np.float32(0.22 * breast.clumps) * enlarged_to(lobules, shape)
        likely -= _shift_for(likely[::4, ::4][inside], 1.5 * breast.glandular, spread)
        total += 1 / (1 + np.exp(-np.clip(likely / np.float32(spread), -30, 30)))
        # Where parenchyma meets a lobule of fat lies a septum.
        total += np.float32(0.16) * ridges(likely, 0.10)
    grain = 1 + 0.13 * _fan(rng, polar, 2.8, 10.0, 1.6)
    under_skin = np.clip((depth - 2.5) / 7.0, 0, 1) ** 1.5
    share = total / len(_SLABS) * np.clip(grain, 0.3, 1.7) * under_skin * np.float32(0.8)
    return np.asarray(share, np.float32)


def _shift_for(likely: np.ndarray, wanted: float, spread: float) -> float:
    """Return the threshold at which the mean share is ``wanted``."""
    low, high = float(likely.min()) - 9, float(likely.max()) + 9
    for _ in range(30):
        middle = (low + high) / 2
        share = float(np.mean(1 / (1 + np.exp(-np.clip((likely - middle) / spread, -30, 30)))))
        low, high = (middle, high) if share > wanted else (low, middle)
    return (low + high) / 2


def fibres(
    rng: np.random.Generator, breast: Breast, down: np.ndarray, x: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """Return mm of Cooper's ligaments and septa: lines that run to the nipple, and a net of them.

    Parameters
    ----------
    rng
        Its state decides it.
    breast
        Whose.
    down, x
        (rows,), (cols,): mm below the nipple's row, and of depth.
    depth
        (rows, cols): mm inside the skin line.
    """
    shape = depth.shape
    polar = _polar(rng, breast, down, x)
    total = np.zeros(shape, np.float32)
    # Where there are septa no patch is so full of lines that they look like a tangle of threads.
    fullest = np.float32(1 if breast.septa else np.inf)
    kinds = (((3.6, 18.0), 0.10, 3.2), ((2.2, 10.0), 0.13, 2.2), ((6.0, 22.0), 0.07, 4.0))
    for scale, width, amount in kinds:
        lines = ridges(_strands(rng, scale, polar), width)
        weight = enlarged_to(smooth_field(rng, part(shape, 8), 8 * GRID_MM, (9, 14)), shape)
        weight = np.minimum(weight, fullest)
        total += np.float32(amount) * lines * np.exp(np.float32(0.9) * weight - np.float32(0.4))
    patchy = enlarged_to(smooth_field(rng, part(shape, 8), 8 * GRID_MM, (10, 10)), shape)
    patchy = np.minimum(patchy, fullest)
    net = enlarged_to(smooth_field(rng, part(shape), 2 * GRID_MM, (2.6, 3.2)), shape)
    if not breast.septa:  # else there is a web; the net's lines are closed, and like worms
        total += 1.6 * ridges(net, 0.10) * np.exp(np.float32(0.8) * patchy - np.float32(0.3))
    total *= np.float32(breast.fibres)
    # Fine stroma is everywhere, much the same in all women; fat between it is as fine, and dark.
    fine = 2.3 * ridges(_strands(rng, (1.2, 4.5), polar), 0.20)
    fine -= 1.1 * breast.dark * ridges(_strands(rng, (1.4, 5.0), polar), 0.20)
    fine += 3.6 * ridges(_strands(rng, (0.65, 2.4), polar), 0.22)
    fine -= 3.4 * breast.dark * ridges(_strands(rng, (0.7, 2.2), polar), 0.22)
    net = smooth_field(rng, shape, GRID_MM, (0.9, 1.1))
    fine += 1.6 * ridges(net, 0.18) - 1.1 * breast.dark * ridges(net - 0.7, 0.18)
    total += fine * np.exp(np.float32(breast.uneven) * patchy)
    haze = _fan(rng, polar, 3.0, 25.0, 1.5)
    total += np.clip(2.5 + 1.6 * haze, 0, None)
    inside = np.clip((depth - 1.0) / 5.0, 0, 1)
    return np.asarray(total * inside, np.float32)


def septa(
    rng: np.random.Generator,
    breast: Breast,
    place: np.ndarray,
    down: np.ndarray,
    x: np.ndarray,
    depth: np.ndarray,
) -> np.ndarray:
    """Return mm of crisp septa: walls between compartments of fat, brightest where they meet.

    Compartments of three sizes lie behind each other, as cells of random points (Bakic et al., Med. Phys.
    29 (2002) have such walls in three dimensions), longer towards the nipple than across; there are walls
    in some patches more than in others, and most where parenchyma is.

    Parameters
    ----------
    rng
        Its state decides it.
    breast
        Whose.
    place
        (rows, cols): how likely parenchyma is by place alone.
    down, x
        (rows,), (cols,): mm below the nipple's row, and of depth.
    depth
        (rows, cols): mm inside the skin line.
    """
    shape = depth.shape
    polar = _polar(rng, breast, down, x)
    total = np.zeros(shape, np.float32)
    for cell, stretch, amount in ((5.0, 1.3, 2.6), (9.0, 1.8, 3.6), (15.0, 2.2, 3.6)):
        wall = np.exp(-0.5 * (_from_wall(rng, polar, cell, stretch) / (0.3 + 0.03 * cell)) ** 2)
        patchy = smooth_field(rng, part(shape, 4), 4 * GRID_MM, (7.0, 9.0))
        weight = np.float32(0.8) * np.minimum(enlarged_to(patchy, shape), 1) - np.float32(0.32)
        total += np.float32(amount) * wall.astype(np.float32) * np.exp(weight)
    total *= 0.15 + 0.85 / (1 + np.exp(0.8 - 2 * place))
    inside = np.clip((depth - 1.0) / 5.0, 0, 1)
    return np.asarray(total * inside, np.float32)


def _from_wall(
    rng: np.random.Generator, polar: np.ndarray, cell: float, stretch: float
) -> np.ndarray:
    """Return how far off the nearest wall of cells of random points a place is, twice the mm, (rows, cols)."""
    shape = (polar.shape[1], polar.shape[2])
    coarse = polar[:, ::2, ::2].copy()
    for axis, long in enumerate((1.0, stretch)):
        bent = smooth_field(rng, part(shape, 8), 8 * GRID_MM, (0.6 * cell, 0.6 * cell))
        coarse[axis] /= cell * long
        coarse[axis] += np.float32(0.25) * enlarged_to(bent, shape)[::2, ::2]
    low, high = coarse.min(axis=(1, 2)) - 1, coarse.max(axis=(1, 2)) + 1
    points = rng.uniform(low, high, (int(np.prod(high - low)), 2))
    away = np.asarray(KDTree(points).query(coarse.reshape(2, -1).T, k=2)[0])
    between = (away[:, 1] - away[:, 0]).reshape(coarse.shape[1:]).astype(np.float32)
    return enlarged(between * np.float32(cell), 2)[: shape[0], : shape[1]]


def _polar(rng: np.random.Generator, breast: Breast, down: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return (2, rows, cols): mm around and mm away from a point before the nipple, both winding."""
    behind = np.float32(breast.depth_mm + 18) - x
    away = np.sqrt(down[:, None] ** 2 + behind[None, :] ** 2)
    angle = np.arctan2(down[:, None], behind[None, :])
    polar = np.stack([angle * np.float32(0.7 * breast.depth_mm), away])
    coarse = part(away.shape, 8)
    for axis, (wide, size) in ((0, (22.0, 5.0)), (0, (8.0, 1.1)), (1, (18.0, 3.0))):
        winding = smooth_field(rng, coarse, 8 * GRID_MM, (wide, wide))
        polar[axis] += np.float32(size * breast.winding) * enlarged_to(winding, away.shape)
    return polar


def _strands(rng: np.random.Generator, scale: tuple[float, float], polar: np.ndarray) -> np.ndarray:
    """Return a smooth field of (around, away) drawn on the image's grid."""
    pixel = max(min(scale) / 4, 0.3)
    flat = smooth_field(rng, _extent(polar, (pixel, pixel)), pixel, scale)
    return _drawn(flat, polar, (pixel, pixel))


def _fan(
    rng: np.random.Generator, polar: np.ndarray, exponent: float, longest_mm: float, stretch: float
) -> np.ndarray:
    """Return power-law noise, ``stretch`` times longer towards the nipple than across."""
    pixel = (0.4, 0.4 * stretch)
    flat = power_law(rng, _extent(polar, pixel), 0.4, exponent, longest_mm)
    return _drawn(flat, polar, pixel)


def _extent(polar: np.ndarray, pixel: tuple[float, float]) -> tuple[int, int]:
    around = float(polar[0].max() - polar[0].min())
    return int(around / pixel[0]) + 3, int(float(polar[1].max()) / pixel[1]) + 3


def _drawn(flat: np.ndarray, polar: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    at = np.stack([(polar[0] - polar[0].min()) / pixel[0] + 1, polar[1] / pixel[1] + 1])
    return np.asarray(ndimage.map_coordinates(flat, at, order=1, mode="nearest"), np.float32)


def part(shape: tuple[int, int], step: int = 2) -> tuple[int, int]:
    """Return the shape of every so many rows and columns."""
    return -(-shape[0] // step), -(-shape[1] // step)


def enlarged_to(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge what was made on every so many rows and columns of a shape to all of it."""
    step = -(-shape[0] // values.shape[0])
    return enlarged(values, step)[: shape[0], : shape[1]]


def enlarged(values: np.ndarray, step: int) -> np.ndarray:
    """Enlarge by a whole factor, linearly between pixel centres."""
    return np.asarray(
        ndimage.zoom(values, step, order=1, grid_mode=True, mode="nearest"), np.float32
    )
