from __future__ import annotations

import plistlib

import pytest

from secondreader import datasets
from secondreader.datasets.cache import Cache
from secondreader.datasets.image_set import image_set
from secondreader.datasets.inbreast_xml import parse_outlines
from secondreader.datasets.parts import divide
from secondreader.domain import Kind, Part, Point, Polygon, SecondReaderError, View
from secondreader.geometry import centre

HEADER = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads\n"
SOURCE = (3328, 2560)


def roi(name: str, *points: tuple[float, float]) -> dict[str, object]:
    """An outline as OsiriX writes it; points are (x, y)."""
    return {
        "Area": 0.1,
        "Center": "(1.0, 1.0, 0.0)",
        "IndexInImage": 0,
        "Name": name,
        "NumberOfPoints": len(points),
        "Point_mm": ["(0.000000, 0.000000, 0.000000)" for _ in points],
        "Point_px": [f"({x:.6f}, {y:.6f})" for x, y in points],
        "Type": 19 if len(points) == 1 else 9,
    }


def square(x: float, y: float, half: float) -> list[tuple[float, float]]:
    return [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]


ROIS = [
    roi("Mass", *square(800, 1600, 150)),
    roi("Cluster", *square(1000, 600, 50)),
    roi("Calcification", (1010, 610)),
    roi("Calcification", (200, 200)),
    roi("Calcification", *square(1000, 590, 9)),
    roi("Espiculated Region", *square(900, 1700, 20)),
    roi("Unnamed", (30, 40)),
    roi("Mass"),
]


@pytest.fixture
def root(tmp_path, png, dicom, make_breast):
    """One image in full size, and three small ones whose outlines do not matter."""
    lines = [
        "removed;removed;R;CC;201001;22678622;4;1",
        "removed;removed;L;MLO;201001;22678646;4;5",
        "removed;removed;L;CC;201001;22678670;2;3",
        "removed;removed;R;MLO;201002;22678694;2;4a",
    ]
    (tmp_path / "INbreast.csv").write_text(HEADER + "\n".join(lines) + "\n")
    names = {
        "22678622": "6c613a14b80a8591_MG_R_CC",
        "22678646": "6c613a14b80a8591_MG_L_ML",
        "22678670": "6c613a14b80a8591_MG_L_CC",
        "22678694": "aaaa3a14b80a8591_MG_R_ML",
    }
    for number, name in names.items():
        pixels = make_breast(200, 100, 20, shape=(416, 320), wall="right", seed=int(number))
        png(tmp_path / "AllPNGs" / f"{number}_{name}_ANON.png", pixels)
    (tmp_path / "AllXML").mkdir()
    content = plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": 8, "ROIs": ROIS}]})
    (tmp_path / "AllXML" / "22678622.xml").write_bytes(content)
    return tmp_path


def record(found, number="22678622"):
    return next(r for r in found.records if number in r.path)


def test_x_and_y_count_from_the_top_left_and_land_on_a_conversion_of_another_size(
    root, covers, tmp_path
):
    found = datasets.scan("inbreast", root)
    image = record(found)
    assert image.spacing_mm == pytest.approx((0.56, 0.56))  # 8 source pixels of 70 µm each
    assert covers(image_set([found], Cache(tmp_path / "c")).open(image), image.lesions[0].region)


def test_outlines_of_a_dicom_image_are_as_written(root, dicom, make_breast):
    name = "22678622_6c613a14b80a8591_MG_R_CC_ANON"
    dicom(root / "AllDICOMs" / f"{name}.dcm", make_breast(1600, 800, 150, shape=SOURCE))
    image = record(datasets.scan("inbreast", root))
    assert image.path.startswith("AllDICOMs/") and image.spacing_mm == (0.07, 0.07)
    assert centre(image.lesions[0].region) == (1600, 800)
    assert image.lesions[2].region == Point(610, 1010)


def test_points_clusters_masses_and_odd_names(root):
    found = datasets.scan("inbreast", root)
    lesions = record(found).lesions
    assert [s.kind for s in lesions] == [
        Kind.MASS,
        Kind.CALCIFICATION_CLUSTER,
        Kind.MICROCALCIFICATION,
        Kind.MICROCALCIFICATION,
        Kind.MICROCALCIFICATION,
        Kind.SUSPICIOUS_REGION,
        None,
    ]
    assert [s.part_of for s in lesions[2:5]] == ["22678622-2", None, "22678622-2"]
    assert isinstance(lesions[4].region, Polygon)
    assert [(p.code, p.broken) for p in found.problems] == [("unknown-kind", False)]


