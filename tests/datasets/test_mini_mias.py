from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from secondreader import datasets
from secondreader.datasets.cache import Cache
from secondreader.datasets.image_set import image_set
from secondreader.datasets.mini_mias import parse_info
from secondreader.datasets.parts import divide
from secondreader.domain import Circle, Kind, Laterality, Part, Pathology, SecondReaderError

INFO = """1st column: MIAS database reference number.
mdb001 G CIRC B 300 700 60
mdb002 G NORM
mdb003 D CALC M 400 500 30
mdb003 D CALC B 600 200 20
mdb004 D CALC M *NOTE 3*
mdb005 F CIRC B
"""
NEEDS_DATA = pytest.mark.skipif(
    not os.environ.get("SECONDREADER_TEST_DATA"), reason="needs SECONDREADER_TEST_DATA"
)


@pytest.fixture
def root(tmp_path, png, make_breast):
    folder = tmp_path / "mias"
    folder.mkdir()
    (folder / "Info.txt").write_text(INFO)
    for film in range(1, 6):
        film8 = (make_breast(1023 - 700, 300, 60, shape=(1024, 1024)) // 16).astype(np.uint8)
        png(folder / f"mdb{film:03d}.png", film8)
    return folder


def of_film(found, film):
    return next(r for r in found.records if r.path.startswith(f"mdb{film:03d}"))


def test_y_counts_from_the_bottom_and_the_circle_lands_on_the_lesion(root, covers, tmp_path):
    found = datasets.scan("mini_mias", root)
    record = of_film(found, 1)
    assert record.lesions[0].region == Circle(row=1023 - 700, col=300, radius=60)
    assert covers(image_set([found], Cache(tmp_path / "c")).open(record), record.lesions[0].region)


def test_odd_films_are_right_even_ones_left_and_a_pair_is_one_woman(root):
    found = datasets.scan("mini_mias", root)
    one, two, three = (of_film(found, film) for film in (1, 2, 3))
    assert (one.laterality, two.laterality) == (Laterality.R, Laterality.L)
    assert one.patient_id == two.patient_id != three.patient_id
    assert one.spacing_mm == (0.2, 0.2)


def test_several_rows_of_a_film_are_its_lesions_and_a_malignant_one_decides(root):
    record = of_film(datasets.scan("mini_mias", root), 3)
    assert [s.kind for s in record.lesions] == [Kind.CALCIFICATION_CLUSTER] * 2
    assert [s.pathology for s in record.lesions] == [Pathology.MALIGNANT, Pathology.BENIGN]
    assert record.malignant is True


def test_a_row_without_a_circle_counts_has_no_place_and_is_listed(root):
    found = datasets.scan("mini_mias", root)
    assert [of_film(found, film).lesions[0].region for film in (4, 5)] == [None, None]
    assert of_film(found, 4).malignant is True
    listed = [p.file for p in found.problems if p.code == "no-region"]
    assert listed == ["Info.txt:6", "Info.txt:7"]


def test_films_without_a_row_and_rows_without_a_film_are_listed(root):
    (root / "mdb002.png").rename(root / "mdb009.png")
    found = datasets.scan("mini_mias", root)
    codes = {problem.code: problem for problem in found.problems if problem.broken}
    assert codes["missing-image"].got == "no image mdb002"
    assert codes["missing-row"].file == "mdb009.png"
    assert sum(problem.code == "absent-film" for problem in found.problems) == 316


@pytest.mark.parametrize(
    ("text", "message"),
    [("mdb001 G BLOB B 1 2 3", "Info.txt:1: got 'G BLOB B'"), ("nothing", "no row of a film")],
)
def test_an_unknown_class_is_one_line(text, message):
    with pytest.raises(SecondReaderError, match=message):
        parse_info(text)


def test_a_folder_that_is_no_mini_mias_is_refused(tmp_path, root):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SecondReaderError, match=r"no Info\.txt"):
        datasets.scan("mini_mias", tmp_path / "empty")
    for film in root.glob("*.png"):
        film.unlink()
    with pytest.raises(SecondReaderError, match="no film mdb001"):
        datasets.scan("mini_mias", root)


@NEEDS_DATA
def test_the_films_at_hand_are_read_whole():
    found = datasets.scan("mini_mias", Path(os.environ["SECONDREADER_TEST_DATA"]) / "mini-mias")
    assert len(found.records) == 214
    assert len({record.patient_id for record in found.records}) == 107
    assert sum(problem.code == "absent-film" for problem in found.problems) == 108
    assert not [problem for problem in found.problems if problem.broken]


@NEEDS_DATA
def test_every_fold_of_the_named_split_holds_women_whole_and_both_outcomes():
    found = datasets.scan("mini_mias", Path(os.environ["SECONDREADER_TEST_DATA"]) / "mini-mias")
    tested: list[str] = []
    for fold in range(5):
        parts = divide(found.records, "mini_mias-5fold", fold)
        assert sum(map(len, parts.values())) == 214
        assert {record.malignant for record in parts[Part.TEST]} == {True, False}
        tested += [record.path for record in parts[Part.TEST]]
    assert sorted(tested) == [record.path for record in found.records]


@NEEDS_DATA
def test_pgm_as_distributed_and_png_are_the_same_film(tmp_path):
    data = Path(os.environ["SECONDREADER_TEST_DATA"])
    for name in ("mdb001.pgm", "mdb003.pgm"):
        (tmp_path / name).symlink_to(data / "mini-mias-original" / name)
    (tmp_path / "Info.txt").symlink_to(data / "mini-mias" / "Info.txt")
    here, there = (
        datasets.scan("mini_mias", tmp_path),
        datasets.scan("mini_mias", data / "mini-mias"),
    )
    a, b = of_film(here, 1), of_film(there, 1)
    assert a.lesions == b.lesions
    cache = Cache(tmp_path / "cache")
    opened = image_set([here], cache).open(a), image_set([there], cache).open(b)
    assert np.array_equal(opened[0].pixels, opened[1].pixels)
