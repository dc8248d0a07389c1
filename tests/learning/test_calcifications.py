"""What truth becomes in pixels: outlines, points, and points that are segmented."""

from __future__ import annotations

import numpy as np
import pytest

from secondreader.domain import Circle, Kind, Lesion, Mask, Point
from secondreader.learning.calcifications import segmented, truth_pixels, without_outlines

NONE = np.zeros((0, 2), np.int32)
KNOWN = {"spacing_mm": 0.1, "largest_mm": 1.0, "point_mm": 0.5}


def spot(rows=60, cols=60, at=(30, 30), axes=(2.2, 3.9), height=0.2, noise=0.01, seed=0):
    """Return an image with one bright ellipse, and its pixels."""
    r, c = np.indices((rows, cols))
    inside = ((r - at[0]) / axes[0]) ** 2 + ((c - at[1]) / axes[1]) ** 2 <= 1
    image = 0.4 + 0.002 * c + height * inside
    return image + np.random.default_rng(seed).normal(0, noise, image.shape), inside


def overlap(pixels, mask):
    found = np.zeros(mask.shape, bool)
    found[tuple(np.asarray(pixels).T)] = True
    return (found & mask).sum() / (found | mask).sum()


@pytest.mark.parametrize("axes", [(1.2, 1.2), (2.2, 3.9), (1.5, 4.5)])
def test_a_segmented_point_is_nearer_to_the_outline_than_a_disc(axes):
    discs, segments = [], []
    for seed in range(5):
        image, mask = spot(axes=axes, seed=seed)
        lesion = Lesion("x", Kind.MICROCALCIFICATION, Point(31, 29))
        _, (disc,), _ = truth_pixels([lesion], mask.shape, **KNOWN)
        _, (segment,), _ = truth_pixels([lesion], mask.shape, image=image, **KNOWN)
        discs.append(overlap(disc, mask))
        segments.append(overlap(segment, mask))
    assert np.mean(segments) > 0.8
    assert np.mean(segments) > np.mean(discs)


@pytest.mark.parametrize("at", [(0, 0), (59, 0), (30, 59)])
def test_a_point_at_the_edge_is_segmented_inside_the_image(at):
    image, mask = spot(at=at)
    found = segmented(image, *at, 0.1, 1.0, otherwise=NONE)
    assert overlap(found, mask) > 0.7


def test_nothing_grows_beyond_the_largest_size_and_nothing_is_made_of_nothing():
    image, _ = spot(axes=(1.2, 25))  # a line five millimetres long
    found = segmented(image, 30, 30, 0.1, 1.0, otherwise=NONE)
    assert len(found) >= 9
    assert np.ptp(found, axis=0).max() <= 10
    for flat in (np.full((40, 40), 0.5), np.zeros((40, 40)), np.full((3, 3), 0.5)):
        assert segmented(flat, 1, 1, 0.1, 1.0, otherwise=NONE) is NONE
    assert segmented(image, 500, 500, 0.1, 1.0, otherwise=NONE) is NONE


def test_forgotten_outlines_leave_their_middles_and_other_kinds_alone():
    outline = Lesion("x", Kind.MICROCALCIFICATION, Mask(np.ones((3, 5), bool), 10, 20))
    mass = Lesion("m", Kind.MASS, Circle(3, 3, 2))
    nowhere = Lesion("n", Kind.MICROCALCIFICATION, None)
    got = without_outlines([outline, mass, nowhere])
    assert got == (Lesion("x", Kind.MICROCALCIFICATION, Point(11, 22)), mass, nowhere)


def test_an_outline_is_kept_as_it_is_with_an_image_or_without():
    image, mask = spot()
    region = Mask(np.ones((2, 2), bool), 28, 28)
    lesion = Lesion("x", Kind.MICROCALCIFICATION, region)
    _, (plain,), _ = truth_pixels([lesion], mask.shape, **KNOWN)
    _, (told,), _ = truth_pixels([lesion], mask.shape, image=image, **KNOWN)
    assert np.array_equal(plain, told)
    assert len(plain) == 4


def test_a_large_calcification_whose_size_nobody_told_is_measured():
    small, large = np.ones((6, 6), bool), np.ones((6, 30), bool)
    lesions = [
        Lesion("small", Kind.MICROCALCIFICATION, Mask(small, 5, 5)),
        Lesion("large", Kind.MICROCALCIFICATION, Mask(large, 20, 5)),
        Lesion("of no known kind", None, Mask(small, 40, 5)),
        Lesion("mass", Kind.MASS, Mask(small, 50, 5)),
    ]
    centres, own, ignored = truth_pixels(lesions, (60, 60), **KNOWN)
    assert len(centres) == len(own) == 1 and len(own[0]) == small.sum()
    assert len(ignored) == large.sum() + small.sum()
    assert set(ignored[:, 0]) == {*range(20, 26), *range(40, 46)}


@pytest.mark.parametrize("size", [None, 0.1])
def test_a_mask_that_lost_its_last_pixel_is_a_point_where_it_lay(size):
    lost = Mask(np.zeros((1, 1), bool), 20, 30)
    lesion = Lesion("x", Kind.MICROCALCIFICATION, lost, diameter_mm=size)
    for told in ([lesion], without_outlines([lesion])):
        centres, (own,), ignored = truth_pixels(told, (60, 60), **KNOWN)
        assert centres.tolist() == [[20, 30]] and len(own) > 9 and not len(ignored)
