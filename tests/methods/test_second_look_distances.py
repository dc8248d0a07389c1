"""Distances of generated patches: normal distributions that are known, and a library's own."""

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from secondreader.methods.second_look.distances import alike, frechet, kernel, weighed

RNG = np.random.default_rng(0)
A, B = RNG.normal(0, 1, (60, 5)), RNG.normal(0.4, 1.5, (50, 5)) @ RNG.normal(0, 1, (5, 5))


def test_along_one_line_it_is_the_distance_of_means_and_of_spreads():
    a, b = np.array([[0.0], [2.0]]), np.array([[3.0], [4.0]])  # spreads sqrt 2, sqrt 1/2
    assert frechet(a, b) == pytest.approx(2.5**2 + (2**0.5 - 0.5**0.5) ** 2)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


class Plain(torch.nn.Module):
    num_features = 5

    def forward(self, x):
        return x


def test_frechet_is_the_librarys():
    other = FrechetInceptionDistance(Plain()).set_dtype(torch.float64)
    other.update(torch.from_numpy(A), real=True)
    other.update(torch.from_numpy(B), real=False)
    assert frechet(A, B) == pytest.approx(float(other.compute()), rel=1e-4)


def test_kernel_is_the_librarys_where_both_are_alike_in_number():
    x, y = torch.from_numpy(A[:50]), torch.from_numpy(B)
    assert kernel(A[:50], B) == pytest.approx(float(poly_mmd(x, y)), rel=1e-6)


@pytest.mark.parametrize("distance", [frechet, kernel])
def test_what_was_drawn_never_is_not_there(distance):
    drawn = np.r_[np.ones(40), np.zeros(20)]
    assert distance(A, B, drawn) == pytest.approx(distance(A[:40], B))


def test_what_is_alike_is_weighed_as_often_as_wanted():
    of = alike(A, B)
    for drawn in (None, np.r_[np.ones(40), np.zeros(20)], np.arange(60)):
        assert weighed(of, drawn) == pytest.approx(kernel(A, B, drawn))
    # By hand, of three: 2 draws of the first, 1 of the second; pairs of one draw with itself left out.
    x = np.array([[1.0], [2.0]])
    within = (2 * (1 * 2 + 1) ** 3 * 2) / (9 - 5)
    across = ((1 * 3 + 1) ** 3 * 2 + (2 * 3 + 1) ** 3) / 3
    other = (3 * 4 + 1) ** 3
    got = weighed(alike(x, np.array([[3.0], [4.0]])), np.array([2, 1]), np.array([1, 1]))
    both = ((1 * 4 + 1) ** 3 * 2 + (2 * 4 + 1) ** 3) / 3
    assert got == pytest.approx(within + other - (across + both))


def test_frechet_counts_what_was_drawn_twice_twice():
    twice = np.r_[2 * np.ones(10), np.ones(50)]
    assert frechet(A, B, twice) == pytest.approx(frechet(np.concatenate([A[:10], A]), B))
