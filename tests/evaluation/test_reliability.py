"""Calibration figures against their definitions, scikit-learn and a known truth."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from secondreader.domain import SecondReaderError
from secondreader.evaluation import bootstrap, reliability


def drawn(n=400, seed=0, slope=1.0, shift=0.0, patients=100):
    """Return probabilities whose truth has `slope` and `shift` on the logit scale."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1, 1.2, n)
    labels = rng.random(n) < 1 / (1 + np.exp(-(slope * x + shift)))
    return 1 / (1 + np.exp(-x)), labels, rng.integers(patients, size=n)


def test_expected_error_is_the_mean_gap_weighted_by_units():
    p, y = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9]), np.array([0, 0, 0, 1, 1, 0], bool)
    table = reliability.bins(p, y, np.zeros(6, int), 1, number=2)
    got = reliability.expected_error(table, np.ones((1, 1)))[0]
    expected = Fraction(4, 6) * abs(Fraction(1, 4) - Fraction(1, 10)) + Fraction(2, 6) * abs(
        Fraction(1, 2) - Fraction(9, 10)
    )
    assert got == pytest.approx(float(expected))


def test_bins_of_equal_mass_hold_equally_many_and_ties_stay_together():
    p = np.linspace(0, 1, 90) ** 3
    table = reliability.bins(p, p > 0.5, np.zeros(90, int), 1, number=9, equal="mass")
    assert table.units[:, 0].tolist() == [10] * 9
    tied = reliability.bins(np.full(8, 0.3), np.arange(8) < 3, np.zeros(8, int), 1, equal="mass")
    assert tied.units.tolist() == [[8]]
    assert reliability.expected_error(tied, np.ones((1, 1)))[0] == pytest.approx(3 / 8 - 0.3)


def test_a_probability_of_exactly_one_lies_in_the_last_bin():
    table = reliability.bins(np.array([1.0, 0.0]), np.array([True, False]), np.zeros(2, int), 1)
    assert (table.units[0, 0], table.units[-1, 0]) == (1, 1)


def test_brier_equals_scikit_learn_and_its_parts_add_up():
    p, y, who = drawn()
    table = reliability.bins(p, y, who, 100)
    ones = np.ones((100, 1))
    score = reliability.brier(table, ones)[0]
    assert score == pytest.approx(brier_score_loss(y, p))
    parts = reliability.brier_parts(table, ones)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
    assert total[0] == pytest.approx(score)
    assert parts["uncertainty"][0] == pytest.approx(y.mean() * (1 - y.mean()))


def test_parts_of_constant_bins_have_nothing_within():
    p = np.array([0.2, 0.2, 0.7, 0.7])
    table = reliability.bins(p, np.array([0, 1, 1, 1], bool), np.zeros(4, int), 1, number=2)
    assert reliability.brier_parts(table, np.ones((1, 1)))["within"][0] == pytest.approx(0)


def test_slope_and_intercept_equal_an_unpenalised_logistic_regression():
    p, y, who = drawn(slope=0.6, shift=0.8)
    got = reliability.recalibration(p, y, who)(np.ones((100, 1)))[0]
    x = reliability.bounded_logit(p)[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(x, y)
    assert got[:2] == pytest.approx([fitted.coef_[0, 0], fitted.intercept_[0]], abs=1e-5)
    at_one = 1 / (1 + np.exp(-(x[:, 0] + got[2])))
    assert at_one.mean() == pytest.approx(y.mean())


def test_resampled_slopes_equal_fits_to_copies():
    p, y, who = drawn(n=200, patients=40)
    statistic = reliability.recalibration(p, y, who)
    counts = next(bootstrap.draws(40, 5))
    got = statistic(counts)
    for draw in range(5):
        rows = np.repeat(np.arange(200), counts[who, draw].astype(int))
        x = reliability.bounded_logit(p)[rows][:, None]
        fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(x, y[rows])
        assert got[draw, :2] == pytest.approx([fitted.coef_[0, 0], fitted.intercept_[0]], abs=1e-5)


def test_separated_classes_have_no_slope():
    p, y = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1], bool)
    got = reliability.recalibration(p, y, np.arange(4))(np.ones((4, 1)))[0]
    assert np.isnan(got[0])


def test_a_calibrated_reader_has_slope_one_and_intercept_zero_within_its_interval():
    p, y, who = drawn(n=4000, patients=1000, seed=3)
    values = bootstrap.replicates(reliability.recalibration(p, y, who), 1000, resamples=200)
    for column, truth in ((0, 1), (1, 0), (2, 0)):
        got = bootstrap.estimate(values[:, column])
        assert got.low < truth < got.high


def test_what_is_no_probability_is_refused():
    with pytest.raises(SecondReaderError, match="outside 0 to 1"):
        reliability.bins(np.array([1.2]), np.array([True]), np.zeros(1, int), 1)
