"""What `secondreader reproduce` reads for a row, and what it need not read again."""

from typer.testing import CliRunner

from secondreader import panel, pipeline, report
from secondreader.cli import app
from secondreader.cli_reproduce import _Measured
from secondreader.learning.hardware import Hardware
from secondreader.reading import load_models
from secondreader.studies.study import Recipe

QUIET = Hardware("cpu", progress=False)


class Images:
    records = ()


def test_a_rival_is_read_once_and_again_only_when_it_was_trained_again(tmp_path, monkeypatch):
    run, read = tmp_path / "runs" / "rival", []

    def evaluate(models, data, out, **more):
        read.append((out.name, [file.parent.name for file in more["readings"]]))
        own = [report.ModelIdentity(name=m.name, sha256=m.sha256) for m in load_models(models)]
        header = report.ReadingHeader(version="0", inputs=("phantom",), models=tuple(own))
        out.mkdir(parents=True, exist_ok=True)
        (out / "readings.jsonl").write_text("".join(report.readings_lines(header, [])))

    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    measured = _Measured({"phantom": "phantom=tiny"}, tmp_path, None, True, QUIET)
    recipe = Recipe("panel", data=("phantom",), against="rival", trains=False)
    first, rival = ("spot_filter-phantom", ["rival-phantom"]), ("rival-phantom", [])
    for flips, expected in ((False, [rival, first]), (False, [first]), (True, [rival, first])):
        config = panel.Config(members=("spot_filter",), flips=flips)
        panel.train(config, Images(), Images(), run, hardware=QUIET)
        read.clear()
        measured(recipe, ["spot_filter", run / "model"], False)
        assert read == expected


def test_tables_are_written_to_a_new_folder_when_no_row_is_left_to_run(tmp_path, film_exams):
    words = ["reproduce", "mordang2016", "text", "--row", "text-train-positive"]
    done = CliRunner().invoke(
        app, [*words, "--data", f"phantom={film_exams}", "-o", f"{tmp_path}/new"]
    )
    assert done.exit_code == 0, done.output
    assert "11,711" in (tmp_path / "new" / "mordang2016@phantom-text.md").read_text()
