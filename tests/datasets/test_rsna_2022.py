from __future__ import annotations

import pytest

from secondreader import datasets
from secondreader.domain import SecondReaderError, View

HEADER = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,"
    "density,machine_id,difficult_negative_case"
)
ROWS = [
    "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False",
    "2,10006,1459541791,L,MLO,61.0,0,0,0,,0,,29,False",
    "1,10011,220375232,R,CC,55.0,1,1,1,0.0,1,B,21,True",
    "1,10011,541722628,R,AT,,1,1,1,2.0,1,B,21,True",
]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "train.csv").write_text("\n".join([HEADER, *ROWS]))
    return tmp_path


def put(root, png, make_breast, layout):
    for seed, row in enumerate(ROWS):
        _, patient, image = row.split(",")[:3]
        png(root / layout.format(patient=patient, image=image), make_breast(seed=seed))


@pytest.mark.parametrize(
    "layout",
    ["train_images/{patient}/{image}.png", "flat/{patient}_{image}.png", "x/{image}.png"],
)
def test_every_layout_that_circulates_is_read(root, png, make_breast, layout):
    put(root, png, make_breast, layout)
    found = datasets.scan("rsna_2022", root)
    assert len(found.records) == 4 and not found.problems


def test_cancer_is_of_the_breast_and_an_empty_cell_is_unknown(root, png, make_breast):
    put(root, png, make_breast, "train_images/{patient}/{image}.png")
    found = {r.path.rpartition("/")[2]: r for r in datasets.scan("rsna_2022", root).records}
    one, two = found["462822612.png"], found["541722628.png"]
    assert (one.malignant, one.birads, one.density, one.age) == (False, None, None, 61)
    assert (two.malignant, two.birads, two.density, two.age) == (True, "2", "B", None)
    assert (one.view, two.view) == (View.CC, None)
    assert dict(two.extra)["implant"] == "1" and dict(two.extra)["view"] == "AT"
    assert dict(one.extra)["machine_id"] == "29" and one.spacing_mm is None


def test_missing_images_are_listed_and_none_is_refused(root, png, make_breast):
    with pytest.raises(SecondReaderError, match="a table of 4 images and none of them"):
        datasets.scan("rsna_2022", root)
    png(root / "10006" / "462822612.png", make_breast())
    found = datasets.scan("rsna_2022", root)
    assert [p.code for p in found.problems] == ["missing-image"] * 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("cancer", "outcome", "no column 'cancer'"), (",1,1,1,", ",2,1,1,", "cancer: got '2'")],
)
def test_a_table_that_is_not_as_expected_is_one_line(root, png, make_breast, old, new, message):
    put(root, png, make_breast, "{patient}/{image}.png")
    path = root / "train.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SecondReaderError, match=message):
        datasets.scan("rsna_2022", root)
