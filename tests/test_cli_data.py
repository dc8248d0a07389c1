"""`secondreader data`: lists, verifies, indexes, splits, caches; exit 1 where something is broken."""

import json
import subprocess
import sys


def run(*words):
    command = [sys.executable, "-m", "secondreader", "data", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_list_names_every_set_with_its_licence_and_where_to_ask():
    told = json.loads(run("list", "--json").stdout)
    assert {"cbis_ddsm", "inbreast", "mini_mias", "phantom", "table"} <= set(told)
    assert all(one["licence"] and one["ask"] and one["good_for"] for one in told.values())
    assert "mini_mias" in run("list").stdout


def test_a_whole_set_is_not_broken(film_exams):
    done = run("verify", f"phantom={film_exams}", "--quiet")
    assert done.returncode == 0, done.stdout
    assert "nothing is broken" in done.stdout


def test_a_set_with_a_file_gone_exits_with_1_and_says_which(film_exams, tmp_path):
    import shutil

    shutil.copytree(film_exams, tmp_path / "set")
    (tmp_path / "set" / "exam-00000" / "L-CC.dcm").unlink()
    done = run("verify", f"phantom={tmp_path / 'set'}", "--json", "--quiet")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["broken"] is True
    assert any("no L-CC.dcm" in finding["got"] for finding in told["findings"])


def test_index_writes_a_line_an_image(film_exams, tmp_path):
    out = tmp_path / "records.jsonl"
    done = run("index", f"phantom={film_exams}", "-o", out, "--cache", tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == 8


def test_split_writes_a_text_of_patients_that_is_the_same_each_time(film_exams, tmp_path):
    for name in "ab":
        done = run(
            "split", f"phantom={film_exams}", "-o", tmp_path / name, "--folds", 2,
            "--cache", tmp_path / "cache",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "a").read_text()
    assert text == (tmp_path / "b").read_text()
    assert text.count("PHANTOM-19-") == 2
    wrong = run(
        "split", f"phantom={film_exams}", "-o", tmp_path / "c", "--fractions", "a:b",
        "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert wrong.returncode == 1
    assert "--fractions: got 'a:b'" in wrong.stderr


def test_cache_tells_what_it_holds_and_is_emptied(film_exams, tmp_path):
    run("index", f"phantom={film_exams}", "-o", tmp_path / "r", "--cache", tmp_path / "cache")
    held = json.loads(run("cache", "--cache", tmp_path / "cache", "--json").stdout)
    assert held["indexes"] == 1
    run("cache", "--cache", tmp_path / "cache", "--clear")
    assert json.loads(run("cache", "--cache", tmp_path / "cache", "--json").stdout)["indexes"] == 0
