"""Rows in several processes: in an order that their needs allow, and what fails takes its own with it."""

from __future__ import annotations

import json
import sys

import pytest

from secondreader.studies.at_once import at_once
from secondreader.studies.study import Cell, Recipe, Row

SCRIPT = """
import json, sys, time
from pathlib import Path
home, key, fails = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
begun = time.time()
time.sleep(0.3)
print("not to be seen")
if key == fails:
    sys.exit("a line before\\nsecondreader: got nothing, expected something")
(home / f"{key}.json").write_text(json.dumps([begun, time.time()]))
"""


def row(key, start="", against=(), trains=True, method="spot_filter"):
    recipe = Recipe(method, start=start, against=against, trains=trains)
    return Row(key, (key,), {"AUC": Cell("")}, recipe)


ROWS = (
    row("a"), row("b"), row("a-tuned", start="a"), row("a-shown", start="a", trains=False),
    row("a-beside-b", start="a", against=("b",), trains=False), Row("size", ("size",), {}),
)  # fmt: skip


def go(tmp_path, jobs, fails="", rows=ROWS):
    command = lambda key: [sys.executable, "-c", SCRIPT, str(tmp_path), key, fails]  # noqa: E731
    got = {o.row: o for o in at_once(rows, command, jobs)}
    spans = {f.stem: json.loads(f.read_text()) for f in tmp_path.glob("*.json")}
    return got, spans


def overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]


@pytest.mark.parametrize("jobs", [1, 4])
def test_rows_wait_for_what_they_need_and_for_who_measures_the_same_model(tmp_path, jobs):
    got, spans = go(tmp_path, jobs)
    assert {o.state for key, o in got.items() if key != "size"} == {"run"}
    assert got["size"].state == "left out"
    assert len(spans) == 5
    for after, before in (
        ("a-tuned", "a"),
        ("a-shown", "a"),
        ("a-beside-b", "a"),
        ("a-beside-b", "b"),
    ):
        assert spans[after][0] >= spans[before][1]
    assert not overlap(spans["a-shown"], spans["a-beside-b"])
    pairs = sorted(spans.values())
    crowded = max(sum(s <= t < e for s, e in pairs) for t, _ in pairs)
    assert crowded <= jobs


def test_what_fails_is_told_by_its_last_line_and_takes_only_what_needs_it(tmp_path):
    got, spans = go(tmp_path, 2, fails="a")
    assert (got["a"].state, got["a"].why) == ("failed", "got nothing, expected something")
    for key in ("a-tuned", "a-shown", "a-beside-b"):
        assert (got[key].state, got[key].why) == ("left out", "needs a, which was left out")
    assert set(spans) == {"b"}


def test_a_method_that_is_not_there_is_left_out(tmp_path):
    got, _ = go(tmp_path, 2, rows=(row("x", method="abacus"), row("y")))
    assert (got["x"].state, got["x"].why) == ("left out", "method not built yet")
    assert got["y"].state == "run"
