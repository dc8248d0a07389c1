"""Dense reading is patch by patch; a cascade reads as it was fitted; noise is even after preparation."""

import weakref
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from scipy import ndimage

from secondreader import geometry
from secondreader.domain import (
    Circle,
    ImageRecord,
    ImageSource,
    Intent,
    Kind,
    Lesion,
    Mammogram,
    SecondReaderError,
)
from secondreader.evaluation.positions import binned
from secondreader.learning import positions
from secondreader.learning.configuration import resolve
from secondreader.learning.hardware import Hardware
from secondreader.learning.model_folder import save_model
from secondreader.learning.run_folder import write_whole
from secondreader.methods.mined_cnn import Config, load, train
from secondreader.methods.mined_cnn.boosting import boosted
from secondreader.methods.mined_cnn.cascade import (
    cascade_arrays,
    cascade_from,
    fit_cascade,
    fit_node,
    passed,
    scores,
)
from secondreader.methods.mined_cnn.config import CascadeSettings
from secondreader.methods.mined_cnn.data import data, wanted
from secondreader.methods.mined_cnn.dense import (
    everywhere,
    joined,
    quick,
    score_of,
    somewhere,
    where_wanted,
)
from secondreader.methods.mined_cnn.haar import (
    drawn_features,
    integral,
    values_at,
    values_everywhere,
)
from secondreader.methods.mined_cnn.network import WINDOW, Dense, patch_network
from secondreader.methods.mined_cnn.prepare import background, noise_curve, prepare, stabilised
from secondreader.methods.mined_cnn.reader import MinedCnn
from secondreader.studies import study

training = import_module("secondreader.methods.mined_cnn.train")


def trained_once(width=4, seed=0):
    """A network whose batch normalisation has seen something, so that it is not the identity."""
    torch.manual_seed(seed)
    network = patch_network(width).train()
    for _ in range(3):
        network(torch.randn(8, 1, WINDOW, WINDOW))
    return network.eval()


# ------------------------------------------------------------------------------ dense reading


@settings(deadline=None, max_examples=10)
@given(st.integers(5, 60), st.integers(5, 60))
def test_dense_reading_is_the_patch_by_patch_result_at_every_pixel(rows, cols):
    network = trained_once()
    image = np.random.default_rng(rows).normal(0, 1, (rows, cols)).astype(np.float32)
    every = np.argwhere(np.ones((rows, cols), bool))
    with torch.no_grad():
        dense = score_of(Dense(network)(torch.from_numpy(image)[None, None]))[0, 0].numpy()
    one_by_one = somewhere(network, image, every).reshape(rows, cols)
    assert dense.shape == (rows, cols)
    assert np.allclose(dense, one_by_one, atol=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.004])
def test_blocks_patches_and_folding_change_nothing(share):
    network = trained_once()
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (450, 230)).astype(np.float16)
    image[:, :9] = 0
    whole = score_of(Dense(network)(torch.from_numpy(image.astype(np.float32))[None, None]))
    # Many are wanted in the upper half, a share of them in the lower: both ways are taken.
    wanted = (rng.random(image.shape) < np.where(np.arange(450) < 225, 1, share)[:, None]) & (
        image != 0
    )
    got = where_wanted(quick(network), image, wanted)
    assert np.allclose(got, np.where(wanted, whole.detach()[0, 0].numpy(), 0), atol=1e-4)
    assert (everywhere(quick(network), image)[:, 9:] > 0).all()


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


def test_positions_that_networks_are_quite_sure_of_are_still_told_apart_and_counted_apart():
    sure = score_of(torch.arange(8.0, 26.0)).numpy()
    together = joined(np.full(len(sure), 0.9, np.float32), sure, 0.5)
    for known in (sure, together):
        assert known.dtype == np.float32
        bins = [int(np.argmax(binned(one))) for one in known[:, None]]
        assert np.diff(known).min() > 0 and np.diff(bins).min() > 0


