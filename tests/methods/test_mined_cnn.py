"""Dense reading is patch by patch; networks learn from what they must judge; noise is even."""

import json
import weakref
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom import Dataset
from scipy import ndimage

from mined_phantoms import Phantoms, breast, folder, mammogram, trained_once
from secondreader import geometry
from secondreader.domain import Intent, SecondReaderError
from secondreader.evaluation.positions import binned
from secondreader.formats.dicom_values import for_processing
from secondreader.learning import positions
from secondreader.learning.configuration import resolve
from secondreader.learning.hardware import Hardware
from secondreader.methods.mined_cnn import Config, load, train
from secondreader.methods.mined_cnn.data import data, wanted
from secondreader.methods.mined_cnn.dense import (
    everywhere,
    joined,
    quick,
    score_of,
    somewhere,
    where_wanted,
)
from secondreader.methods.mined_cnn.network import AROUND, WINDOW, densely
from secondreader.methods.mined_cnn.prepare import background, noise_curve, prepare, stabilised
from secondreader.methods.mined_cnn.reader import MinedCnn
from secondreader.studies import study

training = import_module("secondreader.methods.mined_cnn.train")


# ------------------------------------------------------------------------------ dense reading


def surrounded(image):
    return torch.from_numpy(np.pad(image.astype(np.float32), AROUND))[None, None]


@settings(deadline=None, max_examples=10)
@given(st.integers(5, 60), st.integers(5, 60))
def test_dense_reading_is_the_patch_by_patch_result_at_every_pixel(rows, cols):
    network = trained_once()
    image = np.random.default_rng(rows).normal(0, 1, (rows, cols)).astype(np.float32)
    every = np.argwhere(np.ones((rows, cols), bool))
    with torch.no_grad():
        dense = score_of(densely(network, surrounded(image)))[0, 0].numpy()
    one_by_one = somewhere(network, image, every).reshape(rows, cols)
    assert dense.shape == (rows, cols)
    assert np.allclose(dense, one_by_one, atol=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.004])
def test_blocks_patches_and_folding_change_nothing(share):
    network = trained_once()
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (450, 230)).astype(np.float16)
    image[:, :9] = 0
    whole = score_of(densely(network, surrounded(image)))
    # Many are wanted in the upper half, a share of them in the lower: both ways are taken.
    wanted = (rng.random(image.shape) < np.where(np.arange(450) < 225, 1, share)[:, None]) & (
        image != 0
    )
    got = where_wanted(quick(network), image, wanted)
    assert np.allclose(got, np.where(wanted, whole.detach()[0, 0].numpy(), 0), atol=1e-4)
    assert (everywhere(quick(network), image)[:, 9:] > 0).all()


def test_convolutions_are_asked_for_few_shapes_whatever_images_and_positions_are(monkeypatch):
    # What a convolution prepares for a shape it keeps: of as many shapes as there are images, gigabytes.
    plain, batches, blocks = torch.nn.functional.conv2d, set(), set()

    def seen(image, *rest, **more):
        if image.shape[1] == 1:  # the first layer's
            (batches if image.shape[-1] == WINDOW else blocks).add(tuple(image.shape))
        return plain(image, *rest, **more)

    monkeypatch.setattr(torch.nn.functional, "conv2d", seen)
    network = quick(trained_once())
    rng = np.random.default_rng(2)
    for count in range(1, 40):
        image = rng.normal(0, 1, rng.integers(30, 200, 2)).astype(np.float32)
        where_wanted(network, image, rng.random(image.shape) < rng.choice([0.003, 0.3]))
        assert somewhere(network, image, rng.integers(0, 30, (count, 2))).shape == (count,)
    assert {shape[0] for shape in batches} <= {1 << k for k in range(13)}
    assert len(blocks) == 1


def test_what_the_first_network_rules_out_is_never_shown_to_the_second():
    first, second = quick(trained_once(4)), quick(trained_once(6, seed=1))
    image = np.random.default_rng(1).normal(0, 1, (80, 60)).astype(np.float32)
    known = everywhere(first, image)
    least = float(np.quantile(known, 0.9))
    reader = MinedCnn(Config(widths=(4, 6), threshold=least), first, second)
    out = reader.known(image)
    passed = known >= least
    assert passed.sum() == pytest.approx(0.1 * passed.size, abs=5)
    assert (out[~passed] <= 0.5).all() and (out[passed] >= 0.5).all()
    assert out[passed] == pytest.approx(0.5 + somewhere(second, image, np.argwhere(passed)) / 2)
    # Below, the order is the first network's.
    assert (np.diff(out[~passed][np.argsort(known[~passed])]) >= 0).all()
    # Clusters are made by what the second says.
    assert (reader.sure(out[~passed]) == 0).all()
    alone = somewhere(second, image, np.argwhere(passed)).astype(np.float64)
    # Whose logit is twice that of its score.
    wanted = 1 / (1 + np.exp(-2 * np.log(alone / (1 - alone))))
    assert reader.sure(out[passed]) == pytest.approx(wanted, abs=1e-5)


