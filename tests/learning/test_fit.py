"""A training ends the same whether or not it was killed, and says in one line what stops it."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from secondreader.domain import SecondReaderError
from secondreader.learning import steps
from secondreader.learning.fit import FitSettings, fit
from secondreader.learning.hardware import Hardware

CPU = Hardware("cpu", precision="fp32", progress=False)
TRUE = torch.tensor([[1.0, -2.0, 0.5]])


def batches(step):
    rng = np.random.default_rng((5, step))
    x = torch.from_numpy(rng.standard_normal((8, 3)).astype(np.float32))
    return {"x": x, "y": x @ TRUE.T, "where": [f"image {i}" for i in range(8)]}


def loss(network, batch):
    return functional.mse_loss(network(batch["x"]), batch["y"])


def validate(network):
    batch = batches(10_000)
    return {"closeness": -float(loss(network, batch).detach())}


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 1))


def trained(run, net=None, settings=None, **more):
    settings = settings or FitSettings(steps=30, batch=8, validate_every=10, learning_rate=1e-2)
    net = net or network()
    options = {
        "figure": "closeness",
        "stage": "only",
        "seed": 1,
        "hardware": CPU,
    } | more
    fitted = fit(
        net,
        options.pop("loss", loss),
        options.pop("batches", batches),
        options.pop("validate", validate),
        settings,
        run_dir=run,
        **options,
    )
    return net, fitted


def same(one, two):
    a, b = one.state_dict(), two.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_keeps_the_best(tmp_path):
    net, fitted = trained(tmp_path)
    figures = [h["closeness"] for h in fitted.history]
    assert figures[-1] > figures[0]
    assert fitted.figure == max(figures)
    assert validate(net)["closeness"] == pytest.approx(fitted.figure, rel=1e-5)
    assert fitted.loader > 0
    assert fitted.training > 0


def test_one_seed_one_training_bit_for_bit(tmp_path):
    assert same(trained(tmp_path / "a")[0], trained(tmp_path / "b")[0])
    assert not same(trained(tmp_path / "a")[0], trained(tmp_path / "c", seed=2)[0])


def test_a_finished_stage_is_only_loaded(tmp_path):
    net, _ = trained(tmp_path)

    def never(step):
        raise AssertionError

    again, _ = trained(tmp_path, net=network(), batches=never)
    assert same(net, again)


def test_a_stop_between_two_validations_changes_nothing(tmp_path):
    def once(step):
        if step == 17 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyError("the loader broke")
        return batches(step)

    with pytest.raises(KeyError):
        trained(tmp_path / "a", batches=once)
    assert (tmp_path / "a" / "stages" / "only" / "last.ckpt").is_file()
    assert same(trained(tmp_path / "a", batches=once)[0], trained(tmp_path / "b")[0])


@pytest.mark.slow
def test_killed_and_called_again_it_ends_with_the_weights_of_an_unbroken_run(tmp_path):
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        import test_fit as t
        def slow(step):
            time.sleep(0.05)
            return t.batches(step)
        t.trained(Path(sys.argv[1]), batches=slow)
        """)
    (tmp_path / "program.py").write_text(program)
    here = os.path.dirname(__file__)  # noqa: PTH120
    environment = os.environ | {"PYTHONPATH": here}
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "a")]
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    last = tmp_path / "a" / "stages" / "only" / "last.ckpt"
    for _ in range(600):
        if last.is_file():
            break
        time.sleep(0.05)
    time.sleep(0.2)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "a" / "stages" / "only" / "done.json").exists()
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    whole, _ = trained(tmp_path / "b")
    best = safetensors.torch.load_file(tmp_path / "a" / "stages" / "only" / "best.safetensors")
    assert all(torch.equal(best[name], value) for name, value in whole.state_dict().items())


def test_a_loss_that_is_no_number_names_the_image(tmp_path):
    def wrong(net, batch):
        return loss(net, batch) * float("nan")

    with pytest.raises(SecondReaderError, match=r"loss of nan at step 0 \(image 0"):
        trained(tmp_path, loss=wrong)


@pytest.mark.parametrize("figures,kept", [
    ([math.nan, 1.0, 0.5], 20), ([2.0, math.nan, 1.0], 10), ([math.nan] * 3, 30),
])  # fmt: skip
def test_a_figure_that_is_no_number_is_said_and_never_the_best(tmp_path, caplog, figures, kept):
    told = iter(figures)
    _, fitted = trained(tmp_path, validate=lambda _: {"closeness": next(told)})
    assert fitted.step == kept
    assert caplog.text.count("closeness is no number") == sum(map(math.isnan, figures))


