"""Running a study: order, resuming, what is left out and why, and how it is shown."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from secondreader.domain import SecondReaderError
from secondreader.evaluation.figures import Comparison, Figure, Metrics
from secondreader.studies import run, show, spent, study
from secondreader.studies.run import Data, _identities, chosen, reproduce, stored
from secondreader.studies.spent import most_megabytes
from secondreader.studies.study import Cell, Measure, Row, Study, Table

ALL = ("anomaly_cascade", "patch_to_image", "panel", "mined_cnn", "spot_filter")
DATA = Data(("inbreast",), "sha256:1")


def metrics(figures=(), comparisons=(), readers=("m",)):
    data = ({"name": "inbreast", "images": 82, "patients": 23},)
    return Metrics("0", "patient-3-1-1:0 test", data, tuple(readers), {"hit:zhang2019": "…"}, {"level": 0.95},
                   figures=tuple(figures), comparisons=tuple(comparisons))  # fmt: skip


def recalls(value, width=0.05, reader="m"):
    return [
        Figure(reader, "region", f"recall_at_{k}_fp_on_all", value, value - width, value + width,
               method="patient bootstrap", hit_rule="zhang2019")
        for k in (1, 5, 10, 15, 20, 30)
    ]  # fmt: skip


class Lab:
    """Trains nothing, counts everything."""

    def __init__(self, figures=None):
        self.trained, self.evaluated = [], []
        self.figures = recalls(0.8) if figures is None else figures

    def train(self, recipe, run_dir, start):
        self.trained.append((run_dir.name, start.parent.name if start else None))
        (run_dir / "model").mkdir(parents=True, exist_ok=True)
        return run_dir / "model"

    def evaluate(self, recipe, models, groups):
        self.evaluated.append([getattr(m, "parent", m) for m in models])
        return metrics(self.figures)


def write(path, text):
    """Write whole or not at all, as what is handed in must: some tests read while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    other = path.with_name(path.name + ".new")
    other.write_text(text, encoding="utf-8")
    other.replace(path)


def go(tmp_path, of, rows, lab, *, data=DATA, built=ALL):
    return list(reproduce(
        of, rows, data=data, figures=tmp_path / "figures", runs=tmp_path / "runs", train=lab.train,
        evaluate=lab.evaluate, write=write, built=built, command="reproduce", seed=3,
    ))  # fmt: skip


def test_mandatory_rows_only_are_run_unless_all_are_asked_for():
    zhang = study("zhang2019")
    # The cascade begins with what its first stage was trained to.
    assert [r.key for r in chosen(zhang, "table1", "mandatory")] == [
        "table3-asn",
        "table1-proposed",
    ]
    assert len(chosen(zhang, "table1", "all")) == 5
    assert [r.key for r in chosen(zhang, None, ["table3-asn"])] == ["table3-asn"]
    with pytest.raises(SecondReaderError, match="expected 'mandatory', 'all'"):
        chosen(zhang, None, "some")


def test_rows_that_others_need_come_first_and_once():
    keys = [r.key for r in chosen(study("shen2019"), None, ["text-ensemble-ddsm"])]
    assert keys[-1] == "text-ensemble-ddsm"
    assert keys.index("table1-resnet50-imagenet-s10") < keys.index("table2-512-1024x2")
    assert len(keys) == len(set(keys)) == 7


def test_the_small_study_runs_each_mandatory_row_from_what_it_needs(tmp_path):
    small, lab = study("shen2019-small"), Lab([])
    rows = chosen(small, None, "mandatory")
    got = go(tmp_path, small, rows, lab, data=Data(("phantom", "phantom-2"), "f"))
    assert {o.state for o in got} == {"run"} and len(got) == len(rows) >= 24
    began = dict(lab.trained)
    assert began["table2-s1"] == "table1-resnet_small-random-s1"
    assert began["text-two-step"] == "table1-resnet_small-random-s10"
    assert began["table4-20-resnet-vgg"] == "table2-256-128"
    # Claims train nothing: they put one row's model against another's.
    assert not any(key.startswith("claim") for key in began)
    last = {row.key: names for row, names in zip(rows, lab.evaluated, strict=True)}
    assert [m.name for m in last["claim-s10"]] == ["table2-512-2048x1", "table2-s1"]
    assert [m.name for m in last["claim-transfer"]] == ["table4-72-resnet-vgg", "table2-256-128"]
    told = stored(tmp_path / "figures", small)["claim-s10"]["differs"]
    assert not any("the paper" in words for words in told)


