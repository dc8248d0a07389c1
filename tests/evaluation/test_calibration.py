"""Fitting probabilities: known truths, refusals, another prevalence, and files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from secondreader.domain import SecondReaderError
from secondreader.evaluation import calibration, reliability


def scored(n=3000, seed=0, slope=2.0, shift=-1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, rng.random(n) < expit(slope * x + shift), np.arange(n) // 2


def test_platt_finds_slope_and_intercept():
    x, y, who = scored()
    got = calibration.fit("platt", x, y, who, fitted_on="set calibration").parameters
    assert got["slope"] == pytest.approx(2, abs=0.2)
    assert got["intercept"] == pytest.approx(-1, abs=0.15)


def test_platt_on_separated_scores_stays_short_of_certainty():
    x, y = np.array([0.0, 1, 2, 10, 11, 12]), np.array([0, 0, 0, 1, 1, 1], bool)
    p = calibration.apply(calibration.fit("platt", x, y, np.arange(6)), x)
    assert 0.1 < p[0] < 0.3
    assert 0.7 < p[-1] < 0.9


def test_platt_on_the_log_of_an_unbounded_score_is_platt_of_the_log():
    x, y, who = scored()
    plain = calibration.apply(calibration.fit("platt", x, y, who), x)
    logged = calibration.fit("platt_log", np.exp(x), y, who)
    assert calibration.apply(logged, np.exp(x)) == pytest.approx(plain, abs=1e-6)
    assert calibration.apply(logged, np.zeros(1))[0] == pytest.approx(plain.min(), abs=1e-6)


def test_temperature_finds_how_much_too_sure_logits_are():
    x, y, who = scored(slope=1.0, shift=0.0)
    got = calibration.fit("temperature", 3 * x, y, who).parameters["temperature"]
    assert got == pytest.approx(3, rel=0.15)


def test_a_temperature_of_shares_is_that_of_their_logits_and_so_is_platt():
    x, y, who = scored(slope=1.0, shift=0.0)
    for method in ("platt", "temperature"):
        plain = calibration.fit(method, 3 * x, y, who)
        shares = calibration.fit(f"{method}_logit", expit(3 * x), y, who)
        for name, value in plain.parameters.items():
            assert shares.parameters[name] == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert calibration.apply(shares, expit(3 * x)) == pytest.approx(
            calibration.apply(plain, 3 * x), abs=1e-6
        )
    with pytest.raises(SecondReaderError, match="outside 0 to 1"):
        calibration.fit("temperature_logit", 3 * x, y, who)


def test_what_suits_scores_follows_from_where_they_lie():
    assert calibration.suited(np.array([-1.0, 2])) == ("platt", ("temperature",))
    assert calibration.suited(np.array([0.0, 7])) == ("platt_log", ())
    own, others = calibration.suited(np.array([0.0, 1]))
    assert (own, others) == ("platt_log", ("platt_logit", "temperature_logit"))


def test_beside_are_the_score_itself_where_it_can_be_a_probability_and_each_other_way():
    x, y, who = scored()
    hot = calibration.fit("temperature", x, y, who)
    assert set(calibration.beside(x, {"temperature": hot})) == {"temperature"}
    share = expit(x)
    got = calibration.beside(
        share, {"temperature_logit": calibration.fit("temperature_logit", share, y, who)}
    )
    assert set(got) == {"uncalibrated", "temperature_logit"}
    assert (got["uncalibrated"] == share).all()


def test_isotonic_rises_and_is_refused_with_fewer_than_200_positives():
    x, y, who = scored()
    got = calibration.fit("isotonic", x, y, who)
    p = calibration.apply(got, np.linspace(-5, 5, 50))
    assert (np.diff(p) >= 0).all()
    few = np.flatnonzero(y)[:199].tolist() + np.flatnonzero(~y).tolist()
    with pytest.raises(SecondReaderError, match="got 199 positives, expected at least 200"):
        calibration.fit("isotonic", x[few], y[few], who[few])


def test_isotonic_equals_scikit_learn_with_ties():
    x, y, who = scored()
    x = np.round(x, 1)
    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    at = np.linspace(-5, 5, 301)
    assert calibration.apply(calibration.fit("isotonic", x, y, who), at) == pytest.approx(
        fitted.predict(at)
    )


@pytest.mark.parametrize("method", calibration.METHODS)
def test_fitted_probabilities_mean_what_they_say_on_new_patients(method):
    x, y, who = scored(n=4000)
    new, truth, _ = scored(n=4000, seed=1)
    if method == "platt_log":
        x, new = np.exp(x), np.exp(new)
    if method.startswith("temperature"):
        x, new = 2 * x - 1, 2 * new - 1
    if method.endswith("_logit"):
        x, new = expit(x), expit(new)
    p = calibration.apply(calibration.fit(method, x, y, who), new)
    table = reliability.bins(p, truth, np.zeros(4000, int), 1)
    assert reliability.expected_error(table, np.ones((1, 1)))[0] < 0.05


def test_another_prevalence_moves_all_odds_by_one_factor_and_back():
    x, y, who = scored()
    got = calibration.fit("platt", x, y, who)
    here = calibration.apply(got, x)
    assert calibration.apply(got, x, prevalence=got.prevalence) == pytest.approx(here)
    rare = calibration.apply(got, x, prevalence=0.006)
    moved = logit(rare) - logit(here)
    assert moved == pytest.approx(np.full(x.size, logit(0.006) - logit(got.prevalence)))
    with pytest.raises(SecondReaderError, match="prevalence"):
        calibration.apply(got, x, prevalence=1.0)


def test_what_is_written_down_is_what_was_fitted():
    x, y, who = scored(n=1000)
    for method in calibration.METHODS:
        scores = expit(x) if method.endswith("_logit") else np.exp(x)
        got = calibration.fit(method, scores, y, who, fitted_on="set calibration")
        assert (got.patients, got.positives + got.negatives) == (500, 1000)
        assert got.prevalence == pytest.approx(y.mean())
        back = calibration.from_json(json.loads(json.dumps(calibration.as_json(got))))
        assert (calibration.apply(back, scores) == calibration.apply(got, scores)).all()


@pytest.mark.parametrize("value", [{}, {"method": "platt"}, {"method": "other", "parameters": {}}])
def test_a_broken_file_is_refused(value):
    with pytest.raises(SecondReaderError, match=r"calibration\.json"):
        calibration.from_json(value)


def test_refusals():
    who, both = np.arange(4), np.array([0, 1, 0, 1], bool)
    for scores, labels, patients, told in (
        ([1, 2, 3, 4], [True] * 4, who, "4 positives and 0 negatives"),
        ([1, 2, 3, 4], both, np.zeros(4), "of 1 patients"),
        ([1, 2, np.nan, 4], both, who, "not finite"),
        ([1, 1, 1, 1], both, who, "one score for all"),
        ([4, 1, 3, 2], both, who, "do not rise"),
    ):
        with pytest.raises(SecondReaderError, match=told):
            calibration.fit("platt", np.array(scores, float), np.array(labels), patients)
    with pytest.raises(SecondReaderError, match="below 0"):
        calibration.fit("platt_log", np.array([-1.0, 2, 0, 3]), both, who)
    with pytest.raises(SecondReaderError, match="expected one of platt"):
        calibration.fit("beta", np.arange(4.0), both, who)


def test_methods_are_compared_on_patients_they_were_not_fitted_on():
    x, y, who = scored(n=2000, slope=1.0, shift=0.0)
    got = calibration.compare(["platt", "temperature"], 4 * x, y, who, 1000, resamples=100)
    raw = reliability.log_loss(expit(4 * x), y).mean()
    for method in ("platt", "temperature"):
        loss = got[method]["log_loss"]
        assert loss.low < loss.value < loss.high < raw
