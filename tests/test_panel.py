"""Several readers as one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from secondreader import panel
from secondreader.domain import (
    Detection,
    ImageReading,
    ImageRecord,
    ImageSource,
    Intent,
    Kind,
    Laterality,
    Mammogram,
    Point,
    SecondReaderError,
    View,
)
from secondreader.learning import stacking, weighing
from secondreader.learning.hardware import Hardware
from secondreader.reading import Model, exam_reading, load_model, load_models, view_reading

QUIET = Hardware("cpu", progress=False)


class Corner:
    """Scores an image as its first pixel, so that each mirror image has a score of its own."""

    name = "corner"

    def __init__(self, factor=1.0, kind=Kind.MASS, intents=(None,)):
        self.factor, self.kind, self.intents = factor, kind, frozenset(intents)

    def read(self, mammogram):
        score = float(mammogram.pixels[0, 0]) * self.factor
        return ImageReading(
            mammogram.source, score, None, (Detection(self.kind, Point(1, 1), score),)
        )


class Refusing(Corner):
    def read(self, mammogram):
        return ImageReading(mammogram.source, None, ("no-breast", "none there"))


class Blind(Corner):
    def read(self, mammogram):
        return ImageReading(mammogram.source, 0.1)


def mammogram(pixels):
    return Mammogram(np.asarray(pixels, np.float32), None, None, None, ImageSource("x", bits=8))


IMAGE = mammogram([[0.1, 0.2], [0.3, 0.6]])


def of(*readers, **settings):
    config = panel.Config(members=tuple("abc"[: len(readers)]), **settings)
    return panel.Panel(config, readers)


def test_flips_are_the_mean_over_the_image_and_its_three_mirror_images():
    assert of(Corner()).read(IMAGE).score == pytest.approx(0.1)
    assert of(Corner(), flips=True).read(IMAGE).score == pytest.approx((0.1 + 0.2 + 0.3 + 0.6) / 4)


def test_a_mean_of_members_and_the_first_ones_detections_of_each_kind():
    both = of(Corner(), Corner(3.0), Corner(2.0, Kind.MICROCALCIFICATION)).read(IMAGE)
    assert both.score == pytest.approx((0.1 + 0.3 + 0.2) / 3)
    assert [(d.kind, round(d.score, 6)) for d in both.detections] == [
        (Kind.MASS, 0.1), (Kind.MICROCALCIFICATION, 0.2),
    ]  # fmt: skip


SCALE = panel.Scale(member=0, kind=Kind.MASS, thresholds=(0.2, 0.6), rates=(1.0, 0.25))


def test_of_each_kind_the_first_member_speaks_that_looks_for_it_also_where_it_finds_nothing():
    both = of(Blind(), Corner(3.0), scales=(SCALE,)).read(IMAGE)
    assert both.detections == ()
    refusing = of(Refusing(), Corner(3.0), scales=(SCALE,), absent="leave out").read(IMAGE)
    assert [d.score for d in refusing.detections] == [pytest.approx(0.3)]
    assert refusing.left_out == (("no-breast", "none there"),)


def test_members_detections_come_on_one_scale_by_their_false_positives():
    # One false positive an image is one half, a quarter of one four fifths, whatever the member's scores.
    high = panel.Scale(
        member=1, kind=Kind.MICROCALCIFICATION, thresholds=(5.0, 9.0), rates=(1.0, 0.25)
    )
    both = of(Corner(6.0), Corner(50.0, Kind.MICROCALCIFICATION), scales=(SCALE, high)).read(IMAGE)
    assert {d.kind: d.score for d in both.detections} == {
        Kind.MASS: pytest.approx(0.8), Kind.MICROCALCIFICATION: pytest.approx(0.5),
    }  # fmt: skip


@given(
    st.lists(st.integers(-1000, 1000).map(lambda v: v / 100), min_size=1, max_size=3, unique=True),
    st.floats(-1e4, 1e4),
    st.floats(0.01, 1e3),
)
def test_a_scale_keeps_the_order_of_scores_and_stays_inside_0_and_1(thresholds, score, more):
    rates = (1.0, 0.5, 0.25)[: len(thresholds)]
    scale = panel.Scale(member=0, kind=Kind.MASS, thresholds=tuple(sorted(thresholds)), rates=rates)
    assert 0 < scale.of(score) < scale.of(score + more) < 1
    for threshold, rate in zip(scale.thresholds, rates, strict=True):
        assert scale.of(threshold) == pytest.approx(1 / (1 + rate))


def test_a_panel_takes_its_members_scales_from_their_operating_points(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, thresholds in zip(folders, ((0.1, 0.1, 0.4), (2.0, 3.0, 9.0)), strict=True):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        points = [
            {"name": f"fpi-{rate:g}", "kind": "mass", "threshold": threshold, "rule": f"fpi<={rate:g}",
             "chosen_on": "x"}
            for rate, threshold in zip((1.0, 0.5, 0.25), thresholds, strict=True)
        ]  # fmt: skip
        (folder / "operating_points.json").write_text(
            json.dumps({"default": None, "points": points})
        )
    first, second = panel._scales([*map(str, folders), "spot_filter"])
    # Where two points share a threshold, it leaves the lesser rate already.
    assert (first.member, first.thresholds, first.rates) == (0, (0.1, 0.4), (0.5, 0.25))
    assert (second.member, second.thresholds, second.rates) == (
        1,
        (2.0, 3.0, 9.0),
        (1.0, 0.5, 0.25),
    )


def test_what_one_member_refuses_the_panel_refuses():
    got = of(Corner(), Refusing()).read(IMAGE)
    assert got.score is None and got.refused == ("no-breast", "none there")


def test_a_panel_takes_only_values_that_all_members_take():
    one = Corner(intents=(None, Intent.FOR_PRESENTATION, Intent.FOR_PROCESSING))
    assert of(one, Corner(intents=(None, Intent.FOR_PRESENTATION))).intents == {
        None, Intent.FOR_PRESENTATION,
    }  # fmt: skip


def noisy(seed=0, n=400):
    """Scores of a good member, a second with noise of its own, one of noise, one that is wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5

    def squashed(values):
        return 1 / (1 + np.exp(-values))

    good, second, nothing = (rng.normal(0, 1, n) for _ in range(3))
    scores = [squashed(2 * truth + good), squashed(2 * truth + second), squashed(nothing),
              squashed(-2 * truth + rng.normal(0, 1, n))]  # fmt: skip
    return np.stack(scores, 1), truth


