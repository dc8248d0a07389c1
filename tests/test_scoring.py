"""Data sets in, figures out; and an explanation rather than a number where none can be had."""

import json
import re
import subprocess
import sys

import pytest

from secondreader import pipeline, scoring
from secondreader.cli_reproduce import _by_name
from secondreader.domain import SecondReaderError
from secondreader.evaluation.figures import Figure
from secondreader.evaluation.tables import headlines
from secondreader.studies import STUDIES

QUICK = {"resamples": 100, "groups": False}


@pytest.fixture(scope="module")
def evaluated(film_exams, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    metrics = pipeline.evaluate(["spot_filter"], [f"phantom={film_exams}"], out, **QUICK)
    return out, metrics


def figure(metrics, name, level="region", rule="cluster"):
    wanted = (name, level, rule, "")
    return next(f for f in metrics.figures if (f.name, f.level, f.hit_rule, f.group) == wanted)


def test_every_image_is_read_once_and_measured_against_its_truth(evaluated):
    out, metrics = evaluated
    lines = (out / "readings.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 2
    recall = figure(metrics, "recall")
    assert recall.positives == 4
    assert recall.value in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_further_rates_are_measured_beside_the_usual(evaluated, film_exams):
    out, _ = evaluated
    data = [f"phantom={film_exams}"]
    metrics = pipeline.evaluate(["spot_filter"], data, out, rates=(0.801,), **QUICK)
    names = {f.name for f in metrics.figures if f.level == "image"}
    assert {"sensitivity_at_specificity_0.801", "specificity_at_sensitivity_0.801",
            "sensitivity_at_specificity_0.8"} <= names  # fmt: skip


def test_two_sets_of_one_name_have_names_of_their_own():
    given = ["phantom=tiny:film", "mini_mias=x", "phantom=tiny:ge"]
    assert _by_name(given) == {
        "phantom": "phantom=tiny:film", "mini_mias": "mini_mias=x", "phantom-2": "phantom=tiny:ge"
    }  # fmt: skip


def test_tables_plots_and_a_page_are_written(evaluated):
    out, _ = evaluated
    for name in ("metrics.json", "figures.md", "figures.csv", "figures.tex", "report.html"):
        assert (out / name).stat().st_size > 0
    assert list(out.glob("froc_*.svg"))
    page = (out / "report.html").read_text()
    assert "Worst false alarms" in page
    assert "default-src 'none'" in page
    # No two rows of the page are told by the same words: what differs between them is said.
    sections = re.findall("<h3>(.*?)</h3><table>(.*?)</table>", page, re.DOTALL)
    assert sorted(s for s, _ in sections if s in ("By exam", "By image")) == ["By exam", "By image"]
    words = [
        (section, *of[:3], *of[4:6])
        for section, table in sections
        for row in re.findall("<tr>(.*?)</tr>", table)
        if (of := re.findall("<td[^>]*>(.*?)</td>", row))
    ]
    assert len(words) > 10
    assert not [w for w in words if words.count(w) > 1]
    told = json.loads((out / "metrics.json").read_text())
    assert told["split"] == "all images"
    assert any(key.startswith("hit:cluster") for key in told["rules"])


def test_few_figures_come_first_and_none_that_is_not_there(evaluated):
    _, metrics = evaluated
    first = headlines(metrics.figures)
    assert {"auc"} <= {f.name for f in first} and len(first) < len(metrics.figures) / 5
    assert all(f.value is not None and not f.group for f in first)


def test_a_reader_is_not_measured_on_what_it_never_looks_for(evaluated):
    _, metrics = evaluated
    assert {f.hit_rule for f in metrics.figures if f.hit_rule} <= {
        "cluster",
        "zhang2019",
        "one_to_one",
    }


def test_a_second_call_reads_no_image_again(evaluated, film_exams, monkeypatch):
    out, metrics = evaluated
    monkeypatch.setattr(
        "secondreader.methods.spot_filter.SpotFilter.read",
        lambda *a: pytest.fail("an image was read again"),
    )
    again = pipeline.evaluate(["spot_filter"], [f"phantom={film_exams}"], out, **QUICK)
    assert again.figures == metrics.figures


def test_what_a_model_measures_of_itself_needs_no_image_read(evaluated, film_exams, monkeypatch):
    _, metrics = evaluated
    own = Figure("spot_filter", "patch", "auc", 0.5, 0.4, 0.6)
    for name, value in (
        ("read", lambda *a: pytest.fail("an image was read")),
        ("own_figures", lambda *a, **more: ([own], [])),
    ):
        monkeypatch.setattr(
            f"secondreader.methods.spot_filter.SpotFilter.{name}", value, raising=False
        )
    got = pipeline.own_figures(["spot_filter"], [f"phantom={film_exams}"], resamples=100)
    assert got.figures == (own,) and not got.curves
    # Of the same images, told in the same words.
    assert (got.data, got.split, got.readers, got.interval) == (
        metrics.data, metrics.split, metrics.readers, metrics.interval
    )  # fmt: skip


def test_from_the_readings_alone_come_the_same_figures(evaluated, film_exams, tmp_path):
    out, metrics = evaluated
    alone = pipeline.evaluate(
        [], [f"phantom={film_exams}"], tmp_path, readings=[out / "readings.jsonl"], **QUICK
    )
    # Without the model its operating points are not at hand; all else is the same.
    kept = [f for f in metrics.figures if "at_fpi" not in f.name]
    assert list(alone.figures) == kept


def test_readings_of_this_programs_read_are_taken_too(film_exams, evaluated, tmp_path):
    _, metrics = evaluated
    pipeline.read_to(film_exams, tmp_path / "r", models=["spot_filter"])
    files = [tmp_path / "r" / "reading.json"]
    read = pipeline.evaluate([], [f"phantom={film_exams}"], tmp_path / "e", readings=files, **QUICK)
    assert figure(read, "recall").value == figure(metrics, "recall").value


def test_human_readers_are_measured_by_the_same_ruler(evaluated, film_exams, tmp_path):
    out, _ = evaluated
    lines = (out / "readings.jsonl").read_text().splitlines()[1:]
    exams = [json.loads(line)["exam_id"] for line in lines]
    rows = [f"doctor,{e},{side},{n}" for n, e in enumerate(exams) for side in "LR"]
    table = tmp_path / "ratings.csv"
    table.write_text("\n".join(["reader,exam_id,laterality,rating", *rows]) + "\n")
    metrics = pipeline.evaluate(
        ["spot_filter"], [f"phantom={film_exams}"], tmp_path / "e", ratings=[table], **QUICK
    )
    assert metrics.readers == ("spot_filter", "doctor")


def changed(out, tmp_path, change):
    lines = (out / "readings.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    change(values)
    path = tmp_path / "readings.jsonl"
    path.write_text("".join(json.dumps(v) + "\n" for v in values))
    return path


def other_files(values):
    for exam in values[1:]:
        for image in exam["images"]:
            image["path"], image["sop_instance_uid"] = "elsewhere/" + image["path"], None


def twice(values):
    values[1]["images"].append(values[1]["images"][0])


def not_a_number(values):
    values[1]["images"][0]["scores"][0]["score"] = "NaN"


@pytest.mark.parametrize(
    ("change", "words"),
    [(other_files, "readings: "), (twice, "got two of one image"), (not_a_number, "reading: ")],
)
def test_readings_that_do_not_fit_are_refused_in_one_line(
    change, words, evaluated, film_exams, tmp_path
):
    path = changed(evaluated[0], tmp_path, change)
    with pytest.raises(SecondReaderError, match=words) as error:
        pipeline.evaluate([], [f"phantom={film_exams}"], tmp_path / "e", readings=[path], **QUICK)
    assert "\n" not in str(error.value)


def test_a_part_of_a_split_is_measured_alone_and_patients_never_cross(film_exams, tmp_path):
    from secondreader import datasets

    source = datasets.load("phantom", film_exams, {}, cache=tmp_path)
    first = scoring.choose([source], "patient-50-50")
    assert 0 < len(first.records) < len(source.records)
    assert len({r.patient_id for r in first.records}) == 1
    with pytest.raises(SecondReaderError):
        scoring.choose([source], "no-such-split")


def test_it_all_runs_with_torch_blocked(film_exams, tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from secondreader import pipeline\n"
        f"pipeline.evaluate(['spot_filter'], ['phantom={film_exams}'], {str(tmp_path)!r}, "
        "resamples=100, groups=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("study", [name for name in STUDIES if name != "default"])
def test_the_published_tables_print_and_every_row_has_its_method(study):
    command = [sys.executable, "-m", "secondreader", "reproduce", study, "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"# {study}" in done.stdout
    assert "method not built yet" not in done.stdout


def test_a_study_is_run_stored_and_not_run_again(film_exams, tmp_path):
    command = [sys.executable, "-m", "secondreader", "reproduce", "default", "spot_filter", "--all"]
    command += ["--resamples", "100", "--data", f"phantom={film_exams}", "-o", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "spot-filter-phantom: run" in first.stderr
    row = json.loads((tmp_path / "figures/default/spot-filter-phantom.json").read_text())
    assert str(film_exams) not in json.dumps(row)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "spot-filter-phantom: stored" in again.stderr
    assert again.stdout == first.stdout


def test_what_a_reader_measures_of_itself_stands_among_the_figures(
    evaluated, film_exams, monkeypatch
):
    from secondreader.evaluation.means import mean_figures
    from secondreader.methods.spot_filter import SpotFilter

    def own_figures(self, parts, part, *, reader, resamples, seed):
        women = [record.patient_id for record in parts[part].records]
        known = {"reader": reader, "level": "patch", "resamples": resamples, "seed": seed}
        return mean_figures({"accuracy": [1.0] * len(women)}, women, **known), []

    monkeypatch.setattr(SpotFilter, "own_figures", own_figures, raising=False)
    out, _ = evaluated
    metrics = pipeline.evaluate(["spot_filter"], [f"phantom={film_exams}"], out, **QUICK)
    got = metrics.figure("accuracy", "spot_filter", level="patch")
    assert got.value == 1.0 and got.patients == metrics.data[0]["patients"]
    assert '"accuracy"' in (out / "metrics.json").read_text()