def test_a_row_is_stored_with_what_it_takes_to_believe_it(tmp_path):
    zhang, lab = study("zhang2019"), Lab()
    assert [o.state for o in go(tmp_path, zhang, chosen(zhang, "table1", "mandatory"), lab)] == [
        "run",
        "run",
    ]
    got = stored(tmp_path / "figures", zhang)["table1-proposed"]
    assert got["cells"]["R@5"] == {
        "value": 0.8, "low": pytest.approx(0.75), "high": pytest.approx(0.85),
        "method": "patient bootstrap", "note": "",
    }  # fmt: skip
    assert {"command", "seed", "split", "data", "rules", "interval", "version"} <= set(got)
    assert {"hours", "peak_megabytes"} <= set(got)
    assert got["seed"] == 3


def test_a_second_call_does_nothing_and_new_data_run_again(tmp_path):
    zhang, lab = study("zhang2019"), Lab()
    rows = chosen(zhang, "table1", "all")
    go(tmp_path, zhang, rows, lab)
    assert [o.state for o in go(tmp_path, zhang, rows, lab)] == ["stored"] * 5
    assert len(lab.trained) == 5
    go(tmp_path, zhang, rows, lab, data=Data(("inbreast",), "sha256:2"))
    assert len(lab.trained) == 10


def test_a_default_that_changed_runs_a_row_and_what_needs_it_again_and_a_new_setting_does_not(
    tmp_path,
):
    zhang, lab = study("zhang2019"), Lab()
    rows = chosen(zhang, "table1", "mandatory")
    go(tmp_path, zhang, rows, lab)
    file = tmp_path / "figures" / "zhang2019" / "table3-asn.json"
    told = json.loads(file.read_text())["settings"]
    assert list(told) == ["table3-asn"] and told["table3-asn"]["seed"] == 0
    proposed = stored(tmp_path / "figures", zhang)["table1-proposed"]["settings"]
    assert list(proposed) == ["table3-asn", "table1-proposed"]

    def with_settings(change):
        held = json.loads(file.read_text())
        change(held["settings"]["table3-asn"])
        file.write_text(json.dumps(held))
        return [o.state for o in go(tmp_path, zhang, rows, Lab())]

    # As it is when a setting is younger than the row, or is no more.
    assert with_settings(lambda s: s.pop("seed")) == ["stored", "stored"]
    assert with_settings(lambda s: s.update(gone=1)) == ["stored", "stored"]
    inner = next(name for name, value in told["table3-asn"].items() if isinstance(value, dict))
    key = next(iter(told["table3-asn"][inner]))
    assert with_settings(lambda s: s[inner].update({key: "other"})) == ["run", "run"]
    assert with_settings(lambda s: None) == ["stored", "stored"]


def test_a_row_that_trains_nothing_is_measured_again_when_its_model_was_trained_in_a_call_before(
    tmp_path,
):
    zhang = study("zhang2019")
    rows = chosen(zhang, None, ["table5-l1"])
    go(tmp_path, zhang, rows, Lab())
    for file in (tmp_path / "figures" / "zhang2019").glob("*.json"):  # by another default
        told = json.loads(file.read_text())
        for own in told["settings"].values():
            own["seed"] = 99
        file.write_text(json.dumps(told))
    for count in (1, 2, 3):  # as processes of --jobs do
        got = [o.state for o in go(tmp_path, zhang, rows[:count], Lab())]
        assert got == ["stored"] * (count - 1) + ["run"]


