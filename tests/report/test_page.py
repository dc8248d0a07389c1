"""A page holds what it should, escapes what is hostile, and stays small whatever it is given."""

import base64
import dataclasses
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondreader import report
from secondreader.domain import (
    Box,
    Circle,
    Detection,
    ExamReading,
    Frame,
    Heatmap,
    ImageSource,
    Kind,
    Laterality,
    Mammogram,
    ModelScore,
    SecondReaderError,
    View,
    ViewReading,
)
from secondreader.report import schema
from secondreader.report.form import whole_image
from secondreader.report.page import embedded, page_name

HEADER = report.ReadingHeader(
    version="0", inputs=(), models=(report.ModelIdentity(name="m", sha256="ab"),)
)
HOSTILE = "</script><script>alert('1')</script>\"&"


def image(shape=(400, 300), laterality=Laterality.L, view=View.CC, seed=0, path="a.dcm"):
    pixels = np.random.default_rng(seed).random(shape, np.float32)
    return Mammogram(pixels, None, laterality, view, ImageSource(path, bits=12))


def read(mammogram, count=1):
    rng = np.random.default_rng(1)
    rows, cols = mammogram.pixels.shape
    found = tuple(
        Detection(
            Kind.MASS,
            Circle(float(r), float(c), 8),
            float(s),
            model="m",
            finding=True,
        )
        for r, c, s in zip(
            rng.uniform(0, rows - 1, count),
            rng.uniform(0, cols - 1, count),
            rng.random(count),
            strict=True,
        )
    )
    scores = (ModelScore("m", 0.5),)
    return ViewReading(
        mammogram.source, rows, cols, mammogram.laterality, mammogram.view, None, scores, found
    )


def page(images, exam_id="E", count=1):
    views = tuple(read(i, count) for i in images)
    reading = ExamReading(exam_id, None, (), (), views)
    pixels = [report.view_pixels(i, v, len(images)) for i, v in zip(images, views, strict=True)]
    return report.exam_page(report.exam_form(reading, {}), pixels, header=HEADER)


def test_what_a_panel_s_members_do_not_read_is_told_and_what_probabilities_hold_for():
    left = (("no-spacing", "spots needs a pixel size"),)
    mammogram = image()
    view = dataclasses.replace(
        read(mammogram, 1), scores=(ModelScore("m", 0.5, 0.00025, left_out=left),)
    )
    form = report.exam_form(ExamReading("E", None, (), (), (view,)), {})
    assert schema.parse_exam(form.model_dump_json()) == form
    models = (report.ModelIdentity(name="m", sha256="ab", prevalence=0.006),)
    header = report.ReadingHeader(version="0", inputs=(), models=models)
    assert schema.parse_header(schema.header_line(header)) == header
    page = report.exam_page(form, [report.view_pixels(mammogram, view)], header=header)
    assert "without: spots needs a pixel size" in page
    assert "read in part" in page
    assert "0.025%" in page
    assert "Probabilities of m hold where 0.6 % of exams are of women with cancer" in page
    assert (
        "left_out"
        not in report.exam_form(
            ExamReading("E", None, (), (), (read(mammogram, 1),)), {}
        ).model_dump_json()
    )
    assert "prevalence" not in schema.header_line(HEADER)


def unpacked(text, name, shape):
    raw = re.search(rf'id="{name}">([^<]*)</script>', text)[1]
    data = np.frombuffer(zlib.decompress(base64.b64decode(raw)), np.uint8)
    low, high = data[: shape[0] * shape[1]], data[shape[0] * shape[1] :]
    steps = (low + 256 * high.astype(np.uint16)).reshape(shape)
    return np.cumsum(steps, axis=1, dtype=np.uint16)


def test_the_pixels_of_a_small_image_are_all_there_at_full_depth():
    mammogram = image()
    shown = unpacked(page([mammogram]), "p0-0", (400, 300))
    assert (shown == np.rint(mammogram.pixels * 4095)).all()


def test_round_a_finding_the_page_holds_the_source_pixels_themselves():
    mammogram = image((3000, 2400))
    view = read(mammogram)
    display, crop = report.view_pixels(mammogram, view).parts
    assert display.scale > 1
    assert crop.scale == 1
    row0, col0 = int(crop.row0), int(crop.col0)
    rows, cols = crop.pixels.shape
    source = mammogram.pixels[row0 : row0 + rows, col0 : col0 + cols]
    assert (crop.pixels == np.rint(source * 4095)).all()
    region = view.detections[0].region
    assert row0 <= region.row < row0 + rows
    assert col0 <= region.col < col0 + cols


def test_four_full_views_with_many_findings_stay_below_25_megabytes():
    images = [
        image((4096, 3328), side, view) for side in Laterality for view in (View.CC, View.MLO)
    ]
    assert len(page(images, count=60)) <= 25e6


