"""The papers' tables as data: keys, units, what is measured, and sums the papers must obey."""

from __future__ import annotations

import pytest

from secondreader.domain import SecondReaderError
from secondreader.evaluation.classification import score_names
from secondreader.evaluation.detection import detection_names
from secondreader.studies import STUDIES, study
from secondreader.studies.study import Cell, Cost

EVERY = [study(name) for name in STUDIES]
PAPERS = [s for s in EVERY if s.name != "default"]


@pytest.mark.parametrize("study", EVERY, ids=lambda s: s.name)
def test_every_row_has_its_own_key_its_words_and_only_columns_of_its_table(study):
    keys = [row.key for table in study.tables for row in table.rows]
    assert len(set(keys)) == len(keys)
    for table in study.tables:
        for row in table.rows:
            assert len(row.words) == len(table.columns), row.key
            assert set(row.cells) <= set(table.numbers), row.key


@pytest.mark.parametrize("study", EVERY, ids=lambda s: s.name)
def test_every_row_that_runs_needs_rows_that_are_there_and_says_its_cost(study):
    for table in study.tables:
        for row in table.rows:
            if row.recipe is None:
                assert not row.mandatory
                assert all(cell.measure is None and cell.note for cell in row.cells.values()), (
                    row.key
                )
                continue
            assert row.recipe.data, row.key
            assert row.cost.words, row.key
            priced = row.cost.gpu_hours > 0 or row.cost.cpu_minutes > 0
            assert priced or "training" in str(row.cost)
            for key in row.recipe.needs():
                assert study.row(key).recipe is not None


@pytest.mark.parametrize("study", EVERY, ids=lambda s: s.name)
def test_every_number_is_a_number_or_says_why_not(study):
    for table in study.tables:
        for row in table.rows:
            for cell in row.cells.values():
                if cell.value is None:
                    assert cell.note or cell.above is not None, row.key
                elif cell.percent or (
                    cell.measure is not None
                    and "mse" not in cell.measure.figure
                    and cell.measure.figure not in ("positives", "negatives")  # counts
                ):
                    assert 0 <= cell.value <= 1, row.key


def test_each_paper_has_rows_that_must_be_run():
    for paper in PAPERS:
        assert any(row.mandatory for table in paper.tables for row in table.rows)


def test_measured_figures_of_scores_and_detections_have_names_that_exist():
    known = {*score_names(), *detection_names("all"), *detection_names("normal"), "accuracy"}
    for paper in (study("zhang2019"), study("shen2019"), study("shen2019-small")):
        for table in paper.tables:
            for row in table.rows:
                own = known | set(score_names(rates=row.recipe.rates)) if row.recipe else known
                for cell in row.cells.values():
                    assert cell.measure is None or cell.measure.figure in own


def test_printed_numbers_are_kept_as_printed_and_per_cent_become_fractions():
    assert Cell("36.70", percent=True).value == pytest.approx(0.367)
    assert Cell("36.70", percent=True).rounding == pytest.approx(0.00005)
    assert Cell("0.85").rounding == pytest.approx(0.005)
    assert Cell("63,744,170").value == 63_744_170
    assert Cell("NA").value is None


def test_zhang_recall_rises_with_false_positives_and_its_numbers_agree_with_its_text():
    for table in study("zhang2019").tables:
        for row in table.rows:
            seen = [c.value for c in row.cells.values() if c.value is not None]
            assert seen == sorted(seen), row.key
    zhang = study("zhang2019")
    proposed = zhang.row("table1-proposed").cells
    assert (proposed["R@5"].printed, proposed["R@10"].printed) == ("78.35", "85.96")
    private = zhang.row("table2-proposed").cells
    assert (private["R@5"].printed, private["R@10"].printed) == ("90.71", "92.24")
    ablation = zhang.row("table5-l1").cells
    assert all(c.printed in ("", proposed[k].printed) for k, c in ablation.items())
    for before, after in (("table3-unet", "table3-asn"), ("table4-unet", "table4-asn")):
        gap = zhang.row(after).cells["R@30"].value - zhang.row(before).cells["R@30"].value
        assert gap == pytest.approx(0.03, abs=0.006)  # "around 3 %"


def test_shen_flips_gain_one_to_three_hundredths_and_the_ensembles_beat_their_members():
    shen = study("shen2019")
    for name in ("table2", "table3"):
        for row in shen.table(name).rows:
            flips = row.cells["A-AUC"].value
            if flips is not None:
                assert 0.01 <= round(flips - row.cells["AUC"].value, 2) <= 0.03
    for key in ("text-ensemble-ddsm", "text-ensemble-inbreast"):
        row = shen.row(key)
        members = [shen.row(m).cells["AUC"].value for m in row.recipe.members]
        assert len(members) == 4
        assert row.cells["AUC"].value > max(members)
    sizes = {(r.words[0], r.words[1]) for r in shen.table("table4").rows}
    assert len(sizes) == 6
    assert len(shen.table("table4").rows) == 24


