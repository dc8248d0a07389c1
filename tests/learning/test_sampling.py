"""Which positions a batch takes."""

from __future__ import annotations

import numpy as np
import pytest

from secondreader.learning.positions import Positions, draw, of_masks, of_points, of_where
from secondreader.learning.sampling import (
    balanced,
    cumulative,
    draw_weighted,
    each_image_alike,
)


def listed(positions: Positions) -> list[list[int]]:
    return positions.at(np.arange(len(positions))).tolist()


def test_weighted_positions_come_as_often_as_their_weight_and_none_without_weight():
    points = of_points([np.array([[0, 0], [0, 1]]), np.array([[5, 5]])])
    sums = cumulative(points, np.array([3.0, 0.0, 1.0]))
    drawn = draw_weighted(points, sums, np.random.default_rng(0), 4000)
    assert set(map(tuple, drawn.tolist())) == {(0, 0, 0), (1, 5, 5)}
    assert abs((drawn[:, 0] == 0).mean() - 0.75) < 0.03


def test_each_image_alike_draws_a_small_image_as_often_as_a_large_one():
    masks = [np.ones((20, 20), bool), np.ones((2, 2), bool)]
    positions = of_masks(masks)
    sums = cumulative(positions, each_image_alike(positions))
    drawn = draw_weighted(positions, sums, np.random.default_rng(1), 4000)
    assert abs((drawn[:, 0] == 0).mean() - 0.5) < 0.04
    assert abs((draw(positions, np.random.default_rng(1), 4000)[:, 0] == 0).mean() - 0.99) < 0.01


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        cumulative(of_points([np.array([[0, 0], [1, 1]])]), np.array(weights))


def test_a_share_that_is_no_whole_number_is_met_over_many_batches():
    classes = {"a": of_points([np.array([[0, 0]])]), "b": of_points([np.array([[1, 1]])])}
    numbers = [
        (balanced(classes, {"a": 0.3, "b": 0.7}, np.random.default_rng(s), 4)[1] == 0).sum()
        for s in range(2000)
    ]
    assert set(numbers) == {1, 2} and abs(np.mean(numbers) - 1.2) < 0.05


def test_shares_that_do_not_add_up_to_one_are_refused():
    classes = {"a": of_points([np.array([[0, 0]])])}
    with pytest.raises(ValueError, match="adding up to 1"):
        balanced(classes, {"a": 0.5}, np.random.default_rng(0), 4)


def test_the_positions_of_an_image_are_its_own():
    positions = of_where(np.array([[2, 0, 0], [0, 1, 1], [2, 3, 3]]))
    assert listed(positions) == [[0, 1, 1], [2, 0, 0], [2, 3, 3]]
    assert [list(positions.of_image(i)) for i in range(4)] == [[0], [], [1, 2], []]
