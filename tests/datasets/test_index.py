from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as stn

from secondreader import datasets
from secondreader.datasets.index import (
    index_path,
    load_index,
    record_line,
    write_index,
)
from secondreader.datasets.records import Records
from secondreader.domain import (
    Box,
    Circle,
    ImageRecord,
    Kind,
    Laterality,
    Lesion,
    Mask,
    Part,
    Pathology,
    Point,
    Polygon,
    SecondReaderError,
    View,
)
from secondreader.geometry import from_run_lengths, run_lengths


@given(stn.arrays(bool, stn.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_run_lengths_come_back(pixels):
    runs = run_lengths(pixels)
    assert runs.sum() == pixels.size
    assert np.array_equal(from_run_lengths(runs, pixels.shape), pixels)


@pytest.mark.parametrize(
    ("pixels", "runs"),
    [([[0, 0], [1, 1]], [2, 2]), ([[1, 0], [0, 1]], [0, 1, 2, 1]), ([[1, 1]], [0, 2])],
)
def test_runs_start_with_zeros_row_by_row(pixels, runs):
    assert run_lengths(np.array(pixels, bool)).tolist() == runs


@pytest.fixture
def table(tmp_path, png, make_breast):
    root = tmp_path / "set"
    for name in ("a.png", "b.png"):
        png(root / name, make_breast())
    (root / "images.csv").write_text("path,patient_id,malignant\na.png,1,0\nb.png,2,1\n")
    return root


def records_of_every_kind(root: Path) -> Records:
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    regions = (
        Point(1.5, 2),
        Circle(1, 2, 3.25),
        Box(0, 1, 2, 3),
        Polygon(((0.0, 0.5), (4.0, 0.0), (4.0, 4.0))),
        Mask(mask, 5, 7),
        None,
    )
    lesions = tuple(
        Lesion(f"s{i}", Kind.MASS, region, "s0", i == 2, Pathology.BENIGN, "4a", i)
        for i, region in enumerate(regions)
    )
    full = ImageRecord(
        dataset="table",
        path="ä.png",
        patient_id="w",
        exam_id="e",
        part=Part.TEST,
        laterality=Laterality.R,
        view=View.XCCL,
        spacing_mm=(0.07, 0.08),
        vendor="v",
        density="c",
        birads="5",
        age=61.5,
        malignant=False,
        lesions=lesions,
        extra=(("a", "1"), ("b", "2")),
    )
    bare = ImageRecord("table", "b.png", "x", "y", lesions=(Lesion("s", None, None),))
    return Records("table", str(root), (), (full, bare), (), {}, {}, "f")


def test_every_field_and_region_comes_back(tmp_path):
    before = records_of_every_kind(tmp_path)
    write_index(before, tmp_path / "cache")
    after = load_index("table", tmp_path, {}, tmp_path / "cache")
    assert after is not None and after.fingerprint == "f"
    for one, two in zip(before.records, after.records, strict=True):
        assert record_line(one) == record_line(two)
        assert len(one.lesions) == len(two.lesions)
    a, b = (r.records[0].lesions[4].region for r in (before, after))
    assert isinstance(a, Mask) and isinstance(b, Mask)
    assert (a.row0, a.col0) == (b.row0, b.col0) and np.array_equal(a.pixels, b.pixels)
    without = [records.records[0].lesions[:4] for records in (before, after)]
    assert without[0] == without[1] and before.records[1] == after.records[1]


def test_the_second_load_comes_from_the_index(table, tmp_path):
    told: list[str] = []
    cache = tmp_path / "cache"
    first = datasets.load("table", table, cache=cache, announce=told.append)
    second = datasets.load("table", table, cache=cache, announce=told.append)
    assert first.records == second.records and len(told) == 1
    assert (first.files, first.folders) == (second.files, second.folders)


@pytest.mark.parametrize("change", ["table", "image", "new file", "removed", "index"])
def test_a_change_of_any_file_makes_the_index_anew(table, tmp_path, change):
    cache = tmp_path / "cache"
    datasets.load("table", table, cache=cache)
    match change:
        case "table":
            (table / "images.csv").write_text("path,patient_id,malignant\na.png,1,1\nb.png,2,1\n")
        case "image":
            os.utime(table / "a.png", ns=(1, 1))
        case "new file":
            time.sleep(0.01)
            (table / "c.png").write_bytes(b"")
        case "removed":
            (table / "b.png").unlink()
        case "index":
            path = index_path("table", table, {}, cache)
            path.write_bytes(path.read_bytes()[:-20])
    assert load_index("table", table, {}, cache) is None
    assert datasets.load("table", table, cache=cache).records


def test_each_choice_has_its_own_index(tmp_path):
    paths = {
        index_path("inbreast", tmp_path, {"birads": rule}, tmp_path) for rule in ("none", "shen")
    }
    assert len(paths) == 2


def test_names_roots_and_choices_are_checked():
    assert datasets.parse_source("mini_mias=/a=b") == ("mini_mias", "/a=b")
    assert datasets.parse_choices(["inbreast.birads=shen"]) == {"inbreast": {"birads": "shen"}}
    for wrong in ("mini_mias", "=x", "mini_mias=", "other=/x"):
        with pytest.raises(SecondReaderError):
            datasets.parse_source(wrong)
    for wrong in ("inbreast=shen", "inbreast.birads=x", "inbreast.rule=x", "x.y=z"):
        with pytest.raises(SecondReaderError):
            datasets.parse_choices([wrong])


def test_every_set_says_what_a_person_needs_to_know():
    for name in datasets.ADAPTERS:
        told = datasets.about(name)
        assert all((told.title, told.good_for, told.licence, told.citation, told.ask, told.layout))


def test_a_root_that_is_no_folder_is_one_line(tmp_path):
    for name in datasets.ADAPTERS:
        with pytest.raises(SecondReaderError, match="expected the root of a data set"):
            datasets.scan(name, tmp_path / "nothing")
        (tmp_path / name).mkdir()
        with pytest.raises(SecondReaderError) as error:
            datasets.scan(name, tmp_path / name)
        assert "\n" not in str(error.value)
