"""Who may read an image, what is a finding, and which score a breast has."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from secondreader.domain import (
    Detection,
    ImageReading,
    ImageSource,
    Intent,
    Kind,
    Laterality,
    Mammogram,
    OperatingPoint,
    Point,
    SecondReaderError,
    View,
)
from secondreader.evaluation import calibration
from secondreader.learning import likeness
from secondreader.reading import (
    Model,
    exam_reading,
    load_model,
    load_models,
    prevalence_of,
    read_together,
    view_reading,
)

EVERYTHING = frozenset({*Intent, None})


@dataclass
class Always:
    """A reader that says the same of every image, or fails."""

    name: str = "always"
    intents: frozenset = EVERYTHING
    score: float = 0.5
    fails: bool = False
    detections: tuple = field(default=())

    def read(self, mammogram):
        if self.fails:
            raise ZeroDivisionError("a bug")
        return ImageReading(mammogram.source, self.score, None, self.detections)


class OutOfMemoryError(RuntimeError):
    """As PyTorch's."""

    __module__ = "torch"


@pytest.mark.parametrize(
    "error", [OutOfMemoryError("CUDA out of memory.\nmore"), RuntimeError("CUDA error: no kernel")]
)
def test_a_device_that_fails_is_no_bug_of_the_model_and_nothing_is_noted(error, monkeypatch):
    def fail(self, mammogram):
        raise error

    monkeypatch.setattr(Always, "read", fail)
    with pytest.raises(
        SecondReaderError, match=r"--device: always failed on it \(CUDA .*--device cpu"
    ):
        view_reading([model()], image(), input=0, accept=EVERYTHING)


def model(points=(), at=None, **settings):
    reader = Always(**settings)
    return Model(reader.name, "", reader, tuple(points), at)


def image(laterality=Laterality.L, view=View.CC, intent=None):
    source = ImageSource("x", intent=intent)
    return Mammogram(np.zeros((64, 64), np.float32), None, laterality, view, source)


def read(models, mammogram, accept=()):
    return view_reading(models, mammogram, input=0, accept=frozenset(accept))


def test_an_intent_that_a_method_was_not_trained_on_is_refused_unless_accepted():
    only = model(intents=frozenset({Intent.FOR_PRESENTATION}))
    raw = image(intent=Intent.FOR_PROCESSING)
    (refused,) = read([only], raw).scores
    assert refused.score is None
    assert refused.refused[0] == "for-processing"
    assert "--accept for-processing" in refused.refused[1]
    assert read([only], raw, ["for-processing"]).scores[0].score == 0.5
    assert read([only], image(intent=Intent.FOR_PRESENTATION)).scores[0].score == 0.5


def test_a_model_that_fails_on_an_image_does_not_stop_the_others():
    scores = read([model(name="broken", fails=True), model()], image()).scores
    assert scores[0].refused[0] == "failed"
    assert scores[1].score == 0.5


def test_a_detection_at_the_threshold_is_a_finding_and_one_of_another_kind_is_not():
    found = (
        Detection(Kind.MASS, Point(1, 1), 2.0),
        Detection(Kind.MASS, Point(2, 2), 1.99),
        Detection(Kind.ASYMMETRY, Point(3, 3), 9.0),
    )
    point = OperatingPoint("p", Kind.MASS, 2.0, "rule", "data")
    other = OperatingPoint("q", Kind.MASS, 0.0, "rule", "data")
    view = read([model((point, other), "p", detections=found)], image())
    assert [d.finding for d in view.detections] == [True, False, False]
    assert {d.model for d in view.detections} == {"always"}


def test_a_calcification_alone_is_no_finding_of_a_model_that_marks_clusters():
    found = tuple(
        Detection(kind, Point(1, 1), 9.0)
        for kind in (Kind.MICROCALCIFICATION, Kind.CALCIFICATION_CLUSTER)
    )
    of_points, of_clusters = (OperatingPoint("p", d.kind, 1.0, "rule", "data") for d in found)
    only_points = model((of_points,), "p", detections=found)
    assert [d.finding for d in read([only_points], image()).detections] == [True, False]
    # Clusters at an operating point that is not in use say nothing of what is a finding here.
    elsewhere = model((of_points, replace(of_clusters, name="q")), "p", detections=found)
    assert [d.finding for d in read([elsewhere], image()).detections] == [True, False]
    both = model((of_points, of_clusters), "p", detections=found)
    assert [d.finding for d in read([both], image()).detections] == [False, True]


