"""A model folder is read as it was written, or refused in one line."""

import json

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from secondreader.domain import SecondReaderError
from secondreader.learning.configuration import presets, resolve
from secondreader.learning.initial import initialise, torchvision_weights
from secondreader.learning.model_card import card_text
from secondreader.learning.model_folder import (
    environment,
    load_into,
    load_model_folder,
    save_model,
)
from secondreader.learning.run_folder import claimed


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(default=5, gt=0)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = 0
    init: str = "none"
    width: int = Field(default=4, gt=0)
    objective: str = "t_test"
    fit: Inner = Inner()


def net(width=4, channels=1):
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width))


@pytest.fixture
def folder(tmp_path):
    weights = {f"net.{k}": v for k, v in net().state_dict().items()}
    save_model(tmp_path / "m", method="x", config=Config(width=4, seed=7), weights=weights)
    return tmp_path / "m"


def test_it_comes_back_as_it_was(folder):
    config, weights = load_model_folder(folder, "x", Config)
    assert config == Config(width=4, seed=7)
    other = net()
    load_into(other, weights, "net.")
    assert all(torch.equal(weights[f"net.{k}"], v) for k, v in other.state_dict().items())


def test_broken_folders_are_refused_in_one_line(folder):
    def refused(words, of="x"):
        with pytest.raises(SecondReaderError, match=words) as error:
            load_model_folder(folder, of, Config)
        assert "\n" not in str(error.value)

    refused("got a folder of 'x', expected one of y", "y")
    told = json.loads((folder / "config.json").read_text())
    for change, words in (
        ({"schema": "secondreader.model/9"}, "expected secondreader.model/1"),
        ({"config": {"width": -1}}, "width"),
        ({"config": {"what": 1}}, "what"),
    ):
        (folder / "config.json").write_text(json.dumps(told | change))
        refused(words)
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "weights.safetensors").write_bytes(b"\0" * 100)
    refused("not those of config.json")
    (folder / "weights.safetensors").unlink()
    refused("cannot read")


def test_weights_that_do_not_fit_are_named(folder):
    _, weights = load_model_folder(folder, "x", Config)
    with pytest.raises(SecondReaderError, match=r"net\.0\.weight, expected \(8, 1, 3, 3\)"):
        load_into(net(8), weights, "net.")
    with pytest.raises(SecondReaderError, match="does not have"):
        load_into(net()[0], {k.replace("0.", ""): v for k, v in weights.items()}, "net.")


def test_the_environment_names_no_machine_and_no_person(monkeypatch):
    told = environment(3, {"phantom": "abc"}, "abacus")
    assert told["seed"] == 3
    assert told["data"] == {"phantom": "abc"}
    assert "torch" in told["packages"]
    assert not {"host", "user", "path", "node"} & set(told)


def test_a_card_says_what_it_is_and_what_it_is_not(folder):
    text = card_text(folder)
    assert "Research use only" in text
    assert "None: the calibration part is too small" in text
    assert "Not calibrated" in text
    assert '"width": 4' in text


# -------------------------------------------------------------------------------- initial weights


def test_none_leaves_the_network_alone_and_a_folder_starts_it(folder):
    network = net()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert "at random" in initialise(network, "none")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    line = initialise(network, str(folder), prefix="net.")
    _, weights = load_model_folder(folder, "x", Config)
    assert torch.equal(network[0].weight, weights["net.0.weight"])
    assert line.startswith("7 of 7 tensors")


def test_three_channels_are_summed_for_a_grey_image(tmp_path):
    colour, grey = net(channels=3), net()
    torch.save(colour.state_dict(), tmp_path / "w.pth")
    initialise(grey, str(tmp_path / "w.pth"))
    image = torch.rand(1, 1, 6, 6)
    assert torch.allclose(grey[0](image), colour[0](image.repeat(1, 3, 1, 1)), atol=1e-5)


def test_files_that_are_none_are_one_line(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"no zip")
    torch.save({"a": 1}, tmp_path / "b.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "c.pth")
    torch.save({"other": torch.zeros(3)}, tmp_path / "d.pth")
    for name, words in (
        ("a", "."),
        ("b", "no state dict"),
        ("c", "holds more than tensors"),
        ("d", "nothing in"),
    ):
        with pytest.raises(SecondReaderError, match=words):
            initialise(net(), str(tmp_path / f"{name}.pth"))
    with pytest.raises(SecondReaderError, match="expected none, imagenet"):
        initialise(net(), "imagnet", published={"imagenet": dict})


def test_without_a_connection_it_says_where_the_file_would_go(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    class Weights:
        url = "https://example.org/models/resnet50-abc.pth"

        def get_state_dict(self, **options):
            raise OSError("no network")

    with pytest.raises(SecondReaderError, match=r"checkpoints.resnet50-abc\.pth"):
        torchvision_weights(Weights())


# ------------------------------------------------------------------------------------ configuration


def test_settings_are_parsed_by_field_and_checked():
    package = "secondreader.methods.anomaly_cascade"
    got = resolve(Config, package, None, ["width=9", "fit.steps=3", "objective=huber"], seed=4)
    assert (got.width, got.fit.steps, got.objective, got.seed) == (9, 3, "huber", 4)
    for setting, words in (
        ("widht=3", "did you mean 'width'"),
        ("fit.stps=3", "did you mean 'steps'"),
        ("width=-3", "--set width: got -3; input should be greater than 0"),
        ("width=many", "--set width: got 'many'"),
        ("width", "expected key=value"),
        ("width.x=3", "it has no fields"),
        ("zzz=1", "expected one of seed, init"),
    ):
        with pytest.raises(SecondReaderError, match=words):
            resolve(Config, package, None, [setting])
    with pytest.raises(SecondReaderError, match="got 'huge', expected one of"):
        resolve(Config, package, "huge")


def test_every_preset_of_every_method_resolves_and_says_what_to_expect():
    from secondreader.methods import METHODS, WITHOUT_WEIGHTS, method

    for name in set(METHODS) - set(WITHOUT_WEIGHTS) - {"panel"}:  # which has members instead
        found = presets(METHODS[name])
        assert {"smoke", "cpu"} <= set(found)
        for preset, header in found.items():
            assert f"secondreader train {name} --preset {preset}" in header
            resolve(method(name).Config, METHODS[name], preset)


# --------------------------------------------------------------------------------------- run folder


def test_a_run_folder_is_one_trainings(tmp_path):
    run = {"method": "x", "config": {"width": 4, "fit": {"steps": 5}}}
    taken = pytest.raises(SecondReaderError, match="another process")
    with claimed(tmp_path / "r", run), taken, claimed(tmp_path / "r", run):
        raise AssertionError
    (tmp_path / "r" / "weights").write_text("kept")
    with claimed(tmp_path / "r", run):
        assert (tmp_path / "r" / "weights").read_text() == "kept"
    other = {"method": "x", "config": {"width": 4, "fit": {"steps": 6}}}
    differs = pytest.raises(SecondReaderError, match=r"got config\.fit\.steps = 6, but .* has 5")
    with differs, claimed(tmp_path / "r", other):
        raise AssertionError
    with claimed(tmp_path / "r", other, overwrite=True):
        assert not (tmp_path / "r" / "weights").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    foreign = pytest.raises(SecondReaderError, match="holds something else")
    with foreign, claimed(tmp_path, {"method": "x"}):
        raise AssertionError
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