def test_positions_that_networks_are_quite_sure_of_are_still_told_apart_and_counted_apart():
    sure = score_of(torch.arange(8.0, 26.0)).numpy()
    together = joined(np.full(len(sure), 0.9, np.float32), sure, 0.5)
    for known in (sure, together):
        assert known.dtype == np.float32
        bins = [int(np.argmax(binned(one))) for one in known[:, None]]
        assert np.diff(known).min() > 0 and np.diff(bins).min() > 0


# ------------------------------------------------------------------------------ positions


def test_negatives_are_every_position_a_millimetre_away_and_may_be_thinned():
    images, config = Phantoms(), Config()
    every = data(images, config)
    assert len(every.positive) == 2
    for index in range(2):
        at = every.negative.at(np.asarray(every.negative.of_image(index)))
        (row, col) = every.centres[index][0]
        apart = np.hypot(at[:, 1] - row, at[:, 2] - col)
        assert 9 <= apart.min() <= 13  # from the nearest pixel of the calcification
        assert (wanted(every, index).sum(), len(at)) == (len(at), len(at))
    few = data(images, config, negatives=1000)
    assert len(few.negative) == pytest.approx(1000, abs=2)
    numbers = few.negative.at(np.arange(len(few.negative)))
    assert len(np.unique(numbers, axis=0)) == len(numbers)
    for index in range(2):
        assert (wanted(every, index) >= wanted(few, index)).all()


def test_positions_of_many_images_are_listed_without_holding_their_masks(monkeypatch):
    module = import_module("secondreader.methods.mined_cnn.data")
    made, most = [], []

    def away_from(*given):
        most.append(sum(ref() is not None for ref in made))
        mask = positions.away_from(*given)
        made.append(weakref.ref(mask))
        return mask

    monkeypatch.setattr(module, "away_from", away_from)
    data(Phantoms(("GE",) * 6), Config())
    assert len(made) == 6 and max(most) <= 2


def test_without_a_calcification_to_validate_by_nothing_is_trained(tmp_path):
    held = Phantoms()
    held.records = tuple(replace(r, lesions=()) for r in held.records)
    with pytest.raises(SecondReaderError, match="validation data: got 0 calcifications and"):
        train(Config(), Phantoms(), held, tmp_path, hardware=Hardware(progress=False))


def test_one_maker_may_be_learnt_from():
    (record,) = data(Phantoms(), Config(), makers=("hologic",)).images.records
    assert record.vendor == "Hologic, Inc."
    with pytest.raises(SecondReaderError, match=r"got images of GE, Hologic, Inc\., expected"):
        data(Phantoms(), Config(), makers=("siemens",))


@pytest.mark.parametrize("tested", [None, 500])
def test_positions_score_what_reading_scores(tested):
    first, second = quick(trained_once(4)), quick(trained_once(6, seed=1))
    reader = MinedCnn(Config(widths=(4, 6), threshold=0.5, tested=tested), first, second)
    images = Phantoms()
    records, scored = reader.positions(images)
    assert tuple(records) == images.records
    positive, negative = scored(1)
    own = data(images, reader.config, negatives=tested)
    known = reader.known(np.asarray(own.images.pixels(1)))
    row, col = own.centres[1][0]
    assert positive == pytest.approx([known[row, col]], abs=1e-4)
    assert negative == pytest.approx(known[wanted(own, 1)], abs=1e-4)


def test_positions_of_what_was_just_read_are_not_scored_again(monkeypatch):
    first, second = quick(trained_once(4)), quick(trained_once(6, seed=1))
    images = Phantoms()
    config = Config(widths=(4, 6), threshold=0.5)
    fresh = MinedCnn(config, first, second).positions(images)[1](0)
    reader = MinedCnn(config, first, second)
    scored = reader.positions(images)[1]
    reader.read(images.open(images.records[0]))
    monkeypatch.setattr(reader, "known", lambda *given: pytest.fail("scored twice"))
    for got, wanted_ in zip(scored(0), fresh, strict=True):
        assert np.array_equal(got, wanted_) or got == pytest.approx(wanted_, abs=1e-5)
    alone = MinedCnn(config, first, second)
    alone.read(images.open(images.records[0]))
    assert not alone._read  # who asks for no positions keeps nothing


