"""What `secondreader reproduce` reads for a row, and what it need not read again."""

from typer.testing import CliRunner

from secondreader import cli_reproduce, panel, pipeline, report
from secondreader.cli import app
from secondreader.cli_reproduce import _Measured, _Trained
from secondreader.learning.hardware import Hardware
from secondreader.learning.run_folder import claimed
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


def test_a_row_waits_for_the_model_that_another_process_trains(tmp_path, monkeypatch, capsys):
    run, looked = tmp_path / "rival", []

    def train(method, data, out, **more):
        with claimed(out, {"method": method}):
            return out / "model"

    def slept(seconds):
        looked.append(seconds)
        if len(looked) == 3:
            other.__exit__(None, None, None)

    monkeypatch.setattr(pipeline, "train", train)
    monkeypatch.setattr(cli_reproduce.time, "sleep", slept)
    other = claimed(run, {"method": "spot_filter"})
    other.__enter__()
    trained = _Trained({"phantom": "phantom=tiny"}, True, QUIET)
    assert trained(Recipe("spot_filter", data=("phantom",)), run, None) == run / "model"
    assert len(looked) == 3
    assert capsys.readouterr().err.count("rival: waiting for another process") == 1


def test_tables_are_written_to_a_new_folder_when_no_row_is_left_to_run(tmp_path, film_exams):
    words = ["reproduce", "mordang2016", "text", "--row", "text-train-positive"]
    done = CliRunner().invoke(
        app, [*words, "--data", f"phantom={film_exams}", "-o", f"{tmp_path}/new"]
    )
    assert done.exit_code == 0, done.output
    assert "11,711" in (tmp_path / "new" / "mordang2016@phantom-text.md").read_text()
