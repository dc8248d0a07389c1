"""Functions on regions and frames: source pixels, working grids, millimetres.

Every position is ``(row, col)`` with pixel centres on whole numbers. A pixel covers half a pixel
to each side of its centre, so an image of ``n`` rows reaches from -0.5 to n - 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from secondreader.domain import Box, Circle, Frame, Mask, Point, Polygon, Region

__all__ = [
    "area",
    "bounding_box",
    "centre",
    "contains",
    "crop",
    "diameter",
    "distance_mm",
    "flip_cols",
    "flip_rows",
    "from_run_lengths",
    "identity",
    "iou",
    "move",
    "rasterise",
    "resample",
    "run_lengths",
    "tiles",
    "to_grid",
    "to_source",
]


# -------------------------------------------------------------------------------------- frames


def identity(shape: tuple[int, int]) -> Frame:
    """Return the frame of a grid that is the source image itself."""
    rows, cols = int(shape[0]), int(shape[1])
    return Frame(shape=(rows, cols), source_shape=(rows, cols))


def to_source(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Map grid positions to source positions.

    Parameters
    ----------
    frame
        Where the grid lies.
    points
        (..., 2) float, (row, col) on the grid.

    Returns
    -------
    numpy.ndarray
        (..., 2) float64, (row, col) in the source image.
    """
    mapped: np.ndarray = np.asarray(points, np.float64) * np.array(frame.scale) + frame.offset
    return mapped