def test_the_best_members_are_those_whose_mean_is_best():
    scores, truth = noisy()
    assert stacking.best(scores, truth, 2) == [0, 1]
    assert stacking.best(scores, truth, 4) == [0, 1, 2, 3]


def test_a_stack_beats_the_mean_and_gives_no_weight_to_who_is_wrong():
    scores, truth = noisy()
    *weights, intercept = stacking.stacked(scores, truth)
    assert weights[3] == 0 and weights[0] > 0.3 and weights[1] > 0.3
    fresh, known = noisy(1)
    own = weighing.Weighing(
        level="image", members=(0, 1, 2, 3), weights=weights, intercept=intercept
    )
    reader = of(*[Corner()] * 4, combine="stack", weights=(own,))
    found = np.array([reader.combined("image", row.tolist()) for row in fresh])
    assert roc_auc_score(known, found) > roc_auc_score(known, fresh.mean(axis=1)) + 0.05
    assert ((found > 0) & (found < 1)).all()
    assert reader.combined("exam", fresh[0].tolist()) is None  # never weighed


def test_without_a_useful_member_a_stack_knows_how_often_it_is_true_and_nothing_else():
    scores, truth = noisy()
    *weights, intercept = stacking.stacked(scores[:, 3:], truth)
    assert weights == [0.0]
    assert 1 / (1 + np.exp(-intercept)) == pytest.approx(truth.mean(), abs=0.01)