def test_a_row_may_measure_another_rows_model(tmp_path):
    zhang, lab = study("zhang2019"), Lab()
    rows = chosen(zhang, None, ["table5-l1"])
    assert [r.key for r in rows] == ["table3-asn", "table1-proposed", "table5-l1"]
    go(tmp_path, zhang, rows, lab)
    assert [name for name, _ in lab.trained] == ["table3-asn", "table1-proposed"]
    assert [m.name for m in lab.evaluated[-1]] == ["table1-proposed"]
    # Its figures are gone: the model is still there, and is measured again.
    (tmp_path / "figures/zhang2019/table5-l1.json").unlink()
    again = Lab()
    assert [o.state for o in go(tmp_path, zhang, rows, again)] == ["stored", "stored", "run"]
    assert not again.trained


def test_subgroups_are_measured_only_where_a_cell_names_one(tmp_path):
    class Notes(Lab):
        def evaluate(self, recipe, models, groups):
            self.evaluated.append(groups)
            return metrics(self.figures)

    lab = Notes()
    go(tmp_path, study("zhang2019"), chosen(study("zhang2019"), None, ["table3-asn"]), lab)
    mordang = study("mordang2016")
    go(tmp_path, mordang, chosen(mordang, None, ["cascade"]), lab)
    # Positions have their makers in any case.
    assert lab.evaluated == [False, False]
    cells = {"x": Cell("", measure=Measure("auc", "image", group="vendor=*ge*"))}
    row = replace(mordang.row("first"), cells=cells)
    go(tmp_path, mordang, [row], lab)
    assert lab.evaluated == [False, False, True]


def test_what_broke_off_goes_on_where_it_stopped(tmp_path):
    zhang = study("zhang2019")
    rows = chosen(zhang, "table1", "all")

    class Breaks(Lab):
        def evaluate(self, recipe, models, groups):
            if len(self.evaluated) == 1:
                raise KeyboardInterrupt
            return super().evaluate(recipe, models, groups)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, zhang, rows, Breaks())
    lab = Lab()
    assert [o.state for o in go(tmp_path, zhang, rows, lab)] == ["stored"] + ["run"] * 4


def test_hours_of_a_row_that_was_stopped_count_and_those_of_other_data_do_not(
    tmp_path, monkeypatch
):
    mordang = study("mordang2016")
    (row,) = chosen(mordang, None, ["cascade"])
    clock = iter(range(0, 3600 * 99, 3600))  # an hour passes from one look to the next
    monkeypatch.setattr(spent.time, "monotonic", lambda: next(clock))

    class Breaks(Lab):
        def evaluate(self, recipe, models, groups):
            raise KeyboardInterrupt

    def told(lab, data=DATA):
        go(tmp_path, mordang, [row], lab, data=data)
        return stored(tmp_path / "figures", mordang)["cascade"]["hours"]

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            told(Breaks())
    assert told(Lab()) == 3
    assert [p.name for p in (tmp_path / "runs" / "mordang2016").iterdir()] == ["cascade"]
    with pytest.raises(KeyboardInterrupt):
        told(Breaks(), Data(("inbreast",), "sha256:2"))
    assert told(Lab(), Data(("inbreast",), "sha256:3")) == 1


def test_hours_are_kept_while_a_row_runs_for_a_kill_tells_nothing(tmp_path, monkeypatch):
    mordang = study("mordang2016")
    monkeypatch.setattr(spent, "_EVERY", 0.01)
    file = tmp_path / "runs" / "mordang2016" / "cascade.hours.json"

    class Looks(Lab):
        def evaluate(self, recipe, models, groups):
            end = time.monotonic() + 60
            while not file.is_file() and time.monotonic() < end:
                time.sleep(0.01)
            assert json.loads(file.read_text())["hours"] >= 0
            return super().evaluate(recipe, models, groups)

    (row,) = chosen(mordang, None, ["cascade"])
    assert [o.state for o in go(tmp_path, mordang, [row], Looks())] == ["run"]
    assert not file.exists()


