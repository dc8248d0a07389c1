"""The readers in the box: found by name by every command, and small."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from secondreader import panel, pipeline
from secondreader.cli import app
from secondreader.domain import SecondReaderError
from secondreader.learning import box
from secondreader.learning.hardware import Hardware
from secondreader.learning.initial import initialise
from secondreader.learning.model_folder import save_model
from secondreader.methods import METHODS
from secondreader.methods.anomaly_cascade import Config
from secondreader.methods.anomaly_cascade.network import first_stage
from secondreader.reading import load_model, load_models
from secondreader.studies.spent import digest_of

TOOLS = Path(__file__).parent.parent / "tools"
QUIET = Hardware("cpu", progress=False)
TINY = Config(width=2, detector="proposals", spacing_mm=0.2, threshold=0.5)
POINTS = {
    "default": "p",
    "points": [
        {"name": "p", "kind": "microcalcification", "threshold": 0.5, "rule": "r", "chosen_on": "d"}
    ],
}


@pytest.fixture
def boxed(tmp_path, monkeypatch):
    """A box of one tiny reader, elsewhere."""
    home = tmp_path / "box"
    torch.manual_seed(0)
    network = first_stage(TINY)
    weights = {f"unet.{name}": value for name, value in network.state_dict().items()}
    save_model(home / "spots", method="anomaly_cascade", config=TINY, weights=weights)
    (home / "spots" / "operating_points.json").write_text(json.dumps(POINTS))
    (home / "spots" / "model-card.md").write_text("# the card of spots\n")
    monkeypatch.setattr(box, "box", lambda: home)
    monkeypatch.chdir(tmp_path)  # so that a name is no folder by chance
    return home


def as_default(home, members=("spots", "spot_filter")):
    config = panel.Config(members=members)
    save_model(home / "default", method="panel", config=config, weights={"members": torch.ones(1)})


def test_what_is_in_the_box_is_small_and_whole():
    files = [file for file in box.box().rglob("*") if file.is_file()]
    assert files
    assert sum(file.stat().st_size for file in files) < box.LARGEST_MB * 1e6
    for name in box.in_the_box():
        assert load_model(name).name == name
        assert (box.box() / name / "model-card.md").is_file()
    # A reader that has a method's name could never be asked for.
    assert not set(box.in_the_box()) & set(METHODS)


def test_a_reader_in_the_box_goes_by_its_name(boxed):
    model = load_model("spots")
    assert (model.name, model.at) == ("spots", "p")
    assert model.sha256 == load_model(str(boxed / "spots")).sha256
    with pytest.raises(SecondReaderError, match="one of spots, spot_filter"):
        load_model("spot")


def test_a_folder_of_that_name_in_the_working_folder_comes_first(boxed, tmp_path):
    shutil.copytree(boxed / "spots", tmp_path / "spots")
    assert box.model_folder("spots").resolve() == (tmp_path / "spots").resolve()
    (tmp_path / "spots" / "config.json").unlink()
    assert box.model_folder("spots") == boxed / "spots"


def test_the_default_reads_where_nobody_is_named_and_else_the_spot_filter(boxed, film_exams):
    assert pipeline.default_models() == ("spot_filter",)
    as_default(boxed, ("spot_filter",))
    assert pipeline.default_models() == ("default",)
    (first, _) = pipeline.read(film_exams)
    assert [s.model for s in first.scores] == ["default"]


@pytest.mark.slow
def test_the_demo_reads_with_the_default(boxed, tmp_path):
    as_default(boxed, ("spot_filter",))
    told = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "demo")])
    assert told.exit_code == 0, told.output
    assert "default read 4 images" in told.stderr
    models = json.loads((tmp_path / "demo" / "reading" / "reading.json").read_text())["models"]
    assert [m["name"] for m in models] == ["default"]


def test_models_lists_each_and_shows_the_card_of_one(boxed):
    as_default(boxed)
    listed = CliRunner().invoke(app, ["models"]).stdout
    assert "spots: anomaly_cascade, in the box" in listed
    assert "default: panel, in the box (reads where nobody is named)" in listed
    assert "the card of spots" not in listed and "secondreader models spots" in listed
    shown = CliRunner().invoke(app, ["models", "spots"]).stdout
    assert "the card of spots" in shown and "spot_filter" not in shown
    told = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert {one["name"]: one["card"] for one in told}["spots"] == "# the card of spots\n"
    assert isinstance(CliRunner().invoke(app, ["models", "x"]).exception, SecondReaderError)


def test_training_begins_from_a_reader_in_the_box(boxed):
    planned = pipeline.plan_training(
        "anomaly_cascade", ["phantom=tiny"], preset="smoke", init="spots"
    )
    assert planned.config.init == str(boxed / "spots")
    torch.manual_seed(1)
    network = first_stage(TINY)
    told = initialise(network, "spots", prefix="unet.")
    assert "from spots" in told and "at random" not in told


def test_members_in_the_box_lie_beside_the_panel_and_count_for_its_digest(boxed, tmp_path):
    as_default(boxed)
    assert [m.name for m in panel.load(boxed / "default").members] == [
        "anomaly_cascade", "spot_filter",
    ]  # fmt: skip
    before = load_model("default").sha256
    wider = Config(width=2, detector="proposals", spacing_mm=0.2, threshold=0.75)
    weights = {f"unet.{name}": value for name, value in first_stage(wider).state_dict().items()}
    save_model(boxed / "spots", method="anomaly_cascade", config=wider, weights=weights)
    assert load_model("default").sha256 != before
    assert [m.name for m in load_models(["default", "spots"])] == ["default", "spots"]


def test_a_panel_of_a_panel_in_the_box_takes_all_with_it(boxed, tmp_path):
    as_default(boxed)
    outer = panel.Config(members=("default", "spot_filter"))
    panel.train(outer, None, None, tmp_path / "run", hardware=QUIET)
    shutil.move(boxed, tmp_path / "gone")
    reader = panel.load(tmp_path / "run" / "model")
    assert [m.name for m in reader.members[0].members] == ["anomaly_cascade", "spot_filter"]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_recipe_trained_is_put_into_the_box_with_its_command_and_hash(boxed, tmp_path):
    packing, runs = tool("box"), tmp_path / "runs"
    for number, name in enumerate(packing.MEMBERS):
        shutil.copytree(boxed / "spots", runs / name / "model")
        config = TINY.model_copy(update={"seed": number})
        weights = {f"unet.{n}": v for n, v in first_stage(config).state_dict().items()}
        save_model(runs / name / "model", method="anomaly_cascade", config=config, weights=weights)
        (runs / name / "model" / "environment.json").write_text('{"seed": 0}')
    members = tuple(str(runs / name) for name in packing.MEMBERS)
    panel.train(panel.Config(members=members), None, None, runs / "default", hardware=QUIET)
    (runs / "default" / "model" / "environment.json").write_text('{"seed": 0}')
    target, history = tmp_path / "new", tmp_path / "history.json"
    row = {
        "split": "all",
        "model": digest_of(runs / "masses" / "model"),
        "data": [{"name": "mini_mias", "images": 4, "patients": 2}],
        "cells": {"AUC": {"value": 0.5, "low": 0.25, "high": 0.75}},
    }
    write_row(tmp_path / "figures", "films-masses", row)
    rounds = tool("round").noted(
        [], tmp_path / "figures", ["films-masses"], "No frames.", "Frames."
    )
    history.write_text(json.dumps(rounds))
    row = {"command": "secondreader reproduce default", "split": "official, test part",
           "data": [{"name": "phantom", "images": 8, "patients": 2}],
           "cells": {"AUC": {"value": 0.75, "low": 0.5, "high": 1.0}, "none": {"value": None}}}  # fmt: skip
    row["model"] = digest_of(runs / "masses" / "model")
    write_row(tmp_path / "figures", "masses", row)
    write_row(tmp_path / "figures", "vendors-masses", row | {"model": "of another"})
    with pytest.raises(SecondReaderError, match="got figures of another model"):
        packing.packed(runs, tmp_path / "other", tmp_path / "figures", history)
    write_row(tmp_path / "figures", "vendors-masses", row)
    assert packing.packed(runs, target, tmp_path / "figures", history) < 1
    boxed.rename(tmp_path / "old")
    target.rename(boxed)
    shutil.rmtree(runs)
    assert box.in_the_box() == tuple(sorted((*packing.MEMBERS, "default")))
    model = load_model("default")
    assert model.reader.config.members == packing.MEMBERS
    assert [m.config.seed for m in model.reader.members] == [*range(len(packing.MEMBERS))]
    card = (boxed / "masses" / "model-card.md").read_text()
    told = json.loads((boxed / "masses" / "config.json").read_text())
    assert card.startswith("# masses: anomaly_cascade")
    assert "- by: `secondreader reproduce default`" in card
    assert (
        "- vendors-masses (phantom, official, test part, 8 images of 2 patients): AUC 0.750 [0.500"
        in card
    )
    assert told["sha256"]["weights.safetensors"] in card
    assert "1. Found: No frames. Changed: Frames." in card
    assert "   - films-masses: AUC 0.500 [0.250, 0.750]" in card
    assert not (boxed / "default" / "members").exists()


def test_large_weights_are_rounded_and_the_digest_is_that_of_what_lies_there(
    boxed, monkeypatch, tmp_path
):
    packing = tool("box")
    monkeypatch.setattr(packing, "SMALL", 16)
    folder = tmp_path / "rounded"
    folder.mkdir()
    shutil.copyfile(boxed / "spots" / "config.json", folder / "config.json")
    packing.rounded(boxed / "spots", folder)
    before, after = (load_file(f / "weights.safetensors") for f in (boxed / "spots", folder))
    assert {v.dtype for v in after.values()} == {torch.float16, torch.float32}
    assert all(torch.allclose(v, after[k].float(), rtol=1e-3, atol=1e-6) for k, v in before.items())
    own, rounded = (
        load_model(str(f)).reader for f in (boxed / "spots", folder)
    )  # the digest is checked
    mine, theirs = (r.networks["unet"].state_dict() for r in (own, rounded))
    assert all(v.dtype == theirs[k].dtype for k, v in mine.items())  # what reads is whole again


def write_row(figures, name, row):
    figures.mkdir(exist_ok=True)
    (figures / f"{name}.json").write_text(json.dumps(row))


def test_a_round_is_noted_once_and_only_of_what_was_trained_again(tmp_path):
    noted = tool("round").noted
    row = {"data": [], "cells": {"AUC": {"value": 0.5, "low": None}, "none": {"note": "nothing"}}}
    write_row(tmp_path, "films-masses", row)
    first = noted([], tmp_path, ["films-masses"], "a", "b")
    assert first == [
        {
            "found": "a",
            "changed": "b",
            "rows": {"films-masses": {"of": [], "cells": {"AUC": [0.5, None, None]}}},
        }
    ]
    with pytest.raises(
        SecondReaderError, match="got the figures of a round before for films-masses"
    ):
        noted(first, tmp_path, ["films-masses"], "c", "d")
    with pytest.raises(SecondReaderError, match="got no figures of films-image"):
        noted(first, tmp_path, ["films-image"], "c", "d")
    row["cells"]["AUC"]["value"] = 0.6
    write_row(tmp_path, "films-masses", row)
    assert len(noted(first, tmp_path, ["films-masses"], "c", "d")) == 2
