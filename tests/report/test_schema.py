"""``reading.json`` is read back as it was written, and nothing else passes for one."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondreader.domain import Kind, Laterality, SecondReaderError, View
from secondreader.report import schema

numbers = st.floats(-1e6, 1e6)
names = st.text(max_size=20)
HEADER = schema.ReadingHeader(
    version="1", inputs=("in",), models=(schema.ModelIdentity(name="m", sha256=None),)
)


@st.composite
def exams(draw):
    detection = schema.Detection(
        model=draw(names),
        kind=draw(st.sampled_from(list(Kind))),
        center=(draw(numbers), draw(numbers)),
        box=draw(st.none() | st.tuples(numbers, numbers, numbers, numbers)),
        diameter_mm=draw(st.none() | st.floats(0.01, 200)),
        score=draw(numbers),
        probability=draw(st.none() | st.floats(0, 1)),
        finding=draw(st.booleans()),
        link=draw(st.none() | names),
    )
    refused = draw(st.none() | st.just(schema.Refusal(code="no-spacing", reason="because")))
    image = schema.Image(
        input=0,
        path=draw(names),
        sop_instance_uid=draw(st.none() | names),
        laterality=draw(st.none() | st.sampled_from(list(Laterality))),
        view=draw(st.none() | st.sampled_from(list(View))),
        rows=10,
        cols=20,
        spacing_mm=draw(st.none() | st.just((0.07, 0.07))),
        source=schema.SourceNote(bits=12, voi=None, lossy=draw(st.none() | st.booleans())),
        scores=(schema.ImageScore(model="m", score=None, probability=None, refused=refused),),
        heatmaps=(schema.HeatmapFile(model="m", file="images/a.png"),),
        detections=(detection,),
    )
    return schema.Exam(
        exam_id=draw(names),
        patient_id=draw(st.none() | names),
        scores=(),
        breasts=(),
        images=(image,),
    )


@given(exams())
def test_an_exam_line_is_read_back_as_it_was_written(exam):
    line = exam.model_dump_json()
    assert "\n" not in line
    assert schema.parse_exam(line) == exam
    assert schema.parse_exam(line.encode()) == exam


@given(st.lists(exams(), max_size=3))
def test_a_reading_is_read_back_as_it_was_written(tmp_path_factory, written):
    skipped = (schema.SkippedInput(input=0, path="x", code="empty", reason="no bytes"),)
    stream = io.StringIO()
    schema.write_reading(stream, HEADER, written, skipped)
    file = tmp_path_factory.mktemp("reading") / "reading.json"
    file.write_text(stream.getvalue(), encoding="utf-8")
    reading = schema.read_reading(file)
    assert reading.exams == tuple(written)
    assert reading.skipped == skipped
    assert reading.header() == HEADER
    assert json.loads(stream.getvalue())["schema"] == "secondreader.reading/1"


def test_the_header_line_is_read_back_and_another_number_is_not():
    line = schema.header_line(HEADER)
    assert schema.parse_header(line) == HEADER
    with pytest.raises(SecondReaderError, match=r"schema.*expected secondreader\.reading/1"):
        schema.parse_header(line.replace("reading/1", "reading/2"))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('"rows":10', '"rows":0'),
        ('"rows":10', '"rows":"10"'),
        ('"rows":10', '"rows":10,"patient_name":"Doe"'),
        ('"spacing_mm":[0.07,0.07]', '"spacing_mm":[0.07,-1]'),
        ('"bits":12', '"bits":NaN'),
    ],
)
def test_what_is_no_exam_is_refused_without_quoting_it(good, bad):
    image = schema.Image(
        input=0,
        path="a",
        sop_instance_uid=None,
        laterality=None,
        view=None,
        rows=10,
        cols=20,
        spacing_mm=(0.07, 0.07),
        source=schema.SourceNote(bits=12, voi=None, lossy=None),
        scores=(),
        heatmaps=(),
        detections=(),
    )
    exam = schema.Exam(exam_id="E", patient_id="P", scores=(), breasts=(), images=(image,))
    line = exam.model_dump_json()
    assert good in line
    with pytest.raises(SecondReaderError) as told:
        schema.parse_exam(line.replace(good, bad))
    assert "Doe" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_name_that_is_no_text_can_be_written():
    entry = schema.SkippedInput(input=0, path="a\udcff.dcm", code="empty", reason="no bytes")
    assert entry.path == "a\\udcff.dcm"
    entry.model_dump_json().encode("utf-8")