def test_a_figure_of_positions_is_stored_with_how_many_there_were(tmp_path):
    mordang = study("mordang2016")
    own = Figure("m", "position", "mean_sensitivity_fpf_0_0.1", 0.5, 0.4, 0.6,
                 positives=5298, negatives=18_000_000)  # fmt: skip
    go(tmp_path, mordang, chosen(mordang, None, ["cascade"]), Lab([own, *recalls(0.8)]))
    cells = stored(tmp_path / "figures", mordang)["cascade"]["cells"]
    assert (cells["all, 0 to 0.1"]["positives"], cells["all, 0 to 0.1"]["negatives"]) == (
        5298,
        18_000_000,
    )
    assert "positives" not in cells["clusters found at 1 false alarm an image, all images"]


def test_figures_that_came_without_their_models_are_kept_unless_a_new_row_needs_the_model(tmp_path):
    shen, lab = study("shen2019"), Lab([])
    data = Data(("cbis_ddsm",), "f")
    go(tmp_path, shen, chosen(shen, None, ["table1-resnet50-imagenet-s10"]), lab, data=data)
    (tmp_path / "runs").rename(tmp_path / "lost")
    again = chosen(shen, None, ["table1-resnet50-imagenet-s10"])
    assert [o.state for o in go(tmp_path, shen, again, lab, data=data)] == ["stored"]
    whole = chosen(shen, None, ["table2-256-128"])
    assert [o.state for o in go(tmp_path, shen, whole, lab, data=data)] == ["trained", "run"]
    assert lab.trained[-1] == ("table2-256-128", "table1-resnet50-imagenet-s10")
    assert len(lab.evaluated) == 2  # what is stored of the first is not measured again


def test_a_lost_model_is_trained_again_for_a_new_row_without_what_it_was_put_against(tmp_path):
    mordang, lab = study("mordang2016"), Lab([])
    go(tmp_path, mordang, chosen(mordang, None, ["cnn"]), lab)
    held = {p.name: p.read_bytes() for p in (tmp_path / "figures" / "mordang2016").iterdir()}
    (tmp_path / "runs").rename(tmp_path / "lost")
    again = Lab([])
    got = go(tmp_path, mordang, chosen(mordang, None, ["cnn-apart"]), again)
    assert {o.row: o.state for o in got} == {
        "cascade": "stored", "first": "stored", "cnn-random": "stored", "cnn": "trained", "cnn-apart": "run",
    }  # fmt: skip
    assert [key for key, _ in again.trained] == ["cnn", "cnn-apart"]
    assert [[m.name for m in models] for models in again.evaluated] == [["cnn-apart", "cnn"]]
    now = {p.name: p.read_bytes() for p in (tmp_path / "figures" / "mordang2016").iterdir()}
    assert {name: now[name] for name in held} == held


def test_rows_of_methods_that_are_not_built_are_left_out_and_so_is_what_needs_them(tmp_path):
    shen, lab = study("shen2019"), Lab()
    rows = chosen(shen, None, ["text-ensemble-ddsm"])
    got = go(tmp_path, shen, rows, lab, built=("panel",))
    assert {o.state for o in got} == {"left out"}
    assert got[0].why == "method not built yet"
    assert "which was left out" in got[-1].why
    assert lab.trained == []


def test_a_row_that_fails_is_named_and_the_others_go_on_but_those_that_need_it(tmp_path):
    class Breaks(Lab):
        def train(self, recipe, run_dir, start):
            if run_dir.name == "table3-asn":
                raise SecondReaderError("training data: got no calcifications")
            return super().train(recipe, run_dir, start)

    zhang, lab = study("zhang2019"), Breaks()
    got = {o.row: o for o in go(tmp_path, zhang, chosen(zhang, "table1", "all"), lab)}
    assert (got["table3-asn"].state, got["table3-asn"].why) == (
        "failed",
        "training data: got no calcifications",
    )
    states = {o.state for o in got.values()}
    assert "run" in states and got["table1-proposed"].state == "left out"
    assert "table3-asn" not in stored(tmp_path / "figures", zhang)


