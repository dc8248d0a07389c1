from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from secondreader import datasets
from secondreader.datasets import ddsm_ljpeg
from secondreader.datasets.cache import Cache
from secondreader.datasets.ddsm_overlay import chain, parse_ics
from secondreader.datasets.image_set import image_set
from secondreader.domain import Kind, Pathology, Refused, SecondReaderError, View
from secondreader.formats.source import FileRef
from secondreader.geometry import centre, rasterise

ICS = """ics_version 1.0
filename A-1141-1
DATE_OF_STUDY 2 7 1995
PATIENT_AGE 42
FILM
FILM_TYPE REGULAR
DENSITY 3
DATE_DIGITIZED 7 22 1997
DIGITIZER LUMISYS LASER
SEQUENCE
LEFT_CC LINES 160 PIXELS_PER_LINE 128 BITS_PER_PIXEL 12 RESOLUTION 50 OVERLAY
LEFT_MLO LINES 160 PIXELS_PER_LINE 128 BITS_PER_PIXEL 12 RESOLUTION 50 {mlo}
RIGHT_CC LINES 160 PIXELS_PER_LINE 128 BITS_PER_PIXEL 12 RESOLUTION 50 NON_OVERLAY
RIGHT_MLO LINES 160 PIXELS_PER_LINE 128 BITS_PER_PIXEL 12 RESOLUTION 50 NON_OVERLAY
"""
# From (row 72, col 32), 16 steps down, right, up and left: the square around the lesion.
SQUARE = "32 72 " + " ".join("4" * 16 + "2" * 16 + "0" * 16 + "6" * 16) + " #"
OVERLAY = f"""TOTAL_ABNORMALITIES 1
ABNORMALITY 1
LESION_TYPE {{kind}}
ASSESSMENT 4
SUBTLETY 2
PATHOLOGY {{pathology}}
TOTAL_OUTLINES 2
BOUNDARY
{SQUARE}
CORE
36 76 4 4 2 2 0 0 6 6 #
"""
MASS = "MASS SHAPE OVAL MARGINS SPICULATED"
CALC = "CALCIFICATION TYPE PLEOMORPHIC DISTRIBUTION CLUSTERED"


@pytest.fixture
def case(tmp_path, png, make_breast):
    def build(
        mlo: str = "OVERLAY", kind=MASS, pathology="MALIGNANT", suffix=".png", digitizer=None
    ):
        folder = tmp_path / "cancers" / "cancer_01" / "case1141"
        folder.mkdir(parents=True)
        text = ICS.format(mlo=mlo)
        (folder / "A-1141-1.ics").write_text(text.replace("LUMISYS", digitizer or "LUMISYS"))
        drawn = OVERLAY.format(kind=kind, pathology=pathology)
        (folder / "A_1141_1.LEFT_CC.OVERLAY").write_text(drawn)
        if mlo == "OVERLAY":
            (folder / "A_1141_1.LEFT_MLO.OVERLAY").write_text(drawn)
        for film in ("LEFT_CC", "LEFT_MLO", "RIGHT_CC", "RIGHT_MLO"):
            wall = "left" if film.startswith("LEFT") else "right"
            png(folder / f"A_1141_1.{film}{suffix}", make_breast(80, 40, 9, wall=wall))
        return tmp_path

    return build


def film(found, name):
    return next(record for record in found.records if f".{name}." in record.path)


@pytest.mark.parametrize("suffix", [".png", ".LJPEG.png", ".tif"])
def test_chain_codes_land_on_the_lesion(case, covers, tmp_path, suffix):
    found = datasets.scan("ddsm", case(suffix=suffix))
    assert len(found.records) == 4 and not found.problems
    record = film(found, "LEFT_CC")
    assert covers(image_set([found], Cache(tmp_path / "c")).open(record), record.lesions[0].region)
    assert (record.age, record.density, record.spacing_mm) == (42, "3", (0.05, 0.05))
    assert record.patient_id == "A_1141" and record.exam_id == "A_1141_1"


