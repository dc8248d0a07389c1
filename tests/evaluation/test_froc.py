"""FROC figures against brute force and monai."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secondreader.domain import Circle, Detection, Kind, Lesion, Point, SecondReaderError
from secondreader.evaluation import froc
from secondreader.evaluation.matching import HIT_RULES, hit_rule
from secondreader.evaluation.scored import ScoredImage

SPOT = Kind.MICROCALCIFICATION


def reader(seed, patients=12, levels=8):
    """Return images of patients with two views each, a third of them normal, with tied scores."""
    rng = np.random.default_rng(seed)
    images = []
    for p in range(patients):
        for view in range(2):
            n = 0 if p % 3 == 0 else int(rng.integers(1, 5))
            places = rng.integers(0, 400, (n, 2))
            lesions = tuple(
                Lesion(f"{view}.{i}", SPOT, Point(float(r), float(c)))
                for i, (r, c) in enumerate(places)
            )
            hits = [(r + rng.integers(-9, 9), c) for r, c in places if rng.random() < 0.7]
            alarms = rng.integers(0, 400, (int(rng.integers(0, 6)), 2)).tolist()
            detections = tuple(
                Detection(SPOT, Point(float(r), float(c)), float(rng.integers(1, levels)))
                for r, c in [*hits, *alarms]
            )
            images.append(
                ScoredImage(f"{p}.{view}", f"p{p:02}", f"e{p}", spacing_mm=(0.1, 0.1),
                            malignant=bool(n), lesions=lesions, detections=detections, score=1.0)
            )  # fmt: skip
    return images


def by_brute_force(images, threshold):
    """Return hits, lesions, false positives on all and on normal images, by the words of zhang2019."""
    hits = lesions = false = on_normal = 0
    for image in images:
        kept = [d for d in image.detections if d.score >= threshold]

        def near(d, s):
            return np.hypot(d.region.row - s.region.row, d.region.col - s.region.col) <= 10 + 1e-6

        lesions += len(image.lesions)
        hits += sum(any(near(d, s) for d in kept) for s in image.lesions)
        wrong = sum(not any(near(d, s) for s in image.lesions) for d in kept)
        false += wrong
        on_normal += wrong * (not image.lesions)
    return hits, lesions, false, on_normal


@pytest.mark.parametrize("seed", range(4))
def test_every_step_of_the_curve_is_what_counting_at_its_threshold_gives(seed):
    images = reader(seed)
    found = froc.find(images, HIT_RULES["zhang2019"])
    for on, column in (("all", 2), ("normal", 3)):
        got = froc.froc(found, np.ones((12, 1)), on)
        assert got.images[0] == (24 if on == "all" else 8)
        for row, threshold in enumerate(got.thresholds, start=1):
            counted = by_brute_force(images, threshold)
            assert got.hits[row, 0] == counted[0]
            assert got.lesions[0] == counted[1]
            assert got.false[row, 0] == counted[column]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9999), st.integers(1, 40), st.integers(0, 200), st.sampled_from([5, 10_000]))
def test_figures_of_the_corners_are_those_of_every_threshold(seed, lesions, alarms, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, levels, lesions).astype(float)
    scores[rng.random(lesions) < 0.3] = -np.inf  # missed
    found = froc.Found(
        scores, rng.integers(0, 5, lesions), rng.integers(1, levels, alarms).astype(float),
        rng.integers(0, 5, alarms), rng.random(alarms) < 0.5, np.full(5, 4), np.full(5, 2), (), {}, "",
    )  # fmt: skip
    counts = np.concatenate([np.ones((5, 1)), rng.multinomial(5, np.full(5, 0.2), 6).T], axis=1)
    got = froc.froc(found, counts)
    at = sorted({*scores[np.isfinite(scores)], *found.false_scores}, reverse=True)
    hits, false = (
        np.array([np.zeros(7), *(counts[whose[own >= t]].sum(axis=0) for t in at)])
        for own, whose in (
            (scores, found.lesion_patients),
            (found.false_scores, found.false_patients),
        )
    )
    every = froc.Froc(np.array(at), hits, false, got.lesions, got.images)
    for figure in (froc.cpm, froc.mean_recall, froc.precision):
        assert figure(got) == pytest.approx(figure(every), nan_ok=True)
    rates = [0, 0.05, 0.3, 1, 2.5, np.inf]
    assert froc.recalls_at(got, rates) == pytest.approx(froc.recalls_at(every, rates), nan_ok=True)
    assert len(got.hits) <= min(2 * lesions + 2, len(every.hits))
    for row, threshold in enumerate(at[:5], start=1):
        sensitivity, rate = froc.hit_rates(found, threshold, counts)
        assert rate == pytest.approx(false[row] / got.images)
        known = got.lesions > 0
        assert sensitivity[known] == pytest.approx((hits[row] / np.maximum(got.lesions, 1))[known])
        assert np.isnan(sensitivity[~known]).all()


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 1, 2, 5, 30])
def test_recall_at_k_is_the_best_of_all_thresholds_with_at_most_k(rate):
    images = reader(7)
    got = froc.froc(froc.find(images, HIT_RULES["zhang2019"]), np.ones((12, 1)))
    best = 0.0
    for threshold in range(1, 10):
        hits, lesions, false, _ = by_brute_force(images, threshold)
        if false / 24 <= rate:
            best = max(best, hits / lesions)
    assert froc.recall_at(got, rate)[0] == pytest.approx(best)


@pytest.mark.slow  # importing monai takes most of it
@pytest.mark.parametrize("seed", range(3))
def test_the_interpolated_mean_equals_monai(seed):
    monai = pytest.importorskip("monai.metrics.froc")
    found = froc.find(reader(seed), HIT_RULES["zhang2019"])
    got = froc.froc(found, np.ones((12, 1)))
    # monai drops the lowest score it is given, so the missed lesions' zero must be there
    hits = np.where(np.isfinite(found.lesion_scores), found.lesion_scores, 0.0)
    assert (hits == 0).any()
    x, y = monai.compute_froc_curve_data(found.false_scores, hits, hits.size, 24)
    assert got.false[::-1, 0] / 24 == pytest.approx(x)
    assert got.hits[::-1, 0] / hits.size == pytest.approx(y)
    expected = monai.compute_froc_score(x, y, froc.CPM_RATES)
    assert froc.cpm(got)[0] == pytest.approx(expected)


def test_a_curve_that_ends_early_keeps_its_last_recall():
    images = [
        ScoredImage("a", "p", "e", spacing_mm=(0.1, 0.1), malignant=True, score=1.0,
                    lesions=(Lesion("1", SPOT, Point(0, 0)), Lesion("2", SPOT, Point(90, 0))),
                    detections=(Detection(SPOT, Point(0, 0), 0.9),)),
        ScoredImage("b", "q", "f", spacing_mm=(0.1, 0.1), malignant=False, score=1.0),
    ]  # fmt: skip
    got = froc.froc(froc.find(images, HIT_RULES["zhang2019"]), np.ones((2, 1)))
    assert froc.recalls_at(got, froc.RECALL_RATES)[:, 0].tolist() == [0.5] * 6
    assert froc.mean_recall(got)[0] == froc.cpm(got)[0] == 0.5


def test_patients_weigh_as_often_as_they_are_drawn():
    images = reader(3)
    counts = np.arange(12.0) % 4
    got = froc.froc(froc.find(images, HIT_RULES["zhang2019"]), counts[:, None])
    copies = [i for i in images for _ in range(int(counts[int(i.patient_id[1:])]))]
    for row, threshold in enumerate(got.thresholds, start=1):
        hits, lesions, false, _ = by_brute_force(copies, threshold)
        assert (got.hits[row, 0], got.lesions[0], got.false[row, 0]) == (hits, lesions, false)
    assert got.images[0] == len(copies)


def test_sensitivity_and_false_positives_at_a_threshold_include_it():
    images = reader(5)
    found = froc.find(images, HIT_RULES["zhang2019"])
    for threshold in (0, 3, 3.5, 99):
        sens, rate = froc.hit_rates(found, threshold, np.ones((12, 1)))
        hits, lesions, false, _ = by_brute_force(images, threshold)
        assert sens[0] == pytest.approx(hits / lesions)
        assert rate[0] == pytest.approx(false / 24)


def test_average_precision_at_an_overlap_counts_a_second_box_on_a_lesion_as_false():
    lesion = Lesion("m", Kind.MASS, Circle(50, 50, 10))
    boxes = [(50, 50, 0.9), (51, 50, 0.8), (300, 300, 0.7)]
    image = ScoredImage(
        "a", "p", "e", malignant=True, score=1.0,
        lesions=(lesion, Lesion("n", Kind.MASS, Circle(200, 200, 10))),
        detections=tuple(Detection(Kind.MASS, Circle(r, c, 10), s) for r, c, s in [*boxes, (200, 200, 0.6)]),
    )  # fmt: skip
    rule = hit_rule("iou", iou_least=0.5, exclusive=True)
    found = froc.find([image], rule)
    assert froc.precision(froc.froc(found, np.ones((1, 1))))[0] == pytest.approx((1 + 2 / 4) / 2)


def test_images_not_read_are_no_misses_and_are_counted_as_left_out():
    images = reader(0)
    unread = ScoredImage("x", "p99", "e99", spacing_mm=(0.1, 0.1), malignant=True,
                         lesions=(Lesion("1", SPOT, Point(0, 0)),))  # fmt: skip
    found = froc.find([*images, unread], HIT_RULES["zhang2019"])
    assert found.lesion_scores.size == sum(len(i.lesions) for i in images)
    assert found.left_out["images not read"] == 1
    assert found.images.sum() == 24


def test_no_lesion_at_all_is_refused():
    image = ScoredImage("a", "p", "e", spacing_mm=(0.1, 0.1), malignant=False, score=1.0)
    with pytest.raises(SecondReaderError, match="got 0 lesions and 1 all images"):
        froc.froc(froc.find([image], HIT_RULES["zhang2019"]), np.ones((1, 1)))