def test_an_even_mean_is_of_scores_in_their_own_spreads():
    scores, truth = noisy()
    squeezed = scores[:, :2] ** [1, 4]  # another scale, the same order
    *weights, intercept = stacking.even(squeezed, truth)
    logits = np.log(squeezed / (1 - squeezed))
    wanted = ((logits - logits.mean(axis=0)) / logits.std(axis=0)).mean(axis=1)
    assert logits @ weights + intercept == pytest.approx(wanted, abs=1e-6)


def test_what_one_member_does_not_read_is_left_to_the_others_if_asked():
    both = of(Refusing(), Corner(), absent="leave out").read(IMAGE)
    assert both.score == pytest.approx(0.1) and both.refused is None
    none = of(Refusing(), Refusing(), absent="leave out").read(IMAGE)
    assert none.score is None and none.refused == ("no-breast", "none there")


class Images:
    """Validation images of two kinds."""

    def __init__(self, malignant):
        self.records = [
            ImageRecord("d", str(i), f"p{i}", f"e{i}", malignant=m) for i, m in enumerate(malignant)
        ]

    def open(self, record):
        return mammogram(np.full((400, 300), 0.2))


def test_a_panel_of_methods_is_a_model_folder_that_reads(tmp_path):
    config = panel.Config(members=("spot_filter",), flips=True)
    panel.train(config, Images([]), Images([]), tmp_path, hardware=QUIET)
    model = load_model(str(tmp_path))
    assert model.name == "panel"
    assert model.reader.config.members == ("spot_filter",)
    with pytest.raises(SecondReaderError, match="expected a model folder"):
        panel.load(None)


def test_two_panels_are_told_apart_by_their_folders(tmp_path):
    for name in ("one", "two"):
        config = panel.Config(members=("spot_filter",), flips=name == "two")
        panel.train(config, Images([]), Images([]), tmp_path / name, hardware=QUIET)
    models = load_models([str(tmp_path / "one"), str(tmp_path / "two" / "model"), "spot_filter"])
    assert [m.name for m in models] == ["panel:one", "panel:two", "spot_filter"]
    with pytest.raises(SecondReaderError, match="got panel:one twice"):
        load_models([str(tmp_path / "one"), str(tmp_path / "one")])


def test_members_travel_with_the_panel(tmp_path):
    first = panel.Config(members=("spot_filter",))
    panel.train(first, Images([]), Images([]), tmp_path / "first", hardware=QUIET)
    outer = panel.Config(members=(str(tmp_path / "first"), "spot_filter"))
    panel.train(outer, Images([]), Images([]), tmp_path / "outer", hardware=QUIET)
    moved = tmp_path / "elsewhere"
    (tmp_path / "outer" / "model").rename(moved)
    (tmp_path / "first" / "model" / "config.json").unlink()
    assert [m.name for m in panel.load(moved).members] == ["panel", "spot_filter"]


def test_validation_images_of_one_kind_cannot_decide(tmp_path):
    config = panel.Config(members=("spot_filter", "spot_filter"), most=1)
    with pytest.raises(SecondReaderError, match="validation images of one kind"):
        panel.train(config, Images([]), Images([True, True]), tmp_path, hardware=QUIET)


class Women:
    """Two women with four views each; in one the left breast is malignant."""

    def __init__(self, exams=12):
        self.records = [
            ImageRecord("d", f"{e}-{side}-{view}", f"p{e}", f"e{e}", laterality=side, view=view,
                        malignant=e % 2 == 0 and side is Laterality.L)
            for e in range(exams)
            for side in (Laterality.L, Laterality.R)
            for view in (View.CC, View.MLO)
        ]  # fmt: skip

    def open(self, record):
        row = self.records.index(record)
        rng = np.random.default_rng(row)
        low = 0.7 if record.malignant else 0.2
        made = mammogram([[low + 0.2 * rng.random(), 0.0], [0.0, 0.0]])
        return replace(made, laterality=record.laterality, view=record.view)