def test_shen_names_models_by_patch_classifier_and_top_layers():
    shen = study("shen2019")
    networks = {"resnet": "resnet50", "vgg": "vgg16"}
    for row in shen.table("table4").rows:
        patch, top = row.words[2].split("-")
        # What is tuned has the architecture of what it begins with.
        architecture = shen.row(row.recipe.start).recipe.settings["architecture"]
        assert row.recipe.settings["architecture"] == architecture
        network, block = architecture.split(" + ")[:2]
        assert network == networks[patch]
        assert block.startswith("[") == (top == "resnet")


def test_small_networks_keep_the_papers_tops_and_what_must_be_run_is_there():
    paper, small = study("shen2019"), study("shen2019-small")
    for name in ("table2", "table3"):
        tops = [
            [row.recipe.settings["architecture"].partition(" + ")[2] for row in of.table(name).rows]
            for of in (paper, small)
        ]
        assert tops[0] == tops[1]
    for of in (paper, small):
        must = {row.key for table in of.tables for row in table.rows if row.mandatory}
        assert {"table2-s1", "table2-512-2048x1", "table2-256-128", "table2-heatmap-512-1024x2",
                "table2-fc-5x5", "text-two-step", "claim-flips", "claim-ensemble"} <= must  # fmt: skip
        assert sum(key.startswith("table4-") for key in must) >= 6
    assert all(row.recipe.data == ("phantom-2",) for row in small.table("table4").rows)


def test_the_ensemble_is_chosen_among_all_convolutional_networks_on_both_patch_classifiers():
    small = study("shen2019-small")
    ensemble = small.row("ours-ensemble-chosen")
    members = [small.row(key) for key in ensemble.recipe.members]
    told = [row.recipe.settings["architecture"] for row in members]
    assert ensemble.recipe.settings["most"] == "4" and len(told) > 4
    assert not any("heatmap" in text for text in told)
    assert {text.split(" + ")[0] for text in told} == {"resnet_small", "vgg_small_bn"}
    assert all(row.mandatory for row in (ensemble, *members, small.row("text-ensemble-ddsm")))


def test_averaging_is_claimed_apart_from_flips():
    for name in ("shen2019", "shen2019-small"):
        row = study(name).row("claim-averaging")
        measure = row.cells["Difference in AUC"].measure
        assert (measure.reader, measure.minus) == ("rival", "flips")
        assert study(name).row(row.recipe.against).recipe.settings["flips"] == "true"
        assert row.mandatory and row.recipe.members == ()


def test_nothing_is_read_for_a_claim_that_its_rows_have_not_read():
    """Readings are kept by who reads together: of the row as it was measured, of the rival alone."""
    for name in ("shen2019", "shen2019-small"):
        of, read = study(name), set()
        for row in (row for table in of.tables for row in table.rows if row.recipe is not None):
            own = row.recipe
            key = row.key if own.trains else own.start
            wanted = {(key, own.data, own.readers[1:])} | {(r, own.data, ()) for r in own.rivals}
            if row.key.startswith("claim-"):
                assert wanted <= read, row.key
            read |= wanted


def test_rows_are_read_with_flips_where_the_paper_gives_such_a_number():
    for name in ("shen2019", "shen2019-small"):
        for row in (*study(name).table("table2").rows, *study(name).table("table3").rows):
            given = row.cells["A-AUC"].value is not None
            assert row.recipe.readers == (("plain", "flips") if given else ("plain",)), row.key
            assert (row.cells["A-AUC"].measure is not None) == given


def test_the_rows_of_figure_2_must_be_run_and_are_validated_often():
    small = study("shen2019-small")
    for key, top in (("table3-512x3", "512x3 + 512x3"), ("table3-512x1", "512x1 + 512x1")):
        row = small.row(key)
        assert row.mandatory and row.recipe.settings["architecture"].endswith(top)
        assert row.recipe.settings["whole.validate_every"] == "50"
    assert "whole.validate_every" not in small.row("table3-256-128").recipe.settings


def test_no_woman_beyond_those_tuned_on_chooses_a_step_of_the_small_transfer_curve():
    for row in study("shen2019-small").table("table4").rows:
        if row.recipe.settings.get("trains") == "tune":
            assert int(row.recipe.settings["tune.validate_every"]) >= 1_000_000
    assert study("shen2019-small").row("table4-72-resnet-vgg").words[0] == "All"
    assert study("shen2019").row("table4-72-resnet-vgg").words[0] == "72 (All)"