@pytest.mark.parametrize(
    ("digitizer", "spacing"), [("DBA", 0.042), ("HOWTEK", 0.0435), ("LUMISYS", 0.05)]
)
def test_the_digitiser_decides_the_pixel_pitch(case, digitizer, spacing):
    found = datasets.scan("ddsm", case(digitizer=digitizer))
    assert {record.spacing_mm for record in found.records} == {(spacing, spacing)}
    assert bool(found.problems) == (digitizer != "LUMISYS")  # RESOLUTION 50 contradicts the others


def test_a_lesion_marked_in_one_view_only_is_hidden_in_the_other(case):
    found = datasets.scan("ddsm", case(mlo="NON_OVERLAY"))
    mlo = film(found, "LEFT_MLO")
    assert (mlo.lesions[0].visible, mlo.lesions[0].region) == (False, None)
    assert mlo.malignant is True
    assert mlo.lesions[0].lesion_id == film(found, "LEFT_CC").lesions[0].lesion_id


def test_a_lesion_marked_in_both_views_is_one(case):
    found = datasets.scan("ddsm", case())
    ids = [film(found, name).lesions[0].lesion_id for name in ("LEFT_CC", "LEFT_MLO")]
    assert ids[0] == ids[1] and film(found, "RIGHT_CC").malignant is False


def test_two_types_of_one_marking_are_two_lesions_in_one_place(case):
    found = datasets.scan("ddsm", case(kind=f"{MASS}\nLESION_TYPE {CALC}"))
    lesions = film(found, "LEFT_CC").lesions
    assert [s.kind for s in lesions] == [Kind.MASS, Kind.CALCIFICATION_CLUSTER]
    assert lesions[0].region == lesions[1].region


@pytest.mark.parametrize(
    ("word", "pathology", "malignant"),
    [
        ("BENIGN_WITHOUT_CALLBACK", Pathology.BENIGN_WITHOUT_CALLBACK, False),
        ("UNPROVEN", None, None),
    ],
)
def test_unproven_is_unknown_and_without_callback_is_benign(case, word, pathology, malignant):
    record = film(datasets.scan("ddsm", case(pathology=word)), "LEFT_CC")
    assert (record.lesions[0].pathology, record.malignant) == (pathology, malignant)


def test_a_film_of_another_size_is_left_out_and_listed(case, png, make_breast):
    root = case()
    path = next(root.rglob("*RIGHT_CC.png"))
    png(path, make_breast(shape=(128, 96)))
    found = datasets.scan("ddsm", root)
    assert len(found.records) == 3
    assert [(p.code, p.got, p.expected) for p in found.problems] == [
        ("image-misfit", "128 x 96", "160 x 128")
    ]


def test_a_missing_overlay_leaves_the_truth_unknown(case):
    root = case()
    next(root.rglob("*LEFT_MLO.OVERLAY")).unlink()
    found = datasets.scan("ddsm", root)
    assert [problem.code for problem in found.problems] == ["missing-overlay"]
    assert film(found, "LEFT_MLO").malignant is True  # its other view tells
    assert film(found, "LEFT_MLO").lesions[0].visible is False


def pack(root, transposed: bool = False):
    """Every film as lossless JPEG, in place of its PNG."""
    imagecodecs = pytest.importorskip("imagecodecs")
    for path in list(root.rglob("*.png")):
        values = np.asarray(Image.open(path)).astype(np.uint16)
        given = values.reshape(values.shape[::-1]) if transposed else values
        path.with_suffix(".LJPEG").write_bytes(imagecodecs.ljpeg_encode(given, bitspersample=12))
        path.unlink()


