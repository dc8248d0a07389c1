from __future__ import annotations

import json

import pytest

from secondreader import datasets
from secondreader.datasets.cache import Cache
from secondreader.datasets.image_set import image_set
from secondreader.domain import Circle, Kind, Pathology, SecondReaderError


def truth(**changes):
    lesions = [
        {
            "lesion_id": "L-1",
            "kind": "calcification_cluster",
            "pathology": "malignant",
            "region": {"circle": [80, 40, 8]},
        },
        {
            "lesion_id": "L-1-1",
            "part_of": "L-1",
            "kind": "microcalcification",
            "region": {"circle": [81, 41, 1]},
        },
    ]
    image = {"file": "L-CC.dcm", "laterality": "L", "view": "CC", "malignant": True}
    other = {"file": "R-CC.dcm", "laterality": "R", "view": "CC", "malignant": False, "lesions": []}
    return {
        "schema": "secondreader.truth/2",
        "exam_id": "2.25.1",
        "patient_id": "PHANTOM-0-0",
        "vendor": "Model",
        "spacing_mm": [0.07, 0.07],
        "images": [{**image, "lesions": lesions}, other],
    } | changes


@pytest.fixture
def root(tmp_path, dicom, make_breast):
    folder = tmp_path / "exam-00000"
    dicom(folder / "L-CC.dcm", make_breast(80, 40, 8))
    dicom(folder / "R-CC.dcm", make_breast(wall="right"))
    (folder / "truth.json").write_text(json.dumps(truth()))
    return tmp_path


def test_lesions_land_and_a_calcification_knows_its_cluster(root, covers, tmp_path):
    found = datasets.scan("phantom", root)
    left, right = found.records
    assert left.lesions[0].region == Circle(80, 40, 8)
    assert covers(image_set([found], Cache(tmp_path / "c")).open(left), left.lesions[0].region)
    assert left.lesions[1].part_of == left.lesions[0].lesion_id == "PHANTOM-0-0/L-1"
    assert left.lesions[1].kind is Kind.MICROCALCIFICATION
    assert left.lesions[0].pathology is Pathology.MALIGNANT
    assert (left.malignant, right.malignant, right.lesions) == (True, False, ())


def test_missing_images_are_listed_and_other_truths_are_refused(root):
    (root / "exam-00000" / "R-CC.dcm").unlink()
    assert [p.code for p in datasets.scan("phantom", root).problems] == ["missing-image"]
    path = root / "exam-00000" / "truth.json"
    for text, message in (
        (json.dumps(truth(schema="secondreader.truth/9")), "got schema"),
        (json.dumps(truth(images=[{"file": "x"}])), "KeyError"),
        ("{", "no truth that can be read"),
    ):
        path.write_text(text)
        with pytest.raises(SecondReaderError, match=message):
            datasets.scan("phantom", root)
    path.unlink()
    with pytest.raises(SecondReaderError, match=r"no truth\.json"):
        datasets.scan("phantom", root)


def test_what_the_phantom_writes_is_read(tmp_path):
    store = pytest.importorskip("secondreader.phantom.store")
    store.write_exams(tmp_path / "out", exams=1, seed=3)
    found = datasets.scan("phantom", tmp_path / "out")
    assert len(found.records) == 4 and not found.problems
    assert {(r.laterality, r.view) for r in found.records} == {
        ("L", "CC"),
        ("L", "MLO"),
        ("R", "CC"),
        ("R", "MLO"),
    }