def test_a_calcification_where_nothing_is_read_scores_nothing():
    first = quick(trained_once(4))
    for skin, least in ((3.0, 0.01), (17.0, 0.0)):  # the calcification lies 16 mm from the skin
        reader = MinedCnn(Config(detector="first", widths=(4, 6), skin_mm=skin), first)
        positive, negative = reader.positions(Phantoms())[1](0)
        assert len(positive) == 1 and (positive[0] > least) == (skin < 16)
        assert len(negative) and (negative > 0).all()


def both(mined=30):
    """Two networks of which the first lets a hundredth through, what they learn from, and a reader."""
    first, second = trained_once(4), trained_once(6, seed=1)
    own = data(Phantoms(), Config())
    pixels = [np.asarray(own.images.pixels(i)) for i in range(2)]
    alone = [everywhere(quick(first), p) for p in pixels]
    every = np.concatenate([known[wanted(own, i)] for i, known in enumerate(alone)])
    least = float(np.quantile(every, 0.99))
    config = Config(widths=(4, 6), threshold=least, mined=mined, validation_negatives=2000)
    reader = MinedCnn(config, quick(first), quick(second))
    return first, second, own, reader, alone, [reader.known(p) for p in pixels]


def test_a_second_network_is_judged_as_it_reads_after_the_first_and_looks_nowhere_else(monkeypatch):
    first, second, own, reader, _, read = both()
    config, looked = reader.config, []
    validated = training.validated(own, config)
    before = [training._at(first, own, where) for where in validated]
    at = training._at

    def counted(network, held, where):
        looked.append(len(where))
        return at(network, held, where)

    monkeypatch.setattr(training, "_at", counted)
    for where, one in zip(validated, before, strict=True):
        known = training._at_in_turn(second, own, where, one, config.threshold)
        assert known == pytest.approx(
            np.array([read[i][r, c] for i, r, c in where.tolist()]), abs=1e-4
        )
        assert looked.pop() == (one >= config.threshold).sum() < max(len(where), 3)
    judged = training._figures(second, own, config, before)
    assert judged != training._figures(second, own, config, None)


@pytest.mark.parametrize("apart", [0.0, 0.4])
@pytest.mark.parametrize("again", [False, True])
def test_half_of_what_is_mined_is_hardest_and_half_any_that_the_first_lets_through(
    tmp_path, again, apart
):
    first, second, own, reader, alone, read = both()
    known = read if again else alone
    config = reader.config.model_copy(update={"mined_apart_mm": apart})
    found = training._mined(
        first, second if again else None, own, config, tmp_path, Hardware(progress=False)
    )
    assert len(np.unique(found, axis=0)) == 60
    for index in range(2):
        at = found[found[:, 0] == index]
        assert wanted(own, index)[at[:, 1], at[:, 2]].all()
        assert (alone[index][at[:, 1], at[:, 2]] >= config.threshold - 1e-4).all()
        hardest, others = at[:15, 1:], at[15:, 1:]
        scored = known[index][tuple(hardest.T)]
        assert (np.diff(scored) <= 1e-4).all()
        high = np.argwhere(wanted(own, index) & (known[index] > scored[-1] + 1e-3))
        nearest = np.hypot(*(high[:, None] - hardest[None]).transpose(2, 0, 1)).min(axis=1)
        if apart:  # what is higher than the lowest of them lies next to one
            between = np.hypot(*(hardest[:, None] - hardest[None]).transpose(2, 0, 1))
            assert between[~np.eye(15, dtype=bool)].min() >= 3
            assert nearest.max() < 12
        else:
            assert nearest.max(initial=0) == 0
        # The other half are any: hardly one is as high.
        assert (known[index][tuple(others.T)] < scored[-1]).mean() > 0.7


def test_what_the_first_network_lets_through_is_written_down(tmp_path):
    first, _, own, reader, _, _ = both()
    config = reader.config.model_copy(update={"threshold": None})
    least = training._threshold(first, own, config, tmp_path)
    told = json.loads((tmp_path / "stages" / "let-through.json").read_text())
    assert told["threshold"] == least and told["positives kept"] >= config.pruned
    given = training._threshold(first, own, reader.config, tmp_path)
    told = json.loads((tmp_path / "stages" / "let-through.json").read_text())
    assert told["threshold"] == given == reader.config.threshold
    assert told["negatives"] == 2000
    assert told["negatives let through"] == pytest.approx(0.01, abs=0.008)


