"""Joining readings with the truth, and everything that is refused instead of scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secondreader.domain import (
    BreastReading,
    Circle,
    ExamReading,
    ImageRecord,
    ImageSource,
    Kind,
    Laterality,
    Lesion,
    ModelScore,
    Pathology,
    SecondReaderError,
    View,
    ViewReading,
)
from secondreader.evaluation.scored import ScoredImage, check, fingerprint, join, patient_digests
from secondreader.evaluation.units import units

L, R = Laterality.L, Laterality.R


def record(path, patient="p1", exam="e1", **known):
    return ImageRecord("set", path, patient, exam, **known)


def view(path, score=0.5, uid=None, sha256=None, model="m", refused=None, index=0):
    source = ImageSource(path, sop_uid=uid, sha256=sha256)
    return ViewReading(
        source, 9, 9, L, View.CC, None, (ModelScore(model, score, None, refused),), input=index
    )


def exam(*views, score=None, breasts=(), model="m"):
    own = (ModelScore(model, score),) if score is not None else ()
    return ExamReading("x", None, own, tuple(breasts), tuple(views))


def test_readings_are_matched_by_path():
    got = join(
        [record("a"), record("b", "p2", "e2")], [exam(view("b", 0.2)), exam(view("a", 0.1))], "m"
    )
    assert [i.score for i in got.images] == [0.1, 0.2]
    assert [i.patient_id for i in got.images] == ["set/p1", "set/p2"]


def test_the_sop_instance_uid_goes_before_the_path():
    records = [record("a", extra=(("sop_instance_uid", "1.2"),)), record("b")]
    got = join(records, [exam(view("b", 0.7, uid="1.2"))], "m")
    assert [i.score for i in got.images] == [0.7, None]
    assert got.unread == {"no reading": 1}


def test_one_path_in_two_data_sets_is_told_apart_by_the_input():
    records = [record("a"), replace(record("a"), dataset="other")]
    readings = [exam(view("a", 0.1, index=1)), exam(view("a", 0.9, index=0))]
    got = join(records, readings, "m", inputs=["set", "other"])
    assert [i.score for i in got.images] == [0.9, 0.1]
    with pytest.raises(SecondReaderError, match="2 images of one path"):
        join(records, readings, "m")


def test_a_reading_without_its_image_is_refused():
    with pytest.raises(SecondReaderError, match="got 1 of 2 without an image in these data"):
        join([record("a")], [exam(view("a"), view("stranger"))], "m")


def test_readings_of_other_data_are_called_so():
    with pytest.raises(SecondReaderError, match="are they of other data"):
        join([record("a")], [exam(view("x"), view("y"))], "m")


def test_no_reading_at_all_is_refused():
    with pytest.raises(SecondReaderError, match="readings: got none"):
        join([record("a")], [], "m")


def test_two_readings_of_one_image_are_refused():
    with pytest.raises(SecondReaderError, match="got two of one image"):
        join([record("a")], [exam(view("a")), exam(view("a"))], "m")


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(score):
    with pytest.raises(SecondReaderError, match="not finite"):
        join([record("a")], [exam(view("a", score))], "m")


def test_one_image_under_two_patients_is_refused():
    records = [record("a"), record("b", "p2", "e2")]
    with pytest.raises(SecondReaderError, match="one image under two ids"):
        join(records, [exam(view("a", sha256="f"), view("b", sha256="f"))], "m")


def test_one_exam_under_two_patients_is_refused():
    with pytest.raises(SecondReaderError, match="one exam under two ids"):
        join([record("a", "p1"), record("b", "p2")], [exam(view("a"), view("b"))], "m")


def test_another_model_is_refused_by_name():
    with pytest.raises(SecondReaderError, match="got readings of m, expected n"):
        join([record("a")], [exam(view("a"))], "n")


def test_no_message_names_a_patient():
    secret = "Jane-Doe-1961"
    for records, readings in (
        ([record("a", secret), record("b", "p2")], [exam(view("a"), view("b"))]),
        ([record("a", secret)], [exam(view("a", float("nan")))]),
        (
            [record("a", secret), record("b", "q", "f")],
            [exam(view("a", sha256="f"), view("b", sha256="f"))],
        ),
    ):
        with pytest.raises(SecondReaderError) as told:
            join(records, readings, "m")
        assert secret not in str(told.value)
        assert "\n" not in str(told.value)


def test_images_that_a_reader_refused_are_counted_by_their_code():
    got = join([record("a"), record("b")],
               [exam(view("a"), view("b", None, refused=("spot-view", "…")))], "m")  # fmt: skip
    assert got.unread == {"spot-view": 1}


def test_a_malignant_lesion_in_the_field_makes_the_image_malignant_else_the_data_set_says():
    cancer = Lesion("1", Kind.MASS, Circle(0, 0, 3), pathology=Pathology.MALIGNANT)
    image = ScoredImage("a", "p", "e")
    assert image.label() is None
    assert replace(image, malignant=False).label() is False
    assert replace(image, malignant=False, lesions=(cancer,)).label() is True


def test_an_image_is_abnormal_by_whatever_is_not_benign_at_sight():
    def lesion(kind, pathology):
        return Lesion("1", kind, Circle(0, 0, 3), pathology=pathology)

    at_sight = Pathology.BENIGN_WITHOUT_CALLBACK
    image = ScoredImage("a", "p", "e", malignant=False)
    assert image.label("abnormal") is False
    assert replace(image, malignant=True).label("abnormal") is True
    assert replace(image, malignant=None).label("abnormal") is None
    for kind, pathology, told in (
        (Kind.MASS, Pathology.BENIGN, True), (Kind.MASS, at_sight, True),
        (Kind.MICROCALCIFICATION, at_sight, False), (Kind.MICROCALCIFICATION, None, True),
    ):  # fmt: skip
        found = replace(image, lesions=(lesion(kind, pathology),))
        assert found.label("abnormal") is told and found.label() is False


def test_an_image_whose_cancer_is_hidden_can_be_left_out():
    cancer = Lesion("1", Kind.MASS, None, visible=False, pathology=Pathology.MALIGNANT)
    image = ScoredImage("a", "p", "e", malignant=True, lesions=(cancer,))
    assert (image.label(), image.label("visible")) == (True, None)


def views():
    def image(name, breast, label, score, patient="p"):
        return ScoredImage(name, patient, f"e{patient}", breast, malignant=label, score=score)

    return [
        image("1", L, True, 0.2), image("2", L, False, 0.6), image("3", R, False, 0.5), image("4", R, False, 0.1),
        image("5", L, False, 0.3, "q"), image("6", R, None, 0.9, "q"),
    ]  # fmt: skip


def test_a_breast_is_the_mean_of_its_views_and_an_exam_its_larger_breast():
    breast = units(views(), "breast")
    assert dict(zip(breast.keys, breast.scores.tolist(), strict=True)) == {
        "ep|L": pytest.approx(0.4), "ep|R": pytest.approx(0.3), "eq|L": 0.3,
    }  # fmt: skip
    assert breast.labels.tolist() == [True, False, False]
    exam = units(views(), "exam")
    assert (exam.keys, exam.labels.tolist()) == (("ep",), [True])
    assert exam.scores[0] == pytest.approx(0.4)


def test_an_unknown_breast_leaves_the_exam_unknown_unless_the_other_is_malignant():
    assert units(views(), "exam").left_out == {"truth unknown": 1}


def test_all_levels_and_readers_number_the_patients_alike():
    for level in ("image", "breast", "exam", "patient"):
        got = units(views(), level)
        assert got.n_patients == 2
        assert set(got.patients[["p" in k or k in "1234" for k in got.keys]].tolist()) == {0}


def test_a_readers_own_exam_score_goes_before_the_one_made_from_its_images():
    assert units(views(), "exam", given={"ep": 0.99}).scores.tolist() == [0.99]
    assert units(views(), "patient", given={"ep": 0.99}).scores.tolist() == [0.99]


def test_people_who_rated_one_breast_have_no_other():
    got = units(views(), "breast", given={"ep|R": 3.0}, only_given=True)
    assert (got.keys, got.scores.tolist(), got.left_out["not read"]) == (("ep|R",), [3.0], 2)


def test_a_breast_of_unknown_side_is_left_out_and_said():
    got = units([replace(v, laterality=None) for v in views()], "breast")
    assert (got.keys, got.left_out) == ((), {"side unknown": 6})


def test_own_scores_are_taken_from_the_reading():
    breasts = [
        BreastReading(L, (ModelScore("m", 0.8),)),
        BreastReading(None, (ModelScore("m", 0.1),)),
    ]
    got = join([record("a", laterality=L)], [exam(view("a"), score=0.7, breasts=breasts)], "m")
    assert got.given == {"set/e1": 0.7, "set/e1|L": 0.8}


def test_a_fingerprint_depends_on_images_and_truth_but_not_on_order_or_scores():
    images = views()
    assert fingerprint(images) == fingerprint([replace(i, score=0.0) for i in images[::-1]])
    assert fingerprint(images) != fingerprint(images[1:])
    assert fingerprint(images) != fingerprint([replace(images[0], malignant=False), *images[1:]])
    assert len(patient_digests(images)) == 2
    assert all(len(d) == 16 and int(d, 16) >= 0 for d in patient_digests(images))


def test_one_image_twice_is_refused():
    with pytest.raises(SecondReaderError, match="got one twice"):
        check([*views(), views()[0]])
    with pytest.raises(SecondReaderError, match="images: got none"):
        check([])


def test_unknown_is_never_negative():
    got = units([ScoredImage("a", "p", "e", score=0.1)], "image")
    assert (np.asarray(got.labels).size, got.left_out) == (0, {"truth unknown": 1})