# ------------------------------------------------------------------------------ Haar features


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 999), st.integers(6, 14))
def test_features_are_the_sums_of_their_rectangles_everywhere_and_at_positions(seed, window):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (25, 19))
    features = drawn_features(window, 5, rng)
    sums = integral(image, window)
    at = np.argwhere(np.ones(image.shape, bool))
    gathered = values_at(sums, features, at)
    before = window // 2
    padded = np.pad(image, window)
    for number, feature in enumerate(features):
        assert np.allclose(
            values_everywhere(sums, feature, image.shape).ravel(), gathered[:, number], atol=1e-4
        )
        for row, col in ((0, 0), (12, 9), (24, 18)):
            top, left = row + window - before, col + window - before
            wanted = sum(
                w * padded[top + int(r) : top + int(r + h), left + int(c) : left + int(c + b)].sum()
                for r, c, h, b, w in feature
            )
            assert gathered[row * 19 + col, number] == pytest.approx(wanted, abs=1e-4)


def test_a_flat_window_is_nothing_to_any_feature():
    features = drawn_features(12, 200, np.random.default_rng(0))
    flat = values_at(integral(np.ones((30, 30)), 12), features, np.array([[15, 15]]))
    assert np.abs(flat).max() < 1e-4


# ------------------------------------------------------------------------------ the cascade