@pytest.mark.parametrize("learns", ["mined", "random"])
def test_the_second_network_learns_from_what_was_mined_or_from_any_negatives(
    tmp_path, monkeypatch, learns
):
    given, hard = [], np.array([[1, 100, 100], [0, 200, 50], [1, 100, 100]])

    def network(own, held, config, settings_, stage, run_dir, hardware, first=None, negative=None):
        given.append(negative)
        return trained_once(config.widths[0 if first is None else 1])

    monkeypatch.setattr(training, "_network", network)
    monkeypatch.setattr(training, "_mined", lambda *of: hard)
    config = Config(widths=(4, 6), second_learns=learns, validation_negatives=200)
    train(config, Phantoms(), Phantoms(), tmp_path, hardware=Hardware(progress=False))
    assert given[0] is None
    if learns == "random":
        assert given[1] is None
    else:
        assert given[1].at(np.arange(2)).tolist() == [[0, 200, 50], [1, 100, 100]]
    assert load(tmp_path / "model").second is not None


def test_where_nothing_is_mined_nothing_else_takes_its_place(tmp_path, monkeypatch):
    none = np.zeros((0, 3), np.int64)
    monkeypatch.setattr(training, "_network", lambda *of: trained_once(4))
    monkeypatch.setattr(training, "_mined", lambda *of: none)
    config = Config(widths=(4, 6), validation_negatives=200)
    with pytest.raises(SecondReaderError, match="got no position that the first network lets"):
        train(config, Phantoms(), Phantoms(), tmp_path, hardware=Hardware(progress=False))
    own = data(Phantoms(), config)
    with pytest.raises(SecondReaderError):
        own.batch(0, 8, config, positions.of_where(none))


_FEW = {
    "first.steps": 2, "first.validate_every": 2, "first.batch": 8, "second.steps": 2,
    "second.validate_every": 2, "second.batch": 8, "validation_negatives": 200, "mined": 20,
    "widths": [2, 2], "cascade.features": 10, "cascade.nodes": 2, "cascade.stumps": 3,
    "cascade.negatives": 600,
}  # fmt: skip


def every_choice():
    """Every row of the study, by its settings: equal ones once."""
    rows = [row for table in study("mordang2016").tables for row in table.rows if row.recipe]
    return {str(sorted(row.recipe.settings.items())): row for row in rows}.values()


@pytest.mark.slow
@pytest.mark.parametrize("row", every_choice(), ids=lambda row: row.key)
def test_every_row_of_the_study_trains_reads_and_scores_positions(row, tmp_path):
    settings_ = [f"{k}={v}" for k, v in _FEW.items()]
    settings_ += [f"{k}={v}" for k, v in row.recipe.settings.items()]
    settings_ += [f"validation_negatives={_FEW['validation_negatives']}"]  # the row's take minutes
    config = resolve(Config, "secondreader.methods.mined_cnn", "cpu", settings_)
    images = Phantoms(("HOLOGIC", "GE MEDICAL", "SIEMENS"))
    train(config, images, images, tmp_path, hardware=Hardware("cpu", progress=False))
    reader = load(tmp_path / "model")
    assert reader.read(images.open(images.records[0])).score is not None
    records, scored = reader.positions(images)
    assert len(records) == 3
    positive, negative = scored(0)
    assert len(positive) == 1 and len(negative) > 10_000


# ------------------------------------------------------------------------------ preparation


def test_the_noise_curve_is_found_whatever_lies_under_it():
    rng = np.random.default_rng(0)
    level = np.tile(np.linspace(0.1, 0.9, 500), (500, 1))
    true = 0.002 + 0.02 * level**2
    levels, spread = noise_curve(
        level + rng.normal(0, 1, level.shape) * true, np.ones_like(level, bool)
    )
    assert spread == pytest.approx(0.002 + 0.02 * levels**2, rel=0.12)


def test_what_is_taken_off_is_the_mean_of_the_breast_round_each_pixel():
    row, col = np.mgrid[0:405, 0:301]
    values = (50 + 20 * np.sin(row / 90) + col / 15).astype(np.float32)
    inside = np.hypot(row - 200, col) < 195
    sigma = 20.0
    over = ndimage.gaussian_filter(inside.astype(float), sigma, mode="constant")
    exact = ndimage.gaussian_filter(
        np.where(inside, values, 0), sigma, mode="constant"
    ) / np.maximum(over, 1e-3)
    got = background(values, inside, sigma)
    assert np.abs(got - exact)[inside].max() < 0.3