def test_images_breasts_and_exams_are_weighed_each_and_so_is_every_set_of_members(tmp_path):
    women = Women()
    config = panel.Config(members=("a", "b"), combine="stack", absent="leave out")
    reader = panel.Panel(config, [Corner(), Corner(0.5)])
    scores = panel._scores(reader, women, tmp_path / "s.npy", QUIET)
    scores[::4, 1] = np.nan  # the second reads no left CC
    _, table, truth = weighing.unit_scores(women.records, scores, "breast")
    # A breast is the mean of the views that were read, and as malignant as its images.
    assert table.shape == (24, 2) and truth.sum() == 6
    assert table[0] == pytest.approx([scores[:2, 0].mean(), scores[1, 1]])
    _, table, truth = weighing.unit_scores(women.records, scores, "exam")
    assert table[0, 0] == pytest.approx(max(scores[:2, 0].mean(), scores[2:4, 0].mean()))
    assert truth.tolist() == [e % 2 == 0 for e in range(12)]
    weighed = weighing.weighed(women.records, scores, "stack", "leave out")
    assert {(w.level, w.members) for w in weighed} == {
        (level, members)
        for level in ("image", "breast", "exam")
        for members in ((0,), (1,), (0, 1))
    }
    again = panel._scores(reader, Women(0), tmp_path / "s.npy", QUIET)
    assert len(again) == 48  # kept: a second call reads nothing


def test_what_is_said_of_a_calibration_woman_does_not_depend_on_her_truth():
    records = Women(40).records
    scores = np.random.default_rng(0).random((len(records), 2))
    told = weighing.of_others(records, scores, "stack", "refuse", 0)
    assert [len(told[level]) for level in ("image", "breast", "exam")] == [160, 80, 40]
    other = [
        replace(r, malignant=r.laterality is Laterality.R) for r in records
    ]  # her other breast
    lied = [o if r.patient_id == "p4" else r for r, o in zip(records, other, strict=True)]
    again = weighing.of_others(lied, scores, "stack", "refuse", 0)
    own = [key for key in told["image"] if key.startswith("d/4-")]
    assert len(own) == 4 and all(told["image"][key] == again["image"][key] for key in own)
    assert told["image"] != again["image"]  # of others it is learnt from


def test_a_panel_leaves_held_out_scores_beside_its_model(tmp_path, monkeypatch):
    monkeypatch.setattr(panel, "_member", lambda name: Corner())
    config = panel.Config(members=("spot_filter",), combine="even")
    panel.train(config, Women(10), Women(0), tmp_path, hardware=QUIET)
    told = panel.held_out(tmp_path)
    assert len(told["exam"]) == 10 and all(0 < score < 1 for score in told["breast"].values())
    assert panel.held_out(tmp_path / "model") is None


def test_a_breast_s_score_is_weighed_from_its_members_not_averaged_over_its_views(tmp_path):
    weights = tuple(
        weighing.Weighing(level=level, members=(0,), weights=(w,), intercept=0.0)
        for level, w in (("image", 1.0), ("breast", 2.0), ("exam", 3.0))
    )
    reader = of(Corner(), combine="stack", weights=weights)
    model = Model("panel", "", reader, (), None)
    women = Women(2)
    views = [
        view_reading([model], women.open(r), input=0, accept=frozenset()) for r in women.records[:4]
    ]
    read = exam_reading("e", None, views, [model])
    first = [float(women.open(r).pixels[0, 0]) for r in women.records[:4]]

    def logistic(value, weight):
        return 1 / (1 + ((1 - value) / value) ** weight)

    assert views[0].scores[0].score == pytest.approx(logistic(first[0], 1))
    left = {b.laterality: b.scores[0].score for b in read.breasts}[Laterality.L]
    assert left == pytest.approx(logistic(np.mean(first[:2]), 2), rel=1e-5)
    assert read.scores[0].score == pytest.approx(logistic(np.mean(first[:2]), 3), rel=1e-5)