def test_rows_that_make_no_sense_by_a_preset_are_left_out(tmp_path):
    of, lab = study("thatte2017").on(("inbreast",)).by("cpu"), Lab()
    rows = chosen(of, "start", "all")
    got = go(tmp_path, of, rows, lab, built=("second_look",))
    # The small network begins from none in any case, and there are no weights of it.
    assert [o.row for o in got] == ["start-none", "start-imagenet"] and not lab.trained
    assert {(o.state, o.why) for o in got} == {("left out", "not by the preset cpu")}
    assert study("thatte2017").row("start-none").recipe.why_not(("second_look",)) == ""


def test_a_method_without_weights_is_evaluated_by_its_name(tmp_path):
    own, lab = study("default"), Lab()
    go(tmp_path, own, chosen(own, None, ["spot-filter-phantom"]), lab)
    assert (lab.trained, lab.evaluated) == ([], [["spot_filter"]])


def test_other_data_than_the_papers_are_said(tmp_path):
    zhang, lab = study("zhang2019"), Lab()
    rows = chosen(zhang, "table1", "mandatory")
    go(tmp_path, zhang, rows, lab, data=Data(("phantom=bench-1:ge",), "g"))
    told = stored(tmp_path / "figures", zhang)["table1-proposed"]["differs"]
    assert told[0] == "data: the paper's row is of inbreast, here phantom=bench-1:ge"
    assert "82 images of 23 patients" in told[1]
    shown = show.beside(zhang, "table1", stored(tmp_path / "figures", zhang), built=ALL)
    assert told[0] in shown


def test_a_table_shows_published_beside_measured_and_what_was_not_run(tmp_path):
    zhang, lab = study("zhang2019"), Lab()
    go(tmp_path, zhang, chosen(zhang, "table1", "mandatory"), lab)
    shown = show.beside(
        zhang, "table1", stored(tmp_path / "figures", zhang), built=("anomaly_cascade",)
    )
    lines = [line.strip("| ").split(" | ") for line in shown.splitlines() if line[:1] == "|"]
    at = next(i for i, line in enumerate(lines) if line[0] == "Proposed")
    assert lines[0][-5:] == ["R@1", "R@5", "R@10", "R@15", "R@20"]
    assert lines[at] == [
        "Proposed",
        "published",
        "36.70 %",
        "78.35 %",
        "85.96 %",
        "88.26 %",
        "88.90 %",
    ]
    ours = "80.00 % [75.00, 85.00]"
    assert lines[at + 1][-4:] == [f"{ours}: inside", *[f"{ours}: outside"] * 3]
    assert lines[at + 1][0] == "measured [95 %]" and lines[at + 1][1].startswith(ours)
    at = next(i for i, line in enumerate(lines) if line[0] == "FPN FRCN")
    assert lines[at][2] == "39.72 %" and lines[at + 1][1:] == ["not run"] * 5
    none = show.beside(zhang, "table1", {}, built=())
    assert "|  | measured [95 %] | not run; method not built yet |" in none


def test_a_listing_says_what_trains_its_cost_and_whether_it_must_run():
    listed = show.listing(study("zhang2019"), "table1", built=())
    assert "36.70" in listed
    assert "anomaly_cascade:paper first_stage=init from table3-asn on inbreast" in listed
    assert "GPU hours" in listed
    assert "mandatory; method not built yet" in listed
    assert "optional" in show.listing(study("zhang2019"), built=ALL)
    assert "not built" not in show.listing(study("zhang2019"), built=ALL)


@pytest.mark.parametrize("low,high,told", [
    (0.70, 0.7836, "inside"), (0.70, 0.78, "outside"), (0.7844, 0.9, "inside"), (0.79, 0.9, "outside"),
])  # fmt: skip
def test_inside_means_that_the_interval_meets_what_rounds_to_the_printed_number(low, high, told):
    cell = Cell("78.4", percent=True, measure=Measure("x"))
    assert show.verdict(cell, {"value": 0.75, "low": low, "high": high}) == told


