"""Scores of every position: counted once and kept, measured beside readings, and beside other readers'."""

import json
from dataclasses import replace

import numpy as np
import pytest

from secondreader import pipeline, scoring
from secondreader.counting import count_positions
from secondreader.evaluation import plots
from secondreader.evaluation.plots import _legend
from secondreader.methods.spot_filter import SpotFilter
from secondreader.reading import load_models
from secondreader.sources import load_all

QUICK = {"resamples": 100, "positions": True, "groups": False}


class Counts:
    """A reader's positions: three positives an image, above which lie a share of a thousand negatives."""

    def __init__(self, above):
        self.above, self.asked = above, []

    def positions(self, images, progress):
        def scored(index):
            self.asked.append(index)
            negative = np.where(np.arange(1000) < 1000 * self.above, 0.9, 0.1)
            return np.full(3, 0.5), negative

        return images.records, scored


@pytest.fixture
def counts(monkeypatch):
    of = Counts(0.05)
    monkeypatch.setattr(scoring, "write_figures", lambda *given: None)
    monkeypatch.setattr(
        SpotFilter, "positions", lambda self, *given: of.positions(*given), raising=False
    )
    return of


@pytest.fixture(scope="module")
def rival(film_exams, tmp_path_factory):
    """An evaluation of positions: its folder, its metrics, and the images that were counted."""
    out, of = tmp_path_factory.mktemp("evaluations") / "rival", Counts(0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "write_figures", lambda *given: None)  # drawing takes longest
        patch.setattr(
            SpotFilter, "positions", lambda self, *given: of.positions(*given), raising=False
        )
        metrics = pipeline.evaluate(["spot_filter"], [f"phantom={film_exams}"], out, **QUICK)
    return out, metrics, of.asked


def test_every_image_is_counted_once_and_measured(rival):
    _, metrics, asked = rival
    images = metrics.data[0]["images"]
    assert asked == list(range(images))
    got = metrics.figure("mean_sensitivity_fpf_0_0.1", "spot_filter", level="position")
    # Nothing is found below a false-positive fraction of 0.05, everything above.
    assert got.value == pytest.approx(0.5, abs=1e-9)
    assert (got.positives, got.negatives) == (3 * images, 1000 * images)
    assert [c.label_rule for c in metrics.curves if c.level == "position"] == ["positions"]
    assert "label:positions" in metrics.rules


def test_counting_goes_on_where_it_stopped(counts, rival, film_exams, tmp_path):
    chosen = scoring.choose(load_all([f"phantom={film_exams}"]), "all")
    models = load_models(["spot_filter"])
    count_positions(chosen.images, models, tmp_path)(None)
    (folder,) = (tmp_path / "positions").iterdir()
    (folder / "images.json").unlink()
    (folder / "000001.npy").unlink()
    counts.asked.clear()
    count_positions(chosen.images, models, tmp_path)(None)
    assert counts.asked == [1]
    count_positions(chosen.images, models, tmp_path)(None)
    assert counts.asked == [1]
    assert len(json.loads((folder / "images.json").read_text())) == len(chosen.records)
    # Other images are counted anew, in a folder of their own.
    count_positions(chosen.images.part(chosen.records[:2]), models, tmp_path)(None)
    assert counts.asked == [1, 0, 1]


def test_images_are_counted_as_soon_as_they_are_read(counts, film_exams, tmp_path):
    chosen = scoring.choose(load_all([f"phantom={film_exams}"]), "all")
    models, seen = load_models(["spot_filter"]), []
    count = count_positions(chosen.images, models, tmp_path)

    def after(records):
        count(records)
        seen.append([chosen.records.index(record) for record in records])
        assert counts.asked[-len(records) :] == sorted(seen[-1])

    scoring.read_records(chosen, models, tmp_path, on_exam=after)
    assert len(seen) > 1 and len(counts.asked) == len(chosen.records)
    (folder,) = (tmp_path / "positions").iterdir()
    assert not (folder / "images.json").is_file()  # the count is not whole until it is said to be
    count(None)
    assert len(counts.asked) == len(chosen.records) and (folder / "images.json").is_file()


def test_another_models_positions_lie_beside_its_readings_and_are_compared(
    counts, rival, film_exams, tmp_path
):
    counts.above = 0.02
    metrics = pipeline.evaluate(
        ["spot_filter"], [f"phantom={film_exams}"], tmp_path / "own",
        readings=[rival[0] / "readings.jsonl"], **QUICK,
    )  # fmt: skip
    assert metrics.readers == ("spot_filter", "spot_filter:rival")
    (apart,) = [
        c for c in metrics.comparisons
        if (c.level, c.name, c.group) == ("position", "mean_sensitivity_fpf_0_0.1", "")
    ]  # fmt: skip
    assert (apart.a, apart.b) == metrics.readers
    assert apart.value == pytest.approx(0.8 - 0.5, abs=1e-9)
    assert apart.p is not None and apart.p_holm is not None


def test_positions_are_drawn_on_a_logarithmic_axis_too_each_group_with_its_own_figure(rival):
    metrics = rival[1]
    (curve,) = (c for c in metrics.curves if c.level == "position")
    mine = [f for f in metrics.figures if f.level == "position"]
    group = "vendor=a maker"
    rare = "mean_sensitivity_log_fpf_1e-6_0.1"
    others = [replace(f, group=group, value=0.25, low=0.125, high=0.5) for f in mine]
    both = replace(
        metrics,
        curves=(curve, replace(curve, label_rule=f"positions, {group}")),
        figures=(*mine, *others),
    )
    drawn = dict(plots.plots(both))
    alone = metrics.figure(rare, "spot_filter", level="position")
    for name, value in (("positions", alone.value), ("positions-vendor-a-maker", 0.25)):
        assert {f"roc_position_{name}{end}" for end in (".svg", "_logarithmic.svg")} <= set(drawn)
        assert _legend(both, both.curves[value == 0.25], rare).startswith(
            f"spot_filter: {value:.3f} ["
        )
