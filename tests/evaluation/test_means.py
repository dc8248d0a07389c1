"""Means over patches: exact shares, and intervals that draw patients."""

import numpy as np
import pytest

from secondreader.evaluation.means import mean_figures, mean_replicates


def test_a_share_is_exact_and_patients_are_drawn_whole():
    right = np.array([1, 1, 1, 0, 0])
    patients = ["a", "a", "a", "b", "b"]
    (got,) = mean_figures({"accuracy": right}, patients, reader="x", level="patch", resamples=400)
    assert (got.value, got.patients, got.level) == (0.6, 2, "patch")
    # Two patients: a resample has three, two or none of five patches right, or all of one patient's.
    drawn = mean_replicates(right[:, None], patients, resamples=400)[1:, 0]
    assert set(np.round(drawn, 9)) == {0.0, 0.6, 1.0}
    assert (got.low, got.high) == (0.0, 1.0)


def test_columns_of_the_same_patients_are_paired():
    rng = np.random.default_rng(0)
    values, patients = rng.random((50, 1)), [str(i % 10) for i in range(50)]
    got = mean_replicates(np.hstack([values, values + 0.25]), patients, resamples=200)
    assert got[:, 1] - got[:, 0] == pytest.approx(0.25)


def test_of_one_patient_there_is_no_interval():
    (got,) = mean_figures({"error": np.ones(3)}, ["a"] * 3, reader="x", level="patch")
    assert got.value is None and "two" in got.note