@pytest.mark.parametrize("transposed", [False, True])
def test_ljpeg_is_decoded_even_where_its_rows_and_columns_are_swapped(
    case, covers, tmp_path, make_breast, transposed
):
    root = case()
    pack(root, transposed)
    found = datasets.scan("ddsm", root)
    assert len(found.records) == 4 and not found.problems
    record = film(found, "LEFT_CC")
    opened = image_set([found], Cache(tmp_path / "c")).open(record)
    assert np.array_equal(np.rint(opened.pixels * 4095), make_breast(80, 40, 9))
    assert covers(opened, record.lesions[0].region) and opened.spacing_mm == (0.05, 0.05)


def test_ljpeg_whose_rows_do_not_fit_each_other_is_refused_with_the_conversion(case, tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    root = case()
    pack(root)
    ramp = (np.arange(160)[:, None] * 1301 + np.arange(128)[None, :]) % 4096
    path = next(root.rglob("*LEFT_CC.LJPEG"))
    path.write_bytes(imagecodecs.ljpeg_encode(ramp.astype(np.uint16), bitspersample=12))
    found = datasets.scan("ddsm", root)
    with pytest.raises(Refused, match=r"rows do not fit.*jpeg -d -s FILE"):
        image_set([found], Cache(tmp_path / "c")).open(film(found, "LEFT_CC"))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\xa0\x00\x80\x01", b"x" * 99]
)
def test_a_file_that_is_no_lossless_jpeg_is_listed(case, content):
    root = case()
    pack(root)
    next(root.rglob("*LEFT_CC.LJPEG")).write_bytes(content)
    found = datasets.scan("ddsm", root)
    assert len(found.records) == 3 and found.problems[0].code == "image-misfit"
    assert "jpeg -d -s FILE" in found.problems[0].got


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(SecondReaderError, match=r"no \.ics file"):
        datasets.scan("ddsm", tmp_path)


def test_a_chain_code_that_is_none_is_one_line():
    for code in ("1 2 3 9 #", "1 2 3", "x 2 #"):
        with pytest.raises(SecondReaderError, match="chain code"):
            chain(code.split())


def test_directions_are_clockwise_from_up():
    points = chain(["10", "20", "0", "1", "2", "3", "4", "5", "6", "7", "#"]).points
    assert points == (
        (20, 10),
        (19, 10),
        (18, 11),
        (18, 12),
        (19, 13),
        (20, 13),
        (21, 12),
        (21, 11),
    )


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_rectangle_of_steps_covers_its_pixels(high, wide):
    code = ["7", "5", *"2" * wide, *"4" * high, *"6" * wide, *"0" * high, "#"]
    outline = chain(code)
    assert len(outline.points) == 4
    assert centre(outline) == pytest.approx((5 + high / 2, 7 + wide / 2))
    assert rasterise(outline).pixels.sum() == (high + 1) * (wide + 1)


def test_a_case_file_tells_its_films():
    case = parse_ics(ICS.format(mlo="OVERLAY"), "A-1141-1.ics")
    assert [f.view for f in case.films] == [View.CC, View.MLO, View.CC, View.MLO]
    assert (case.digitizer, case.films[0].bits, case.films[2].overlay) == ("LUMISYS", 12, False)
    with pytest.raises(SecondReaderError, match="LINES n"):
        parse_ics("LEFT_CC LINES x OVERLAY", "a.ics")


@pytest.mark.parametrize("bits", [12, 16])
def test_every_value_of_both_depths_survives(tmp_path, bits):
    imagecodecs = pytest.importorskip("imagecodecs")
    smooth = np.add.outer(np.arange(300), np.arange(200)) * (2**bits // 512)
    values = np.minimum(smooth, 2**bits - 1).astype(np.uint16)
    path = tmp_path / "x.LJPEG"
    path.write_bytes(imagecodecs.ljpeg_encode(values, bitspersample=bits))
    state = path.stat()
    ref = FileRef(0, str(tmp_path), path.name, state.st_size, state.st_mtime_ns)
    assert ddsm_ljpeg.header(ref) == (300, 200, bits)
    opened = ddsm_ljpeg.mammogram(ref, (300, 200), bits)
    assert np.array_equal(np.rint(opened.pixels.astype(np.float64) * (2**bits - 1)), values)
