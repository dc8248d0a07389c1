"""Peaks, suppression and clusters: pure functions of positions, in no order."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secondreader import detections, geometry
from secondreader.domain import Kind

coordinate = st.floats(0, 60, allow_nan=False).map(lambda v: round(v, 3))
points = st.lists(st.tuples(coordinate, coordinate), min_size=0, max_size=25, unique=True)


def test_a_peak_between_two_pixels_is_found_between_them():
    row, col = np.mgrid[0:21, 0:31]
    response = np.exp(-((row - 10.3) ** 2 + (col - 15.7) ** 2) / 8).astype(np.float32)
    positions, scores = detections.peaks(response, threshold=0.5, min_distance=3)
    assert positions.shape == (1, 2)
    assert positions[0] == pytest.approx([10.3, 15.7], abs=0.05)
    assert scores[0] == response.max()


def test_of_two_near_peaks_the_higher_stays_and_far_ones_both_stay():
    response = np.zeros((20, 40), np.float32)
    response[5, 5], response[5, 8], response[5, 30] = 3, 2, 1
    near, _ = detections.peaks(response, threshold=0.5, min_distance=4)
    far, _ = detections.peaks(response, threshold=0.5, min_distance=2)
    assert near.tolist() == [[5, 5], [5, 30]]
    assert far.tolist() == [[5, 5], [5, 8], [5, 30]]


def test_peaks_outside_the_mask_and_beyond_the_most_are_left_out():
    response = np.zeros((20, 40), np.float32)
    response[5, 5], response[5, 20], response[5, 35] = 3, 2, 1
    mask = np.ones(response.shape, bool)
    mask[:, :10] = False
    positions, scores = detections.peaks(response, threshold=0.5, min_distance=2, mask=mask, most=1)
    assert positions.tolist() == [[5, 20]]
    assert scores.tolist() == [2]


@given(points, st.floats(0.5, 20))
def test_suppression_keeps_what_a_plain_loop_keeps(positions, distance):
    positions = np.array(positions, float).reshape(-1, 2)
    scores = np.arange(len(positions), dtype=float)[::-1]
    kept = []
    for index in range(len(positions)):
        if all(math.dist(positions[index], positions[k]) > distance for k in kept):
            kept.append(index)
    assert detections.non_maximum_suppression(positions, scores, distance).tolist() == kept


def brute_clusters(positions, least, radius):
    """Density clustering by its definition, without trees and graphs."""
    count = len(positions)
    near = [
        [j for j in range(count) if math.dist(positions[i], positions[j]) <= radius]
        for i in range(count)
    ]
    core = [i for i in range(count) if len(near[i]) >= least]
    owner = {i: i for i in core}
    for _ in core:
        for i, j in itertools.permutations(core, 2):
            if j in near[i]:
                owner[i] = owner[j] = min(owner[i], owner[j])
    groups = {}
    for i in range(count):
        reach = [c for c in core if c in near[i]]
        if reach:
            nearest = min(reach, key=lambda c: math.dist(positions[i], positions[c]))
            groups.setdefault(owner[nearest], []).append(i)
    return sorted(map(tuple, groups.values()))


@settings(max_examples=60, deadline=None)
@given(points, st.integers(2, 5))
def test_clusters_are_those_of_the_definition(positions, least):
    radius = math.sqrt(100 / math.pi)
    found = detections.clusters(np.array(positions).reshape(-1, 2), least=least)
    assert sorted(tuple(int(i) for i in g) for g in found) == brute_clusters(
        positions, least, radius
    )


@given(points, st.randoms(use_true_random=False))
def test_clusters_depend_on_no_order_and_no_place(positions, random):
    order = list(range(len(positions)))
    random.shuffle(order)
    moved = [(positions[i][0] + 64, positions[i][1] - 32) for i in order]

    def sets(found, names):
        return {frozenset(names[i] for i in group) for group in found}

    first = detections.clusters(np.array(positions).reshape(-1, 2))
    second = detections.clusters(np.array(moved).reshape(-1, 2))
    distances = sorted(math.dist(a, b) for a, b in itertools.combinations(positions, 2))
    radius = math.sqrt(100 / math.pi)
    close = any(abs(d - radius) < 1e-6 for d in distances)
    ties = any(abs(a - b) < 1e-6 for a, b in itertools.pairwise(distances))
    if not close and not ties:
        assert sets(first, range(len(positions))) == sets(second, order)


@given(st.permutations(range(11)))
def test_one_between_two_clusters_goes_the_same_way_in_any_order(order):
    one_side = [(0.0, -5.0), (-1.0, -8.0), (1.0, -8.0), (0.0, -9.0), (0.0, -8.0)]
    places = [*one_side, *((r, -c) for r, c in one_side), (0.0, 0.0)]

    def groups(order):
        found = detections.clusters(np.array([places[i] for i in order]), least=5)
        return {frozenset(order[i] for i in group) for group in found}

    assert groups(order) == groups(list(range(11)))
    assert sorted(map(len, groups(order))) == [5, 6]


def test_three_within_a_square_centimetre_are_a_cluster_two_are_none():
    three = np.array([[0, 0], [0, 5.6], [3, 2]])
    assert [g.tolist() for g in detections.clusters(three)] == [[0, 1, 2]]
    assert detections.clusters(three[:2]) == []
    assert detections.clusters(three, least=5) == []


def test_a_cluster_is_as_sure_as_its_third_calcification_and_lies_round_its_members():
    positions = np.array([[100, 100], [110, 120], [125, 105], [112, 108]])
    (cluster,) = detections.cluster_detections(
        positions, np.array([9.0, 4.0, 7.0, 5.0]), (0.1, 0.1)
    )
    assert cluster.kind is Kind.CALCIFICATION_CLUSTER
    assert cluster.score == 5.0
    assert all(geometry.contains(cluster.region, r, c) for r, c in positions)
    box = geometry.bounding_box(cluster.region)
    assert (box.row0, box.col0, box.row1, box.col1) == pytest.approx((95, 95, 130, 125), abs=0.1)


def test_a_breast_is_the_mean_of_known_views_and_an_exam_its_larger_breast():
    assert detections.breast_score([0.25, None, 0.75]) == 0.5
    assert detections.breast_score([None]) is None
    assert detections.exam_score([None, 0.25, 0.5]) == 0.5
    assert detections.exam_score([]) is None
