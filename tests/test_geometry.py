"""Frames compose and go back; regions keep their area, their place and their border."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from secondreader import geometry
from secondreader.domain import Box, Circle, Mask, Point, Polygon

length = st.integers(8, 400)
step = st.sampled_from([0.5, 1.0, 1.25, 2.0, 3.0, 7 / 3])
moves = st.lists(
    st.one_of(
        st.just(("flip_cols",)),
        st.just(("flip_rows",)),
        st.tuples(st.just("crop"), st.integers(0, 5), st.integers(0, 5)),
        st.tuples(st.just("resample"), step, step),
    ),
    max_size=6,
)


def moved(frame, steps):
    for name, *values in steps:
        if name == "crop":
            row0, col0 = values
            rows, cols = frame.shape[0] - row0, frame.shape[1] - col0
            if rows > 0 and cols > 0:
                frame = geometry.crop(frame, row0, col0, rows, cols)
        elif name == "resample":
            shape = tuple(max(int(n / s), 1) for n, s in zip(frame.shape, values, strict=True))
            frame = geometry.resample(frame, shape, tuple(values))
        else:
            frame = getattr(geometry, name)(frame)
    return frame


@given(length, length, moves, st.floats(-10, 400), st.floats(-10, 400))
def test_a_position_comes_back_through_any_flips_crops_and_resamplings(rows, cols, steps, r, c):
    frame = moved(geometry.identity((rows, cols)), steps)
    there = geometry.to_grid(frame, np.array([r, c]))
    assert geometry.to_source(frame, there) == pytest.approx([r, c], abs=1e-7)


@given(length, length, st.integers(0, 5), st.integers(0, 5))
def test_frames_say_where_the_pixels_of_arrays_went(rows, cols, row0, col0):
    numbers = np.arange(rows * cols).reshape(rows, cols)
    frame = geometry.flip_cols(geometry.identity((rows, cols)))
    frame = geometry.flip_rows(geometry.crop(frame, row0, col0, rows - row0, cols - col0))
    array = numbers[:, ::-1][row0:, col0:][::-1]
    row, col = geometry.to_source(frame, np.array([1, 2])).astype(int)
    assert numbers[row, col] == array[1, 2]


def test_flipping_twice_is_exact():
    frame = geometry.resample(geometry.identity((101, 57)), (33, 19), (3, 3))
    assert geometry.flip_cols(geometry.flip_cols(frame)) == frame


def test_resampling_keeps_the_outer_corner():
    frame = geometry.resample(geometry.identity((100, 100)), (50, 25), (2, 4))
    assert geometry.to_source(frame, np.array([-0.5, -0.5])).tolist() == [-0.5, -0.5]
    assert geometry.to_source(frame, np.array([49.5, 24.5])).tolist() == [99.5, 99.5]


@given(length, length, st.integers(1, 80), st.integers(1, 80))
def test_tiles_cover_the_grid_and_stay_inside(rows, cols, size, stride):
    stride = min(stride, size)
    covered = np.zeros((rows, cols), bool)
    for row0, col0 in geometry.tiles((rows, cols), (size, size), (stride, stride)):
        assert 0 <= row0 <= max(rows - size, 0)
        assert 0 <= col0 <= max(cols - size, 0)
        covered[row0 : row0 + size, col0 : col0 + size] = True
    assert covered.all()


def test_centres_areas_and_diameters_of_plain_shapes():
    square = Polygon(((0, 0), (0, 4), (4, 4), (4, 0)))
    assert geometry.centre(square) == (2, 2)
    assert geometry.area(square) == 16
    assert geometry.area(Box(1, 1, 1, 1)) == 1
    assert geometry.area(Circle(0, 0, 2)) == pytest.approx(4 * math.pi)
    assert geometry.area(Point(3, 4)) == 0
    assert geometry.diameter(Box(0, 0, 3, 9)) == 10
    mask = Mask(np.array([[True, False], [True, True]]), 10, 20)
    assert geometry.centre(mask) == (10 + 2 / 3, 20 + 1 / 3)
    assert geometry.bounding_box(mask) == Box(10, 20, 11, 21)


def test_the_centre_of_a_bent_outline_is_its_mass_not_its_box():
    bent = Polygon(((0, 0), (0, 6), (2, 6), (2, 2), (6, 2), (6, 0)))
    # Two rectangles, 2 x 6 and 4 x 2: (1, 3) * 12 + (4, 1) * 8, over 20.
    assert geometry.centre(bent) == pytest.approx(((12 + 32) / 20, (36 + 8) / 20))


@given(st.floats(-5, 40), st.floats(-5, 40), st.floats(0.6, 15))
def test_a_rasterised_circle_holds_the_pixels_whose_centres_lie_in_it(row, col, radius):
    mask = geometry.rasterise(Circle(row, col, radius), (32, 32))
    full = np.zeros((32, 32), bool)
    rows, cols = mask.pixels.shape
    full[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] = mask.pixels
    r, c = np.mgrid[0:32, 0:32]
    assert (full == ((r - row) ** 2 + (c - col) ** 2 <= radius**2)).all()


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 300)).map(
            lambda p: (p[0] / 10 + 0.03, p[1] / 10 + 0.07)
        ),
        min_size=3,
        max_size=8,
        unique=True,
    )
)
def test_a_rasterised_polygon_is_that_of_scikit_image_off_its_border(points):
    polygon = Polygon(tuple(points))
    mask = geometry.rasterise(polygon, (32, 32))
    full = np.zeros((32, 32), bool)
    rows, cols = mask.pixels.shape
    full[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] = mask.pixels
    other = polygon2mask((32, 32), np.array(points))
    for r, c in np.argwhere(full != other):
        edges = zip(points, [*points[1:], points[0]], strict=True)
        assert min(_distance((r, c), a, b) for a, b in edges) < 1e-6


def _distance(p, a, b):
    p, a, b = (np.array(v, float) for v in (p, a, b))
    t = np.clip(np.dot(p - a, b - a) / max(np.dot(b - a, b - a), 1e-300), 0, 1)
    return float(np.hypot(*(p - a - t * (b - a))))


def test_overlaps_are_exact_fractions():
    assert geometry.iou(Box(0, 0, 3, 3), Box(2, 2, 5, 5)) == 4 / 28
    assert geometry.iou(Box(0, 0, 1, 1), Box(2, 2, 3, 3)) == 0
    a = Mask(np.ones((4, 4), bool), 0, 0)
    assert geometry.iou(a, Box(2, 2, 5, 5)) == 4 / 28
    assert geometry.iou(a, a) == 1


@pytest.mark.parametrize(
    "region",
    [
        Point(10.25, 20.5),
        Circle(30, 40, 5.5),
        Box(3, 4, 10, 20),
        Polygon(((1, 2), (8, 3), (5, 9))),
        Mask(np.ones((4, 6), bool), 12, 8),
    ],
)
def test_a_region_moved_to_the_grid_and_back_is_where_it_was(region):
    frame = geometry.flip_cols(geometry.crop(geometry.identity((60, 80)), 3, 5, 50, 70))
    back = geometry.move(geometry.move(region, frame, to="grid"), frame, to="source")
    assert geometry.centre(back) == pytest.approx(geometry.centre(region))
    assert geometry.area(back) == pytest.approx(geometry.area(region))


def test_borders_belong_to_regions():
    assert geometry.contains(Polygon(((0, 0), (0, 4), (4, 4), (4, 0))), 0, 2)
    assert geometry.contains(Circle(0, 0, 2), 0, 2)
    assert geometry.contains(Box(0, 0, 2, 2), 2.5, 0)
    assert not geometry.contains(Box(0, 0, 2, 2), 2.51, 0)
    assert geometry.contains(Mask(np.eye(3, dtype=bool), 5, 5), 6, 6)
    assert not geometry.contains(Mask(np.eye(3, dtype=bool), 5, 5), 6, 7)


def test_distances_count_each_axis_in_its_own_millimetres():
    assert geometry.distance_mm((0, 0), (3, 4), (1.0, 1.0)) == 5
    assert geometry.distance_mm((0, 0), (3, 2), (1.0, 2.0)) == 5