def to_grid(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Map source positions (..., 2) to grid positions (..., 2); the inverse of `to_source`."""
    mapped: np.ndarray = (np.asarray(points, np.float64) - frame.offset) / np.array(frame.scale)
    return mapped


def crop(frame: Frame, row0: int, col0: int, rows: int, cols: int) -> Frame:
    """Return the frame of ``grid[row0:row0+rows, col0:col0+cols]``; it may reach outside the grid.

    Raises
    ------
    ValueError
        If the crop has no pixel.
    """
    if rows < 1 or cols < 1:
        raise ValueError(f"crop: got {rows} x {cols}, expected at least one pixel")
    offset = to_source(frame, np.array([row0, col0]))
    return replace(frame, shape=(rows, cols), offset=(float(offset[0]), float(offset[1])))


def flip_cols(frame: Frame) -> Frame:
    """Return the frame of ``grid[:, ::-1]``."""
    last = to_source(frame, np.array([0, frame.shape[1] - 1]))
    return replace(
        frame, offset=(frame.offset[0], float(last[1])), scale=(frame.scale[0], -frame.scale[1])
    )


def flip_rows(frame: Frame) -> Frame:
    """Return the frame of ``grid[::-1]``."""
    last = to_source(frame, np.array([frame.shape[0] - 1, 0]))
    return replace(
        frame, offset=(float(last[0]), frame.offset[1]), scale=(-frame.scale[0], frame.scale[1])
    )


def resample(frame: Frame, shape: tuple[int, int], scale: tuple[float, float]) -> Frame:
    """Return the frame of a grid of ``shape`` whose pixels are ``scale`` old grid pixels wide.

    The outer corner of the first pixel stays where it was, so (0, 0) moves to ``(scale - 1) / 2``.
    """
    start = to_source(frame, np.array([(scale[0] - 1) / 2, (scale[1] - 1) / 2]))
    return Frame(
        shape=(int(shape[0]), int(shape[1])),
        source_shape=frame.source_shape,
        offset=(float(start[0]), float(start[1])),
        scale=(frame.scale[0] * scale[0], frame.scale[1] * scale[1]),
    )


def tiles(
    shape: tuple[int, int], size: tuple[int, int], stride: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Yield the (row0, col0) of tiles that cover a grid, the last ones moved back inside it.

    A grid smaller than a tile gives the one tile at (0, 0).
    """

    def starts(length: int, tile: int, step: int) -> list[int]:
        last = max(length - tile, 0)
        return [*range(0, last, step), last]

    for row0 in starts(shape[0], size[0], stride[0]):
        for col0 in starts(shape[1], size[1], stride[1]):
            yield row0, col0


# ------------------------------------------------------------------------------------- regions


def centre(region: Region) -> tuple[float, float]:
    """Return the (row, col) centre of mass of a region, in the region's own pixels."""
    match region:
        case Point(row, col) | Circle(row, col, _):
            return row, col
        case Box(row0, col0, row1, col1):
            return (row0 + row1) / 2, (col0 + col1) / 2
        case Polygon(points):
            return _polygon_centre(np.array(points, np.float64))
        case Mask(pixels, row0, col0):
            rows, cols = np.nonzero(pixels)
            if rows.size == 0:
                raise ValueError("mask: got no pixel set, expected at least one")
            return row0 + float(rows.mean()), col0 + float(cols.mean())


def bounding_box(region: Region) -> Box:
    """Return the smallest upright box around a region, pixel centres included."""
    match region:
        case Point(row, col):
            return Box(row, col, row, col)
        case Circle(row, col, radius):
            return Box(row - radius, col - radius, row + radius, col + radius)
        case Box():
            return region
        case Polygon(points):
            p = np.array(points, np.float64)
            (row0, col0), (row1, col1) = p.min(axis=0), p.max(axis=0)
            return Box(float(row0), float(col0), float(row1), float(col1))
        case Mask(pixels, row0, col0):
            rows, cols = np.nonzero(pixels)
            if rows.size == 0:
                raise ValueError("mask: got no pixel set, expected at least one")
            return Box(
                row0 + int(rows.min()),
                col0 + int(cols.min()),
                row0 + int(rows.max()),
                col0 + int(cols.max()),
            )


def area(region: Region) -> float:
    """Return the area in square pixels; a point has none."""
    match region:
        case Point():
            return 0.0
        case Circle(_, _, radius):
            return math.pi * radius**2
        case Box(row0, col0, row1, col1):
            return (row1 - row0 + 1) * (col1 - col0 + 1)
        case Polygon(points):
            p = np.array(points, np.float64)
            return abs(float(_cross(p).sum())) / 2
        case Mask(pixels, _, _):
            return float(np.count_nonzero(pixels))


def diameter(region: Region) -> float:
    """Return the largest extent of a region's bounding box in pixels, 0 for a point."""
    if isinstance(region, Point):
        return 0.0
    if isinstance(region, Circle):
        return 2 * region.radius
    box = bounding_box(region)
    return max(box.row1 - box.row0, box.col1 - box.col0) + 1


def contains(region: Region, row: float, col: float) -> bool:
    """Say whether a position lies in a region, its border included; a point contains itself."""
    match region:
        case Point():
            return (row, col) == (region.row, region.col)
        case Circle(row0, col0, radius):
            return (row - row0) ** 2 + (col - col0) ** 2 <= radius**2
        case Box(row0, col0, row1, col1):
            return row0 - 0.5 <= row <= row1 + 0.5 and col0 - 0.5 <= col <= col1 + 0.5
        case Polygon(points):
            return _in_polygon(np.array(points, np.float64), row, col)
        case Mask(pixels, row0, col0):
            r, c = round(row) - row0, round(col) - col0
            rows, cols = pixels.shape
            return 0 <= r < rows and 0 <= c < cols and bool(pixels[r, c])


def distance_mm(
    a: tuple[float, float], b: tuple[float, float], spacing_mm: tuple[float, float]
) -> float:
    """Return the distance of two source positions in millimetres."""
    return math.hypot((a[0] - b[0]) * spacing_mm[0], (a[1] - b[1]) * spacing_mm[1])


def rasterise(region: Region, shape: tuple[int, int] | None = None) -> Mask:
    """Return the pixels whose centres lie in a region.

    Parameters
    ----------
    region
        Any region; a point becomes the one pixel it lies in.
    shape
        (rows, cols) of the image to clip to; ``None`` clips nothing.

    Returns
    -------
    Mask
        The crop of the bounding box; it may be empty (0 rows) when clipped away.
    """
    if isinstance(region, Mask):
        return region if shape is None else _clip(region, shape)
    if isinstance(region, Point):
        return rasterise(Mask(np.ones((1, 1), bool), round(region.row), round(region.col)), shape)
    box = bounding_box(region)
    row0, col0 = math.ceil(box.row0 - 0.5), math.ceil(box.col0 - 0.5)
    row1, col1 = math.floor(box.row1 + 0.5), math.floor(box.col1 + 0.5)
    if shape is not None:
        row0, col0 = max(row0, 0), max(col0, 0)
        row1, col1 = min(row1, shape[0] - 1), min(col1, shape[1] - 1)
    if row1 < row0 or col1 < col0:
        return Mask(np.zeros((0, 0), bool), row0, col0)
    rows = np.arange(row0, row1 + 1, dtype=np.float64)[:, None]
    cols = np.arange(col0, col1 + 1, dtype=np.float64)[None, :]
    match region:
        case Circle(row, col, radius):
            inside = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
        case Box():
            inside = np.ones((rows.size, cols.size), bool)
        case Polygon(points):
            inside = _polygon_pixels(np.array(points, np.float64), rows, cols)
    return Mask(inside, row0, col0)


def run_lengths(pixels: np.ndarray) -> np.ndarray:
    """Return the lengths of runs of equal values, row by row; the first run is of zeros.

    Parameters
    ----------
    pixels
        (rows, cols) bool.

    Returns
    -------
    numpy.ndarray
        (n,) uint32, their sum the number of pixels.
    """
    flat = np.ascontiguousarray(pixels, bool).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    lengths = np.diff(bounds).astype(np.uint32)
    starts_set = flat.size > 0 and bool(flat[0])
    return np.concatenate([np.zeros(1, np.uint32), lengths]) if starts_set else lengths


def from_run_lengths(runs: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the (rows, cols) bool array of run lengths; ValueError if they do not fill it."""
    values = np.zeros(runs.size, bool)
    values[1::2] = True
    pixels = np.repeat(values, runs)
    return pixels.reshape(shape)


def iou(a: Region, b: Region) -> float:
    """Return the intersection over union of two regions.

    Two boxes are compared in continuous coordinates, everything else by its pixels.
    """
    if isinstance(a, Box) and isinstance(b, Box):
        high = min(a.row1, b.row1) - max(a.row0, b.row0) + 1
        wide = min(a.col1, b.col1) - max(a.col0, b.col0) + 1
        both = max(high, 0.0) * max(wide, 0.0)
        return both / (area(a) + area(b) - both)
    ma, mb = rasterise(a), rasterise(b)
    row0, col0 = max(ma.row0, mb.row0), max(ma.col0, mb.col0)
    row1 = min(ma.row0 + ma.pixels.shape[0], mb.row0 + mb.pixels.shape[0])
    col1 = min(ma.col0 + ma.pixels.shape[1], mb.col0 + mb.pixels.shape[1])
    union = int(np.count_nonzero(ma.pixels)) + int(np.count_nonzero(mb.pixels))
    if union == 0:
        return 0.0
    if row1 <= row0 or col1 <= col0:
        return 0.0
    both_pixels = (
        ma.pixels[row0 - ma.row0 : row1 - ma.row0, col0 - ma.col0 : col1 - ma.col0]
        & mb.pixels[row0 - mb.row0 : row1 - mb.row0, col0 - mb.col0 : col1 - mb.col0]
    )
    both_count = int(np.count_nonzero(both_pixels))
    return both_count / (union - both_count)


def move(region: Region, frame: Frame, *, to: str) -> Region:
    """Carry a region between a grid and its source image.

    Parameters
    ----------
    region
        In source pixels for ``to="grid"``, in grid pixels for ``to="source"``.
    frame
        Where the grid lies.
    to
        ``"grid"`` or ``"source"``.

    Returns
    -------
    Region
        Of the same kind; a mask is resampled to the nearest pixel. A circle's radius is scaled by
        the mean of both axes.
    """
    if to == "source":
        apply, scale = to_source, (abs(frame.scale[0]), abs(frame.scale[1]))
    elif to == "grid":
        apply, scale = to_grid, (1 / abs(frame.scale[0]), 1 / abs(frame.scale[1]))
    else:
        raise ValueError(f"to: got {to!r}, expected 'grid' or 'source'")
    match region:
        case Point(row, col):
            r, c = apply(frame, np.array([row, col]))
            return Point(float(r), float(c))
        case Circle(row, col, radius):
            r, c = apply(frame, np.array([row, col]))
            return Circle(float(r), float(c), radius * (scale[0] + scale[1]) / 2)
        case Box():
            return _move_box(region, frame, to)
        case Polygon(points):
            moved = apply(frame, np.array(points, np.float64))
            return Polygon(tuple((float(r), float(c)) for r, c in moved))
        case Mask():
            return _move_mask(region, frame, to)


def _move_box(box: Box, frame: Frame, to: str) -> Box:
    """Move the outer edges of a box, so that its area scales with the pixels'."""
    apply = to_source if to == "source" else to_grid
    edges = np.array([[box.row0 - 0.5, box.col0 - 0.5], [box.row1 + 0.5, box.col1 + 0.5]])
    moved = apply(frame, edges)
    (row0, col0), (row1, col1) = moved.min(axis=0), moved.max(axis=0)
    return Box(float(row0) + 0.5, float(col0) + 0.5, float(row1) - 0.5, float(col1) - 0.5)


def _move_mask(mask: Mask, frame: Frame, to: str) -> Mask:
    back = to_grid if to == "source" else to_source
    rows, cols = mask.pixels.shape
    box = Box(mask.row0, mask.col0, mask.row0 + rows - 1, mask.col0 + cols - 1)
    new = _move_box(box, frame, to)
    r0, r1 = math.floor(new.row0 - 0.5), math.ceil(new.row1 + 0.5)
    c0, c1 = math.floor(new.col0 - 0.5), math.ceil(new.col1 + 0.5)
    old_rows = back(frame, np.stack([np.arange(r0, r1 + 1), np.zeros(r1 - r0 + 1)], 1))[:, 0]
    old_cols = back(frame, np.stack([np.zeros(c1 - c0 + 1), np.arange(c0, c1 + 1)], 1))[:, 1]
    r = np.floor(old_rows + 0.5).astype(int) - mask.row0
    c = np.floor(old_cols + 0.5).astype(int) - mask.col0
    inside = ((r >= 0) & (r < rows))[:, None] & ((c >= 0) & (c < cols))[None, :]
    picked = mask.pixels[np.clip(r, 0, rows - 1)[:, None], np.clip(c, 0, cols - 1)[None, :]]
    return Mask(picked & inside, r0, c0)


def _clip(mask: Mask, shape: tuple[int, int]) -> Mask:
    rows, cols = mask.pixels.shape
    r0, c0 = max(-mask.row0, 0), max(-mask.col0, 0)
    r1, c1 = min(rows, shape[0] - mask.row0), min(cols, shape[1] - mask.col0)
    return Mask(mask.pixels[r0 : max(r1, r0), c0 : max(c1, c0)], mask.row0 + r0, mask.col0 + c0)


def _cross(p: np.ndarray) -> np.ndarray:
    q = np.roll(p, -1, axis=0)
    crossed: np.ndarray = p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1]
    return crossed


def _polygon_centre(p: np.ndarray) -> tuple[float, float]:
    """Return the centre of mass of a polygon, or of its points where it has no area."""
    origin = p.mean(axis=0)
    local = p - origin
    cross = _cross(local)
    twice = float(cross.sum())
    if abs(twice) < 1e-12:
        return float(origin[0]), float(origin[1])
    moment = ((local + np.roll(local, -1, axis=0)) * cross[:, None]).sum(axis=0) / (3 * twice)
    return float(origin[0] + moment[0]), float(origin[1] + moment[1])


def _in_polygon(p: np.ndarray, row: float, col: float) -> bool:
    """Even-odd rule, with the border inside."""
    q = np.roll(p, -1, axis=0)
    along = q - p
    to = np.array([row, col]) - p
    length2 = np.maximum((along**2).sum(axis=1), 1e-300)
    t = np.clip((to * along).sum(axis=1) / length2, 0, 1)
    nearest = p + t[:, None] * along
    if float(((np.array([row, col]) - nearest) ** 2).sum(axis=1).min()) <= 1e-18:
        return True
    crosses = (p[:, 0] > row) != (q[:, 0] > row)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = p[:, 1] + (row - p[:, 0]) / along[:, 0] * along[:, 1]
    return bool(np.count_nonzero(crosses & (col < at)) % 2)


def _polygon_pixels(p: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Fill a polygon row by row with the even-odd rule; pixels on the border belong to it."""
    q = np.roll(p, -1, axis=0)
    inside = np.zeros((rows.size, cols.size), bool)
    x = cols.ravel()
    for i, row in enumerate(rows.ravel()):
        crosses = (p[:, 0] > row) != (q[:, 0] > row)
        if crosses.any():
            a, b = p[crosses], q[crosses]
            at = np.sort(a[:, 1] + (row - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1]))
            for left, right in zip(at[::2], at[1::2], strict=True):
                inside[i] |= (x >= left - 1e-9) & (x <= right + 1e-9)
        level = (p[:, 0] == row) & (q[:, 0] == row)
        for left, right in zip(p[level, 1], q[level, 1], strict=True):
            inside[i] |= (x >= min(left, right)) & (x <= max(left, right))
        inside[i] |= np.isin(x, p[p[:, 0] == row, 1])
    return inside
