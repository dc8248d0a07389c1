"""An exam goes in, a report comes out; stopped anywhere, it goes on and ends the same."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

import secondreader
from secondreader import pipeline, report
from secondreader.domain import SecondReaderError

SPOTS = ("spot_filter",)  # quick, whatever is in the box
OUTPUTS = ("reading.json", "readings.jsonl", "findings.csv", "report.html")


def read_to(*places, **more):
    return pipeline.read_to(*places, models=SPOTS, **more)


def contents(out: Path) -> dict[str, bytes]:
    """Everything a reading wrote, but its journal."""
    files = [p for p in out.rglob("*") if p.is_file() and "journal.sqlite" not in p.name]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def reading(film_exams, tmp_path_factory):
    out = tmp_path_factory.mktemp("reading")
    outcome = read_to(film_exams, out)
    return out, outcome


def test_every_image_of_every_exam_is_read(reading):
    out, outcome = reading
    assert (outcome.exams, outcome.images, outcome.read) == (2, 8, 8)
    assert all((out / name).is_file() for name in OUTPUTS)


def test_reading_json_holds_to_its_schema_and_agrees_with_the_lines(reading):
    out, _ = reading
    whole = report.read_reading(out / "reading.json")
    lines = (out / "readings.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines[1:]] == [
        exam.model_dump(mode="json") for exam in whole.exams
    ]
    assert {(i.laterality, i.view) for i in whole.exams[0].images} == {
        ("R", "CC"),
        ("L", "CC"),
        ("R", "MLO"),
        ("L", "MLO"),
    }


def test_a_breast_is_the_mean_of_its_views_and_an_exam_its_larger_breast(reading):
    out, _ = reading
    for exam in report.read_reading(out / "reading.json").exams:
        breasts = {b.laterality: b.scores[0].score for b in exam.breasts}
        for side, score in breasts.items():
            views = [i.scores[0].score for i in exam.images if i.laterality is side]
            assert score == pytest.approx(sum(views) / len(views))
        assert exam.scores[0].score == max(breasts.values())


def test_findings_csv_holds_the_findings_and_nothing_else(reading):
    out, outcome = reading
    with (out / "findings.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == outcome.findings
    found = [
        d
        for exam in report.read_reading(out / "reading.json").exams
        for image in exam.images
        for d in image.detections
        if d.finding
    ]
    assert [float(r["score"]) for r in rows] == pytest.approx([d.score for d in found], rel=1e-5)


def test_the_python_call_gives_the_same_scores(film_exams, reading):
    out, _ = reading
    written = report.read_reading(out / "reading.json")
    called = list(secondreader.read(film_exams, models=SPOTS, on_skip=lambda skipped: None))
    assert [e.scores[0].score for e in called] == [e.scores[0].score for e in written.exams]


def test_a_second_call_reads_nothing_again_and_changes_nothing(film_exams, reading, monkeypatch):
    out, _ = reading
    before = contents(out)
    monkeypatch.setattr(
        "secondreader.formats.mammogram", lambda *a: pytest.fail("an unchanged file was decoded")
    )
    monkeypatch.setattr(
        "secondreader.formats.header", lambda *a: pytest.fail("an unchanged header was read")
    )
    read_to(film_exams, out)
    assert contents(out) == before


def test_two_workers_write_what_one_writes(film_exams, reading, tmp_path):
    out, _ = reading
    read_to(film_exams, tmp_path, workers=2)
    assert contents(tmp_path) == contents(out)


@pytest.mark.slow
def test_killed_twice_and_called_again_it_ends_with_the_same_output(film_exams, reading, tmp_path):
    out, _ = reading
    command = [sys.executable, "-m", "secondreader", "read", str(film_exams), "-o", str(tmp_path)]
    command += ["--model", *SPOTS]
    for _ in range(2):
        process = subprocess.Popen(command, start_new_session=True)
        kept = len(list(tmp_path.glob("exams/*.html")))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(tmp_path.glob("exams/*.html"))) > kept:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, check=False).returncode == 0
    assert contents(tmp_path) == contents(out)


def test_a_changed_file_is_read_again(film_exams, tmp_path):
    exams, out = tmp_path / "exams", tmp_path / "out"
    shutil.copytree(film_exams / "exam-00000", exams)
    read_to(exams, out)
    first = (out / "reading.json").read_bytes()
    file = exams / "L-CC.dcm"
    ds = pydicom.dcmread(file)
    pixels = ds.pixel_array.copy()
    pixels[::3] = np.minimum(pixels[::3] + 20, 255)
    ds.PixelData = pixels.tobytes()
    ds.save_as(file)
    read_to(exams, out)
    assert (out / "reading.json").read_bytes() != first


def test_without_spacing_the_model_says_what_to_do_and_the_view_is_still_shown(tmp_path):
    pixels = np.zeros((300, 200), np.uint8)
    pixels[50:250, :120] = np.random.default_rng(0).integers(90, 160, (200, 120))
    Image.fromarray(pixels).save(tmp_path / "a_L_CC.png")
    outcome = read_to(tmp_path / "a_L_CC.png", tmp_path / "out")
    assert (outcome.images, outcome.read) == (1, 0)
    assert any("--spacing-mm" in reason for reason in outcome.refused)
    exam = report.read_reading(tmp_path / "out" / "reading.json").exams[0]
    assert exam.images[0].scores[0].refused.code == "no-spacing"
    (page,) = (tmp_path / "out" / "exams").glob("*.html")
    assert 'id="p0-0"' in page.read_text()


def test_two_patients_under_one_study_uid_stay_two_exams(film_exams, tmp_path):
    for number, name in enumerate(("L-CC.dcm", "R-CC.dcm")):
        ds = pydicom.dcmread(film_exams / "exam-00000" / name)
        ds.PatientID = f"P{number}"
        ds.save_as(tmp_path / name)
    outcome = read_to(tmp_path, tmp_path / "out")
    exams = report.read_reading(tmp_path / "out" / "reading.json").exams
    assert outcome.exams == 2
    assert len({exam.exam_id for exam in exams}) == 2
    assert {exam.patient_id for exam in exams} == {"P0", "P1"}


def test_one_sop_instance_is_read_once_and_one_view_twice_is_kept_twice(film_exams, tmp_path):
    source = film_exams / "exam-00000" / "L-CC.dcm"
    shutil.copy(source, tmp_path / "a.dcm")
    shutil.copy(source, tmp_path / "b.dcm")
    ds = pydicom.dcmread(source)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    ds.save_as(tmp_path / "c.dcm")
    read_to(tmp_path, tmp_path / "out")
    whole = report.read_reading(tmp_path / "out" / "reading.json")
    assert [image.path for image in whole.exams[0].images] == ["a.dcm", "c.dcm"]
    assert [(s.path, s.code) for s in whole.skipped] == [("b.dcm", "duplicate")]


def test_an_exam_with_no_readable_image_has_a_page_that_says_why(film_exams, tmp_path):
    data = (film_exams / "exam-00000" / "L-CC.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) // 2])
    outcome = read_to(tmp_path / "cut.dcm", tmp_path / "out")
    assert (outcome.exams, outcome.images) == (1, 0)
    (page,) = (tmp_path / "out" / "exams").glob("*.html")
    assert "No image of this exam could be read" in page.read_text()
    whole = report.read_reading(tmp_path / "out" / "reading.json")
    assert [s.path for s in whole.skipped] == ["cut.dcm"]


def test_pseudonyms_stand_in_everything_written(film_exams, tmp_path):
    exams, out = tmp_path / "exams", tmp_path / "out"
    shutil.copytree(film_exams / "exam-00000", exams)
    ds = pydicom.dcmread(exams / "L-CC.dcm")
    read_to(exams, out, secret=b"0123456789abcdef")
    secrets = (str(ds.PatientID), str(ds.StudyInstanceUID), str(ds.SOPInstanceUID), "L-CC.dcm")
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for text in secrets:
                assert text.encode() not in content, f"{text} stands in {path.name}"
                assert text not in path.name
    first = report.read_reading(out / "reading.json").exams[0].patient_id
    read_to(exams, tmp_path / "other", secret=b"another key, as long")
    assert report.read_reading(tmp_path / "other" / "reading.json").exams[0].patient_id != first


def test_no_name_and_no_birth_date_is_written_without_pseudonyms_either(film_exams, tmp_path):
    ds = pydicom.dcmread(film_exams / "exam-00000" / "L-CC.dcm")
    ds.PatientName, ds.PatientBirthDate = "Doebereiner^Jane", "19500203"
    ds.save_as(tmp_path / "a.dcm")
    read_to(tmp_path / "a.dcm", tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert b"Doebereiner" not in path.read_bytes()
            assert b"19500203" not in path.read_bytes()


def test_what_an_earlier_call_read_of_other_inputs_is_dropped(film_exams, tmp_path):
    out = tmp_path / "out"
    read_to(film_exams / "exam-00000", out)
    read_to(film_exams / "exam-00001", out)
    assert len(list((out / "exams").glob("*.html"))) == 1
    assert len(list((out / "images").glob("*.png"))) == 4


def test_an_output_that_cannot_be_written_is_one_line(film_exams, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SecondReaderError, match="output: ") as error:
        read_to(film_exams, tmp_path / "file" / "out")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"accept": ["everything"]}, "--accept: got 'everything'"),
        ({"spacing_mm": -1.0}, "--spacing-mm: got -1"),
        ({"bits": 4}, "--bits: got 4"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_line(wrong, words):
    with pytest.raises(SecondReaderError, match=words.replace("(", r"\(")):
        pipeline.read_options(**wrong)


def test_a_model_that_is_none_and_an_operating_point_that_is_none_are_named(film_exams):
    with pytest.raises(SecondReaderError, match="--model: got 'nobody'"):
        next(secondreader.read(film_exams, models=["nobody"]))
    with pytest.raises(SecondReaderError, match="--at: got 'nothing'"):
        next(secondreader.read(film_exams, models=SPOTS, at="nothing"))


def test_a_table_states_what_names_do_not_and_a_row_without_a_file_is_told(tmp_path):
    pixels = np.zeros((300, 200), np.uint8)
    pixels[50:250, :120] = np.random.default_rng(0).integers(90, 160, (200, 120))
    for name in ("x.png", "y.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    table = tmp_path / "exams.csv"
    table.write_text(
        "path,exam_id,patient_id,laterality,view,spacing_mm\n"
        "x.png,E1,P1,L,CC,0.2\ny.png,E1,P1,L,MLO,0.2\nz.png,E1,P1,R,CC,0.2\n"
    )
    notes = []
    options = pipeline.read_options(table=table)
    read_to(tmp_path, tmp_path / "out", options=options, on_note=notes.append)
    (exam,) = report.read_reading(tmp_path / "out" / "reading.json").exams
    assert (exam.exam_id, exam.patient_id) == ("E1", "P1")
    assert [(i.laterality, i.view) for i in exam.images] == [("L", "CC"), ("L", "MLO")]
    assert len(notes) == 1
    assert "z.png" in notes[0]
