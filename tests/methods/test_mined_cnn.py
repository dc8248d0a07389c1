"""Dense reading is patch by patch; a cascade reads as it was fitted; noise is even after preparation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from secondreader import geometry
from secondreader.domain import ImageSource, Intent, Mammogram, SecondReaderError
from secondreader.learning.model_folder import save_model
from secondreader.methods.mined_cnn import Config, load
from secondreader.methods.mined_cnn.cascade import (
    cascade_arrays,
    cascade_from,
    fit_cascade,
    fit_node,
    scores,
)
from secondreader.methods.mined_cnn.config import CascadeSettings
from secondreader.methods.mined_cnn.dense import everywhere, quick, somewhere
from secondreader.methods.mined_cnn.haar import (
    drawn_features,
    integral,
    values_at,
    values_everywhere,
)
from secondreader.methods.mined_cnn.network import WINDOW, Dense, patch_network
from secondreader.methods.mined_cnn.prepare import noise_curve, prepare, stabilised
from secondreader.methods.mined_cnn.reader import MinedCnn


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
        dense = torch.sigmoid(Dense(network)(torch.from_numpy(image)[None, None]))[0, 0].numpy()
    one_by_one = somewhere(network, image, every).reshape(rows, cols)
    assert dense.shape == (rows, cols)
    assert np.allclose(dense, one_by_one, atol=1e-5)


def test_strips_and_folding_change_nothing():
    network = trained_once()
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (1100, 70)).astype(np.float16)
    image[:, :9] = 0
    whole = torch.sigmoid(Dense(network)(torch.from_numpy(image.astype(np.float32))[None, None]))
    got = everywhere(quick(network), image)
    assert np.allclose(got, whole.detach()[0, 0].numpy(), atol=1e-4)


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

    def gathered(features, where):
        return values_at(integral(image, settings_.window), features, where)

    def negatives(nodes, features, count):
        rng = np.random.default_rng(len(nodes))
        where = free
        if nodes:
            known = scores(nodes, image, settings_.window)
            where = free[known[free[:, 0], free[:, 1]] >= len(nodes) / (len(nodes) + 1)]
        return gathered(features, where[rng.permutation(len(where))[:count]])

    told = []
    nodes = fit_cascade(
        lambda features: gathered(features, at), negatives, settings_, 0,
        on_node=lambda number, through: told.append(through),
    )  # fmt: skip
    return settings_, nodes, told, image, at


def test_each_node_keeps_the_positives_and_throws_half_of_the_negatives_away(fitted):
    settings_, nodes, told, image, at = fitted
    assert nodes and all(through <= 0.5 for through in told)
    for node in nodes:
        sums = node.sums(values_at(integral(image, settings_.window), node.features, at))
        assert (sums >= node.least).mean() >= 0.99


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
        positive.astype("f4"), negative.astype("f4"), features, CascadeSettings(loss=loss, stumps=1)
    )
    assert (node.features[0] == features[3]).all()
    assert through < 0.05


def test_without_any_calcification_there_is_nothing_to_boost():
    with pytest.raises(SecondReaderError, match="got 0 positions of calcifications"):
        fit_cascade(
            lambda features: np.zeros((0, len(features))),
            lambda nodes, features, count: np.zeros((10, len(features))),
            CascadeSettings(), 0,
        )  # fmt: skip


# ------------------------------------------------------------------------------ preparation


def test_the_noise_curve_is_found_whatever_lies_under_it():
    rng = np.random.default_rng(0)
    level = np.tile(np.linspace(0.1, 0.9, 500), (500, 1))
    true = 0.002 + 0.02 * level**2
    levels, spread = noise_curve(
        level + rng.normal(0, 1, level.shape) * true, np.ones_like(level, bool)
    )
    assert spread == pytest.approx(0.002 + 0.02 * levels**2, rel=0.12)


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


def mammogram(pixels, spacing=0.1):
    return Mammogram(pixels, spacing and (spacing, spacing), None, None, ImageSource("x", bits=12))


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
