"""From the command line to a reader: trained, killed, resumed, evaluated, used."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from secondreader import pipeline
from secondreader.domain import SecondReaderError

COMMAND = [
    *(sys.executable, "-m", "secondreader", "train", "anomaly_cascade"),
    *("--preset", "smoke", "--data", "phantom=tiny", "--quiet"),
]
SHORT = ["--set", "fit.steps=12", "--set", "fit.validate_every=4", "--set", "validation_patches=32"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A cache of its own, so that nothing of the user's is touched or used."""
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


def run(words, environment):
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "r"
    done = run([*COMMAND, *SHORT, "-o", str(out)], environment)
    assert done.returncode == 0, done.stderr
    return out


def test_a_model_that_a_training_begins_from_may_not_become_another(tmp_path):
    def panel(folder, *settings, **more):
        told = {"settings": settings, "fitted": False, **more}
        return pipeline.train("panel", ["phantom=tiny"], folder, **told)

    member, out = tmp_path / "member", tmp_path / "out"
    panel(member, 'members=["spot_filter"]')
    words = f"members={json.dumps([str(member)])}"
    panel(out, words)
    panel(out, words)  # the same: goes on
    panel(member, 'members=["spot_filter"]', "flips=true", overwrite=True)
    with pytest.raises(SecondReaderError, match="begins from"):
        panel(out, words)
    panel(out, words, overwrite=True)


@pytest.mark.slow
def test_a_dry_run_counts_the_data_and_trains_nothing(environment, trained, tmp_path):
    done = run([*COMMAND, *SHORT, "--dry-run"], environment)
    assert done.returncode == 0, done.stderr
    assert "train: 36 images, 9 patients" in done.stdout
    assert "stage proposals: at most 12 steps" in done.stdout


@pytest.mark.slow
def test_the_model_folder_is_whole_and_names_no_machine(trained):
    names = {p.name for p in (trained / "model").iterdir()}
    assert {
        "config.json",
        "weights.safetensors",
        "operating_points.json",
        "calibration.json",
    } <= names
    assert {"environment.json", "model-card.md"} <= names
    for path in (trained / "model").glob("*.json"):
        assert str(trained) not in path.read_text()
    assert "Research use only" in (trained / "model" / "model-card.md").read_text()
    told = json.loads((trained / "model" / "environment.json").read_text())
    assert told["split"] == "official" and told["peak_megabytes"] > 100


@pytest.mark.slow
def test_killed_and_called_again_it_ends_with_the_same_weights(environment, trained, tmp_path):
    words = [*COMMAND, *SHORT, "-o", str(tmp_path / "r")]
    running = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    last = tmp_path / "r" / "stages" / "proposals" / "last.ckpt"
    for _ in range(1200):
        if last.is_file() or running.poll() is not None:
            break
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = run(words, environment)
    assert done.returncode == 0, done.stderr
    weights = "model/weights.safetensors"
    assert (tmp_path / "r" / weights).read_bytes() == (trained / weights).read_bytes()


@pytest.mark.slow
def test_ctrl_c_ends_it_in_one_line_and_the_run_is_kept(environment, trained, tmp_path):
    words = [*COMMAND, "-o", str(tmp_path / "r")]
    running = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    last = tmp_path / "r" / "stages" / "proposals" / "last.ckpt"
    for _ in range(1200):
        if last.is_file() or running.poll() is not None:
            break
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate()
    assert running.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told
    assert last.is_file()


@pytest.mark.slow
def test_another_configuration_does_not_go_on_in_the_same_folder(environment, trained):
    done = run([*COMMAND, "--set", "width=9", "-o", str(trained)], environment)
    assert done.returncode == 1
    assert "the training there has" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_it_is_evaluated_and_it_reads(environment, trained, tmp_path, film_exams):
    words = [sys.executable, "-m", "secondreader"]
    done = run(
        [*words, "evaluate", str(trained), "--data", "phantom=tiny", "--split", "official",
         "--resamples", "100", "--no-groups", "-o", str(tmp_path / "e")], environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "anomaly_cascade" in (tmp_path / "e" / "metrics.json").read_text()
    done = run(
        [*words, "read", str(film_exams), "--model", str(trained), "-o", str(tmp_path / "o")],
        environment,
    )
    assert done.returncode == 0, done.stderr
    assert "read 8 of 8 images" in done.stderr


def test_what_makes_no_sense_is_said_before_anything_is_trained(tmp_path):
    exam = ["phantom=tiny"]
    for name, words, expected in (
        ("spot_filter", {}, "nothing to learn"),
        ("nobody", {}, "expected one of"),
        ("anomaly_cascade", {"settings": ["widht=3"]}, "did you mean 'width'"),
        ("anomaly_cascade", {"preset": "huge"}, "expected one of"),
    ):
        with pytest.raises(SecondReaderError, match=expected):
            pipeline.plan_training(name, exam, **words)