def test_patience_ends_it(tmp_path):
    settings = FitSettings(steps=100, batch=8, validate_every=10, patience=2)
    figures = iter([3.0, 1.0, 2.0, 9.0])
    _, fitted = trained(
        tmp_path, settings=settings, validate=lambda net: {"closeness": next(figures)}
    )
    assert [h["closeness"] for h in fitted.history] == [3.0, 1.0, 2.0]
    assert (fitted.figure, fitted.step) == (3.0, 10)


def test_too_little_memory_takes_a_batch_in_pieces_with_the_same_gradient(tmp_path, caplog):
    def hungry(net, batch):
        if len(batch["x"]) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return loss(net, batch)

    plain = nn.Linear(3, 1)
    with torch.no_grad():
        plain.weight.zero_()
    other = nn.Linear(3, 1)
    other.load_state_dict(plain.state_dict())
    settings = FitSettings(steps=5, batch=8, validate_every=5, optimizer="sgd", learning_rate=0.1)
    trained(tmp_path / "a", net=plain, settings=settings, loss=hungry)
    trained(tmp_path / "b", net=other, settings=settings)
    assert "4 pieces" in caplog.text
    assert torch.allclose(plain.weight, other.weight, atol=1e-3)

    def starving(net, batch):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(SecondReaderError, match="too little memory"):
        trained(tmp_path / "c", loss=starving)


def test_other_errors_are_not_taken_for_memory(tmp_path):
    def wrong(net, batch):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        trained(tmp_path, loss=wrong)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(steps, "write_whole", full)
    with pytest.raises(SecondReaderError, match="No space left on device; the run so far is kept"):
        trained(tmp_path)


def test_pictures_and_logs_are_written(tmp_path):
    trained(tmp_path, pictures=lambda net: np.zeros((4, 6, 3), np.uint8))
    where = tmp_path / "stages" / "only"
    assert sorted(p.name for p in (where / "pictures").iterdir())[-1] == "0000030.png"
    assert list(where.rglob("metrics.csv"))
    assert list(where.rglob("events.out.tfevents.*"))
    assert json.loads((where / "done.json").read_text())["step"] in (10, 20, 30)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_schedules_go_on_after_a_stop(tmp_path, schedule):
    settings = FitSettings(
        steps=30, batch=8, validate_every=10, schedule=schedule, optimizer="sgd", learning_rate=0.05
    )

    def once(step):
        if step == 12 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyError("the loader broke")
        return batches(step)

    with pytest.raises(KeyError):
        trained(tmp_path / "a", settings=settings, batches=once)
    a = trained(tmp_path / "a", settings=settings, batches=once)[0]
    assert same(a, trained(tmp_path / "b", settings=settings)[0])
    logs = (tmp_path / "a/stages/only/logs").glob(
        "from-*/metrics.csv"
    )  # what was logged before stays
    assert sorted(file.parent.name for file in logs) == ["from-0000000", "from-0000010"]


def test_augmentation_is_a_function_of_seed_and_step(tmp_path):
    def shaken(batch, generator):
        noise = torch.rand(batch["x"].shape, generator=generator)
        return {**batch, "x": batch["x"] + 0.1 * noise}

    one, two = (trained(tmp_path / name, augment=shaken)[0] for name in "ab")
    assert same(one, two)
    assert not same(one, trained(tmp_path / "c")[0])


class Vanishing:
    """Batches of a data set of which a file goes missing on the way."""

    def __init__(self, after):
        self.after = after

    def __call__(self, step):
        if step >= self.after:
            raise SecondReaderError("cannot read: no such file (file: p1/left.dcm)")
        return batches(step)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_that_vanished_is_one_line_and_the_run_so_far_is_kept(tmp_path, workers):
    hardware = Hardware("cpu", precision="fp32", progress=False, workers=workers)
    with pytest.raises(SecondReaderError) as caught:
        trained(tmp_path, batches=Vanishing(15), hardware=hardware)
    assert str(caught.value) == "cannot read: no such file (file: p1/left.dcm)"
    kept = {p.name for p in (tmp_path / "stages" / "only").iterdir()}
    assert {"best.safetensors", "last.ckpt"} <= kept
    # It is back: the training goes on, to the same weights as if nothing had happened.
    (back, _), (whole, _) = trained(tmp_path), trained(tmp_path / "whole")
    assert same(back, whole)
