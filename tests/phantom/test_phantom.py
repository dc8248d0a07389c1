"""One woman is one woman in every view, from every system, however often she is made."""

import json
import math
import shutil
import subprocess

import numpy as np
import pytest

from secondreader import formats, imaging, phantom
from secondreader.domain import Laterality, SecondReaderError
from secondreader.formats import ReadOptions


@pytest.fixture(scope="module")
def exam():
    return phantom.exam(5, 2, vendor="film")


def test_an_exam_has_the_four_views_hung_with_chest_walls_together(exam):
    views = [(image.laterality, image.view) for image in exam.images]
    assert views == [("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO")]
    for image in exam.images:
        pixels = (image.stored / 255).astype(np.float32)
        side = imaging.chest_wall(imaging.breast_mask(pixels))
        assert side == ("left" if image.laterality is Laterality.L else "right")


def test_a_lesion_lies_at_the_same_distance_from_the_chest_wall_in_both_views(exam):
    for side in Laterality:
        depths = {}
        for image in (i for i in exam.images if i.laterality is side):
            for lesion in image.truth:
                col = lesion["circle"][1]
                depth = col if side is Laterality.L else image.stored.shape[1] - 1 - col
                depths.setdefault(lesion["lesion_id"], []).append(depth)
        for pair in depths.values():
            assert pair[0] == pytest.approx(pair[1], abs=0.01)


def test_every_exam_holds_a_cluster_and_a_mass_seen_in_two_views_each(exam):
    kinds = [x["kind"] for image in exam.images for x in image.truth]
    assert kinds.count("calcification_cluster") == 2
    assert kinds.count("mass") == 2


def test_calcifications_lie_inside_their_cluster(exam):
    for image in exam.images:
        circles = {x["lesion_id"]: x["circle"] for x in image.truth}
        for lesion in image.truth:
            if "part_of" in lesion:
                row, col, radius = circles[lesion["part_of"]]
                assert math.dist(lesion["circle"][:2], (row, col)) <= radius + 0.01


def test_a_calcification_is_brighter_than_its_surround():
    image = next(i for i in phantom.exam(1, 0, vendor="hologic").images if len(i.truth) > 2)
    brighter = []
    for lesion in image.truth:
        row, col, radius = lesion["circle"]
        if "part_of" in lesion and radius * 2 * 0.07 > 0.3:
            r, c = round(row), round(col)
            inside = image.stored[r - 1 : r + 2, c - 1 : c + 2].mean()
            around = np.median(image.stored[r - 12 : r + 13, c - 12 : c + 13])
            brighter.append(inside > around)
    assert brighter
    assert np.mean(brighter) > 0.9


def test_a_woman_does_not_depend_on_who_was_made_before_her():
    first = phantom.exam(9, 1, vendor="film")
    phantom.exam(9, 0, vendor="film")
    again = phantom.exam(9, 1, vendor="film")
    for a, b in zip(first.images, again.images, strict=True):
        assert (a.stored == b.stored).all()
        assert a.truth == b.truth


def test_through_another_system_she_has_the_same_lesions_at_its_own_pitch():
    film, ge = phantom.exam(4, 0, vendor="film"), phantom.exam(4, 0, vendor="ge")
    for a, b in zip(film.images, ge.images, strict=True):
        assert [x["lesion_id"] for x in a.truth] == [x["lesion_id"] for x in b.truth]
        for x, y in zip(a.truth, b.truth, strict=True):
            assert x["circle"][2] * 0.2 == pytest.approx(y["circle"][2] * 0.1, abs=0.001)


def test_what_is_written_reads_as_what_was_made(exam, tmp_path):
    phantom.write_exam(tmp_path / "e", exam)
    refs = [r for r in formats.find([tmp_path / "e"]) if isinstance(r, formats.FileRef)]
    read = {}
    for ref in refs:
        if ref.path.endswith(".dcm"):
            mammogram = formats.mammogram(ref, ReadOptions())
            read[mammogram.laterality, mammogram.view] = mammogram
    for image in exam.images:
        mammogram = read[image.laterality, image.view]
        assert mammogram.spacing_mm == (0.2, 0.2)
        # LINEAR windows of the full width reach from half a value below to half a value above.
        assert mammogram.pixels * 255 == pytest.approx(image.stored, abs=0.51)
    truth = json.loads((tmp_path / "e" / phantom.TRUTH_FILE).read_text())
    assert truth["schema"] == "secondreader.truth/1"
    assert len(truth["images"]) == 4


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (dicom3tools)")
def test_the_files_are_valid_dicom(exam, tmp_path):
    phantom.write_exam(tmp_path, exam)
    for file in tmp_path.glob("*.dcm"):
        told = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
        assert "Error" not in told.stderr + told.stdout


def test_an_unfinished_run_goes_on_and_another_is_refused(tmp_path):
    out = tmp_path / "set"
    phantom.write_exams(out, exams=2, seed=1, vendor="film")
    whole = {p: p.read_bytes() for p in out.rglob("*.*")}
    (out / "exam-00001" / phantom.TRUTH_FILE).unlink()
    phantom.write_exams(out, exams=2, seed=1, vendor="film")
    assert {p: p.read_bytes() for p in out.rglob("*.*")} == whole
    with pytest.raises(SecondReaderError, match="--overwrite"):
        phantom.write_exams(out, exams=2, seed=2, vendor="film")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"vendor": "x"}, "--vendor: got 'x'"), ({"vendor": "ge", "seed": -1}, "--seed: got -1")],
)
def test_what_makes_no_sense_is_said(wrong, words):
    with pytest.raises(SecondReaderError, match=words):
        phantom.exam(wrong.pop("seed", 0), 0, **wrong)