def shown(rng):
    """Display values: noise grows with the square of the grey level."""
    level = np.tile(np.linspace(0.05, 0.9, 600), (600, 1))
    return level + rng.normal(0, 1, level.shape) * (0.003 + 0.02 * level**2)


def raw(rng):
    """For Processing as it is read: counts of a detector, whose noise is a square root, as attenuation."""
    counts = rng.poisson(np.tile(np.exp(np.linspace(9, 5.3, 600)), (600, 1)))
    ds = Dataset()
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", 1
    ds.BitsStored = 14
    return for_processing(ds, counts.astype(np.uint16), None)[0]


@pytest.mark.parametrize("values", [shown, raw])
def test_noise_is_even_after_it_was_stabilised(values):
    noisy = values(np.random.default_rng(1))
    even = stabilised(noisy, np.ones(noisy.shape, bool))
    rough = even - ndimage.uniform_filter(even, 9)
    own = [rough[:, c : c + 60].std() for c in range(20, 560, 60)]
    assert own == pytest.approx([1.0] * len(own), rel=0.15)


def test_where_few_bits_leave_no_noise_its_spread_is_that_of_rounding():
    flat = np.rint(breast() * 20) / 20  # of grey levels twenty: most neighbours are alike
    coarse = prepare(mammogram(flat, bits=4), Config())[0].astype(float)
    fine = prepare(mammogram(flat, bits=12), Config())[0].astype(float)
    step = 1 / 20 / (12**-0.5 / 15) / 8  # a grey level, in eighths of that spread
    assert np.ptp(coarse) < 4 * step < np.ptp(fine)


def test_what_is_prepared_is_noise_units_without_background():
    pixels, frame = prepare(mammogram(breast()), Config())
    inside = ndimage.binary_erosion(pixels != 0, iterations=30)
    assert abs(np.median(pixels[inside].astype(float))) < 0.02
    assert pixels[inside].astype(float).std() == pytest.approx(1 / 8, rel=0.25)
    assert geometry.to_source(frame, np.argwhere(inside).mean(0)) == pytest.approx(
        np.argwhere(ndimage.binary_erosion(breast() > 0.2, iterations=30)).mean(0), abs=6
    )


# ------------------------------------------------------------------------------ the reader


def test_it_reads_with_two_networks(tmp_path):
    weights = {
        f"{name}.{k}": v
        for name, width in (("first", 4), ("second", 6))
        for k, v in trained_once(width).state_dict().items()
    }
    reading = folder(tmp_path, Config(widths=(4, 6), threshold=0.5), weights).read(
        mammogram(breast())
    )
    assert reading.refused is None and reading.score is not None
    assert reading.heatmap.values.min() >= 0 and reading.heatmap.values.max() <= 1
    for d in reading.detections:
        row, col = geometry.centre(d.region)
        assert 0 <= row < 500 and 0 <= col < 320


@pytest.mark.parametrize(
    ("image", "code"),
    [(mammogram(breast(), None), "no-spacing"), (mammogram(breast(), 0.3), "too-coarse"),
     (mammogram(np.zeros((300, 200), np.float32)), "no-breast"),
     (mammogram(np.ones((8, 8), np.float32)), "no-breast")],
)  # fmt: skip
def test_what_it_cannot_read_it_refuses_with_a_reason(tmp_path, image, code):
    weights = {f"first.{k}": v for k, v in trained_once(4).state_dict().items()}
    reader = folder(tmp_path, Config(detector="first", widths=(4, 6)), weights)
    assert reader.read(image).refused[0] == code


def test_linear_detector_values_are_taken_only_where_their_noise_is_evened_out():
    first = quick(trained_once(4))
    assert Intent.FOR_PROCESSING in MinedCnn(Config(), first).intents
    assert Intent.FOR_PROCESSING not in MinedCnn(Config(stabilise=False), first).intents


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"init": "nowhere"}, "--init: got 'nowhere'"),
        ({"init": "nowhere", "detector": "cascade"}, "for a cascade, expected none"),
    ],
)
def test_where_weights_cannot_begin_is_said_before_anything_is_prepared(tmp_path, change, told):
    with pytest.raises(SecondReaderError, match=told):
        train(Config(**change), None, None, tmp_path, hardware=Hardware(progress=False))


@pytest.mark.parametrize(
    "change",
    [
        {"spacing_mm": 0.0001},
        {"widths": (-1, 4)},
        {"seed": -1},
        {"background_mm": float("inf")},
        {"threshold": 2.0},
        {"makers": ("",)},
        {"away_mm": 1000.0},
    ],
)
def test_settings_out_of_reason_are_refused(change):
    with pytest.raises(ValidationError):
        Config(**change)
