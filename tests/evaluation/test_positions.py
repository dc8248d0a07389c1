"""Histograms of positions tell what the positions themselves would."""

from dataclasses import replace

import numpy as np
import pytest

from secondreader.domain import ImageRecord
from secondreader.evaluation.classification import score_figures
from secondreader.evaluation.positions import (
    BINS,
    binned,
    compare_positions,
    counted,
    position_figures,
    replicated,
)
from secondreader.evaluation.units import positions

DRAWN = {"resamples": 200, "seed": 1}


def drawn(apart, seed=0, images=40):
    """Images of twenty women, two makers: records, histograms, and the positions themselves."""
    rng = np.random.default_rng(seed)
    records = tuple(
        ImageRecord("d", f"{i}", f"p{i // 2}", f"e{i // 2}", vendor=("A", "B")[i // 2 % 2])
        for i in range(images)
    )
    histograms = np.zeros((images, 2, BINS), int)
    scores, labels, who = [], [], []
    for i, record in enumerate(records):
        own = [1 / (1 + np.exp(-rng.normal(mean, 2, n))) for mean, n in ((apart, 12), (-3, 3000))]
        histograms[i] = [binned(s) for s in own]
        scores += [*own[0], *own[1]]
        labels += [True] * 12 + [False] * 3000
        who += [f"d/{record.patient_id}"] * 3012
    return records, histograms, positions(np.array(scores), np.array(labels), who)


def test_figures_and_intervals_are_those_of_the_positions():
    records, histograms, units = drawn(3.0)
    exact, _ = score_figures(units, curves=False, reader="x", label_rule="", **DRAWN)
    got, _ = position_figures(replicated(counted("x", records, histograms), groups=False, **DRAWN))
    assert [f.name for f in got] == [f.name for f in exact]
    for one, two in zip(got, exact, strict=True):
        ends = (two.value, two.low, two.high)
        assert (one.value, one.low, one.high) == pytest.approx(ends, abs=2e-3)
        counts = (one.positives, one.negatives, one.patients)
        assert counts == (two.positives, two.negatives, two.patients)


def test_makers_have_figures_of_their_own_patients():
    records, histograms, _ = drawn(3.0)
    got, curves = position_figures(replicated(counted("x", records, histograms), **DRAWN))
    sizes = {f.group: (f.patients, f.positives) for f in got}
    assert sizes == {"": (20, 480), "vendor=A": (10, 240), "vendor=B": (10, 240)}
    assert [c.label_rule for c in curves] == [
        "positions", "positions, vendor=A", "positions, vendor=B"
    ]  # fmt: skip
    one = [i for i, r in enumerate(records) if r.vendor == "A"]
    alone, _ = position_figures(
        replicated(counted("x", [records[i] for i in one], histograms[one]), **DRAWN)
    )
    same = [f for f in got if f.group == "vendor=A"]
    assert [(f.value, f.low, f.high) for f in alone] == [(f.value, f.low, f.high) for f in same]


def test_a_reader_that_is_better_differs_by_more_than_chance_from_one_that_is_not():
    records, histograms, _ = drawn(3.0)
    a, b = (
        replicated(counted(name, records, of), **DRAWN)
        for name, of in (("a", drawn(4.5, seed=2)[1]), ("b", histograms))
    )
    rows = {(c.name, c.group): c for c in compare_positions([a, b])}
    better = rows["mean_sensitivity_fpf_0_0.1", ""]
    assert better.low > 0 and better.p < 0.02
    back = compare_positions([b, a])[2]
    assert back.name == "mean_sensitivity_fpf_0_0.1"
    assert (back.value, back.low, back.high) == pytest.approx(
        (-better.value, -better.high, -better.low)
    )
    assert {group for _, group in rows} == {"", "vendor=A", "vendor=B"}


def test_of_two_curves_the_share_that_lies_above_is_told_less_that_which_lies_below():
    records, histograms, _ = drawn(3.0)
    # Every positive moved to the highest bin: above wherever the other has not found all.
    top = histograms.copy()
    top[:, 0, -1] = histograms[:, 0].sum(axis=1)
    top[:, 0, :-1] = 0
    same, perfect = (
        replicated(counted(name, records, of), groups=False, **DRAWN)
        for name, of in (("same", histograms), ("perfect", top))
    )

    def share(one, two):
        name = "curve_above_log_fpf_1e-6_1"
        (row,) = (c for c in compare_positions([one, two]) if c.name == name)
        return row.value, row.p

    assert share(same, same) == (0.0, 1.0)
    above, p = share(perfect, same)
    assert 0.5 < above <= 1 and p < 0.02
    assert share(same, perfect)[0] == pytest.approx(-above)


def test_a_maker_of_one_woman_has_no_figure_and_is_not_compared():
    records, histograms, _ = drawn(3.0)
    records = tuple(
        replace(r, vendor="C") if r.patient_id == "p0" else r for r in records
    )  # fmt: skip
    own = replicated(counted("x", records, histograms), **DRAWN)
    alone = [f for f in position_figures(own)[0] if f.group == "vendor=C"]
    assert alone and all(f.value is None and "one patient" in f.note for f in alone)
    assert "vendor=C" not in {c.group for c in compare_positions([own, own])}


def test_without_a_calcification_there_is_no_figure_and_a_reason():
    records, histograms, _ = drawn(3.0)
    histograms[:, 0] = 0
    got, _ = position_figures(replicated(counted("x", records, histograms), groups=False, **DRAWN))
    assert got and all(f.value is None and f.note for f in got if "sensitivity" in f.name)