@pytest.mark.parametrize("low,high,told", [
    (0.91, 0.95, "holds"), (0.80, 0.85, "fails"), (0.85, 0.95, "not shown"),
])  # fmt: skip
def test_a_claim_holds_only_if_the_whole_interval_does(low, high, told):
    cell = Cell("above 0.9", measure=Measure("auc"), above=0.9)
    assert show.verdict(cell, {"value": 0.9, "low": low, "high": high}) == told


def test_a_count_is_a_whole_number_and_patches_are_shown_with_how_many_there_were():
    cell = Cell("", measure=Measure("auc", "patch"), note="ours")
    one = Study(
        "s", "p", {}, (), (Table("t", "c", ("Model",), ("n",), (Row("r", ("x",), {"n": cell}),)),)
    )
    count = {"value": 128.0, "low": 128.0, "high": 128.0, "method": "count"}
    area = {"value": 0.9, "low": 0.8, "high": 1.0, "positives": 7, "negatives": 11}
    assert "| 128 |" in show.beside(one, "t", {"r": {"cells": {"n": count}}})
    assert "| 0.900 [0.800, 1.000], 7 / 11 |" in show.beside(
        one, "t", {"r": {"cells": {"n": area}}}
    )


def test_a_number_without_an_interval_is_never_shown():
    cell = Cell("0.85", measure=Measure("auc"))
    told = show.verdict(cell, {"value": 0.9, "low": None, "high": None, "note": "one class only"})
    assert told == "no figure: one class only"


def test_a_difference_is_found_whichever_way_round_it_was_compared(tmp_path):
    mordang = study("mordang2016")
    c = Comparison("cascade", "cnn", "position", "mean_sensitivity_fpf_0_0.1", -0.1, -0.15, -0.05,
                   0.001, 0.001, "paired patient bootstrap")  # fmt: skip
    ge = replace(c, group="vendor=GE MEDICAL", low=-0.2, high=0.1)
    alone = replace(c, a="cnn", b="first", value=0.3, low=0.2, high=0.4)
    lab = Lab()
    lab.evaluate = lambda recipe, models, groups: metrics(
        (), (c, ge, alone), ("cnn", "cascade", "first", "cnn-random")
    )
    rows = chosen(mordang, "comparison", "mandatory")
    assert [row.key for row in rows] == ["cascade", "first", "cnn-random", "cnn"]
    go(tmp_path, mordang, rows, lab, data=Data(("phantom",), "p"))
    shown = show.beside(mordang, "comparison", stored(tmp_path / "figures", mordang), built=ALL)
    # More figures than a page is wide: each is a row, and the methods are the columns.
    lines = [line.strip("|").split("|") for line in shown.splitlines() if line[:1] == "|"]
    names = [word.strip() for word in lines[0]]
    cells, figure = {}, ""  # by figure and word, of the column of both networks
    for line in lines[2:]:
        figure = line[0].strip() or figure  # a figure's second line has no name
        cells[figure, line[1].strip()] = line[names.index("both networks")].strip()
    ours = "measured [95 %]"
    rise = "{}, 0 to 0.1: above {}"
    assert cells[rise.format("all", "the cascade"), ours] == "0.100 [0.050, 0.150], p = 0.001"
    alone = rise.format("all", "the first network alone")
    assert cells[alone, ours] == "0.300 [0.200, 0.400], p = 0.001"
    assert cells[rise.format("GE", "the cascade"), "published"] == "above 0, significantly"
    ge = cells[rise.format("GE", "the cascade"), ours]
    assert ge == "0.100 [-0.100, 0.200], p = 0.001: not shown"
    assert "no figure: no comparison of mean_sensitivity_fpf_0_0.1" in shown