def test_of_more_clusters_than_an_image_can_have_the_surest_are_findings_and_of_calcifications_all():
    scores = (2.0, 9.0, 5.0, 0.5, 7.0, 3.0)
    found = tuple(
        Detection(kind, Point(i, i), score)
        for kind in (Kind.CALCIFICATION_CLUSTER, Kind.SUSPICIOUS_REGION)
        for i, score in enumerate(scores)
    )
    points = [OperatingPoint("p", kind, 1.0, "rule", "data") for kind in {d.kind for d in found}]
    view = read([model(points, "p", detections=found)], image())
    assert [d.score for d in view.detections] == [d.score for d in found]  # none is left out
    for kind in {d.kind for d in found}:
        own = [d.score for d in view.detections if d.kind is kind and d.finding]
        assert own == [9.0, 5.0, 7.0]
    single = tuple(replace(d, kind=Kind.MICROCALCIFICATION) for d in found)
    only_points = OperatingPoint("p", Kind.MICROCALCIFICATION, 1.0, "rule", "data")
    view = read([model((only_points,), "p", detections=single)], image())
    assert sum(d.finding for d in view.detections) == 10


def breast():
    """A grey half-disc on black."""
    rows, cols = np.ogrid[:200, :160]
    inside = ((rows - 100) / 80) ** 2 + (cols / 110) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 0.02, inside.shape)
    pixels = np.where(inside, 0.5 + noise, 0).astype(np.float32)
    return Mammogram(pixels, (0.4, 0.4), Laterality.L, View.CC, ImageSource("x"))


def told(threshold):
    """What a model says of its training images: it knows the grey value of air only."""
    names, ones = ("grey value of air",), ((1.0,),)
    return likeness.Likeness(names, (0.1,), ((0.0,),), ones, threshold, 0.99, 10, 20)


def test_an_image_unlike_the_training_s_is_refused_unless_accepted_and_says_by_what():
    like = replace(model(), likeness=told(2.0))
    pixels = 1 - breast().pixels  # air at 1 lies ten spreads off
    other = replace(breast(), pixels=pixels)
    assert read([like], breast()).scores[0].score == 0.5
    (score,) = read([like], other).scores
    assert score.score is None and score.refused[0] == "unlike-training"
    assert "10" in score.refused[1] and "grey value of air" in score.refused[1]
    assert "99%" in score.refused[1] and "--accept unlike-training" in score.refused[1]
    assert read([like], other, ["unlike-training"]).scores[0].score == 0.5
    assert (
        read([model()], other).scores[0].score == 0.5
    )  # a model that says nothing of it reads all


def test_what_a_reader_cannot_read_is_said_before_that_the_image_is_another():
    class Refuses(Always):
        def read(self, mammogram):
            return ImageReading(mammogram.source, None, ("coarse", "pixels of 0.4 mm"))

    like = replace(model(), likeness=told(2.0), reader=Refuses())
    other = replace(breast(), pixels=1 - breast().pixels)
    assert read([like], other).scores[0].refused == ("coarse", "pixels of 0.4 mm")
    both = Model("both", "", Together(), (), None, likeness=told(2.0))
    known = read_together([both], [breast(), other], frozenset())
    assert [set(k) for k in known] == [{"both"}, set()]


def exam(*scored):
    views = [read([model(score=s)], image(side, view)) for side, view, s in scored]
    return exam_reading("e", None, views, [model()])


class Together(Always):
    """A reader of whole exams: an image scores as how many there are."""

    def read_exam(self, images):
        if self.fails:
            raise ZeroDivisionError("a bug")
        return [ImageReading(i.source, len(images) / 10) for i in images]


def test_a_reader_of_exams_sees_the_images_that_it_may_read_together():
    raw = image(intent=Intent.FOR_PROCESSING)
    reader = Together(name="both", intents=frozenset({None}))
    models = [Model("both", "", reader, (), None), model()]
    known = read_together(models, [image(), raw, image(view=View.MLO)], frozenset())
    assert [set(k) for k in known] == [{"both"}, set(), {"both"}]
    views = [
        view_reading(models, i, input=0, accept=frozenset(), known=k)
        for i, k in zip([image(), raw, image(view=View.MLO)], known, strict=True)
    ]
    assert [v.scores[0].score for v in views] == [0.2, None, 0.2]
    assert views[1].scores[0].refused[0] == "for-processing"
    assert {v.scores[1].score for v in views} == {0.5}


def test_a_reader_of_exams_that_fails_says_so_of_each_image():
    broken = Model("both", "", Together(fails=True), (), None)
    (known,) = read_together([broken], [image()], frozenset())
    assert known["both"].refused[0] == "failed"


