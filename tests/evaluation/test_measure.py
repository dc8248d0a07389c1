"""From readings to the metrics file, tables and plots: every figure with interval, rule and reason."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from secondreader.domain import (
    Circle,
    Detection,
    Kind,
    Laterality,
    Lesion,
    OperatingPoint,
    Pathology,
    Point,
    SecondReaderError,
    View,
)
from secondreader.evaluation import (
    calibration,
    delong,
    figures,
    measure,
    plots,
    subgroups,
    tables,
)
from secondreader.evaluation.classification import score_figures
from secondreader.evaluation.comparisons import compare_scores
from secondreader.evaluation.matching import hit_rule, match
from secondreader.evaluation.ratings import read_ratings
from secondreader.evaluation.scored import Readings, ScoredImage, fingerprint
from secondreader.evaluation.units import positions, units

SPOT, CLUSTER = Kind.MICROCALCIFICATION, Kind.CALCIFICATION_CLUSTER


def image(patient, side, view, skill, rng):
    """Return one view; every third patient has a cluster of three in the left breast."""
    bad = patient % 3 == 0 and side == "L"
    places = [(200.0, 200.0), (220.0, 200.0), (200.0, 240.0)] if bad else []
    known = {"visible": view == "CC" or patient % 9 > 0, "pathology": Pathology.MALIGNANT}
    lesions = tuple(
        Lesion(f"c{i}", SPOT, Point(*p), part_of="c", **known) for i, p in enumerate(places)
    )
    if bad:
        lesions += (Lesion("c", CLUSTER, Circle(207.0, 213.0, 30.0), **known),)
    score = float(rng.normal(skill * bad, 1))
    seen = [Detection(SPOT, Point(r, c + 3), float(rng.normal(skill, 1))) for r, c in places]
    seen += [
        Detection(SPOT, Point(*rng.uniform(400, 900, 2)), float(rng.normal())) for _ in range(2)
    ]
    seen += [Detection(CLUSTER, Circle(210.0, 210.0, 25.0), score)] if bad else []
    group = ("vendor", "ge" if patient % 2 else "hologic")
    return ScoredImage(
        f"toy/{patient}{side}{view}", f"toy/{patient}", f"toy/e{patient}", Laterality(side), View(view),
        (0.1, 0.1), bad, lesions, score, 1 / (1 + np.exp(1 - score)), tuple(seen), (group, ("view", view)),
    )  # fmt: skip


def reader(name, skill, seed, patients=36):
    rng = np.random.default_rng(seed)
    views = [(p, s, v) for p in range(patients) for s in "LR" for v in ("CC", "MLO")]
    return Readings(name, tuple(image(*v, skill, rng) for v in views))


def ratings(name="dr", patients=36):
    rng = np.random.default_rng(5)
    rows = [f"{name},e{p},{s},{rng.integers(1, 4) + 2 * (p % 3 == 0 and s == 'L')}"
            for p in range(patients) for s in "LR"]  # fmt: skip
    return ["reader,exam_id,laterality,rating", *rows]


FAST = measure.Settings("seeded:0 test", resamples=60, groups=False)


@pytest.fixture(scope="module")
def metrics():
    a, b = reader("spots", 1.2, 1), reader("net", 2.0, 2)
    people = read_ratings(ratings(), a.images)
    settings = measure.Settings("seeded:0 test", resamples=60, levels=("image", "breast"))
    return measure.measure([a, b, *people], settings, version="0")


def test_every_figure_has_an_interval_or_a_reason_and_its_rule(metrics):
    assert len(metrics.figures) > 100
    for f in metrics.figures:
        assert f.hit_rule or f.label_rule
        assert f"hit:{f.hit_rule}" in metrics.rules or f"label:{f.label_rule}" in metrics.rules
        if f.value is None:
            assert f.note
        else:
            assert f.low is not None
            assert f.low <= f.high
    assert (metrics.split, metrics.interval["resamples"]) == ("seeded:0 test", 60)
    assert metrics.data[0]["patients"] == 36
    assert metrics.data[0]["fingerprint"].startswith("sha256:")


def test_false_positives_are_counted_on_all_and_on_normal_images_by_name(metrics):
    known = {"reader": "net", "hit_rule": "zhang2019", "level": "region"}
    all_images = metrics.figure("recall_at_1_fp_on_all", **known)
    normal = metrics.figure("recall_at_1_fp_on_normal", **known)
    assert (all_images.negatives, normal.negatives) == (144, 120)


def test_figures_are_given_with_and_without_cancers_hidden_in_a_view(metrics):
    both = [metrics.figure("auc", "net", level="image", label_rule=r) for r in ("all", "visible")]
    assert [f.positives for f in both] == [24, 20]
    assert "hidden" in metrics.rules["label:all"]


def test_what_is_abnormal_is_counted_by_name_where_it_is_more_than_what_is_malignant(metrics):
    assert "abnormal" not in {f.label_rule for f in metrics.figures}  # all lesions here are cancers
    benign = Lesion("b", Kind.MASS, Circle(50.0, 50.0, 9.0), pathology=Pathology.BENIGN)
    net = reader("net", 2.0, 2)
    first = next(i for i, image in enumerate(net.images) if image.malignant is False)
    images = list(net.images)
    images[first] = replace(images[first], lesions=(benign,))
    got = measure.measure([replace(net, images=tuple(images))], FAST, version="0")
    rules = ("all", "visible", "abnormal")
    known = [got.figure("auc", "net", level="image", label_rule=r) for r in rules]
    assert [(f.positives, f.negatives) for f in known] == [(24, 120), (20, 120), (25, 119)]
    # A probability is that of cancer: nothing is said of how well it tells what is abnormal.
    assert {f.label_rule for f in got.figures if f.name == "ece_equal_mass"} == {"all", "visible"}


def test_people_are_scored_by_breast_and_compared_with_models(metrics):
    rated = metrics.figure("auc", "dr", level="breast")
    assert rated.value is not None
    assert not any(f.reader == "dr" and f.level in ("image", "region") for f in metrics.figures)
    pairs = {(c.a, c.b) for c in metrics.comparisons if c.level == "breast"}
    assert pairs == {("spots", "net"), ("spots", "dr"), ("net", "dr")}


def test_the_p_value_of_two_readers_is_delongs_and_holm_corrects_for_three_pairs(metrics):
    a, b = (units(reader(*r).images, "breast") for r in (("spots", 1.2, 1), ("net", 2.0, 2)))
    expected = delong.auc_test(delong.areas(a.labels, np.stack([a.scores, b.scores]), a.patients))
    rows = [c for c in metrics.comparisons if (c.name, c.level) == ("auc", "breast")]
    assert rows[0].p == pytest.approx(expected.p)
    assert rows[0].method == "Obuchowski"
    assert all(c.p <= c.p_holm <= min(1, 3 * c.p) + 1e-12 for c in rows)


def test_subgroups_have_the_same_figures_and_small_ones_a_warning(metrics):
    groups = {f.group for f in metrics.figures}
    assert {"vendor=ge", "vendor=hologic", "view=CC", "kind=calcification_cluster"} <= groups
    assert {"size=5-10 mm"} <= groups
    small = metrics.figure("auc", "net", group="vendor=ge", level="breast")
    assert "too small to say anything: 6 patients with positives" in small.note
    assert any("vendor=ge" in w for w in metrics.warnings)


def test_the_file_comes_back_as_it_was_written(metrics):
    text = json.dumps(figures.to_json(metrics), allow_nan=False)
    assert figures.from_json(json.loads(text)) == metrics
    with pytest.raises(SecondReaderError, match="got schema 'x'"):
        figures.from_json({"schema": "x"})
    with pytest.raises(SecondReaderError, match="other fields"):
        figures.from_json({"schema": figures.SCHEMA, "figures": [{}]})


def test_tables_print_no_number_without_its_interval(metrics):
    files = tables.tables(metrics)
    assert set(files) == {"figures.csv", *(f"{n}.{e}" for n in ("figures", "subgroups", "comparisons")
                                           for e in ("md", "tex"))}  # fmt: skip
    assert files["figures.csv"].count("\n") == 1 + len(metrics.figures)
    got = metrics.figure("auc", "net", level="breast")
    assert f"{got.value:.3f} [{got.low:.3f}, {got.high:.3f}]" in files["figures.md"]
    assert "sensitivity\\_at\\_specificity\\_0.9" in files["figures.tex"]
    assert files["figures.tex"].count("{") == files["figures.tex"].count("}")
    rows = tables.figures_table(metrics)
    assert all(len(r) == len(rows[0]) for r in rows)
    assert tables.with_interval(replace(got, low=None)) == "–"


def test_plots_are_svg_and_png_and_the_same_bytes_every_time(metrics):
    kept = [c for c in metrics.curves if c.level == "breast" or c.hit_rule == "zhang2019"]
    few = replace(metrics, curves=tuple(kept[:7]))
    files = dict(plots.plots(few))
    assert {n.rpartition(".")[2] for n in files} == {"svg", "png"}
    assert any(n.startswith("roc_breast") for n in files)
    assert all(d[:4] in (b"\x89PNG", b"<?xm") for d in files.values())
    assert files == dict(plots.plots(few))


def test_one_class_and_a_single_patient_give_reasons_and_no_number():
    healthy = reader("net", 1, 0, patients=3)
    for chosen, told in (
        ([i for i in healthy.images if not i.malignant], "0 positives"),
        ([i for i in healthy.images if i.patient_id == "toy/0"], "got 1, expected at least two"),
    ):
        got = measure.measure([replace(healthy, images=tuple(chosen))], FAST, version="0")
        assert all(f.value is None for f in got.figures)
        assert any(told in f.note for f in got.figures)


def test_two_readers_of_one_name_or_of_other_data_are_refused():
    a = reader("net", 1, 0, patients=3)
    with pytest.raises(SecondReaderError, match="each once"):
        measure.measure([a, a], FAST, version="0")
    with pytest.raises(SecondReaderError, match="got other data for b"):
        measure.measure([a, replace(reader("b", 1, 0, patients=4))], FAST, version="0")


def test_an_operating_point_is_not_judged_where_it_was_chosen():
    a = reader("net", 1, 0, patients=12)
    point = OperatingPoint("one", SPOT, 0.5, "fpi<=1", f"toy validation ({fingerprint(a.images)})")
    with pytest.raises(SecondReaderError, match="the very images it was chosen on"):
        measure.measure([a], replace(FAST, points={"net": [point]}), version="0")
    elsewhere = replace(point, chosen_on="phantom=dev validation")
    got = measure.measure([a], replace(FAST, points={"net": [elsewhere]}), version="0")
    told = got.figure("fpi_at_one_on_normal", hit_rule="zhang2019")
    assert told.value is not None
    assert "chosen on phantom=dev validation" in told.note
    thresholds = {("net", "breast"): elsewhere}
    got = measure.measure([a], replace(FAST, thresholds=thresholds), version="0")
    cells = [got.figure(n, level="breast").value for n in ("true_positives", "false_negatives")]
    assert sum(cells) == 4


def test_positions_get_a_mean_sensitivity_on_a_logarithmic_axis():
    rng = np.random.default_rng(0)
    labels = rng.random(3000) < 0.05
    patients = [f"p{i}" for i in rng.integers(30, size=3000)]
    found = positions(rng.normal(labels * 2.0), labels, patients)
    got, curves = score_figures(found, resamples=50, reader="net", label_rule="all")
    names = [f.name for f in got]
    assert "mean_sensitivity_log_fpf_1e-6_0.1" in names
    assert names.count("auc") == 1
    assert all(f.level == "position" and f.value is not None for f in got)
    assert {c.kind for c in curves} == {"roc", "scores_positive", "scores_negative"}


def test_average_precision_is_given_at_several_overlaps():
    mass = Lesion("m", Kind.MASS, Circle(200, 200, 30), pathology=Pathology.MALIGNANT)
    hit = Detection(Kind.MASS, Circle(210, 200, 30), 0.9)
    one = ScoredImage(
        "toy/a", "toy/p", "toy/e", malignant=True, lesions=(mass,), score=1.0, detections=(hit,)
    )
    images = tuple(
        replace(one, image_id=f"toy/{i}", patient_id=f"toy/{i}", exam_id=f"toy/{i}")
        for i in range(4)
    )
    settings = replace(FAST, levels=("image",), hit_rules=("iou",))
    got = measure.measure([Readings("net", images)], settings, version="0")
    for least in (0.1, 0.2, 0.5):
        assert got.figure(f"average_precision_iou_{least}").value == 1.0


def test_readers_of_different_truth_are_not_compared():
    a = units(reader("a", 1, 0, patients=9).images, "image")
    with pytest.raises(SecondReaderError, match="different truth"):
        compare_scores(a, replace(a, labels=~a.labels), ("a", "b"))


def test_the_worst_misses_and_alarms_come_worst_first():
    a = reader("net", 1, 0)
    misses, alarms = measure.worst(a, 3)
    assert [i.score for i in misses] == sorted(i.score for i in a.images if i.malignant)[:3]
    assert [i.score for i in alarms] == sorted(
        (i.score for i in a.images if not i.malignant), reverse=True
    )[:3]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("dr,e0,L,high", "line 2: got rating 'high'"),
        ("dr,e0,L,nan", "line 2: got rating 'nan'"),
        ("dr,e99,L,1", "exam_id of 0 exams"),
        ("dr,e0,X,1", "laterality 'X'"),
        ("dr,e0,L,1\ndr,e0,l,2", "line 3: got a second rating"),
        ("", "got no rating"),
    ],
)
def test_ratings_that_cannot_be_meant_are_refused_by_line(row, told):
    lines = f"reader,exam_id,laterality,rating\n{row}".splitlines()
    with pytest.raises(SecondReaderError, match=told):
        read_ratings(lines, reader("net", 1, 0, patients=2).images)


def test_a_table_without_a_column_is_refused():
    with pytest.raises(SecondReaderError, match="no column laterality"):
        read_ratings(["reader,exam_id,rating"], reader("net", 1, 0, patients=2).images)


def test_a_rating_without_a_side_rates_the_exam():
    got = read_ratings(
        ["reader,exam_id,laterality,rating", "dr,toy/e0,,4"], reader("net", 1, 0, patients=2).images
    )
    assert got[0].given == {"toy/e0": 4.0}
    assert got[0].person


def test_size_groups_are_in_millimetres_and_points_have_none():
    lesion = Lesion("1", Kind.MASS, Circle(0, 0, 30))
    assert subgroups.lesion_groups(lesion, (0.1, 0.1)) == ("kind=mass", "size=5-10 mm")
    assert subgroups.lesion_groups(lesion, None) == ("kind=mass",)
    assert subgroups.lesion_groups(Lesion("1", SPOT, Point(0, 0)), (0.1, 0.1)) == (
        "kind=microcalcification",
    )


def test_of_other_kinds_than_are_looked_for_cancers_leave_an_image_unknown():
    bad, good = Pathology.MALIGNANT, Pathology.BENIGN
    mass = Lesion("m", Kind.MASS, Circle(50, 50, 9), pathology=bad)
    cluster = Lesion("c", CLUSTER, Circle(50, 50, 9), pathology=bad)
    other = Lesion("a", Kind.ASYMMETRY, Circle(90, 90, 9), pathology=bad)
    benign = Lesion("b", Kind.MASS, Circle(50, 50, 9), pathology=good)
    of = [(mass, cluster), (cluster,), (other, benign), (benign,), (), ()]
    told = [True, True, True, False, False, True]
    at = Detection(Kind.SUSPICIOUS_REGION, Circle(90, 90, 5), 0.5)
    images = [
        ScoredImage(
            f"x/{i}", f"x/{i}", f"x/{i}", malignant=m, lesions=own, score=0.5, detections=(at,)
        )
        for i, (own, m) in enumerate(zip(of, told, strict=True))
    ]
    rule = hit_rule("centre_in_region")
    got = subgroups.of_kinds(images, (Kind.MASS,), rule.kinds)
    assert [i.label() for i in got] == [True, None, None, False, False, None]
    # What is no mass is neither a miss nor, where it is found, a false alarm; a cluster is nothing to
    # the rule, so that what is found there is one.
    matched = [match(i, rule) for i in got]
    assert [len(m.lesions) for m in matched] == [1, 0, 1, 1, 0, 0]
    assert [len(m.false) for m in matched] == [1, 1, 0, 1, 1, 0]
    assert subgroups.of_kinds(images, tuple(Kind), rule.kinds)[:5] == tuple(images[:5])


def test_a_lesion_group_keeps_all_negatives_and_leaves_other_cancers_out():
    images = reader("net", 1, 0, patients=9).images
    mass = Lesion("m", Kind.MASS, Circle(0, 0, 30), pathology=Pathology.MALIGNANT)
    first = next(i for i in images if i.malignant)
    images = tuple(replace(i, lesions=(mass,)) if i is first else i for i in images)
    parts = dict(subgroups.by_lesion(images))
    got = units(parts["kind=mass"], "image")
    assert (int(got.labels.sum()), int((~got.labels).sum())) == (1, 30)


def test_everything_runs_with_torch_blocked():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from secondreader.evaluation import measure, plots, tables, calibration, ratings, reliability"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_ways_to_make_probabilities_stand_beside_the_readers_own_and_by_vendor():
    net = reader("net", 2.0, 2)
    shares = replace(
        net, images=tuple(replace(i, score=1 / (1 + np.exp(-3 * i.score))) for i in net.images)
    )
    known = units(shares.images, "image")
    hot = calibration.fit("temperature_logit", known.scores, known.labels, known.patients)
    settings = measure.Settings(
        "seeded:0 test", resamples=60, levels=("image",),
        others={("net", "image"): {"temperature_logit": hot}},
    )  # fmt: skip
    got = measure.measure([shares], settings, version="0")
    for group in ("", "vendor=ge", "vendor=hologic"):
        raw, own = (
            got.figure(name, level="image", group=group)
            for name in ("brier_uncalibrated", "brier_temperature_logit")
        )
        part = [
            i for i in shares.images if not group or group == "vendor=" + dict(i.groups)["vendor"]
        ]
        errors = [(i.score - i.malignant) ** 2 for i in part]
        assert raw.value == pytest.approx(np.mean(errors))
        assert own.value < raw.value
    ways = {c.way for c in got.curves if c.kind == "reliability"}
    assert ways == {"", "uncalibrated", "temperature_logit"}
    # One reliability diagram holds them all.
    kept = [c for c in got.curves if (c.kind, c.label_rule) == ("reliability", "all")]
    drawn = dict(plots.plots(replace(got, curves=tuple(kept))))
    assert set(drawn) == {"reliability_image_all.svg", "reliability_image_all.png"}
    # Nothing is shown beside a reader without probabilities.
    bare = replace(shares, images=tuple(replace(i, probability=None) for i in shares.images))
    names = {
        f.name
        for f in measure.measure([bare], replace(settings, groups=False), version="0").figures
    }
    assert not any("brier" in name for name in names)