def test_what_a_row_depends_on_is_its_recipe_its_preset_its_data_and_the_rows_it_needs(monkeypatch):
    known = study("zhang2019").on(("phantom",)).by("cpu")
    rows = chosen(known, None, ["table1-proposed", "claim-cascade"])
    data = Data(("phantom",), "f")
    before = _identities(rows, data)
    assert before == _identities(rows, data)
    assert set(_identities(rows, Data(("phantom",), "g")).values()).isdisjoint(before.values())

    # A field that stands as by default is as if the recipe had none.
    monkeypatch.setitem(run._PLAIN, "presets", "never")
    assert _identities(rows, data) != before
    monkeypatch.undo()

    # Another recipe of the first stage: whatever is made of it is another.
    (asn,) = [row for row in rows if row.key == "table3-asn"]
    other = replace(asn, recipe=replace(asn.recipe, settings={"beta": "0.5"}))
    after = _identities([other if row is asn else row for row in rows], data)
    assert {key for key in before if after[key] != before[key]} == {
        "table3-asn", "table1-proposed", "claim-cascade",
    }  # fmt: skip

    # Another preset of the same name.
    values = run.preset_values
    monkeypatch.setattr(run, "preset_values", lambda *named: {**values(*named), "width": 99})
    assert set(_identities(rows, data).values()).isdisjoint(before.values())


def test_a_panel_may_have_readers_of_the_box_beside_rows_and_depends_on_their_weights(
    tmp_path, monkeypatch
):
    known = study("default")
    rows = chosen(known, None, ["women-0"])
    assert [row.key for row in rows] == ["women-0-masses", "women-0"]  # the box is there
    told = []

    class Notes(Lab):
        def train(self, recipe, run_dir, start):
            told.append(recipe.settings)
            return super().train(recipe, run_dir, start)

    go(tmp_path, known, rows, Notes(), built=("second_look", "panel"))
    masses = tmp_path / "runs" / "default" / "women-0-masses" / "model"
    assert told[0]["init"] == "masses"
    assert json.loads(told[1]["members"]) == ["calcifications-film", str(masses)]

    before = _identities(rows, DATA)
    digest = run.digest_of
    monkeypatch.setattr(
        run, "digest_of", lambda model: digest(model) + "!" * (model.name == "calcifications-film")
    )
    after = _identities(rows, DATA)
    assert after["women-0-masses"] == before["women-0-masses"]
    assert after["women-0"] != before["women-0"]


def test_a_file_that_is_no_row_is_refused(tmp_path):
    write(tmp_path / "zhang2019" / "x.json", json.dumps({"schema": "other"}))
    with pytest.raises(SecondReaderError, match=r"x\.json"):
        stored(tmp_path, study("zhang2019"))
    write(tmp_path / "zhang2019" / "x.json", "{")
    with pytest.raises(SecondReaderError, match="no JSON"):
        stored(tmp_path, study("zhang2019"))


def test_on_other_data_every_row_runs_there_and_no_number_is_called_inside(tmp_path):
    there, lab = study("zhang2019@phantom"), Lab()
    assert there.name == "zhang2019@phantom"
    rows = chosen(there, "table3", "all")
    assert {r.recipe.data for r in rows} == {("phantom",)}
    small = study("zhang2019").on(("phantom",)).by("cpu")
    assert {r.recipe.preset for r in chosen(small, None, "all") if r.recipe.trains} == {"cpu"}
    assert small.row("table3-unet").recipe.settings["objective"] == "cross_entropy"
    go(tmp_path, there, rows, lab, data=Data(("phantom",), "f"))
    assert (tmp_path / "figures" / "zhang2019@phantom" / "table3-asn.json").is_file()
    shown = show.beside(there, "table3", stored(tmp_path / "figures", there), built=ALL)
    assert "44.13 %" in shown and ": inside" not in shown and ": outside" not in shown
    assert "not on the paper's data" in shown


def test_the_most_memory_is_that_of_the_training_where_a_call_before_trained(tmp_path):
    own = most_megabytes(tmp_path)
    (tmp_path / "environment.json").write_text(json.dumps({"peak_megabytes": own + 5000}))
    assert most_megabytes(tmp_path) == own + 5000
    (tmp_path / "environment.json").write_text(json.dumps({"peak_megabytes": 1}))
    assert most_megabytes(tmp_path) >= own
    (tmp_path / "environment.json").write_text(json.dumps({"peak_megabytes": None}))
    assert most_megabytes(tmp_path) >= own
