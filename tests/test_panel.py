"""Several readers as one."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from secondreader import panel
from secondreader.domain import (
    Detection,
    ImageReading,
    ImageRecord,
    ImageSource,
    Intent,
    Kind,
    Mammogram,
    Point,
    SecondReaderError,
)
from secondreader.learning.hardware import Hardware
from secondreader.reading import load_model, load_models

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


def test_what_one_member_refuses_the_panel_refuses():
    got = of(Corner(), Refusing()).read(IMAGE)
    assert got.score is None and got.refused == ("no-breast", "none there")


def test_a_panel_takes_only_values_that_all_members_take():
    one = Corner(intents=(None, Intent.FOR_PRESENTATION, Intent.FOR_PROCESSING))
    assert of(one, Corner(intents=(None, Intent.FOR_PRESENTATION))).intents == {
        None, Intent.FOR_PRESENTATION,
    }  # fmt: skip


def test_the_area_is_scikit_learns_with_ties():
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 6, 200) / 5, rng.random(200) < 0.4
    assert panel._area(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


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
    assert panel._best(scores, truth, 2) == [0, 1]
    assert panel._best(scores, truth, 4) == [0, 1, 2, 3]


def test_a_stack_beats_the_mean_and_gives_no_weight_to_who_is_wrong():
    scores, truth = noisy()
    weights = panel._stacked(scores, truth)
    assert weights[3] == 0 and weights[0] > 0.3 and weights[1] > 0.3
    fresh, known = noisy(1)
    stacked = of(*[Corner()] * 3, combine="stack").config
    config = stacked.model_copy(update={"weights": weights, "members": ("a", "b", "c", "d")})
    reader = panel.Panel(config, [Corner()] * 4)
    found = np.array([reader.combined(row) for row in fresh])
    assert roc_auc_score(known, found) > roc_auc_score(known, fresh.mean(axis=1)) + 0.05
    assert ((found > 0) & (found < 1)).all()


def test_without_a_useful_member_there_is_no_stack():
    scores, truth = noisy()
    with pytest.raises(SecondReaderError, match="no member whose scores rise"):
        panel._stacked(scores[:, 3:], truth)


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