def test_zhang_leaves_calcifications_over_1_mm_without_a_kind(root):
    lesions = record(datasets.scan("inbreast", root, {"calcifications": "zhang"})).lesions
    assert [s.kind for s in lesions[2:5]] == [Kind.MICROCALCIFICATION] * 2 + [None]


def test_the_woman_comes_from_the_hash_and_ml_is_mlo(root):
    found = datasets.scan("inbreast", root)
    assert {r.patient_id for r in found.records} == {"6c613a14b80a8591", "aaaa3a14b80a8591"}
    assert record(found, "22678646").view is View.MLO
    assert not [p for p in found.problems if p.code == "contradiction"]


def test_shen_takes_1_2_as_negative_4_to_6_as_positive_and_leaves_3_out(root):
    plain = datasets.scan("inbreast", root)
    assert {r.malignant for r in plain.records} == {None}
    shen = datasets.scan("inbreast", root, {"birads": "shen"})
    told = {r.birads: r.malignant for r in shen.records}
    assert told == {"1": False, "5": True, "4a": True}
    assert ("left-out", False) in {(p.code, p.broken) for p in shen.problems}
    assert ("birads", "shen") in shen.choices and shen.fingerprint != plain.fingerprint


def test_3_1_1_is_by_woman_and_the_same_everywhere(root):
    many = []
    found = datasets.scan("inbreast", root)
    for number in range(20):
        for image in found.records[:2]:
            many.append(datasets_replace(image, f"{number:016x}"))
    parts = divide(many, "inbreast-3-1-1")
    women = {part: sorted({r.patient_id for r in records}) for part, records in parts.items()}
    # 12 : 4 : 4 women, 15 % of the 12 for calibration
    assert {part: len(ids) for part, ids in women.items()} == {
        Part.TRAIN: 10,
        Part.VALIDATION: 4,
        Part.CALIBRATION: 2,
        Part.TEST: 4,
    }
    assert divide(many[::-1], "inbreast-3-1-1").keys() == parts.keys()
    again = divide(many[::-1], "inbreast-3-1-1")
    assert {p: sorted({r.patient_id for r in rs}) for p, rs in again.items()} == women


def datasets_replace(image, patient):
    from dataclasses import replace

    return replace(image, patient_id=patient, path=f"{patient}/{image.path}")


def test_an_image_of_no_known_shape_keeps_its_lesions_back(root, png, make_breast):
    png(next(root.rglob("22678622*.png")), make_breast(shape=(224, 224)))
    found = datasets.scan("inbreast", root)
    assert record(found).lesions == () and record(found).spacing_mm is None
    assert "image-misfit" in {problem.code for problem in found.problems}


def test_half_a_download_is_listed_and_none_is_refused(root):
    next(root.rglob("22678622*.png")).unlink()
    found = datasets.scan("inbreast", root)
    assert [p.code for p in found.problems] == ["missing-image"]
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(SecondReaderError, match="a table of 4 images and none of them"):
        datasets.scan("inbreast", root)
    (root / "INbreast.csv").rename(root / "INbreast.xls")
    with pytest.raises(SecondReaderError, match="save it as CSV"):
        datasets.scan("inbreast", root)


def test_a_table_with_an_unknown_class_is_one_line(root):
    path = root / "INbreast.csv"
    path.write_text(path.read_text().replace(";4;5", ";4;nine"))
    with pytest.raises(SecondReaderError, match=r"INbreast\.csv:3: .*BI-RADS 'nine'"):
        datasets.scan("inbreast", root)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<plist",
        b"not a list",
        plistlib.dumps({"Images": [{"ROIs": [{"Name": "Mass", "Point_px": ["(1; 2)"]}]}]}),
        plistlib.dumps({"Pictures": []}),
        b'<!DOCTYPE x [<!ENTITY a "b">]><plist><dict/></plist>',
    ],
)
def test_a_broken_property_list_is_one_line(content):
    with pytest.raises(SecondReaderError, match=r"1\.xml"):
        parse_outlines(content, "1.xml")
