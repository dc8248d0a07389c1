"""Features are sums of rectangles; a cascade reads as it was fitted, and is fitted as networks are."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy import ndimage

from mined_phantoms import Phantoms, breast, folder, mammogram
from secondreader.domain import SecondReaderError
from secondreader.learning.hardware import Hardware
from secondreader.methods.mined_cnn import Config
from secondreader.methods.mined_cnn.boosting import _positives, boosted
from secondreader.methods.mined_cnn.cascade import (
    Node,
    cascade_arrays,
    cascade_from,
    passed,
    scores,
    scores_by_count,
)
from secondreader.methods.mined_cnn.config import CascadeSettings
from secondreader.methods.mined_cnn.data import data
from secondreader.methods.mined_cnn.fitting import _stump, fit_cascade, fit_node, in_bins
from secondreader.methods.mined_cnn.haar import (
    drawn_features,
    integral,
    values_at,
    values_of,
    votes_everywhere,
)
from secondreader.methods.mined_cnn.judging import mean_sensitivity, validated
from secondreader.methods.mined_cnn.reader import MinedCnn

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
        for row, col in ((0, 0), (12, 9), (24, 18)):
            top, left = row + window - before, col + window - before
            wanted = sum(
                w * padded[top + int(r) : top + int(r + h), left + int(c) : left + int(c + b)].sum()
                for r, c, h, b, w in feature
            )
            assert gathered[row * 19 + col, number] == pytest.approx(wanted, abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 999), st.integers(6, 14))
def test_votes_everywhere_are_those_of_each_position(seed, window):
    rng = np.random.default_rng(seed)
    shape = (25, 19)
    features = drawn_features(window, 7, rng)
    cuts, votes = rng.normal(size=(2, 7)).astype(np.float32)
    sums = integral(rng.normal(0, 1, shape), window)
    values = values_at(sums, features, np.argwhere(np.ones(shape, bool)))
    wanted = sum(np.where(values[:, k] > cuts[k], votes[k], -votes[k]) for k in range(7))
    # As of an image whose sums are large by the time they reach a strip: 100,000 is that of brighter ones.
    found = votes_everywhere(sums + 1e5, features, cuts, votes, shape).ravel()
    sure = (np.abs(values - cuts) > 1e-4).all(axis=1)  # elsewhere rounding may say either
    assert sure.mean() > 0.9
    assert np.allclose(found[sure], wanted[sure], atol=1e-5)


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


def cut(image, where, wide=12):
    before = wide // 2
    views = np.lib.stride_tricks.sliding_window_view(np.pad(image, wide), (wide, wide))
    return views[where[:, 0] + wide - before, where[:, 1] + wide - before]


@pytest.fixture(scope="module")
def fitted():
    settings_ = CascadeSettings(features=80, nodes=3, stumps=20, negatives=4000)
    image, at, near = dotted(0, dots=100)
    free = np.argwhere(~near)

    def negatives(nodes, count):
        rng = np.random.default_rng(len(nodes))
        where = free[passed(nodes, integral(image, settings_.window), free)]
        return cut(image, where[rng.permutation(len(where))[:count]])

    told = []
    nodes = fit_cascade(
        cut(image, at), negatives, settings_, 0,
        on_node=lambda number, fitted, count: told.append(fitted),
    )  # fmt: skip
    return settings_, nodes, told, image, at


def test_each_node_keeps_the_positives_and_throws_half_of_the_negatives_away(fitted):
    settings_, nodes, told, image, at = fitted
    assert nodes and all(fit.kept >= 0.99 and fit.through <= 0.5 for fit in told)
    for node in nodes:
        sums = node.sums(values_at(integral(image, settings_.window), node.features, at))
        assert (sums >= node.least).mean() >= 0.99


def spotted(positives, negatives, height=1.0, seed=0):
    """Windows of unit noise, those of positives with a spot in the middle, and which are which."""
    rng = np.random.default_rng(seed)
    windows = rng.normal(0, 1, (positives + negatives, 8, 8))
    windows[:positives, 3:5, 3:5] += height
    return windows, np.arange(len(windows)) < positives


def node_of(windows, truth, features, settings):
    return fit_node(in_bins(windows, truth, features), truth, features, settings)


def test_a_node_stops_when_it_has_thrown_enough_away():
    features = drawn_features(8, 50, np.random.default_rng(0))
    few, many = (
        node_of(*spotted(100, 300, height), features, CascadeSettings(stumps=40))
        for height in (6.0, 0.2)
    )
    assert len(few.node.cuts) == 1 and few.through <= 0.5 and few.kept >= 0.99
    assert len(many.node.cuts) > 1 and many.kept >= 0.99


@pytest.mark.parametrize(("height", "kept", "count"), [(0.3, 0.9, 4), (0.0, 0.99, 1)])
def test_a_node_that_throws_less_than_half_away_is_followed_by_others_and_less_than_a_tenth_by_none(
    height, kept, count
):
    told, asked = [], []

    def negatives(nodes, count):
        asked.append(len(nodes))
        return spotted(0, 3000, seed=1 + len(nodes))[0]

    nodes = fit_cascade(
        spotted(300, 0, height)[0], negatives,
        CascadeSettings(window=8, features=100, nodes=4, stumps=12, kept=kept), 0,
        on_node=lambda number, fitted, count: told.append(fitted.through),
    )  # fmt: skip
    assert len(nodes) == len(told) == count and asked == list(range(count))
    assert told[0] > 0.9 if count == 1 else 0.5 < min(told) <= max(told) <= 0.9


def test_where_next_to_nothing_is_let_through_the_cascade_ends():
    told = []
    fit_cascade(
        spotted(100, 0, 6.0)[0],
        lambda nodes, count: spotted(0, 30 if nodes else 300, seed=1 + len(nodes))[0],
        CascadeSettings(window=8, features=50, nodes=4, stumps=10), 0,
        on_node=lambda number, fitted, count: told.append((number, count)),
    )  # fmt: skip
    assert told == [(0, 300)]


def test_positives_come_out_higher_than_the_rest_on_an_image_it_never_saw(fitted):
    settings_, nodes, _, _, _ = fitted
    image, at, near = dotted(7)
    known = scores(nodes, image, settings_.window)
    assert known.min() >= 0 and known.max() <= 1
    beaten = np.searchsorted(np.sort(known[~near]), known[at[:, 0], at[:, 1]]) / (~near).sum()
    assert beaten.mean() > 0.95


def test_a_stored_cascade_reads_as_what_was_fitted(fitted, tmp_path):
    settings_, nodes, _, image, _ = fitted
    save_file(cascade_arrays(nodes, "c."), tmp_path / "c.safetensors")
    back = cascade_from(load_file(tmp_path / "c.safetensors"), "c.", settings_.window)
    assert (scores(back, image, settings_.window) == scores(nodes, image, settings_.window)).all()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("votes", lambda a: None, "got no c.votes"),
        ("stumps", lambda a: a + 1, "add up"),
        ("stumps", lambda a: -a, "add up"),
        ("features", lambda a: a[..., :4], "add up"),
        ("least", lambda a: a * float("nan"), "NaN"),
        ("votes", lambda a: a * float("nan"), "NaN"),
        ("cuts", lambda a: a[:0], "add up"),
        ("features", lambda a: a * 100_000, "reaches out of a window"),
        ("features", lambda a: -1 - a, "reaches out of a window"),
    ],
)
def test_what_is_no_cascade_is_refused(fitted, name, change, told):
    settings_, nodes, *_ = fitted
    arrays = cascade_arrays(nodes, "c.")
    changed = change(arrays.pop(f"c.{name}"))
    arrays |= {} if changed is None else {f"c.{name}": changed}
    with pytest.raises(SecondReaderError, match=told):
        cascade_from(arrays, "c.", settings_.window)


def test_a_cascade_of_another_window_is_refused(fitted):
    _, nodes, *_ = fitted
    with pytest.raises(SecondReaderError, match="reaches out of a window of 6"):
        cascade_from(cascade_arrays(nodes, "c."), "c.", 6)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nodes.json", '{"nodes": [{"negatives'),
        ("nodes.json", '{"nodes": [{"let through": 0.5}]}'),
        ("nodes.json", '{"nodes": []}'),
        ("nodes.safetensors", ""),
    ],
)
def test_a_damaged_run_is_one_line_and_stays(tmp_path, name, content):
    own = data(Phantoms(), small())
    boosted(own, own, small(1), tmp_path, Hardware(progress=False))
    (tmp_path / name).write_text(content)
    with pytest.raises(SecondReaderError, match=r"cannot go on from .*nodes.safetensors"):
        boosted(own, own, small(2), tmp_path, Hardware(progress=False))
    assert (tmp_path / name).read_text() == content


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
    step = np.minimum((known.ravel() * 2 * len(nodes)).astype(int), len(nodes))
    assert (step == passed).mean() > 0.9999


def test_what_passes_all_nodes_is_ranked_by_the_votes_of_all(fitted):
    settings_, nodes, _, image, _ = fitted
    known = scores(nodes, image, settings_.window).ravel()
    sums = integral(image, settings_.window)
    at = np.argwhere(np.ones(image.shape, bool))[known >= 0.5]
    votes = sum(node.sums(values_at(sums, node.features, at)) for node in nodes)
    most = sum(float(np.abs(node.votes).sum()) for node in nodes)
    assert len(at) > 50
    assert known[known >= 0.5] == pytest.approx(0.5 + (votes + most) / (4 * most), abs=1e-5)


@pytest.mark.parametrize("loss", ["ranking", "exponential"])
def test_a_node_finds_the_feature_that_tells_classes_apart(loss):
    centre = np.array([[[2, 2, 4, 4, -0.25], [3, 3, 2, 2, 1]]], np.float32)
    edges = np.array([[[0, 0, 8, 2, -0.5], [0, 0, 4, 2, 1]]] * 4, np.float32)
    features = np.concatenate([edges[:3], centre, edges[3:]])
    fit = node_of(*spotted(60, 600, 6.0), features, CascadeSettings(loss=loss, stumps=1))
    assert (fit.node.features[0] == centre[0]).all()
    assert fit.through < 0.05


def test_without_any_calcification_there_is_nothing_to_boost():
    with pytest.raises(SecondReaderError, match="got 0 positions of calcifications"):
        fit_cascade(
            np.zeros((0, 12, 12)), lambda nodes, count: np.zeros((10, 12, 12)), CascadeSettings(), 0
        )


# A pixel's own value: what a window says is then what it is made of.
PIXEL = np.array([[[0, 0, 1, 1, 0], [4, 4, 1, 1, 1]]], np.float32)


def test_a_node_may_cut_where_only_positives_lie():
    # One feature, above whose highest negative lie half of the positives: 6 in 10,000 of all values.
    rng = np.random.default_rng(3)
    every = np.concatenate([rng.random(6), 2 + rng.random(6), rng.random(20_000)])
    windows = np.zeros((len(every), 8, 8))
    windows[:, 4, 4] = every
    node = node_of(windows, np.arange(len(every)) < 12, PIXEL, CascadeSettings(stumps=1)).node
    assert 0.99 < node.cuts[0] < 2.2


def test_the_best_stump_is_that_of_all_cuts_tried_one_by_one():
    rng = np.random.default_rng(3)
    binned = rng.integers(0, 128, (6, 400)).astype(np.uint8)
    signed = rng.normal(size=400) / 400
    number, edge, vote = _stump(binned, signed)
    gains = {
        (k, cut): float(np.where(binned[k] > cut, signed, -signed).sum())
        for k in range(6)
        for cut in range(127)
    }
    best = max(gains, key=lambda of: abs(gains[of]))
    assert (number, edge) == best
    assert np.tanh(vote) == pytest.approx(gains[best])


def test_votes_at_bins_are_those_of_the_stored_cuts():
    windows, truth = spotted(300, 3000, 1.0, seed=4)
    features = drawn_features(8, 6, np.random.default_rng(4))
    node, kept, through = node_of(windows, truth, features, CascadeSettings(stumps=8, thrown=0.99))
    sums = node.sums(values_of(windows, node.features))
    assert (sums[~truth] >= node.least).mean() == pytest.approx(through, abs=1e-3)
    assert (sums[truth] >= node.least).mean() == pytest.approx(kept, abs=0.004)
    assert kept >= 0.99


def test_scores_of_what_is_asked_for_are_those_of_the_whole(fitted):
    settings_, nodes, _, image, _ = fitted
    asked = np.random.default_rng(0).random(image.shape) < 0.05
    few = scores(nodes, image, settings_.window, asked)
    assert (few[~asked] == 0).all()
    assert few[asked] == pytest.approx(scores(nodes, image, settings_.window)[asked], abs=2e-3)


def small(nodes=3):
    return Config(
        cascade=CascadeSettings(features=20, nodes=nodes, stumps=6, negatives=3000),
        validation_negatives=1000,
    )


def test_a_cascade_that_was_stopped_goes_on_after_its_last_node(tmp_path):
    own = data(Phantoms(), small())
    quiet = Hardware(progress=False)
    whole = boosted(own, own, small(), tmp_path / "a", quiet)
    boosted(own, own, small(1), tmp_path / "b", quiet)
    again = boosted(own, own, small(), tmp_path / "b", quiet)
    one, two = cascade_arrays(whole, ""), cascade_arrays(again, "")
    assert all(torch.equal(one[name], two[name]) for name in one)
    told, once_more = (json.loads((tmp_path / of / "nodes.json").read_text()) for of in "ab")
    assert told == once_more
    assert len(told["nodes"]) == 3 and told["read by"] == len(whole)
    assert all(n["positives"] == 8 and n["positives kept"] >= 0.99 for n in told["nodes"])
    assert [n["stumps"] for n in told["nodes"]][: len(whole)] == [len(n.cuts) for n in whole]


def test_a_cascade_that_was_killed_between_its_two_files_goes_on_as_if_it_had_not(tmp_path):
    own = data(Phantoms(), small())
    quiet = Hardware(progress=False)
    whole = boosted(own, own, small(), tmp_path / "a", quiet)
    boosted(own, own, small(1), tmp_path / "b", quiet)
    # Of the second node the notes are there, and say that it was the last.
    told = json.loads((tmp_path / "a" / "nodes.json").read_text())["nodes"][:2]
    told[1]["negatives let through"] = 0.99
    (tmp_path / "b" / "nodes.json").write_text(json.dumps({"nodes": told}))
    again = boosted(own, own, small(), tmp_path / "b", quiet)
    one, two = cascade_arrays(whole, ""), cascade_arrays(again, "")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "a" / "nodes.json").read_text() == (
        tmp_path / "b" / "nodes.json"
    ).read_text()


def test_scores_by_so_many_nodes_are_those_of_the_shorter_cascades():
    rng = np.random.default_rng(0)
    image = np.cumsum(rng.normal(0, 1, (150, 120)), axis=1)
    nodes = [
        Node(drawn_features(12, 5, rng), rng.normal(0, 1, 5).astype(np.float32),
             rng.uniform(0.1, 1, 5).astype(np.float32), -0.5)
        for _ in range(4)
    ]  # fmt: skip
    at = np.argwhere(np.ones(image.shape, bool))
    found = scores_by_count(nodes, image, 12, at)
    assert found.shape == (4, len(at))
    assert 0.05 < (found[3] > 0.5).mean() < (found[0] > 0.5).mean() < 0.95
    for count, of in enumerate(found, 1):
        wanted = scores(nodes[:count], np.where(image == 0, 1e-3, image), 12).ravel()
        assert (np.abs(of - wanted) < 1e-4).mean() > 0.999  # a value at a cut may fall either way


def test_by_how_many_nodes_a_cascade_is_read_is_chosen_on_validation_positions(tmp_path):
    own = data(Phantoms(), small())
    found = []
    for count in (1, 2, 3):
        boosted(own, own, small(count), tmp_path / "a", Hardware(progress=False))
        told = json.loads((tmp_path / "a" / "nodes.json").read_text())
        assert told["read by"] == 1 + int(np.argmax(told["mean sensitivity by so many"]))
        found.append(told["mean sensitivity by so many"])
    # What few nodes score is no matter of those after them.
    assert found[2][:2] == found[1] and found[1][:1] == found[0]
    nodes = cascade_from(load_file(tmp_path / "a" / "nodes.safetensors"), "", 12)
    known = [
        scores(nodes[:2], np.asarray(own.images.pixels(i)), small().cascade.window)
        for i in range(2)
    ]
    read = [np.array([known[i][r, c] for i, r, c in w]) for w in validated(own, small())]
    assert mean_sensitivity(*read) == pytest.approx(found[2][1])


def test_the_mean_sensitivity_is_one_of_what_lies_above_all_others_and_half_of_a_half():
    negative = np.linspace(0, 0.5, 100_000)
    assert mean_sensitivity(np.array([0.6, 0.7]), negative) == 1
    assert mean_sensitivity(np.array([0.6, 0.1]), negative) == 0.5
    assert mean_sensitivity(negative[::1000], negative) < 0.05


def test_a_cascade_learns_from_calcifications_moved_turned_and_mirrored_too():
    settings_ = CascadeSettings(window=11, copies=40)
    config = Config(cascade=settings_)
    own = data(Phantoms(), config)
    flat = _positives(own, config)
    windows = flat.reshape(2, 40, 11, 11)
    features = drawn_features(11, 20, np.random.default_rng(0))
    of_windows = values_of(flat, features).reshape(2, 40, 20)
    for image, (row, col) in enumerate(c[0] for c in own.centres):
        pixels = np.asarray(own.images.pixels(image)).astype(np.float32)
        exact = values_at(integral(pixels, 11), features, np.array([[row, col]]))[0]
        assert of_windows[image, 0] == pytest.approx(exact, abs=1e-4)
        moved = [
            np.rot90(side, k)
            for r in (-1, 0, 1)
            for c in (-1, 0, 1)
            for side in (pixels[row + r - 5 : row + r + 6, col + c - 5 : col + c + 6],)
            for side in (side, side[:, ::-1])
            for k in range(4)
        ]
        found = {next(i for i, m in enumerate(moved) if (m == w).all()) for w in windows[image]}
        assert len(found) > 15  # of 72


def test_clusters_are_made_of_what_more_votes_are_for_than_against(tmp_path, fitted):
    settings_, nodes, _, image, _ = fitted
    reader = folder(
        tmp_path,
        Config(detector="cascade", cascade=settings_),
        cascade_arrays(nodes, "cascade."),
    )
    assert isinstance(reader, MinedCnn)
    known = reader.known(image).ravel()
    sure = reader.sure(known)
    through = passed(
        nodes, integral(image, settings_.window), np.argwhere(np.ones(image.shape, bool))
    )
    assert (sure[~through] == 0).all() and (sure > 0).any()
    assert sure[through] == pytest.approx(np.maximum(4 * known[through] - 3, 0), abs=1e-6)
    assert sure.min() >= 0 and sure.max() <= 1
    reading = reader.read(mammogram(breast()))
    assert reading.refused is None and reading.score is not None
    assert reading.heatmap.values.min() >= 0 and reading.heatmap.values.max() <= 1
