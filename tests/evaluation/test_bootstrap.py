"""Resampling of patients: what is drawn, how intervals come out, and how often they hold the truth."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondreader.domain import SecondReaderError
from secondreader.evaluation import bootstrap, delong, froc, roc


def test_every_draw_has_as_many_patients_as_the_data():
    blocks = list(bootstrap.draws(17, 250, seed=3))
    assert [b.shape for b in blocks] == [(17, 100), (17, 100), (17, 50)]
    assert all((b.sum(axis=0) == 17).all() for b in blocks)


def test_a_patient_is_drawn_once_on_average_and_with_the_variance_of_a_binomial():
    counts = np.concatenate(list(bootstrap.draws(10, 4000)), axis=1)
    assert counts.mean() == pytest.approx(1)
    assert counts.var() == pytest.approx(0.9, rel=0.03)


def test_a_seed_gives_the_same_draws_and_another_seed_others():
    a, b, c = (next(bootstrap.draws(9, 5, seed)) for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


def test_the_first_replicate_is_the_figure_on_the_data_themselves():
    values = np.arange(12.0)
    got = bootstrap.replicates(lambda w: values @ w / w.sum(axis=0), 12, resamples=30)
    assert got.shape == (31,)
    assert got[0] == values.mean()


def test_images_of_one_patient_are_drawn_together():
    def spread(patients):
        who = np.arange(40) // (40 // patients)
        values = (np.arange(40) < 20).astype(float)
        per = np.bincount(who, values)
        each = np.bincount(who)
        return bootstrap.replicates(lambda w: per @ w / (each @ w), patients).std()

    assert spread(4) > 2.5 * spread(40)


def test_vectorised_replicates_equal_a_plain_loop_over_copies_of_patients():
    rng = np.random.default_rng(5)
    n, patients = 60, 20
    who = rng.integers(patients, size=n)
    labels = rng.random(n) < 0.4
    scores = np.round(rng.normal(labels * 1.0, 1), 1)
    table = roc.tally(scores, labels, who, patients)
    got = bootstrap.replicates(lambda w: roc.auc(*roc.curve(table, w)), patients, resamples=20)
    counts = np.concatenate(list(bootstrap.draws(patients, 20)), axis=1)
    for draw in range(20):
        rows = [
            i
            for p in range(patients)
            for i in np.flatnonzero(who == p).tolist() * int(counts[p, draw])
        ]
        s, y = scores[rows], labels[rows]
        pairs = (s[y][:, None] > s[~y]) + 0.5 * (s[y][:, None] == s[~y])
        assert got[1 + draw] == pytest.approx(pairs.mean(), abs=1e-12)


def test_a_single_patient_is_refused():
    with pytest.raises(SecondReaderError, match="got 1, expected at least two"):
        bootstrap.replicates(lambda w: w.sum(axis=0), 1)


def test_an_interval_needs_nineteen_of_twenty_draws_to_be_defined():
    few = np.concatenate([[0.5], np.full(90, 0.5), np.full(10, np.nan)])
    assert bootstrap.estimate(few).value is None
    assert "too few patients" in bootstrap.estimate(few).note
    most = np.concatenate([[0.5], np.linspace(0, 1, 96), np.full(4, np.nan)])
    assert bootstrap.estimate(most).draws == 96


def test_draws_that_all_agree_are_said_to_tell_nothing():
    assert "tells nothing" in bootstrap.estimate(np.ones(101)).note


def test_an_undefined_figure_has_no_number():
    assert bootstrap.estimate(np.array([np.nan, 1.0, 1.0])).value is None


def test_the_paired_difference_of_a_reader_with_itself_is_nothing():
    a = np.random.default_rng(0).normal(size=2001)
    got = bootstrap.difference(a, a)
    assert (got.value, got.p) == (0.0, 1.0)


def test_a_p_value_counts_both_tails_and_the_data_themselves():
    a = np.concatenate([[0.4], np.full(97, 0.3), np.full(3, -0.1)])
    got = bootstrap.difference(a, np.zeros(101))
    assert Fraction(got.p).limit_denominator(1000) == Fraction(2 * 4, 101)


def test_holm_is_the_worked_example():
    assert bootstrap.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p):
    got = bootstrap.holm(p)
    assert all(a >= b for a, b in zip(got, p, strict=True))
    assert all(v <= 1 for v in got)
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(got)[order]) >= 0).all()


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Clustered data whose area is known: two correlated breasts a patient, binormal scores."""
    rng = np.random.default_rng(11)
    patients, runs, apart = 100, 400, 1.0
    truth = 0.7602499389065233  # the area under a binormal curve one deviation apart
    held = {"patient bootstrap": 0, "Obuchowski": 0}
    for run in range(runs):
        who = np.repeat(np.arange(patients), 2)
        labels = rng.random(2 * patients) < 0.3
        shared = np.repeat(rng.normal(size=patients), 2) * np.sqrt(0.6)
        scores = shared + rng.normal(size=2 * patients) * np.sqrt(0.4) + labels * apart

        def interval(who, n, run=run, scores=scores, labels=labels):
            table = roc.tally(scores, labels, who, n)
            values = bootstrap.replicates(
                lambda w: roc.auc(*roc.curve(table, w)), n, resamples=400, seed=run
            )
            return bootstrap.estimate(values)

        clustered = delong.auc_interval(delong.areas(labels, scores, who))
        got = {"patient bootstrap": interval(who, patients), "Obuchowski": clustered}
        for name, estimate in got.items():
            held[name] += estimate.low <= truth <= estimate.high
    for name in got:
        assert 0.92 <= held[name] / runs <= 0.98, held


@pytest.mark.slow
def test_recall_intervals_hold_the_truth_where_lesions_of_a_patient_are_alike():
    """Recall 0.6 on average, but a patient's lesions are found together: images are not independent."""
    rng = np.random.default_rng(4)
    patients, runs, held = 80, 400, 0
    for run in range(runs):
        each = rng.integers(1, 8, patients)
        found_by = rng.beta(0.6 * 4, 0.4 * 4, patients)
        who = np.repeat(np.arange(patients), each)
        hit = rng.random(who.size) < found_by[who]
        found = froc.Found(
            np.where(hit, 1.0, -np.inf), who, np.empty(0), np.empty(0, int), np.empty(0, bool),
            np.ones(patients, int), np.ones(patients, int), (), {}, "",
        )  # fmt: skip

        def recall(w, found=found):
            return froc.recall_at(froc.froc(found, w), 1)

        got = bootstrap.estimate(bootstrap.replicates(recall, patients, resamples=400, seed=run))
        held += got.low <= 0.6 <= got.high
    assert 0.92 <= held / runs <= 0.98
