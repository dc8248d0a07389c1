"""One woman is one woman in every view, from every system, however often she is made."""

import itertools
import json
import shutil
import subprocess

import numpy as np
import pytest
from scipy import ndimage, stats

from secondreader import formats, geometry, imaging, phantom
from secondreader.domain import (
    Intent,
    Kind,
    Laterality,
    Pathology,
    SecondReaderError,
    View,
)
from secondreader.formats import ReadOptions
from secondreader.phantom import Contents
from secondreader.phantom.anatomy import Fold, woman
from secondreader.phantom.exam import exam_image, exam_truth
from secondreader.phantom.projection import BEHIND_MM
from secondreader.phantom.stroma import _from_wall
from secondreader.phantom.tissue import GRID_MM, Field, _heaped, tissue
from secondreader.phantom.truth import lesion_json


@pytest.fixture(scope="module")
def exam():
    return phantom.exam(5, 2, vendor="film", contents=Contents.MALIGNANT)


def many(count, vendor="film", **more):
    return [phantom.exam_truth(11, i, vendor=vendor, **more) for i in range(count)]


def whole_lesions(image):
    return [t for t in image.truth if t.part_of is None]


def test_an_exam_has_the_four_views_hung_with_chest_walls_together(exam):
    views = [(image.laterality, image.view) for image in exam.images]
    assert views == [("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO")]
    for image in exam.images:
        pixels = (image.stored / 255).astype(np.float32)
        side = imaging.chest_wall(imaging.breast_mask(pixels))
        assert side == ("left" if image.laterality is Laterality.L else "right")


def test_a_lesion_lies_at_the_same_distance_from_the_nipple_in_both_views():
    checked = 0
    for made in many(12, contents=Contents.MALIGNANT):
        found = {}
        for image in made.images:
            behind = 0.0 if image.view is View.CC else BEHIND_MM
            for lesion in whole_lesions(image):
                if lesion.kind in (Kind.MASS, Kind.ASYMMETRY):
                    col = geometry.centre(lesion.region)[1]
                    if image.laterality is Laterality.R:
                        col = image.shape[1] - 1 - col
                    found.setdefault(lesion.lesion_id, []).append(col * 0.2 - behind)
        for depths in found.values():
            if len(depths) == 2:
                checked += 1
                # Bodies are not symmetric: their middle moves with the side they are seen from.
                assert depths[0] == pytest.approx(depths[1], abs=3.0)
    assert checked > 4


def test_contents_are_as_asked():
    for contents in Contents:
        for made in many(6, contents=contents):
            looked_at = [
                t
                for image in made.images
                for t in whole_lesions(image)
                if t.pathology is not Pathology.BENIGN_WITHOUT_CALLBACK
            ]
            malignant = {t.lesion_id for t in looked_at if t.pathology is Pathology.MALIGNANT}
            assert bool(malignant) == (contents is Contents.MALIGNANT)
            assert bool(looked_at) == (contents is not Contents.NORMAL)


def test_lesions_lie_in_tissue():
    for index in range(6):
        made = phantom.exam(12, index, vendor="film", contents=Contents.MALIGNANT)
        for image in made.images:
            for lesion in whole_lesions(image):
                row, col = map(round, geometry.centre(lesion.region))
                assert image.stored[row, col] > 20


def test_some_lesions_are_seen_in_one_view_only():
    seen = {}
    for made in many(60, contents=Contents.MALIGNANT):
        for image in made.images:
            for lesion in whole_lesions(image):
                if lesion.kind is Kind.MASS:
                    seen.setdefault((made.index, lesion.lesion_id), []).append(lesion.visible)
    views = [sum(visible) for visible in seen.values()]
    assert 0.05 < np.mean([n == 1 for n in views]) < 0.5
    assert np.mean([n == 2 for n in views]) > 0.3


def test_calcifications_lie_inside_their_cluster():
    checked = 0
    for made in many(12, contents=Contents.MALIGNANT):
        for image in made.images:
            outlines = {t.lesion_id: t.region for t in whole_lesions(image)}
            for lesion in image.truth:
                if lesion.part_of is not None:
                    checked += 1
                    row, col = geometry.centre(lesion.region)
                    assert geometry.contains(outlines[lesion.part_of], row, col)
    assert checked > 50


