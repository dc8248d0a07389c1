"""The command line: one line and exit 1 for errors, exit 2 for wrong usage, never a traceback."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

COMMANDS = ("read", "inspect", "phantom", "data", "models", "demo")


def run(*words, **more):
    """Run a command; who reads is the spot filter if nobody is named: this is of the program, not of the box."""
    if words[0] == "read" and "--model" not in words:
        words = (*words, "--model", "spot_filter")
    command = [sys.executable, "-m", "secondreader", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def one_line(process):
    """The error: one line on stderr that names the program, exit 1."""
    assert process.returncode == 1, process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith("secondreader: ")]
    assert len(lines) == 1
    assert "Traceback" not in process.stderr
    return lines[0]


@pytest.fixture
def picture(tmp_path):
    pixels = np.zeros((300, 200), np.uint8)
    pixels[50:250, :120] = np.random.default_rng(0).integers(90, 160, (200, 120))
    path = tmp_path / "a_L_CC.png"
    Image.fromarray(pixels).save(path)
    return path


def test_reading_says_what_it_read_and_where_the_report_is(picture, tmp_path):
    done = run("read", picture, "-o", tmp_path / "out", "--spacing-mm", "0.2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "read 1 of 1 image in 1 exam" in done.stderr
    assert str(tmp_path / "out" / "report.html") in done.stderr


def test_quiet_is_quiet(picture, tmp_path):
    done = run("read", picture, "-o", tmp_path / "out", "--spacing-mm", "0.2", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_image_read_by_any_model_is_exit_1_that_names_the_option(picture, tmp_path):
    done = run("read", picture, "-o", tmp_path / "out")
    assert "no image was read" in one_line(done)
    assert "--spacing-mm" in done.stderr


def test_an_input_that_does_not_exist_is_one_line(tmp_path):
    assert "no image was found" in one_line(run("read", tmp_path / "no", "-o", tmp_path / "out"))


def test_an_empty_folder_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    one_line(run("read", tmp_path / "empty", "-o", tmp_path / "out"))


def test_garbage_beside_an_image_is_skipped_with_its_reason(picture, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    picture.rename(folder / picture.name)
    (folder / "broken.dcm").write_bytes(os.urandom(4000))
    (folder / "cut.png").write_bytes((folder / picture.name).read_bytes()[:200])
    done = run("read", folder, "-o", tmp_path / "out", "--spacing-mm", "0.2")
    assert done.returncode == 0
    skipped = json.loads((tmp_path / "out" / "reading.json").read_text())["skipped"]
    assert {s["path"] for s in skipped} == {"broken.dcm", "cut.png"}
    assert all("\n" not in s["reason"] and s["reason"] for s in skipped)


def test_a_full_disk_is_one_line_and_nothing_half_written_stays(picture, tmp_path):
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("needs root on Linux to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=140k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small disk here")
    try:
        done = run("read", picture, "-o", disk / "out", "--spacing-mm", "0.2")
        one_line(done)
        left = [p for p in disk.rglob("*") if p.is_file() and "journal" not in p.name]
        assert not any(p.name.endswith(".part") for p in left)
        assert not (disk / "out" / "report.html").exists()  # it comes last
        for page in (p for p in left if p.suffix == ".html"):
            assert page.read_text().endswith("</html>\n")
        for whole in (p for p in left if p.suffix == ".json"):
            json.loads(whole.read_text())
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_says_its_version(command):
    if command != "data":
        assert run(command, "--version").stdout.startswith("secondreader ")
    done = run(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("words", [["read"], ["frobnicate"], ["phantom", "x"], ["read", "--what"]])
def test_wrong_usage_exits_with_2(words):
    assert run(*words).returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["phantom", "OUT", "--exams", "0"], "--exams: got 0"),
        (["phantom", "OUT", "--exams", "1", "--vendor", "kodak"], "--vendor: got 'kodak'"),
        (["phantom", "OUT", "--exams", "1", "--seed", "-3"], "--seed: got -3"),
        (["data", "verify", "nothing=here"], "got data set 'nothing'"),
        (["data", "verify", "mini_mias=OUT"], "expected Info.txt"),
    ],
)
def test_values_that_make_no_sense_are_one_line(words, said, tmp_path):
    words = [
        str(tmp_path / "out") if w == "OUT" else w.replace("OUT", str(tmp_path)) for w in words
    ]
    assert said in one_line(run(*words))


def test_inspect_tells_the_steps_and_no_ids(film_exams):
    file = film_exams / "exam-00000" / "L-CC.dcm"
    told = json.loads(run("inspect", file, "--json").stdout)
    assert [step["name"] for step in told[0]["steps"]][:2] == ["transfer syntax", "stored values"]
    text = run("inspect", file).stdout
    assert "PHANTOM" not in text
    assert "PHANTOM" in run("inspect", file, "--identifiers").stdout


def test_models_lists_the_spot_filter_with_where_its_points_were_chosen():
    told = {one["name"]: one for one in json.loads(run("models", "--json").stdout)}
    known = told["spot_filter"]
    assert known["default"] in {point["name"] for point in known["operating_points"]}
    assert all("looked at in development" in p["chosen_on"] for p in known["operating_points"])


def test_phantoms_are_the_same_bytes_each_time_and_other_folders_are_left_alone(tmp_path):
    for name in ("a", "b"):
        run("phantom", tmp_path / name, "--exams", 1, "--seed", 7, "--vendor", "film")
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    refused = run("phantom", tmp_path / "a", "--exams", 1, "--seed", 8, "--vendor", "film")
    assert "--overwrite" in one_line(refused)


@pytest.mark.parametrize("command", [["--help"], ["models"]])
def test_the_program_runs_without_torch(command):
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv[1:] = " + repr(command) + ";"
        "from secondreader.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