def test_five_hundred_views_in_one_exam_stay_below_25_megabytes():
    one = image((1200, 900))
    assert len(page([one] * 500, count=3)) <= 25e6


def test_hostile_names_stay_text():
    text = page([image(path=HOSTILE)], exam_id=HOSTILE)
    assert "<script>alert" not in text
    assert "&lt;/script&gt;" in text
    assert "</script>" not in embedded({"a": HOSTILE})


def test_missing_views_are_named_and_a_second_image_of_a_view_is_shown_too():
    text = page([image(), image(seed=1), image(laterality=None, view=None)])
    assert "R CC: none" in text
    assert text.count("<canvas") == 3
    assert "view unknown" in text


def test_a_page_asks_for_nothing_from_anywhere():
    text = page([image()])
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert "Not a medical device" in text


@given(st.text(max_size=80))
def test_page_names_are_safe_and_unique_by_their_key(exam_id):
    name = page_name(exam_id, "0123456789abcdef")
    assert re.fullmatch(r"[A-Za-z0-9._-]+-01234567\.html", name)
    assert not name.startswith(".")
    assert name != page_name(exam_id, "f123456789abcdef")


def test_a_heatmap_is_laid_over_the_whole_image_where_its_frame_says():
    values = np.zeros((50, 40), np.float32)
    values[20, 30] = 1
    # A grid of 4 x 4 source pixels that begins at (100, 200), mirrored across.
    heatmap = Heatmap(values, Frame((50, 40), (1000, 800), (101.5, 401.5), (4, -4)))
    laid = whole_image(heatmap)
    assert laid.shape == (512, 410)
    row, col = np.unravel_index(laid.argmax(), laid.shape)
    assert (row * 1000 / 512, col * 800 / 410) == pytest.approx((181.5, 281.5), abs=3)


def test_findings_csv_defuses_formulas():
    exam = report.exam_form(ExamReading("=1+1", None, (), (), (read(image()),)), {})
    heading, line = report.findings_lines([exam])
    assert heading.startswith("exam_id,patient_id,")
    assert line.startswith("'=1+1,")


def test_boxes_and_diameters_are_those_of_the_region():
    view = read(image())
    detection = Detection(Kind.MASS, Box(10, 20, 29, 59), 1.0, model="m", finding=True)
    moved = ViewReading(view.source, 400, 300, None, None, (0.1, 0.2), view.scores, (detection,))
    (form,) = report.exam_form(ExamReading("E", None, (), (), (moved,)), {}).images
    assert form.detections[0].center == (19.5, 39.5)
    assert form.detections[0].box == (10, 20, 29, 59)
    assert form.detections[0].diameter_mm == pytest.approx(39 * 0.2)


def test_pseudonyms_are_the_same_under_one_key_and_others_under_another(tmp_path):
    first = report.secret_from(tmp_path / "a.key", tmp_path / "out")
    assert report.secret_from(tmp_path / "a.key", tmp_path / "out") == first
    other = report.secret_from(tmp_path / "b.key", tmp_path / "out")
    assert report.pseudonym(first, "P1") == report.pseudonym(first, "P1")
    assert report.pseudonym(first, "P1") != report.pseudonym(other, "P1")
    assert (tmp_path / "a.key").stat().st_mode & 0o077 == 0


def test_a_key_that_would_give_itself_away_or_is_short_is_refused(tmp_path):
    with pytest.raises(SecondReaderError, match="inside the output"):
        report.secret_from(tmp_path / "out" / "key", tmp_path / "out")
    (tmp_path / "short").write_text("abc")
    with pytest.raises(SecondReaderError, match="got a key of 3 bytes"):
        report.secret_from(tmp_path / "short", tmp_path / "out")


def test_the_index_of_thousands_of_exams_is_written_piece_by_piece():
    one = report.exam_form(ExamReading(HOSTILE, None, (), (), (read(image()),)), {})
    pieces = report.index_text(HEADER, ((one, f"exams/{n}.html") for n in range(3000)), ())
    longest = total = 0
    for piece in pieces:
        longest, total = max(longest, len(piece)), total + len(piece)
        assert "<script>alert" not in piece
    assert longest < 20_000
    assert total > 3000 * 100


def test_with_two_models_each_finding_says_whose_it_is_and_with_one_none_does():
    mammogram = image()
    view = read(mammogram)
    (own,) = view.detections
    both = dataclasses.replace(view, detections=(own, dataclasses.replace(own, model="other & co")))

    def shown(found):
        reading = ExamReading("E", None, (), (), (found,))
        pixels = [report.view_pixels(mammogram, found, 1)]
        text = report.exam_page(report.exam_form(reading, {}), pixels, header=HEADER)
        return re.findall(r'mass(?: <span class="soft">([^<]*)</span>)?</td>', text)

    assert sorted(shown(both)) == ["m", "other &amp; co"]
    assert shown(view) == [""]
