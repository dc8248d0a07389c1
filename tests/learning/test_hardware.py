"""What to compute on: readers are put on the device that is asked for."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from secondreader.cli_words import Device
from secondreader.domain import SecondReaderError
from secondreader.learning.hardware import device_name, placed, where_read


def reader(**held):
    return SimpleNamespace(read=None, **held)


def test_every_network_that_a_reader_or_a_panel_of_readers_holds_is_moved():
    one, two, three, four = (nn.Linear(2, 2) for _ in range(4))
    panel = reader(
        members=[reader(network=one, config="x"), reader(networks={"a": two, "b": three})]
    )
    placed(panel, torch.device("meta"))  # a device that every machine has
    placed(reader(network=None, trees={"a": torch.zeros(2)}), torch.device("meta"))
    assert all(p.is_meta for n in (one, two, three) for p in n.parameters())
    assert not any(p.is_meta for p in four.parameters())


def test_where_readers_read_is_what_is_named_and_else_a_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setenv("SECONDREADER_DEVICE", "cpu")
    assert where_read() == torch.device("cpu")
    assert device_name(where_read()) == "cpu"
    monkeypatch.delenv("SECONDREADER_DEVICE")
    assert where_read().type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setenv("SECONDREADER_DEVICE", "abacus")
    with pytest.raises(
        SecondReaderError, match="--device: got 'abacus', expected one of auto, cpu"
    ):
        where_read()


def test_a_command_says_where_readers_read_until_it_ends_and_only_if_it_is_told(monkeypatch):
    app, seen = typer.Typer(), []

    @app.command()
    def look(device: Device = "auto") -> None:
        seen.append(os.environ.get("SECONDREADER_DEVICE"))

    monkeypatch.setenv("SECONDREADER_DEVICE", "cpu")
    for words in ([], ["--device", "mps"], ["--device", "auto"]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert seen == ["cpu", "mps", "auto"]
    assert os.environ["SECONDREADER_DEVICE"] == "cpu"


def test_a_device_that_there_is_not_is_told_by_readers_without_networks_too(tmp_path):
    words = ["read", tmp_path, "-o", tmp_path / "out", "--device", "abacus"]
    command = [sys.executable, "-m", "secondreader", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = "secondreader: --device: got 'abacus', expected one of auto, cpu, cuda, mps\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_a_method_without_weights_is_loaded_without_pytorch():
    code = "import sys; from secondreader.reading import load_model; load_model('spot_filter'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