def test_a_calcification_is_brighter_than_its_surround_where_nothing_dims_it():
    brighter = []
    for index in range(4):
        made = phantom.exam(1, index, contents=Contents.MALIGNANT, conspicuity_scale=3.0)
        for image in made.images:
            for lesion in image.truth:
                if lesion.part_of is not None and lesion.diameter_mm > 0.3:
                    r, c = map(round, geometry.centre(lesion.region))
                    inside = image.stored[r - 1 : r + 2, c - 1 : c + 2].mean()
                    around = np.median(
                        image.stored[max(r - 12, 0) : r + 13, max(c - 12, 0) : c + 13]
                    )
                    brighter.append(inside > around)
    assert len(brighter) > 10
    assert np.mean(brighter) > 0.9


def test_for_processing_is_linear_and_falls_with_density(tmp_path):
    made = phantom.exam(2, 0, vendor="ge", intent=Intent.FOR_PROCESSING)
    shown = phantom.exam(2, 0, vendor="ge")
    raw, display = made.images[0].stored, shown.images[0].stored
    inside = display > 0.3 * display.max()
    assert raw[inside].mean() < raw[display == 0].mean()
    phantom.write_exam(tmp_path, made)
    ref = next(iter(formats.find([tmp_path / "R-CC.dcm"])))
    mammogram = formats.mammogram(ref, ReadOptions())
    assert mammogram.source.intent is Intent.FOR_PROCESSING
    assert mammogram.pixels[inside].mean() > mammogram.pixels[display == 0].mean()


def test_a_woman_does_not_depend_on_who_was_made_before_her():
    first = phantom.exam(9, 1, vendor="film")
    phantom.exam(9, 0, vendor="film")
    again = phantom.exam(9, 1, vendor="film")
    for a, b in zip(first.images, again.images, strict=True):
        assert (a.stored == b.stored).all()
        assert [lesion_json(t) for t in a.truth] == [lesion_json(t) for t in b.truth]


def test_through_another_system_she_has_the_same_lesions_at_its_own_pitch():
    film, ge = phantom.exam(4, 0, vendor="film"), phantom.exam(4, 0, vendor="ge")
    for a, b in zip(film.images, ge.images, strict=True):
        assert [x.lesion_id for x in a.truth] == [x.lesion_id for x in b.truth]
        for x, y in zip(a.truth, b.truth, strict=True):
            place, same = geometry.centre(x.region), geometry.centre(y.region)
            assert np.array(place) * 0.2 + 0.1 == pytest.approx(
                np.array(same) * 0.1 + 0.05, abs=0.4
            )


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
    assert truth["schema"] == "secondreader.truth/2"
    assert len(truth["images"]) == 4


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (dicom3tools)")
def test_the_files_are_valid_dicom(exam, tmp_path):
    phantom.write_exam(tmp_path / "film", exam)
    raw = phantom.exam(2, 0, vendor="ge", intent=Intent.FOR_PROCESSING)
    phantom.write_exam(tmp_path / "raw", raw)
    for file in tmp_path.rglob("*.dcm"):
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


def test_a_later_anatomy_is_the_same_woman_with_the_same_lesions_in_other_tissue():
    one, two, three = (
        exam_truth(5, 3, contents=Contents.MALIGNANT, anatomy=version) for version in (1, 2, 3)
    )
    for own in (two, three):
        assert (own.age, own.density) == (one.age, one.density)
        for a, b in zip(one.images, own.images, strict=True):
            assert a.shape == b.shape
            places = [[geometry.centre(t.region) for t in image.truth] for image in (a, b)]
            assert places[0] == places[1]
    images = [
        exam_image(
            5, 3, Laterality.L, View.MLO, vendor="film", contents=Contents.NORMAL, anatomy=version
        ).astype(float)
        for version in (1, 2, 3)
    ]
    assert all((a != b).mean() > 0.1 for a, b in itertools.pairwise(images))
    with pytest.raises(SecondReaderError, match="anatomy: got 6, expected 1 to 5"):
        exam_truth(5, 3, anatomy=6)


def test_the_fourth_anatomy_has_the_tissue_of_the_third_and_smaller_masses_in_the_same_places():
    kinds = {Kind.MASS, Kind.ASYMMETRY}
    shares = []
    for number in range(12):
        three, four = (
            exam_truth(6, number, vendor="film", contents=Contents.MALIGNANT, anatomy=version)
            for version in (3, 4)
        )
        for a, b in zip(three.images, four.images, strict=True):
            of_three = {t.lesion_id: t for t in a.truth}
            for t in b.truth:
                before = of_three.get(t.lesion_id)
                if t.kind in kinds and before is not None and t.visible and before.visible:
                    away = np.subtract(geometry.centre(t.region), geometry.centre(before.region))
                    assert np.hypot(*away) * 0.2 < 0.5 * before.diameter_mm
                    shares.append(t.diameter_mm / before.diameter_mm)
    assert len(shares) > 10 and 0.5 < np.median(shares) < 0.95
    three, four = (
        exam_image(
            5, 3, Laterality.L, View.MLO, vendor="film", contents=Contents.NORMAL, anatomy=version
        )
        for version in (3, 4)
    )
    assert np.array_equal(three, four)


