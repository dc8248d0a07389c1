"""Positions are counted, numbered and drawn without ever being listed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from secondreader.domain import SecondReaderError
from secondreader.learning.patches import balanced, cut, generator
from secondreader.learning.positions import draw, of_masks, of_points, thinned

masks = st.lists(
    stn.arrays(bool, stn.array_shapes(min_dims=2, max_dims=2, max_side=9)), min_size=1, max_size=4
)


@given(masks)
def test_every_set_pixel_is_a_position_once_and_in_order(drawn):
    positions = of_masks(drawn)
    wanted = [(i, r, c) for i, mask in enumerate(drawn) for r, c in np.argwhere(mask)]
    assert len(positions) == len(wanted)
    assert [tuple(row) for row in positions.at(np.arange(len(positions)))] == wanted


@given(masks, st.integers(0, 2**32))
def test_what_is_drawn_is_set(drawn, seed):
    positions = of_masks(drawn)
    rng = np.random.default_rng(seed)
    if not len(positions):
        with pytest.raises(ValueError, match="got none"):
            draw(positions, rng, 3)
        return
    for image, row, col in draw(positions, rng, 20):
        assert drawn[image][row, col]


@given(masks, st.integers(1, 40), st.integers(0, 99))
def test_a_thinned_set_is_of_its_positions_each_once_in_order_and_evenly_spread(drawn, count, seed):
    every = of_masks(drawn)
    few = thinned(every, count, seed)
    got = [tuple(row) for row in few.at(np.arange(len(few)))]
    all_of_them = [(i, r, c) for i, mask in enumerate(drawn) for r, c in np.argwhere(mask)]
    numbers = [all_of_them.index(where) for where in got]
    assert numbers == sorted(set(numbers))
    if len(every) <= count:
        assert got == all_of_them
    elif numbers:
        # One from each stretch: no gap is longer than two of them.
        longest = 2 * len(every) / count
        assert max(np.diff([-1, *numbers, len(every)])) <= longest + 1


@given(masks, st.integers(1, 40))
def test_the_positions_of_an_image_are_found_without_copying_those_of_all(drawn, count):
    for few in (of_masks(drawn), thinned(of_masks(drawn), count, 0)):
        assert few.image.dtype == np.int32 and few.image.flags.c_contiguous
        image = few.at(np.arange(len(few)))[:, 0]
        for number in range(len(drawn)):
            assert list(few.of_image(number)) == np.flatnonzero(image == number).tolist()


def test_draws_are_even_over_runs_of_any_length():
    mask = np.zeros((3, 100), bool)
    mask[0, :99] = True
    mask[2, 5] = True
    got = draw(of_masks([mask]), np.random.default_rng(0), 20_000)
    assert np.mean(got[:, 1] == 2) == pytest.approx(0.01, abs=0.003)


def test_points_are_rounded_to_pixels():
    positions = of_points([np.array([[1.4, 2.6]]), np.zeros((0, 2)), np.array([[7.0, 8.0]])])
    assert positions.at(np.arange(2)).tolist() == [[0, 1, 3], [2, 7, 8]]


def test_a_batch_has_its_shares_and_follows_from_the_step():
    classes = {"a": of_points([np.array([[1, 1]])]), "b": of_masks([np.ones((4, 4), bool)])}
    shares = {"a": 0.25, "b": 0.75}
    where, label = balanced(classes, shares, generator(3, 9), 8)
    again, _ = balanced(classes, shares, generator(3, 9), 8)
    other, _ = balanced(classes, shares, generator(3, 10), 8)
    assert label.tolist() == [0] * 2 + [1] * 6
    assert (where == again).all()
    assert (where != other).any()


def test_an_empty_class_is_named():
    classes = {"calcifications": of_points([]), "normal tissue": of_masks([np.ones((4, 4), bool)])}
    with pytest.raises(SecondReaderError, match="got no calcifications"):
        balanced(classes, {"calcifications": 0.5, "normal tissue": 0.5}, generator(0, 0), 4)


@given(st.integers(-12, 20), st.integers(-12, 20), st.integers(1, 9))
def test_a_patch_is_what_lies_there_and_filled_outside(row, col, size):
    pixels = np.arange(1, 81, dtype=np.float32).reshape(8, 10)
    padded = np.pad(pixels, 40)
    top, left = row - size // 2 + 40, col - size // 2 + 40
    assert (cut(pixels, row, col, size) == padded[top : top + size, left : left + size]).all()
