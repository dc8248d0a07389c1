from __future__ import annotations

import pytest

from secondreader import datasets
from secondreader.datasets.cache import Cache
from secondreader.datasets.image_set import image_set
from secondreader.datasets.parts import divide
from secondreader.domain import Box, Kind, Part, SecondReaderError

BREASTS = (
    "study_id,series_id,image_id,laterality,view_position,height,width,"
    "breast_birads,breast_density,split"
)
FINDINGS = (
    "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,"
    "breast_density,finding_categories,finding_birads,xmin,ymin,xmax,ymax,split"
)
META = "SOP Instance UID,Patient's Age,Manufacturer,Manufacturer's Model Name"


@pytest.fixture
def root(tmp_path, dicom, make_breast):
    breasts, findings = [BREASTS], [FINDINGS]
    for study in range(5):
        for view in ("CC", "MLO"):
            image = f"{study}{view.lower()}0123456789abcdef"
            birads = f"BI-RADS {study + 1}"
            split = "test" if study == 4 else "training"
            start = f"s{study},r,{image},L,{view},160,128,{birads},DENSITY C"
            breasts.append(f"{start},{split}")
            if study == 3:
                box = "32.0,72.0,49.0,89.0"
                categories = "\"['Mass', 'Suspicious Calcification']\""
                findings.append(f"{start},{categories},BI-RADS 4,{box},{split}")
                categories = "\"['Skin Thickening', 'Nipple Retraction']\""
                findings.append(f"{start},{categories},,1.5,2.5,30.25,40.75,{split}")
            else:
                findings.append(f"{start},['No Finding'],,,,,,{split}")
            dicom(tmp_path / "images" / f"s{study}" / f"{image}.dicom", make_breast(seed=study))
    (tmp_path / "breast-level_annotations.csv").write_text("\n".join(breasts))
    (tmp_path / "finding_annotations.csv").write_text("\n".join(findings))
    (tmp_path / "metadata.csv").write_text(f"{META}\n3cc0123456789abcdef,053Y,SIEMENS,Mammomat\n")
    return tmp_path


def of(found, study, view="cc"):
    return next(r for r in found.records if f"{study}{view}" in r.path)


def test_boxes_are_edges_in_x_and_y_and_land_on_the_lesion(root, covers, tmp_path):
    found = datasets.scan("vindr_mammo", root)
    image = of(found, 3)
    assert image.lesions[0].region == Box(row0=72, col0=32, row1=88, col1=48)
    assert covers(image_set([found], Cache(tmp_path / "c")).open(image), image.lesions[0].region)
    assert (image.age, image.vendor, image.density) == (53, "siemens", "C")


def test_a_list_of_categories_is_one_lesion_a_kind(root):
    lesions = of(datasets.scan("vindr_mammo", root), 3).lesions
    kinds = [Kind.MASS, Kind.CALCIFICATION_CLUSTER, Kind.SUSPICIOUS_REGION]
    assert [s.kind for s in lesions] == kinds
    assert [s.birads for s in lesions] == ["4", "4", None]
    assert len({s.lesion_id for s in lesions}) == 3


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("none", [None] * 5),
        ("birads-4-5", [False, False, False, True, True]),
        ("birads-12-45", [False, False, True, True]),
    ],
)
def test_malignant_is_unknown_unless_a_rule_is_chosen_by_name(root, rule, expected):
    found = datasets.scan("vindr_mammo", root, {"malignant": rule})
    assert [r.malignant for r in found.records if r.view == "CC"] == expected
    left_out = [p for p in found.problems if p.code == "left-out"]
    assert len(left_out) == 2 * (rule == "birads-12-45")


def test_its_own_split_gets_validation_and_calibration_from_train(root):
    parts = divide(datasets.scan("vindr_mammo", root).records, "official")
    assert {r.patient_id for r in parts[Part.TEST]} == {"s4"}
    assert all(parts.values()) and sum(map(len, parts.values())) == 10
    assert all(record.part is part for part, records in parts.items() for record in records)


def test_a_box_outside_its_image_is_listed_and_has_no_place(root):
    path = root / "finding_annotations.csv"
    path.write_text(path.read_text().replace("32.0,72.0,49.0,89.0", "32.0,72.0,1049.0,89.0", 1))
    found = datasets.scan("vindr_mammo", root)
    assert [p.code for p in found.problems] == ["box-misfit"]
    assert of(found, 3).lesions[0].region is None


def test_missing_images_are_listed_and_a_tree_without_any_is_refused(root):
    of_three = next(root.rglob("3cc*.dicom"))
    of_three.unlink()
    found = datasets.scan("vindr_mammo", root)
    assert [(p.code, p.file) for p in found.problems] == [
        ("missing-image", "breast-level_annotations.csv:8")
    ]
    for path in root.rglob("*.dicom"):
        path.unlink()
    with pytest.raises(SecondReaderError, match="none of them"):
        datasets.scan("vindr_mammo", root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("finding_categories", "categories", "no column 'finding_categories'"),
        ("'Mass'", "'Lump'", "got 'Lump', expected one of"),
        ("['No Finding']", "No Finding", "expected a list such as"),
    ],
)
def test_a_table_that_is_not_as_expected_is_one_line(root, old, new, message):
    path = root / "finding_annotations.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SecondReaderError, match=message):
        datasets.scan("vindr_mammo", root)


def test_a_conversion_of_another_size_keeps_its_boxes_back(root, png, make_breast):
    next(root.rglob("3cc*.dicom")).unlink()
    png(root / "png" / "3cc0123456789abcdef.png", make_breast(shape=(80, 64)))
    found = datasets.scan("vindr_mammo", root)
    assert [p.code for p in found.problems] == ["image-misfit"]
    assert {s.region for s in of(found, 3).lesions} == {None}