def dotted(seed, dots=40, shape=(200, 200)):
    """Unit noise with faint dots; returns the image and where they are."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, shape)
    at = rng.integers(15, 185, (dots, 2))
    marks = np.zeros(shape)
    marks[at[:, 0], at[:, 1]] = 1
    spots = ndimage.maximum_filter(marks, 3) > 0
    return image + 4 * spots, at, ndimage.maximum_filter(marks, 21) > 0


@pytest.fixture(scope="module")
def fitted():
    settings_ = CascadeSettings(features=80, nodes=3, stumps=20, negatives=4000)
    image, at, near = dotted(0, dots=100)
    free = np.argwhere(~near)

    def negatives(nodes, count):
        rng = np.random.default_rng(len(nodes))
        where = free[passed(nodes, integral(image, settings_.window), free)]
        return where[rng.permutation(len(where))[:count]]

    told = []
    nodes = fit_cascade(
        at, negatives,
        lambda where, features: values_at(integral(image, settings_.window), features, where),
        settings_, 0, on_node=lambda number, through: told.append(through),
    )  # fmt: skip
    return settings_, nodes, told, image, at


def test_each_node_keeps_the_positives_and_throws_half_of_the_negatives_away(fitted):
    settings_, nodes, told, image, at = fitted
    assert nodes and all(through <= 0.5 for through in told)
    for node in nodes:
        sums = node.sums(values_at(integral(image, settings_.window), node.features, at))
        assert (sums >= node.least).mean() >= 0.99


def test_a_node_stops_when_it_has_thrown_enough_but_the_last_ranks_by_all_its_stumps():
    rng = np.random.default_rng(0)
    truth = np.arange(400) < 100
    values = rng.normal(0, 1, (400, 5)).astype(np.float32)
    values[truth, 0] += 6
    given = (values, truth, drawn_features(8, 5, rng), CascadeSettings(stumps=10))
    early, last = fit_node(*given)[0], fit_node(*given, last=True)[0]
    assert len(early.cuts) < len(last.cuts) == 10
    assert np.array_equal(last.cuts[: len(early.cuts)], early.cuts)


def test_positives_come_out_higher_than_the_rest_on_an_image_it_never_saw(fitted):
    settings_, nodes, _, _, _ = fitted
    image, at, near = dotted(7)
    known = scores(nodes, image, settings_.window)
    assert known.min() >= 0 and known.max() <= 1
    beaten = np.searchsorted(np.sort(known[~near]), known[at[:, 0], at[:, 1]]) / (~near).sum()
    assert beaten.mean() > 0.95


def test_a_stored_cascade_reads_as_what_was_fitted(fitted):
    settings_, nodes, _, image, _ = fitted
    back = cascade_from(cascade_arrays(nodes, "c."), "c.")
    assert (scores(back, image, settings_.window) == scores(nodes, image, settings_.window)).all()


def test_the_score_says_how_far_a_position_came(fitted):
    settings_, nodes, _, image, _ = fitted
    known = scores(nodes, image, settings_.window)
    sums = integral(image, settings_.window)
    at = np.argwhere(np.ones(image.shape, bool))
    passed = np.zeros(len(at), int)
    alive = np.ones(len(at), bool)
    for node in nodes:
        alive &= node.sums(values_at(sums, node.features, at)) >= node.least
        passed += alive
    step = np.minimum((known.ravel() * (len(nodes) + 1)).astype(int), len(nodes))
    assert (step == passed).mean() > 0.9999


@pytest.mark.parametrize("loss", ["ranking", "exponential"])
def test_a_node_finds_the_feature_that_tells_classes_apart(loss):
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(0, 1, (60, 5)), rng.normal(0, 1, (600, 5))
    positive[:, 3] += 6
    features = drawn_features(12, 5, rng)
    node, through = fit_node(
        np.concatenate([positive, negative]).astype("f4"), np.arange(660) < 60, features,
        CascadeSettings(loss=loss, stumps=1),
    )  # fmt: skip
    assert (node.features[0] == features[3]).all()
    assert through < 0.05


def test_without_any_calcification_there_is_nothing_to_boost():
    with pytest.raises(SecondReaderError, match="got 0 positions of calcifications"):
        fit_cascade(
            np.zeros((0, 2), int),
            lambda nodes, count: np.zeros((10, 2), int),
            lambda where, features: np.zeros((len(where), len(features))),
            CascadeSettings(), 0,
        )  # fmt: skip


def test_a_node_may_cut_where_only_positives_lie():
    # One feature, above whose highest negative lie half of the positives: 6 in 10,000 of all values.
    rng = np.random.default_rng(3)
    negative = rng.random((20_000, 1))
    positive = np.concatenate([rng.random((6, 1)), 2 + rng.random((6, 1))])
    every = np.concatenate([positive, negative]).astype("f4")
    node, _ = fit_node(
        every, np.arange(len(every)) < 12, drawn_features(12, 1, rng), CascadeSettings(stumps=1)
    )
    assert 0.99 < node.cuts[0] < 2.2


def test_votes_at_bins_are_those_of_the_stored_cuts():
    rng = np.random.default_rng(4)
    every = np.concatenate([rng.normal(1, 1, (300, 6)), rng.normal(0, 1, (3000, 6))]).astype("f4")
    features = drawn_features(12, 6, rng)
    node, through = fit_node(
        every, np.arange(3300) < 300, features, CascadeSettings(stumps=8, thrown=0.99)
    )
    numbers = [int(np.flatnonzero((features == f).all(axis=(1, 2)))[0]) for f in node.features]
    sums = node.sums(every[:, numbers])
    assert (sums[300:] >= node.least).mean() == pytest.approx(through, abs=1e-3)
    assert (sums[:300] >= node.least).mean() >= 0.99


def test_scores_of_what_is_asked_for_are_those_of_the_whole(fitted):
    settings_, nodes, _, image, _ = fitted
    asked = np.random.default_rng(0).random(image.shape) < 0.05
    few = scores(nodes, image, settings_.window, asked)
    assert (few[~asked] == 0).all()
    assert few[asked] == pytest.approx(scores(nodes, image, settings_.window)[asked], abs=2e-3)


# ------------------------------------------------------------------------------ positions


class Phantoms:
    """Images of noise, each with a calcification, of two makers or more."""

    def __init__(self, vendors=("Hologic, Inc.", "GE")):
        self.records = tuple(
            ImageRecord(
                "x", f"{n}", f"p{n}", f"e{n}", vendor=vendor, spacing_mm=(0.1, 0.1),
                lesions=(Lesion("a", Kind.MICROCALCIFICATION, Circle(250.0, 100.0 + 20 * n, 2.0)),),
            )
            for n, vendor in enumerate(vendors)
        )  # fmt: skip

    def open(self, record):
        return mammogram(breast())

    def prepared(self, record, prepare, key):
        return prepare(self.open(record))


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
    assert positive == pytest.approx([known[row - 1 : row + 2, col - 1 : col + 2].max()], abs=1e-4)
    assert negative == pytest.approx(known[wanted(own, 1)], abs=1e-4)


def test_a_second_network_is_judged_and_mined_as_it_reads_after_the_first(tmp_path):
    first, second = trained_once(4), trained_once(6, seed=1)
    own = data(Phantoms(), Config())
    pixels = [np.asarray(own.images.pixels(i)) for i in range(2)]
    alone = np.concatenate(
        [everywhere(quick(first), p)[wanted(own, i)] for i, p in enumerate(pixels)]
    )
    least = float(np.quantile(alone, 0.99))
    config = Config(widths=(4, 6), threshold=least, mined=30, validation_negatives=2000)
    reader = MinedCnn(config, quick(first), quick(second))
    where = training._validated(own, config)
    everything = [reader.known(p) for p in pixels]
    read = [np.array([everything[i][r, c] for i, r, c in at[:200].tolist()]) for at in where]
    before = [training._at(first, own, at[:200]) for at in where]
    after = [training._at(second, own, at[:200]) for at in where]
    for one, two, known in zip(before, after, read, strict=True):
        assert joined(one, two, least) == pytest.approx(known, abs=1e-4)
    full = [training._at(first, own, at) for at in where]
    judged = training._figures(second, own, config, full)
    assert judged != training._figures(second, own, config, None)
    found = training._mined(first, second, own, config, tmp_path, Hardware(progress=False))
    assert len(found) == 60
    known = [reader.known(p, wanted(own, i)) for i, p in enumerate(pixels)]
    for index in range(2):
        lowest = np.sort(known[index][wanted(own, index)])[-30]
        at = found[found[:, 0] == index]
        assert (known[index][at[:, 1], at[:, 2]] >= lowest - 1e-4).all()


def test_a_cascade_that_was_stopped_goes_on_after_its_last_node(tmp_path):
    settings_ = CascadeSettings(features=20, nodes=3, stumps=6, negatives=3000)
    config = Config(cascade=settings_)
    own = data(Phantoms(), config)
    quiet = Hardware(progress=False)
    whole = boosted(own, config, tmp_path / "a", quiet)
    write_whole(tmp_path / "b" / "nodes.safetensors", save(cascade_arrays(whole[:1], "")))
    again = boosted(own, config, tmp_path / "b", quiet)
    one, two = cascade_arrays(whole, ""), cascade_arrays(again, "")
    assert len(again) == len(whole) > 1
    assert all(torch.equal(one[name], two[name]) for name in one)


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


@pytest.mark.parametrize("intent", [Intent.FOR_PRESENTATION, Intent.FOR_PROCESSING])
def test_noise_is_even_after_it_was_stabilised(intent):
    rng = np.random.default_rng(1)
    level = np.tile(np.linspace(0.05, 0.9, 600), (600, 1))
    spread = 0.02 * np.sqrt(level) if intent is Intent.FOR_PROCESSING else 0.003 + 0.02 * level**2
    even = stabilised(
        level + rng.normal(0, 1, level.shape) * spread, np.ones_like(level, bool), intent
    )
    rough = even - ndimage.uniform_filter(even, 9)
    own = [rough[:, c : c + 60].std() for c in range(20, 560, 60)]
    assert own == pytest.approx([1.0] * len(own), rel=0.15)


def breast(rows=500, cols=320):
    r, c = np.mgrid[0:rows, 0:cols]
    inside = np.hypot((r - rows / 2) / (0.45 * rows), c / (0.8 * cols)) < 1
    grain = np.random.default_rng(0).normal(0, 0.01, (rows, cols))
    return np.where(inside, 0.45 + grain, 0).astype(np.float32)


def mammogram(pixels, spacing=0.1, bits=12):
    return Mammogram(
        pixels, spacing and (spacing, spacing), None, None, ImageSource("x", bits=bits)
    )


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


def folder(tmp_path, config, weights):
    save_model(tmp_path, method="mined_cnn", config=config, weights=weights)
    return load(tmp_path)


def test_it_reads_with_networks_and_with_a_cascade(tmp_path, fitted):
    both = {
        f"{name}.{k}": v
        for name, width in (("first", 4), ("second", 6))
        for k, v in trained_once(width).state_dict().items()
    }
    readers = (
        folder(tmp_path / "cnn", Config(widths=(4, 6), threshold=0.5), both),
        folder(
            tmp_path / "cascade",
            Config(detector="cascade", cascade=fitted[0]),
            cascade_arrays(fitted[1], "cascade."),
        ),
    )
    for reader in readers:
        reading = reader.read(mammogram(breast()))
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
