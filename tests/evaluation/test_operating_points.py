"""Choosing thresholds by rule, and refusing to judge them where they were chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondreader.domain import Detection, Kind, Lesion, Point, SecondReaderError
from secondreader.evaluation import froc, operating_points
from secondreader.evaluation.matching import HIT_RULES
from secondreader.evaluation.scored import ScoredImage, patient_digests
from secondreader.evaluation.units import units

SPOT = Kind.MICROCALCIFICATION


def images(rows):
    return [ScoredImage(str(i), f"p{i}", f"e{i}", malignant=bool(y), score=float(s))
            for i, (s, y) in enumerate(rows)]  # fmt: skip


rows = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40).filter(
    lambda r: len({y for _, y in r}) == 2
)


def rates(data, t):
    called = data.scores >= t
    return called[data.labels].mean(), (~called[~data.labels]).mean()


@given(rows, st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_the_threshold_obeys_its_rule_and_no_other_of_them_is_better(rows, wanted):
    data = units(images(rows), "image")
    every = [rates(data, t) for t in [*np.unique(data.scores), 99.0]]
    sens, spec = rates(data, operating_points.threshold(f"sensitivity>={wanted}", data))
    assert sens >= wanted - 1e-9
    assert spec == max(b for a, b in every if a >= wanted - 1e-9)
    sens, spec = rates(data, operating_points.threshold(f"specificity >= {wanted}", data))
    assert spec >= wanted - 1e-9
    assert sens == max(a for a, b in every if b >= wanted - 1e-9)
    sens, spec = rates(data, operating_points.threshold("youden", data))
    assert sens + spec == pytest.approx(max(a + b for a, b in every))


def detected():
    lesions = tuple(Lesion(str(c), SPOT, Point(0, c)) for c in (0, 100, 200, 300))
    seen = [
        (0, 0, 0.9),
        (0, 100, 0.7),
        (500, 0, 0.6),
        (0, 200, 0.5),
        (500, 50, 0.4),
        (500, 90, 0.3),
    ]
    detections = tuple(Detection(SPOT, Point(r, c), s) for r, c, s in seen)
    first = ScoredImage("a", "p", "e", spacing_mm=(0.1, 0.1), malignant=True, lesions=lesions,
                        detections=detections, score=1.0)  # fmt: skip
    return [first, ScoredImage("b", "q", "f", spacing_mm=(0.1, 0.1), malignant=False, score=0.0)]


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("fpi<=0", 0.7),
        ("fpi<=0.5", 0.5),
        ("fpi<=1", 0.4),
        ("fpi<=9", 0.3),
        ("sensitivity>=0.5", 0.7),
    ],
)
def test_detections_are_cut_by_false_positives_per_image_or_by_sensitivity(rule, threshold):
    found = froc.find(detected(), HIT_RULES["zhang2019"])
    assert operating_points.threshold(rule, found) == threshold


def test_a_sensitivity_that_no_threshold_reaches_is_refused():
    found = froc.find(detected(), HIT_RULES["zhang2019"])
    with pytest.raises(SecondReaderError, match="no threshold reaches"):
        operating_points.threshold("sensitivity>=0.9", found)


@pytest.mark.parametrize("rule", ["fpi", "sensitivity=0.9", "accuracy>=1", ""])
def test_an_unknown_rule_is_refused_with_the_known_ones(rule):
    with pytest.raises(SecondReaderError, match="youden"):
        operating_points.threshold(rule, units(images([(1, 0), (2, 1)]), "image"))


def test_a_rule_for_detections_is_refused_for_scores_and_the_other_way_round():
    with pytest.raises(SecondReaderError, match="expected detections"):
        operating_points.threshold("fpi<=1", units(images([(1, 0), (2, 1)]), "image"))
    with pytest.raises(SecondReaderError, match="for detections"):
        operating_points.threshold("youden", froc.find(detected(), HIT_RULES["zhang2019"]))


def test_a_point_says_where_it_was_chosen_and_is_refused_there():
    data = images([(1, 0), (2, 1), (3, 0), (4, 1)])
    point = operating_points.choose("recall", "sensitivity>=0.9", units(data, "image"), data,
                                    kind=SPOT, chosen_on="phantom=dev validation")  # fmt: skip
    assert point.threshold == 2
    assert point.chosen_on.startswith("phantom=dev validation (4 images of 4 patients, sha256:")
    with pytest.raises(SecondReaderError, match="the very images"):
        operating_points.refuse_where_chosen(point, data[::-1])
    operating_points.refuse_where_chosen(point, data[1:])
    with pytest.raises(SecondReaderError, match="3 patients it was chosen on"):
        operating_points.refuse_where_chosen(point, data[1:], patient_digests(data))
