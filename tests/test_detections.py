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


RADIUS = math.sqrt(100 / math.pi)
# Whole scores repeat, so that ties are met.
spots = st.lists(
    st.tuples(coordinate, coordinate, st.integers(1, 12)),
    max_size=25,
    unique_by=lambda spot: spot[:2],
)


def clustered(spots, least=3):
    """Clusters as (level, the spots that are members)."""
    spots = np.array(spots, float).reshape(-1, 3)
    found = detections.clusters(spots[:, :2], spots[:, 2], least=least)
    return [(level, {tuple(spots[i]) for i in members}) for level, members in found]


def clusters_threshold_by_threshold(spots, least):
    """The definition: at each falling threshold whole discs are taken, until none holds enough."""
    free, found = [tuple(map(float, s)) for s in spots], []
    for level in sorted({s[2] for s in free}, reverse=True):
        while True:
            best = None
            for spot in free:
                disc = [s for s in free if math.dist(s[:2], spot[:2]) <= RADIUS]
                members = {s for s in disc if s[2] >= level / 2}
                if spot[2] >= level and sum(s[2] >= level for s in disc) >= least:
                    order = (-len(members), spot[0], spot[1])
                    best = min(best or (order, members, disc), (order, members, disc))
            if best is None:
                break
            found.append((level, best[1]))
            free = [s for s in free if s not in best[2]]
    return found


@settings(max_examples=100, deadline=None)
@given(spots, st.integers(2, 5))
def test_clusters_are_those_met_as_the_threshold_falls(spots, least):
    assert clustered(spots, least) == clusters_threshold_by_threshold(spots, least)


@given(spots, st.randoms(use_true_random=False))
def test_clusters_depend_on_no_order_and_no_place(spots, random):
    moved = [(row + 64, col - 32, score) for row, col, score in spots]
    random.shuffle(moved)
    back = [(level, {(r - 64, c + 32, s) for r, c, s in m}) for level, m in clustered(moved)]
    near = [math.dist(a[:2], b[:2]) for a, b in itertools.combinations(spots, 2)]
    if not any(abs(d - RADIUS) < 1e-6 for d in near):
        assert [level for level, _ in back] == [level for level, _ in clustered(spots)]
        for (_, one), (_, other) in zip(back, clustered(spots), strict=True):
            assert np.allclose(sorted(one), sorted(other), atol=1e-9)


@given(spots, st.integers(2, 5))
def test_a_cluster_fits_its_disc_holds_enough_and_shares_no_member(spots, least):
    found = clustered(spots, least)
    for level, members in found:
        assert any(all(math.dist(a[:2], b[:2]) <= RADIUS for b in members) for a in members)
        assert sum(score >= level for _, _, score in members) >= least
        assert all(score >= level / 2 for _, _, score in members)
    assert sum(len(members) for _, members in found) == len(set().union(*(m for _, m in found)))


@given(spots, st.integers(1, 6))
def test_spots_below_half_of_a_threshold_change_no_cluster_above_it(spots, threshold):
    kept = [spot for spot in spots if spot[2] >= threshold / 2]
    above = [cluster for cluster in clustered(spots) if cluster[0] >= threshold]
    assert above == [cluster for cluster in clustered(kept) if cluster[0] >= threshold]


def test_a_faint_cluster_is_found_beside_a_sure_one_and_does_not_join_it():
    sure = [(0, 0, 9), (0, 2, 9), (2, 0, 9)]
    faint = [(0, 7, 4), (0, 9, 4), (2, 8, 4)]
    between = [(1, 4, 4)]
    assert clustered([*sure, *faint, *between]) == [(9, set(sure)), (4, set(faint))]


def test_a_row_of_spots_is_many_clusters_each_within_a_square_centimetre():
    row = [(0, 5 * i, 4) for i in range(40)]
    found = clustered(row)
    assert len(found) == 13
    assert all(len(members) == 3 for _, members in found)


def test_three_within_a_square_centimetre_are_a_cluster_two_are_none():
    three = [(0, 0, 5), (0, 5.6, 4), (3, 2, 3)]
    assert clustered(three) == [(3, set(three))]
    assert clustered(three[:2]) == []
    assert clustered(three, least=5) == []
    assert clustered([]) == []


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


def test_clusters_may_be_made_by_another_score_and_what_has_none_of_it_is_in_none():
    at = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 0.0], [5.0, 5.0], [500.0, 0.0], [500.0, 9.0]])
    scores = np.array([0.9, 0.8, 0.8, 0.5, 0.5, 0.5])
    asked = {"least": 3, "area_mm2": 100.0, "wide_mm": 0.5}
    plain, _ = detections.with_clusters(at, scores, (0.1, 0.1), **asked)
    by = np.array([0.8, 0.6, 0.6, 0.0, 0.0, 0.0])
    found, score = detections.with_clusters(at, scores, (0.1, 0.1), **asked, grouped_by=by)
    assert score == found[0].score == pytest.approx(0.6)
    points = [d for d in found if d.kind is Kind.MICROCALCIFICATION]
    # Points keep their own scores, whatever clusters are made by.
    assert points == [d for d in plain if d.kind is Kind.MICROCALCIFICATION]
    nothing, none = detections.with_clusters(at, scores, (0.1, 0.1), **asked, grouped_by=0 * by)
    assert list(nothing) == points and none == 0