def test_a_breast_is_the_mean_of_its_views_and_an_exam_its_larger_breast():
    read_exam = exam(
        (Laterality.L, View.CC, 0.25), (Laterality.L, View.MLO, 0.75), (Laterality.R, View.CC, 0.4)
    )
    assert {b.laterality: b.scores[0].score for b in read_exam.breasts} == {"R": 0.4, "L": 0.5}
    assert read_exam.scores[0].score == 0.5


def test_images_of_unknown_side_are_not_averaged_over_both_breasts():
    read_exam = exam((None, View.CC, 0.2), (None, View.CC, 0.6), (Laterality.R, View.CC, 0.4))
    assert {b.laterality: b.scores[0].score for b in read_exam.breasts} == {"R": 0.4, None: 0.6}
    assert read_exam.scores[0].score == 0.6


def test_an_exam_that_nobody_read_has_no_score_rather_than_a_low_one():
    only = model(intents=frozenset())
    read_exam = exam_reading("e", None, [read([only], image())], [only])
    assert read_exam.scores[0].score is None


def test_one_model_twice_is_refused():
    with pytest.raises(SecondReaderError, match="got spot_filter twice"):
        load_models(["spot_filter", "spot_filter"])


def test_a_model_knows_where_its_operating_points_were_chosen():
    loaded = load_model("spot_filter", "fpi-1")
    assert loaded.at == "fpi-1"
    assert all("mini-MIAS" in point.chosen_on for point in loaded.points)


def test_a_score_becomes_a_probability_at_the_levels_that_were_calibrated():
    scores = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    fitted = calibration.fit("platt", scores, scores > 0.5, np.arange(6))
    reader = Always(score=0.8)
    sure = Model(reader.name, "", reader, (), None, {"image": fitted, "exam": fitted})
    view = read([sure], image())
    wanted = float(calibration.apply(fitted, np.array([0.8]))[0])
    assert view.scores[0].probability == pytest.approx(wanted)
    exam = exam_reading("e", None, [view], [sure])
    assert exam.breasts[0].scores[0].probability is None
    assert exam.scores[0].probability == pytest.approx(wanted)
    refused = read([Model("x", "", Always(fails=True), (), None, {"image": fitted})], image())
    assert refused.scores[0].probability is None


def test_a_method_with_weights_asks_for_a_model_folder():
    with pytest.raises(SecondReaderError, match="make one with: secondreader train"):
        load_model("anomaly_cascade")


@pytest.mark.parametrize("told", ["{}", '{"method": "magic"}', '{"method": ["spot_filter"]}'])
def test_a_folder_of_no_method_is_one_line_with_its_file(tmp_path, told):
    (tmp_path / "config.json").write_text(told)
    with pytest.raises(SecondReaderError, match=r"^model: got a folder of method .*config\.json$"):
        load_model(str(tmp_path))


def test_probabilities_hold_for_the_prevalence_that_is_stated():
    # Half of the exams, a quarter of the breasts: of as many women as are stated half as many breasts.
    fitted = {
        level: calibration.Calibration("temperature", {"temperature": 1.0}, share, 8, 4, 4, "x")
        for level, share in (("exam", 0.5), ("breast", 0.25), ("image", 0.25))
    }
    model = Model("m", "", Always(score=0.0), (), None, fitted)
    assert prevalence_of(model) == 0.5
    rare = replace(model, prevalence=0.01)
    assert prevalence_of(rare) == 0.01
    # A score of 0 leaves the odds of cancer at 1 where they were fitted; there 1 in 4 breasts had one.
    for held, exam, odds in ((model, 0.5, 1.0), (rare, 0.01, (0.005 / 0.995) / (0.25 / 0.75))):
        view = read([held], image())
        told = exam_reading("e", None, [view], [held])
        assert told.scores[0].probability == pytest.approx(exam)
        for own in (told.breasts[0].scores[0], view.scores[0]):
            assert own.probability == pytest.approx(odds / (1 + odds))
    assert prevalence_of(Model("m", "", Always(), (), None)) is None
    with pytest.raises(SecondReaderError, match="--prevalence: got 1, expected"):
        load_models(["spot_filter"], prevalence=1.0)
    with pytest.raises(SecondReaderError, match="spot_filter gives no probabilities of exams"):
        load_models(["spot_filter"], prevalence=0.1)
    view = read(
        [replace(model, prevalence=0.999)], image()
    )  # three quarters of images at least have none
    assert view.scores[0].probability < 1