def test_the_fifth_anatomy_has_plainer_muscles_and_tissue_in_more_places():
    def bodies(anatomy):
        return [woman(np.random.default_rng((8, number, 0)), anatomy) for number in range(40)]

    four, five = bodies(4), bodies(5)
    spread = [
        np.std([b.centre_mm[axis] / b.depth_mm for w in own for b in w.breasts])
        for own in (four, five)
        for axis in (0, 2)
    ]
    assert spread[2] > 2 * spread[0] and spread[3] > 1.5 * spread[1]
    for a, b in zip(four, five, strict=True):
        moved = [
            (f.centre_mm[0] - g.centre_mm[0]) / g.depth_mm
            for g, f in zip(a.breasts, b.breasts, strict=True)
        ]
        assert moved[0] == pytest.approx(moved[1])  # both breasts alike
    folded = sum(bool(b.folds) for w in five for b in w.breasts)
    assert 0.25 < folded / 80 < 0.55 and not any(b.folds for w in four for b in w.breasts)

    def muscles(own):
        made = []
        for w in own[:12]:
            seen = tissue(w.breasts[0], View.MLO)
            row, col = (int(10 / GRID_MM), int(3 / GRID_MM))  # at the upper chest side
            whole = np.where(seen.thickness > 10, seen.muscle / (seen.thickness - 6), 0)
            made.append(whole[row, col])
        return np.mean(made)

    assert muscles(five) > muscles(four) + 0.05


def test_a_fold_heaps_skin_on_one_side_of_its_line_and_fades_to_its_end():
    fold = Fold(down_mm=20.0, across_mm=40.0, slope=0.0, bow_mm=0.0, thick_mm=3.0, wide_mm=5.0)
    seen = Field(-50.0, 50.0, 60.0, BEHIND_MM)
    down = np.arange(-50, 50, 0.2)
    x = np.array([-BEHIND_MM, -BEHIND_MM + 30.0, -BEHIND_MM + 41.0])
    at = _heaped(fold, seen, down, x)
    line = int(np.argmin(np.abs(down + 30.0)))
    assert at[line + 20 :].max() < 1e-3  # 4 mm below
    assert at[line - 10, 0] == pytest.approx(3.0 * np.exp(-2.0 / 5.0), rel=0.02)
    assert at[line - 10, 1] == pytest.approx(at[line - 10, 0] / 2, rel=1e-3)  # a quarter is left
    assert at[:, 2].max() == 0


def test_walls_lie_as_far_apart_as_compartments_are_large():
    polar = np.stack(np.meshgrid(np.arange(300) * 0.2, np.arange(400) * 0.2, indexing="ij"))
    small, large = (
        _from_wall(np.random.default_rng(3), polar.astype(np.float32), cell, 1.0)
        for cell in (4.0, 12.0)
    )
    assert small.shape == large.shape == (300, 400)
    assert small.min() >= 0 and large.min() >= 0
    # Of random points, one in a unit of area, the nearest is 1/2 away in the mean, the second 3/4.
    assert small.mean() == pytest.approx(0.25 * 4.0, rel=0.15)
    assert large.mean() == pytest.approx(0.25 * 12.0, rel=0.3)


def test_from_the_second_anatomy_on_tissue_is_less_skewed_to_the_dark():
    def skewness(anatomy):
        found = []
        for number in range(4):
            pixels = exam_image(
                9, number, Laterality.R, View.CC, vendor="film", contents=Contents.NORMAL,
                anatomy=anatomy,
            ).astype(float)  # fmt: skip
            band = ndimage.gaussian_filter(pixels, 1) - ndimage.gaussian_filter(pixels, 2)
            inside = ndimage.binary_erosion(ndimage.gaussian_filter(pixels, 2) > 60, iterations=40)
            found.append(stats.skew(band[inside]))
        return np.mean(found)

    assert skewness(2) > skewness(1) + 0.06