def test_rows_of_other_seeds_begin_with_patches_of_their_seed_and_only_run_when_asked_for():
    rows = study("shen2019-small").table("seeds").rows
    for row in rows:
        assert not row.mandatory
        seed = row.words[0]
        assert all(key.startswith(f"seed-{seed}-") for key in row.recipe.needs()), row.key
        assert not row.recipe.trains or row.recipe.settings["seed"] == seed
    assert sum(row.key.startswith("claim") for row in rows) == 6


def test_a_study_by_another_preset_keeps_what_it_trains():
    tuned = study("shen2019").row("table4-20-resnet-vgg").recipe
    assert tuned.choices == ("inbreast.birads=shen",)  # INbreast says nothing of cancer otherwise
    assert study("shen2019").on(("phantom",)).row("table4-20-resnet-vgg").recipe.choices == ()
    small = study("shen2019-small").by("smoke")
    recipe = small.row("table2-s1").recipe
    assert recipe.preset == "smoke" and recipe.settings["patch_set"] == "s1"
    assert small.row("claim-s10").recipe.preset == ""


def test_an_shares_add_up_and_errors_are_their_sums():
    for row in study("an2018").table("table2").rows:
        share = {k: float(c.printed) for k, c in row.cells.items() if c.percent}
        assert share["TP"] + share["FP"] + share["TN"] + share["FN"] == pytest.approx(100, abs=0.11)
        assert share["FP"] + share["FN"] == pytest.approx(share["Total Error"], abs=0.01)


def test_thatte_parameters_add_up():
    total, trained, fixed = (
        study("thatte2017").row(f"text-parameters{k}").cells["Parameters"].value
        for k in ("", "-trainable", "-fixed")
    )
    assert total == trained + fixed


def test_thatte_trains_what_is_added_three_times_each_from_one_generator():
    of = study("thatte2017")
    for name in ("real", "dcgan-added", "flow-added"):
        recipes = [of.row(f"gan-{name}{k}").recipe for k in ("", "-seed1", "-seed2")]
        assert [r.settings.get("seed", "0") for r in recipes] == ["0", "1", "2"]
        assert len({r.start for r in recipes}) == 1
        rest = [{k: v for k, v in r.settings.items() if k != "seed"} for r in recipes]
        assert rest[0] == rest[1] == rest[2]


def test_mordang_claims_a_difference_for_each_maker_and_prints_no_number():
    for table, rows in (("comparison", 4), ("scale", 3)):
        *others, both = study("mordang2016").table(table).rows
        assert len(others) == rows - 1
        claims = {k: c for k, c in both.cells.items() if c.above is not None}
        assert [k.partition(",")[0] for k in claims] == ["Hologic", "GE", "Siemens"]
        assert {c.measure.minus for c in claims.values()} == {others[0].key}
        assert {c.measure.figure for c in claims.values()} == {"mean_sensitivity_fpf_0_0.1"}
        for row in (*others, both):
            assert all(c.value is None and c.measure is not None for c in row.cells.values())
            assert row.recipe.positions


def test_mordang_measures_what_mining_does_apart_from_what_more_training_does():
    mordang = study("mordang2016")
    random, both = mordang.row("cnn-random").recipe, mordang.row("cnn").recipe
    assert random.settings == {"second_learns": "random"} and both.settings == {}
    assert "cnn-random" in both.against
    measured = {
        c.measure.figure
        for c in mordang.row("cnn").cells.values()
        if c.measure.minus == "cnn-random"
    }
    assert {"auc", "mean_sensitivity_log_fpf_1e-6_0.1", "recall_at_1_fp_on_all"} <= measured


def test_mordang_s_own_claims_of_detections_are_one_to_one_on_all_images_and_on_those_without():
    cells = study("mordang2016").row("cnn").cells
    found = {c.measure for k, c in cells.items() if k.startswith("calcifications")}
    assert {m.hit_rule for m in found} == {"one_to_one"}
    assert {m.figure.rpartition("_")[2] for m in found} == {"all", "normal"}
    # Readers are not compared on images without a lesion.
    assert not any(m.minus and m.figure.endswith("normal") for m in found)


def test_mordang_fits_operating_points_only_to_what_is_read_as_a_product():
    rows = [r for t in study("mordang2016").tables for r in t.rows if r.recipe]
    assert {r.key for r in rows if r.recipe.fitted} == {"cnn", "film-cnn", "film-cascade"}


def test_unknown_studies_tables_and_rows_are_refused():
    with pytest.raises(SecondReaderError, match="zhang2019"):
        study("nobody")
    with pytest.raises(SecondReaderError, match="table1, table2"):
        study("zhang2019").table("table9")
    with pytest.raises(SecondReaderError, match="does not have"):
        study("zhang2019").row("nothing")


def test_a_cost_without_training_says_so():
    assert str(Cost(0, "minutes on a CPU")) == "no training (minutes on a CPU)"
    assert str(Cost(2)) == "about 2 GPU hours"
    assert str(Cost(0, "patches", 10)) == "about 10 minutes on two cores (patches)"
