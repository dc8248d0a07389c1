"""Images unlike those that a model was trained on."""

import numpy as np
import pytest
from scipy import ndimage

from secondreader.domain import ImageSource, Mammogram, SecondReaderError
from secondreader.learning import likeness
from secondreader.learning.likeness import FEATURES, Likeness, features, fitted

K = len(FEATURES)
MM = (0.2, 0.2)


def breast(seed, rows=340, cols=220):
    """A half-disc of texture on black, (rows, cols) float32."""
    rng = np.random.default_rng(seed)
    r, c = np.ogrid[:rows, :cols]
    wide = rng.uniform(0.55, 0.7)
    inside = ((r - rows / 2) / (0.42 * rows)) ** 2 + (c / (wide * cols)) ** 2 < 1
    texture = sum(
        s * ndimage.gaussian_filter(rng.standard_normal((rows, cols)), s) for s in (1, 2, 4, 8, 16)
    )
    values = rng.uniform(0.45, 0.55) + 0.05 * texture + rng.normal(0, 0.01, (rows, cols))
    return np.where(inside, values, 0).clip(0, 1).astype(np.float32)


def mammogram(pixels, spacing=MM):
    return Mammogram(
        np.ascontiguousarray(pixels, np.float32), spacing, None, None, ImageSource("x")
    )


def seen(pixels, spacing=MM):
    return features(mammogram(pixels, spacing))


@pytest.fixture(scope="module")
def model():
    rows = np.stack([seen(breast(seed)) for seed in range(40)])
    return fitted(rows[:28], ["a"] * 28, rows[28:])


def unlike(model, pixels, spacing=MM):
    return model.unlike(mammogram(pixels, spacing), "m")


def test_more_of_the_same_is_read(model):
    assert sum(unlike(model, breast(seed)) is not None for seed in range(100, 108)) <= 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: 1 - p, "air|black|white|tissue"),  # inverted polarity
        (lambda p: 0.15 + 0.85 * p, "air"),  # a window that leaves air grey
        (lambda p: np.clip(4 * p - 1.6, 0, 1), "white|black|tissue"),  # a hard window
        (lambda p: np.where(p > 0, ndimage.gaussian_filter(p, 5), 0), "texture|tissue"),  # a synthetic view's smoothness
        (lambda p: np.clip(p + (p > 0) * np.random.default_rng(0).normal(0, 0.08, p.shape), 0, 1),
         "texture|tissue|black|noise"),
    ],
    ids=["inverted", "lifted", "windowed", "smooth", "noisy"],
)  # fmt: skip
def test_another_kind_of_image_is_not(model, change, says):
    code, reason = unlike(model, change(breast(7)))
    assert code == "unlike-training" and "--accept unlike-training" in reason
    assert any(word in reason for word in says.split("|")), reason


def test_another_body_part_is_not(model):
    hand = np.zeros((340, 220), np.float32)
    hand[200:310, 50:170] = breast(3)[110:220, :120]
    for left in (50, 75, 100, 125, 150):
        hand[60:210, left : left + 16] = 0.5
    assert unlike(model, hand) is not None


def test_a_breast_of_another_size_than_any_is_not(model):
    assert "area" in unlike(model, breast(7), (1.0, 1.0))[1]


def test_without_a_pixel_size_the_rest_is_judged(model):
    assert np.isnan(seen(breast(7), None)[FEATURES.index("area")])
    assert unlike(model, breast(7), None) is None
    assert unlike(model, 1 - breast(7), None) is not None


def test_what_holds_no_breast_is_left_to_the_reader(model):
    assert np.isnan(seen(np.zeros((100, 100)))).all()
    assert unlike(model, np.zeros((100, 100))) is None


def drawn(rng, n, middle=0.0):
    return middle + rng.normal(0, 1, (n, K))


def test_the_threshold_leaves_the_stated_share_of_validation_images_below():
    rng = np.random.default_rng(0)
    held = drawn(rng, 999)
    made = fitted(drawn(rng, 500), ["a"] * 500, held, share=0.9)
    below = [made.distance(row)[0] <= made.threshold for row in held]
    assert sum(below) == 900  # of n + 1 = 1000 places the 900th
    fresh = [made.distance(row)[0] <= made.threshold for row in drawn(rng, 4000)]
    assert abs(np.mean(fresh) - 0.9) < 0.03


def test_the_distance_is_mahalanobis_s_of_many_images():
    rng = np.random.default_rng(1)
    mix = rng.normal(0, 1, (K, K)) / np.sqrt(K) + 2 * np.eye(K)
    train = drawn(rng, 20_000) @ mix
    made = fitted(train, ["a"] * len(train), train[:50])
    point = drawn(rng, 1)[0] @ mix
    middle = np.median(train, axis=0)
    wanted = np.sqrt((point - middle) @ np.linalg.inv(np.cov(train.T)) @ (point - middle))
    assert made.distance(point)[0] == pytest.approx(wanted, rel=0.03)


def test_between_two_makers_lies_neither():
    rng = np.random.default_rng(2)
    train = np.concatenate([drawn(rng, 200, -15), drawn(rng, 200, 15)])
    makers = ["a"] * 200 + ["b"] * 200
    held = np.concatenate([drawn(rng, 100, -15), drawn(rng, 100, 15)])
    between = np.zeros(K)
    assert (
        fitted(train, makers, held).distance(between)[0] > 4 * fitted(train, makers, held).threshold
    )
    one = fitted(train, [None] * 400, held)  # nobody said whose they are: one cloud
    assert one.distance(between)[0] < one.threshold
    few = fitted(np.concatenate([train, drawn(rng, 3, 40)]), [*makers, "c", "c", "c"], held)
    assert len(few.middles) == 3  # a maker of three images has none of its own, but is not lost


def test_it_is_kept_and_comes_back_the_same(model, tmp_path):
    assert likeness.loaded(tmp_path) is None
    (tmp_path / likeness.FILE).write_text(model.text())
    back = likeness.loaded(tmp_path)
    assert isinstance(back, Likeness) and back == model
    (tmp_path / likeness.FILE).write_text(model.text().replace("likeness/1", "likeness/9"))
    with pytest.raises(SecondReaderError, match="another schema"):
        likeness.loaded(tmp_path)


def test_too_few_images_tell_nothing():
    rng = np.random.default_rng(3)
    with pytest.raises(SecondReaderError, match="5 training"):
        fitted(drawn(rng, 5), ["a"] * 5, drawn(rng, 5))
