from __future__ import annotations

import pytest

from secondreader import datasets
from secondreader.datasets.cache import Cache
from secondreader.datasets.image_set import image_set
from secondreader.datasets.parts import divide
from secondreader.domain import Box, Circle, Kind, Laterality, Part, Point, SecondReaderError, View

HEADER = "path,patient_id,laterality,view,spacing_mm,malignant,part,kind,pathology,row,col,radius"


@pytest.fixture
def table(tmp_path, png, make_breast):
    def write(*rows: str, header: str = HEADER, name: str = "images.csv"):
        for seed, image in enumerate(("a.png", "b.png", "deep/c.png")):
            png(tmp_path / image, make_breast(seed=seed))
        (tmp_path / name).write_text("\n".join([header, *rows]))
        return tmp_path

    return write


def test_rows_are_images_and_rows_with_a_kind_are_lesions(table, covers, tmp_path):
    root = table(
        "a.png,w1,L,CC,0.1,,train,mass,malignant,80,40,8",
        "a.png,w1,L,CC,0.1,,train,microcalcification,,10,20,",
        "b.png,w1,right,mlo,,no,train,,,,,",
        "deep\\c.png,w2,,,,,test,,,,,",
    )
    found = datasets.scan("table", root)
    a, b, c = found.records
    assert [s.region for s in a.lesions] == [Circle(80, 40, 8), Point(10, 20)]
    assert covers(image_set([found], Cache(tmp_path / "k")).open(a), a.lesions[0].region)
    assert (a.malignant, b.malignant, c.malignant) == (True, False, None)
    assert (b.laterality, b.view, c.laterality) == (Laterality.R, View.MLO, None)
    assert a.spacing_mm == (0.1, 0.1) and b.spacing_mm is None
    assert set(map(len, divide(found.records, "official").values())) >= {1}


def test_a_box_and_a_lesion_without_a_place(table):
    header = "path;patient_id;lesion_id;kind;row0;col0;row1;col1"
    root = table(
        "a.png;w;x;asymmetry;1;2;3;4", "b.png;w;x;asymmetry;;;;", header=header, name="t.csv"
    )
    first, second = (r.lesions[0] for r in datasets.scan("table", root).records)
    assert (first.region, second.region) == (Box(1, 2, 3, 4), None)
    assert first.lesion_id == second.lesion_id == "x" and first.kind is Kind.ASYMMETRY


def test_a_row_without_its_image_is_listed(table):
    found = datasets.scan("table", table("a.png,w1,,,,,,,,,,", "no.png,w1,,,,,,,,,,"))
    assert [(p.code, p.file) for p in found.problems] == [("missing-image", "images.csv:3")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("a.png,,,,,,,,,,,",), "images.csv:2: patient_id: got nothing"),
        (("a.png,w,up,,,,,,,,,",), "laterality: got 'up'"),
        (("a.png,w,,,9,,,,,,,",), "spacing_mm: got 9"),
        (("a.png,w,,,,maybe,,,,,,",), "malignant: got 'maybe'"),
        (("a.png,w,,,,,,lump,,,,",), "kind: got 'lump'"),
        (("a.png,w,,,,,,mass,,5,,",), "a place that is none"),
        (("a.png,w,,,,no,,mass,malignant,5,5,2",), "one of its lesions is malignant"),
        (
            ("a.png,w,L,,,,,,,,,", "a.png,w,R,,,,,,,,,"),
            "images.csv:3: laterality: got another value",
        ),
        (("x.png,w,,,,,,,,,,",), "none of their images"),
    ],
)
def test_what_cannot_be_understood_is_one_line(table, rows, message):
    with pytest.raises(SecondReaderError, match=message) as error:
        datasets.scan("table", table(*rows))
    assert "\n" not in str(error.value)


def test_a_column_of_the_users_own_is_refused_and_named(table):
    with pytest.raises(SecondReaderError, match="got column 'cancer'"):
        datasets.scan("table", table("a.png,w,1", header="path,patient_id,cancer"))


def test_a_part_for_some_images_only_is_refused(table):
    root = table("a.png,w1,,,,,train,,,,,", "b.png,w2,,,,,,,,,,")
    with pytest.raises(SecondReaderError, match="1 of 2 images without a part"):
        divide(datasets.scan("table", root).records, "official")
    assert datasets.scan("table", root).records[0].part is Part.TRAIN
