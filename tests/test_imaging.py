"""The breast is found in what real images are like; pixels land where their frame says."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from secondreader import geometry, imaging

DATA = os.environ.get("SECONDREADER_TEST_DATA")
real = pytest.mark.skipif(not DATA, reason="needs SECONDREADER_TEST_DATA")


def breast(rows=400, cols=300, air=0.0, seed=0):
    """A half-ellipse of textured tissue on the left, and where it lies."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[0:rows, 0:cols]
    truth = np.hypot((row - rows / 2) / (0.42 * rows), col / (0.7 * cols)) < 1
    tissue = 0.35 + 0.3 * rng.random((rows // 20 + 1, cols // 20 + 1))
    texture = np.asarray(
        Image.fromarray(tissue.astype(np.float32), "F").resize((cols, rows), Image.BICUBIC)
    )
    pixels = np.where(truth, texture, air) + 0.004 * rng.standard_normal((rows, cols))
    return np.clip(pixels, 0, 1).astype(np.float32), truth


def agreement(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def plain(pixels, truth):
    return pixels, truth


def pedestal(pixels, truth):
    return np.maximum(pixels, 0.12).astype(np.float32), truth


def inverted(pixels, truth):
    return 1 - pixels, truth


def label(pixels, truth):
    pixels = pixels.copy()
    pixels[20:60, 240:285] = 1
    pixels[30:50:4, 245:280] = 0
    return pixels, truth


def frame(pixels, truth):
    pixels = pixels.copy()
    pixels[:, -8:] = pixels[:5] = pixels[-5:] = 1
    truth = truth.copy()
    truth[:5] = truth[-5:] = False
    return pixels, truth


def second_part(pixels, truth):
    pixels = pixels.copy()
    pixels[380:, :60] = 0.5
    return pixels, truth


@pytest.mark.parametrize("change", [plain, pedestal, inverted, label, frame, second_part])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_breast_is_found_whatever_lies_beside_it(change, mirror):
    pixels, truth = change(*breast())
    if mirror:
        pixels, truth = pixels[:, ::-1].copy(), truth[:, ::-1]
    mask = imaging.breast_mask(pixels)
    assert agreement(mask, truth) > 0.93
    assert imaging.chest_wall(mask) == ("right" if mirror else "left")


@pytest.mark.parametrize("size", [(64, 64), (100, 700), (1500, 1100)])
def test_any_size_will_do(size):
    pixels, truth = breast(*size)
    assert agreement(imaging.breast_mask(pixels), truth) > 0.9


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_blank_image_holds_no_breast(value):
    pixels = np.full((200, 150), value, np.float32)
    mask = imaging.breast_mask(pixels)
    assert not mask.any()
    assert imaging.chest_wall(mask) is None


def test_a_breast_that_fills_the_image_is_all_of_it():
    pixels, _ = breast()
    inside = pixels[150:250, 20:120]
    assert imaging.breast_mask(inside).mean() > 0.95


def test_an_inverted_image_is_told_from_a_dense_one():
    pixels, _ = breast()
    assert not imaging.looks_inverted(pixels)
    assert imaging.looks_inverted(1 - pixels)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(40, 90),
    st.integers(40, 90),
    st.floats(1, 4),
    st.booleans(),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_a_spot_lands_where_the_frame_says(rows, cols, scale, mirror, row0, col0):
    row, col = np.mgrid[0:rows, 0:cols].astype(np.float32)
    spot = (rows * 0.55, cols * 0.48)
    pixels = np.exp(-((row - spot[0]) ** 2 + (col - spot[1]) ** 2) / 18).astype(np.float32)
    where = geometry.identity((rows, cols))
    if mirror:
        pixels, where = imaging.flip_cols(pixels, where)
    pixels, where = imaging.crop(pixels, where, row0, col0, rows - 2 * row0, cols - 2 * col0)
    pixels, where = imaging.resample(pixels, where, (scale, scale))
    assert pixels.shape == where.shape
    r, c = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    centre = np.array([(pixels * r).sum(), (pixels * c).sum()]) / pixels.sum()
    assert geometry.to_source(where, centre) == pytest.approx(spot, abs=0.25)


def test_resampling_averages_and_keeps_a_ramp_a_ramp():
    ramp = np.tile(np.arange(120, dtype=np.float32), (60, 1))
    small, where = imaging.resample(ramp, geometry.identity(ramp.shape), (2.5, 2.5))
    expected = geometry.to_source(where, np.stack([np.zeros(48), np.arange(48)], 1))[:, 1]
    assert small.shape == (24, 48)
    assert small[10, 3:-3] == pytest.approx(expected[3:-3], abs=0.02)
    checks = np.indices((100, 100)).sum(axis=0).astype(np.float32) % 2
    flat, _ = imaging.resample(checks, geometry.identity(checks.shape), (10, 10))
    assert flat == pytest.approx(np.full((10, 10), 0.5), abs=0.01)


def test_to_spacing_makes_square_pixels_of_the_wanted_size():
    pixels = np.zeros((100, 60), np.float32)
    out, where = imaging.to_spacing(pixels, geometry.identity((100, 60)), (0.05, 0.1), 0.2)
    assert out.shape == (25, 30)
    assert where.scale == (4, 2)


def test_orient_brings_the_chest_wall_to_the_left():
    pixels, _ = breast()
    mirrored = pixels[:, ::-1]
    side = imaging.chest_wall(imaging.breast_mask(np.ascontiguousarray(mirrored)))
    turned, where = imaging.orient(mirrored, geometry.identity(mirrored.shape), side)
    assert (turned == pixels).all()
    assert where.scale == (1, -1)


def test_normalise_stretches_the_breast_and_clips_the_rest():
    pixels, truth = breast()
    out = imaging.normalise(pixels, truth, 0, 100)
    assert (out[truth].min(), out[truth].max()) == (0, 1)
    with pytest.raises(ValueError, match="empty mask"):
        imaging.normalise(pixels, np.zeros_like(truth))


def test_a_crop_outside_the_image_is_refused():
    with pytest.raises(ValueError, match="expected it inside"):
        imaging.crop(np.zeros((5, 5)), geometry.identity((5, 5)), 2, 2, 4, 4)


@real
def test_on_real_films_the_chest_wall_is_on_the_side_that_the_file_number_says():
    """Odd films of mini-MIAS are right breasts, hung with the chest wall on the right."""
    right = unsure = 0
    films = sorted(Path(DATA, "mini-mias").glob("*.png"))[::4]
    for film in films:
        pixels = np.asarray(Image.open(film), np.float32) / 255
        side = imaging.chest_wall(imaging.breast_mask(pixels))
        right += side == ("right" if int(film.stem[3:]) % 2 else "left")
        unsure += side is None
        assert not imaging.looks_inverted(pixels)
    assert right + unsure == len(films)
    assert unsure <= 0.05 * len(films)


@real
def test_on_a_real_digital_exam_the_mask_is_the_breast():
    for file in Path(DATA, "nyu-exam").glob("*.png"):
        pixels = np.asarray(Image.open(file)).astype(np.float32) / 4095
        mask = imaging.breast_mask(pixels)
        assert 0.4 < mask.mean() < 0.95
        assert imaging.chest_wall(mask) == ("left" if "L-" in file.name else "right")


def test_what_is_asked_twice_of_an_image_is_measured_once_and_cannot_be_changed():
    asked = []

    @imaging.once
    def measure(pixels, factor=1):
        asked.append(factor)
        return pixels * factor

    image, other = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
    assert measure(image).flags.writeable and measure(image).flags.writeable
    assert asked == [1, 1]  # it could have been written to in between
    image.flags.writeable = other.flags.writeable = False
    first = measure(image, 2)
    assert measure(image, 2) is first and not first.flags.writeable
    assert measure(image, 3)[0, 0] == 3 and measure(other, 3)[0, 0] == 0
    assert asked == [1, 1, 2, 3, 3]
