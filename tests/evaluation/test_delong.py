"""DeLong and Obuchowski against brute force, MLstatkit, and each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from secondreader.domain import SecondReaderError
from secondreader.evaluation import delong


def two_readers(seed, n=120, ties=True):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    common = rng.normal(labels * 1.0, 1.0)
    scores = common + rng.normal(0, 0.8, (2, n))
    return labels, np.round(scores, 0 if ties else 9)


def by_definition(labels, scores, patients):
    """Return area and covariance as the papers write them, pair by pair and patient by patient."""
    aucs, tens, ones = [], [], []
    for s in scores:
        psi = (s[labels][:, None] > s[~labels]) + 0.5 * (s[labels][:, None] == s[~labels])
        aucs.append(psi.mean())
        tens.append(psi.mean(axis=1))
        ones.append(psi.mean(axis=0))
    m, n = int(labels.sum()), int((~labels).sum())
    names = sorted(set(patients))
    with_yes = [p for p in names if labels[patients == p].any()]
    with_no = [p for p in names if (~labels[patients == p]).any()]

    def ten(r, p):
        here = patients[labels] == p
        return tens[r][here].sum() - here.sum() * aucs[r]

    def one(r, p):
        here = patients[~labels] == p
        return ones[r][here].sum() - here.sum() * aucs[r]

    cov = np.empty((len(scores), len(scores)))
    for r in range(len(scores)):
        for q in range(len(scores)):
            s10 = (
                sum(ten(r, p) * ten(q, p) for p in with_yes)
                * len(with_yes)
                / (len(with_yes) - 1)
                / m
            )
            s01 = (
                sum(one(r, p) * one(q, p) for p in with_no) * len(with_no) / (len(with_no) - 1) / n
            )
            k = len(names) / (len(names) - 1)
            s11 = sum(ten(r, p) * one(q, p) for p in names) * k
            s11_back = sum(ten(q, p) * one(r, p) for p in names) * k
            cov[r, q] = s10 / m + s01 / n + (s11 + s11_back) / (m * n)
    return np.array(aucs), cov


@pytest.mark.parametrize("seed", range(4))
def test_areas_and_covariance_are_those_of_the_definition_with_ties_and_clusters(seed):
    labels, scores = two_readers(seed)
    rng = np.random.default_rng(seed)
    for patients in (np.arange(labels.size), rng.integers(40, size=labels.size)):
        got = delong.areas(labels, scores, patients)
        auc, covariance = by_definition(labels, scores, patients)
        assert got.auc == pytest.approx(auc, abs=1e-12)
        assert got.covariance == pytest.approx(covariance, abs=1e-12)


def test_one_score_per_patient_is_delong_and_several_are_obuchowski():
    labels, scores = two_readers(0)
    assert delong.areas(labels, scores, np.arange(120)).method == "DeLong"
    assert delong.areas(labels, scores, np.arange(120) // 2).method == "Obuchowski"


@pytest.mark.parametrize("seed", range(5))
def test_two_readers_compared_give_the_p_value_of_mlstatkit(seed):
    oracle = pytest.importorskip("MLstatkit.delong")
    labels, scores = two_readers(seed, ties=seed % 2 == 0)
    z, p, ci_a, _, auc_a, auc_b, info = oracle.Delong_test(labels.astype(int), *scores)
    assert info["method"] == "delong"
    got = delong.areas(labels, scores, np.arange(labels.size))
    test = delong.auc_test(got)
    assert got.auc == pytest.approx([auc_a, auc_b])
    assert test.value == pytest.approx(auc_a - auc_b)
    assert test.p == pytest.approx(p, rel=1e-9)
    assert abs(z) == pytest.approx(stats.norm.isf(test.p / 2))
    plain = stats.norm.ppf(0.975) * np.sqrt(got.covariance[0, 0])
    assert ci_a == pytest.approx((auc_a - plain, auc_a + plain), abs=1e-9)


def test_doubling_every_score_of_a_patient_does_not_narrow_the_clustered_interval():
    labels, scores = two_readers(1, n=80)
    once = delong.areas(labels, scores, np.arange(80))
    twice = delong.areas(np.tile(labels, 2), np.tile(scores, 2), np.tile(np.arange(80), 2))
    assert twice.covariance == pytest.approx(once.covariance, rel=1e-9)


def test_the_interval_stays_inside_zero_to_one_and_holds_the_area():
    labels, scores = two_readers(2, n=14, ties=False)
    got = delong.areas(labels, scores + labels * 1.5, np.arange(14))
    interval = delong.auc_interval(got)
    assert 0 < interval.low < interval.value < interval.high < 1 or interval.note


def test_a_perfect_reader_is_told_that_its_interval_tells_nothing():
    got = delong.areas(np.array([1, 1, 0, 0], bool), np.array([4.0, 3, 2, 1]), np.arange(4))
    assert "tells nothing" in delong.auc_interval(got).note


def test_a_reader_compared_with_itself_has_no_difference():
    labels, scores = two_readers(3)
    got = delong.areas(labels, scores[[0, 0]], np.arange(labels.size))
    test = delong.auc_test(got)
    assert (test.value, test.p) == (0.0, 1.0)


def test_nan_and_too_few_patients_are_refused():
    with pytest.raises(SecondReaderError, match="NaN in 1"):
        delong.areas(np.array([1, 0], bool), np.array([np.nan, 0]), np.arange(2))
    with pytest.raises(SecondReaderError, match="1 patients with positives"):
        delong.areas(np.array([1, 0, 0], bool), np.array([1.0, 0, 0]), np.arange(3))
    with pytest.raises(SecondReaderError, match="1 patients with positives"):
        delong.areas(np.array([1, 0, 1, 0], bool), np.array([1.0, 0, 1, 0]), np.zeros(4))
