"""ROC figures against scikit-learn, brute force and hand-made curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from secondreader.domain import SecondReaderError
from secondreader.evaluation import roc


def one(scores, labels):
    """Return the curve of a data set in which every unit is a patient."""
    scores, labels = np.asarray(scores, float), np.asarray(labels, bool)
    n = scores.size
    return roc.curve(roc.tally(scores, labels, np.arange(n), n), np.ones((n, 1)))


tied = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60).filter(
    lambda units: len({label for _, label in units}) == 2
)


@given(tied)
def test_auc_and_average_precision_equal_scikit_learn_on_ties(units):
    scores, labels = (np.array(column) for column in zip(*units, strict=True))
    tp, fp = one(scores, labels)
    assert roc.auc(tp, fp)[0] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    expected = metrics.average_precision_score(labels, scores)
    assert roc.average_precision(tp, fp)[0] == pytest.approx(expected, abs=1e-12)


# No number between 0 and the tolerance: 1e-9 is wanted of a threshold that gives 0.
@given(tied, st.integers(0, 10**6).map(lambda millionths: millionths / 10**6))
def test_sensitivity_and_specificity_are_the_best_of_any_threshold(units, wanted):
    scores, labels = (np.array(column) for column in zip(*units, strict=True))
    tp, fp = one(scores, labels)
    at = [np.inf, *np.unique(scores)]
    sens = np.array([(scores[labels] >= t).mean() for t in at])
    spec = np.array([(scores[~labels] < t).mean() for t in at])
    got = roc.sensitivity_at_specificity(tp, fp, wanted)[0]
    assert got == pytest.approx(sens[spec >= wanted - 1e-9].max())
    got = roc.specificity_at_sensitivity(tp, fp, wanted)[0]
    assert got == pytest.approx(spec[sens >= wanted - 1e-9].max())


@given(tied)
def test_weights_are_copies(units):
    scores, labels = (np.array(column) for column in zip(*units, strict=True))
    n = scores.size
    counts = np.arange(n) % 3
    if not (counts[labels].any() and counts[~labels].any()):
        return
    table = roc.tally(scores, labels, np.arange(n), n)
    tp, fp = roc.curve(table, counts[:, None].astype(float))
    expected = metrics.roc_auc_score(np.repeat(labels, counts), np.repeat(scores, counts))
    assert roc.auc(tp, fp)[0] == pytest.approx(expected, abs=1e-12)


def test_the_full_range_mean_sensitivity_is_the_area_and_the_partial_area_is_its_tenth():
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    scores = np.round(rng.normal(labels * 1.0, 1.0), 1)
    tp, fp = one(scores, labels)
    assert roc.mean_sensitivity(tp, fp, 0, 1)[0] == pytest.approx(roc.auc(tp, fp)[0])
    x, y, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    grid = np.linspace(0, 0.1, 200_001)
    area = np.trapezoid(np.interp(grid, x, y), grid)
    # np.interp takes the upper end of a vertical step, so the two agree in the limit only
    assert roc.partial_auc(tp, fp, 0.1)[0] == pytest.approx(area, abs=1e-6)
    assert roc.mean_sensitivity(tp, fp, 0, 0.1)[0] == pytest.approx(10 * area, abs=1e-5)


def test_partial_area_equals_scikit_learn_before_its_standardisation():
    rng = np.random.default_rng(1)
    labels = rng.random(300) < 0.5
    scores = rng.normal(labels * 1.0, 1.0)
    tp, fp = one(scores, labels)
    standard = metrics.roc_auc_score(labels, scores, max_fpr=0.1)
    least, most = 0.5 * 0.1**2, 0.1
    area = (2 * standard - 1) * (most - least) + least
    assert roc.partial_auc(tp, fp, 0.1)[0] == pytest.approx(area)


def test_mean_sensitivity_on_a_logarithmic_axis_of_the_diagonal_is_known_exactly():
    tp, fp = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])
    low, high = 1e-6, 0.1
    expected = (high - low) / np.log(high / low)
    got = roc.mean_sensitivity(tp, fp, low, high, log=True)[0]
    assert got == pytest.approx(expected)


def test_a_perfect_reader_has_sensitivity_one_over_every_range():
    tp, fp = one([3, 2, 1, 0], [1, 1, 0, 0])
    assert roc.mean_sensitivity(tp, fp, 0, 0.1)[0] == pytest.approx(1)
    assert roc.mean_sensitivity(tp, fp, 1e-6, 0.1, log=True)[0] == pytest.approx(1)


def test_a_logarithmic_axis_from_zero_is_refused():
    tp, fp = one([1, 0], [1, 0])
    with pytest.raises(SecondReaderError, match="above 0 on a logarithmic axis"):
        roc.mean_sensitivity(tp, fp, 0, 0.1, log=True)


def test_thinning_thresholds_of_many_positions_moves_the_curve_by_little():
    rng = np.random.default_rng(2)
    labels = rng.random(50_000) < 0.01
    scores = rng.normal(labels * 3.0, 1.0)
    patients = rng.integers(20, size=labels.size)
    whole = roc.tally(scores, labels, patients, 20)
    thin = roc.tally(scores, labels, patients, 20, most=2000)
    assert thin.thresholds.size <= 2000
    ones = np.ones((20, 1))
    for figure in (roc.auc, lambda t, f: roc.mean_sensitivity(t, f, 1e-5, 0.1, log=True)):
        a, b = figure(*roc.curve(whole, ones)), figure(*roc.curve(thin, ones))
        assert a[0] == pytest.approx(b[0], abs=2e-3)


def test_one_class_and_nan_scores_are_refused():
    with pytest.raises(SecondReaderError, match="3 positives and 0 negatives"):
        one([1, 2, 3], [1, 1, 1])
    with pytest.raises(SecondReaderError, match="NaN in 1"):
        one([1, np.nan, 3], [1, 0, 1])


def test_a_resample_of_one_class_has_no_figure():
    table = roc.tally(np.array([1.0, 0.0]), np.array([True, False]), np.array([0, 1]), 2)
    tp, fp = roc.curve(table, np.array([[2.0], [0.0]]))
    for figure in (roc.auc, roc.partial_auc):
        assert np.isnan(figure(tp, fp)[0])
    assert np.isnan(roc.sensitivity_at_specificity(tp, fp, 0.9)[0])
    assert np.isnan(roc.specificity_at_sensitivity(tp, fp, 0.9)[0])


def test_a_confusion_matrix_counts_the_threshold_itself_as_positive():
    cells = roc.confusion(
        np.array([0.5, 0.4, 0.5, 0.1, 0.2]),
        np.array([1, 1, 0, 0, 0], bool),
        np.zeros(5, int),
        1,
        0.5,
    )
    assert cells.tolist() == [[1, 1, 2, 1]]
    rates = roc.confusion_rates(cells[0])
    assert rates["sensitivity"] == pytest.approx(1 / 2)
    assert rates["specificity"] == pytest.approx(2 / 3)
    assert rates["ppv"] == pytest.approx(1 / 2)
    assert rates["npv"] == pytest.approx(2 / 3)
    assert rates["accuracy"] == pytest.approx(3 / 5)
    assert rates["f1"] == pytest.approx(1 / 2)
    assert rates["error"] == pytest.approx(2 / 5)
    shares = [
        rates[f"{n}_share"]
        for n in ("true_positive", "false_positive", "true_negative", "false_negative")
    ]
    assert shares == pytest.approx([1 / 5, 1 / 5, 2 / 5, 1 / 5])


def test_probabilistic_f1_of_hard_calls_is_f1_and_of_soft_ones_is_known():
    labels, who = np.array([1, 1, 0, 0], bool), np.arange(4)
    hard = roc.probabilistic_f1(np.array([1.0, 0, 1, 0]), labels, who, np.ones((4, 1)))
    assert hard[0] == pytest.approx(1 / 2)
    soft = roc.probabilistic_f1(np.array([0.8, 0.4, 0.2, 0.0]), labels, who, np.ones((4, 1)))
    precision, recall = 1.2 / 1.4, 1.2 / 2
    assert soft[0] == pytest.approx(2 * precision * recall / (precision + recall))
    with pytest.raises(SecondReaderError, match="outside 0 to 1"):
        roc.probabilistic_f1(np.array([2.0, 0, 1, 0]), labels, who, np.ones((4, 1)))


def test_band_sensitivities_lie_on_the_upper_end_of_upright_steps():
    tp, fp = one([4, 3, 2, 1], [1, 0, 1, 0])
    got = roc.sensitivity_at(tp, fp, np.array([0.0, 0.25, 0.5, 1.0]))[:, 0]
    assert got.tolist() == [0.5, 0.5, 1.0, 1.0]
