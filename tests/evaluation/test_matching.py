"""The hit rules, in sentences with exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondreader.domain import (
    Box,
    Circle,
    Detection,
    Kind,
    Lesion,
    Pathology,
    Point,
    SecondReaderError,
)
from secondreader.evaluation import froc
from secondreader.evaluation.matching import HIT_RULES, hit_rule, match
from secondreader.evaluation.scored import ScoredImage

MM = (0.1, 0.1)  # 10 pixels a millimetre
SPOT, CLUSTER, MASS = Kind.MICROCALCIFICATION, Kind.CALCIFICATION_CLUSTER, Kind.MASS


def image(lesions=(), detections=(), spacing=MM, malignant=True, name="a"):
    return ScoredImage(
        name, f"p{name}", f"e{name}", spacing_mm=spacing, malignant=malignant,
        lesions=tuple(lesions), detections=tuple(detections), score=0.5,
    )  # fmt: skip


def spot(row, col, name=None, **known):
    return Lesion(name or f"{row},{col}", SPOT, Point(row, col), **known)


def seen(row, col, score=1.0, kind=SPOT):
    return Detection(kind, Point(row, col), score)


def test_a_detection_exactly_1_mm_away_finds_the_calcification():
    got = match(image([spot(0, 0)], [seen(0, 10)]), HIT_RULES["zhang2019"])
    assert got.scores.tolist() == [1.0]
    assert got.false.size == 0


def test_a_detection_further_than_1_mm_is_a_false_positive_and_the_calcification_is_missed():
    got = match(image([spot(0, 0)], [seen(0, 10.01)]), HIT_RULES["zhang2019"])
    assert got.scores.tolist() == [-np.inf]
    assert got.false.tolist() == [1.0]


def test_under_zhang2019_one_detection_finds_all_five_calcifications_around_it():
    five = [spot(0, c) for c in (-8, -4, 0, 4, 8)]
    got = match(image(five, [seen(0, 0, 0.7)]), HIT_RULES["zhang2019"])
    assert Fraction(int(np.isfinite(got.scores).sum()), 5) == Fraction(5, 5)
    assert got.scores.tolist() == [0.7] * 5


def test_under_one_to_one_one_detection_finds_one_of_five_calcifications():
    five = [spot(0, c) for c in (-8, -4, 0, 4, 8)]
    got = match(image(five, [seen(0, 0, 0.7)]), HIT_RULES["one_to_one"])
    assert Fraction(int(np.isfinite(got.scores).sum()), 5) == Fraction(1, 5)
    assert got.scores.tolist() == [-np.inf, -np.inf, 0.7, -np.inf, -np.inf]


def test_a_second_detection_on_a_found_calcification_is_false_only_under_one_to_one():
    both = [seen(0, 0, 0.9), seen(0, 1, 0.8)]
    assert match(image([spot(0, 0)], both), HIT_RULES["zhang2019"]).false.tolist() == []
    assert match(image([spot(0, 0)], both), HIT_RULES["one_to_one"]).false.tolist() == [0.8]


def test_a_calcification_found_twice_is_found_at_the_higher_score():
    got = match(image([spot(0, 0)], [seen(0, 3, 0.4), seen(0, 9, 0.6)]), HIT_RULES["zhang2019"])
    assert got.scores.tolist() == [0.6]


def test_under_one_to_one_the_highest_score_chooses_first_and_takes_the_nearest():
    two = [spot(0, 0), spot(0, 8)]
    got = match(image(two, [seen(0, 3, 0.5), seen(0, 5, 0.9)]), HIT_RULES["one_to_one"])
    assert got.scores.tolist() == [0.5, 0.9]


def test_of_detections_with_one_score_the_one_further_up_chooses_first_whatever_their_order():
    detections = [seen(9, 0, 0.5), seen(1, 0, 0.5)]
    for order in (detections, detections[::-1]):
        got = match(image([spot(0, 0)], order), HIT_RULES["one_to_one"])
        assert got.scores.tolist() == [0.5]
        assert got.false.tolist() == [0.5]


def test_of_calcifications_equally_near_the_one_further_up_is_taken():
    got = match(image([spot(8, 0), spot(0, 0)], [seen(4, 0)]), HIT_RULES["one_to_one"])
    assert [s.lesion_id for s in got.lesions] == ["0,0", "8,0"]
    assert got.scores.tolist() == [1.0, -np.inf]


def test_calcifications_over_1_mm_are_neither_missed_nor_false_alarms():
    large = Lesion("big", SPOT, Circle(0, 0, 5.1))
    for rule in ("zhang2019", "one_to_one"):
        got = match(image([large, spot(50, 50)], [seen(0, 0)]), HIT_RULES[rule])
        assert [s.lesion_id for s in got.lesions] == ["50,50"]
        assert (got.false.size, got.ignored) == (0, 1)


def test_lesions_of_unknown_kind_are_ignored():
    got = match(image([Lesion("?", None, Circle(0, 0, 30))], [seen(20, 0)]), HIT_RULES["zhang2019"])
    assert (got.scores.size, got.false.size, got.ignored) == (0, 0, 1)


def test_a_cluster_whose_calcifications_nobody_marked_is_ignored_by_rules_for_calcifications():
    outline = Lesion("c", CLUSTER, Circle(0, 0, 50))
    got = match(image([outline], [seen(30, 0), seen(200, 0)]), HIT_RULES["zhang2019"])
    assert (got.scores.size, got.false.tolist(), got.ignored) == (0, [1.0], 1)
    marked = [outline, spot(0, 0, part_of="c")]
    got = match(image(marked, [seen(30, 0)]), HIT_RULES["zhang2019"])
    assert got.false.tolist() == [1.0]


def test_a_lesion_without_a_place_makes_false_positives_of_its_image_untold():
    got = match(
        image([Lesion("c", CLUSTER, None)], [seen(0, 0, kind=CLUSTER)]), HIT_RULES["cluster"]
    )
    assert (got.judged, got.normal, got.false.size, got.ignored) == (False, False, 0, 1)


def test_a_cancerous_image_with_no_lesion_on_record_is_neither_judged_nor_normal():
    for malignant in (True, None):
        got = match(image((), [seen(0, 0)], malignant=malignant), HIT_RULES["zhang2019"])
        assert (got.judged, got.normal, got.false.size) == (False, False, 0)
    got = match(image((), [seen(0, 0)], malignant=False), HIT_RULES["zhang2019"])
    assert (got.judged, got.normal, got.false.tolist()) == (True, True, [1.0])


def test_an_image_with_a_mass_only_is_normal_to_a_rule_for_calcifications():
    got = match(image([Lesion("m", MASS, Circle(0, 0, 9))], [seen(0, 0)]), HIT_RULES["zhang2019"])
    assert (got.normal, got.false.tolist()) == (True, [1.0])


@pytest.mark.parametrize(
    ("benign", "lesions", "false", "ignored"),
    [("hit", 2, 0, 0), ("false_positive", 1, 1, 0), ("ignored", 1, 0, 1)],
)
def test_detections_on_benign_lesions_count_as_the_study_says(benign, lesions, false, ignored):
    two = [
        spot(0, 0, pathology=Pathology.MALIGNANT),
        spot(0, 50, pathology=Pathology.BENIGN),
    ]
    got = match(image(two, [seen(0, 0), seen(0, 50)]), hit_rule("zhang2019", benign=benign))
    assert (got.scores.size, got.false.size, got.ignored) == (lesions, false, ignored)


def test_unknown_pathology_is_never_taken_for_benign():
    rule = hit_rule("zhang2019", benign="false_positive")
    got = match(image([spot(0, 0)], [seen(0, 0)]), rule)
    assert (got.scores.size, got.false.size, got.ignored) == (0, 0, 1)


def test_lesions_hidden_in_the_view_can_be_left_out():
    one = image([spot(0, 0, visible=False)], [seen(0, 0)])
    assert match(one, hit_rule("zhang2019")).scores.tolist() == [1.0]
    got = match(one, hit_rule("zhang2019", hidden="ignored"))
    assert (got.scores.size, got.false.size, got.ignored) == (0, 0, 1)


def cluster(row, col, radius, score=1.0):
    return Detection(CLUSTER, Circle(row, col, radius), score)


def test_a_small_cluster_is_found_up_to_5_mm_away_and_a_large_one_within_its_radius():
    small, large = Lesion("s", CLUSTER, Circle(0, 0, 10)), Lesion("l", CLUSTER, Circle(0, 0, 80))
    for lesion, reach in ((small, 50), (large, 80)):
        at = match(image([lesion], [cluster(0, reach, 10)]), HIT_RULES["cluster"])
        beyond = match(image([lesion], [cluster(0, reach + 0.5, 10)]), HIT_RULES["cluster"])
        assert (at.scores.tolist(), beyond.scores.tolist()) == ([1.0], [-np.inf])


def test_a_cluster_may_be_four_times_as_large_as_the_truth_or_as_a_5_mm_circle():
    small, large = Lesion("s", CLUSTER, Circle(0, 0, 10)), Lesion("l", CLUSTER, Circle(0, 0, 80))
    for lesion, most in ((small, 100), (large, 160)):
        at = match(image([lesion], [cluster(0, 0, most)]), HIT_RULES["cluster"])
        beyond = match(image([lesion], [cluster(0, 0, most + 0.5)]), HIT_RULES["cluster"])
        assert (at.scores.tolist(), beyond.scores.tolist()) == ([1.0], [-np.inf])
        assert beyond.false.tolist() == [1.0]


def test_a_mass_is_found_by_a_centre_inside_it_or_by_overlap_by_name():
    lesion = Lesion("m", MASS, Box(0, 0, 9, 9))
    inside = Detection(MASS, Box(4, 4, 5, 5), 1.0)  # 4 of 100 pixels
    beside = Detection(MASS, Box(0, 6, 9, 15), 1.0)  # 40 of 160 pixels
    for rule, hits in (("centre_in_region", (True, False)), ("iou", (False, True))):
        for detection, hit in zip((inside, beside), hits, strict=True):
            got = match(image([lesion], [detection]), HIT_RULES[rule])
            assert bool(np.isfinite(got.scores[0])) is hit


def test_an_overlap_of_exactly_the_least_is_a_hit():
    lesion = Lesion("m", MASS, Box(0, 0, 9, 9))
    third = Detection(MASS, Box(0, 5, 9, 14), 1.0)  # 50 of 150 pixels
    assert match(image([lesion], [third]), hit_rule("iou", iou_least=1 / 3)).scores[0] == 1.0
    assert match(image([lesion], [third]), hit_rule("iou", iou_least=0.34)).scores[0] == -np.inf


def test_rules_in_millimetres_refuse_an_image_of_unknown_spacing():
    with pytest.raises(SecondReaderError, match="spacing: got none"):
        match(image([spot(0, 0)], [seen(0, 0)], spacing=None), HIT_RULES["zhang2019"])


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(SecondReaderError, match="zhang2019, one_to_one, cluster"):
        hit_rule("nearest")


def test_a_rule_says_itself_in_words():
    words = hit_rule("zhang2019", benign="ignored").says()
    assert "within 1 mm" in words
    assert "benign lesions are ignored" in words
    assert "lesions over 1 mm are ignored" in words


def test_three_of_four_calcifications_at_one_false_positive_on_two_images():
    first = image(
        [spot(0, 0), spot(100, 0), spot(200, 0)],
        [seen(0, 0, 0.9), seen(100, 0, 0.8), seen(400, 0, 0.7)],
    )
    second = image([spot(0, 0)], [seen(0, 0, 0.6)], name="b")
    found = froc.find([first, second], HIT_RULES["zhang2019"])
    curve = froc.froc(found, np.ones((2, 1)))
    assert curve.hits[:, 0].tolist() == [0, 1, 2, 2, 3]
    assert curve.false[:, 0].tolist() == [0, 0, 0, 1, 1]
    assert Fraction(int(froc.recall_at(curve, 0.5)[0] * 4), 4) == Fraction(3, 4)
    assert Fraction(int(froc.recall_at(curve, 0.49)[0] * 4), 4) == Fraction(2, 4)


def test_a_lesion_found_in_one_of_two_views_is_half_found_by_view_and_found_by_lesion():
    views = [
        ScoredImage("cc", "p", "e", spacing_mm=MM, lesions=(spot(0, 0, "x"),),
                    detections=(seen(0, 0, 0.4),), score=0.4),
        ScoredImage("mlo", "p", "e", spacing_mm=MM, lesions=(spot(70, 0, "x"),), score=0.0),
    ]  # fmt: skip
    apart = froc.find(views, HIT_RULES["zhang2019"]).lesion_scores
    joined = froc.find(views, HIT_RULES["zhang2019"], join_views=True).lesion_scores
    assert sorted(apart.tolist()) == [-np.inf, 0.4]
    assert joined.tolist() == [0.4]


places = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(
    st.lists(places, max_size=6, unique=True),
    st.lists(st.tuples(places, st.integers(0, 3)), max_size=8),
)
def test_matching_does_not_depend_on_order_and_raising_the_threshold_only_drops_hits(truth, found):
    lesions = [spot(*p) for p in truth]
    detections = [seen(*p, float(s)) for p, s in found]
    for rule in (HIT_RULES["zhang2019"], HIT_RULES["one_to_one"]):
        got = match(image(lesions, detections), rule)
        turned = match(image(lesions[::-1], detections[::-1]), rule)
        assert got.scores.tolist() == turned.scores.tolist()
        assert got.false.tolist() == turned.false.tolist()
        high = match(image(lesions, [d for d in detections if d.score >= 2]), rule)
        assert np.array_equal(high.scores, np.where(got.scores >= 2, got.scores, -np.inf))
        assert high.false.tolist() == [s for s in got.false if s >= 2]
        if rule.exclusive:
            hits = int(np.isfinite(got.scores).sum())
            assert hits + got.false.size + got.ignored == len(detections)


@pytest.mark.parametrize("name", ["zhang2019", "one_to_one"])
def test_a_calcified_vessel_is_no_microcalcification_and_marking_it_is_a_false_positive(name):
    plain = spot(0, 0, pathology=Pathology.BENIGN_WITHOUT_CALLBACK)
    benign = spot(50, 50, pathology=Pathology.BENIGN)
    got = match(image([plain, benign], [seen(0, 0, 0.9), seen(50, 50, 0.8)]), HIT_RULES[name])
    assert got.scores.tolist() == [0.8]
    assert got.false.tolist() == [0.9]
    assert "what is benign at sight is none" in HIT_RULES[name].says()
