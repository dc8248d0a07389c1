"""What lies in the pixels follows them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secondreader.learning.augment import (
    AugmentSettings,
    affine,
    bend,
    geometric,
    intensity,
    margin,
    moved,
    moved_boxes,
)

ALL = AugmentSettings(rotation=25, shear=0.2, zoom=0.2, elastic=0.5, shift=0.1, gain=0.2)
STILL = AugmentSettings(flips=False, turns=False)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.floats(20, 43), st.floats(20, 43))
def test_a_painted_dot_ends_where_its_point_does(seed, row, col):
    old, new = 64, 40
    matrices = affine(AugmentSettings(rotation=25, shear=0.2, zoom=0.15), 1, seeded(seed))
    r, c = torch.meshgrid(torch.arange(old), torch.arange(old), indexing="ij")
    dot = torch.exp(-((r - row) ** 2 + (c - col) ** 2) / (2 * 1.5**2))[None, None]
    there = moved(torch.tensor([[[row, col]]]), matrices, old, new)[0, 0]
    if not bool(((there > 5) & (there < new - 6)).all()):
        return
    out = geometric(dot, matrices, new)[0][0, 0]
    r, c = torch.meshgrid(torch.arange(new), torch.arange(new), indexing="ij")
    middle = torch.stack([(out * r).sum(), (out * c).sum()]) / out.sum()
    assert torch.allclose(middle, there, atol=0.35)


def test_nothing_moves_where_nothing_is_asked():
    patches = torch.rand(3, 1, 16, 16)
    matrices = affine(STILL, 3, seeded())
    assert torch.allclose(geometric(patches, matrices, 16)[0], patches, atol=1e-5)
    assert torch.equal(
        geometric(patches, matrices, 8)[0], geometric(patches, matrices, 16)[0][..., 4:12, 4:12]
    )
    assert torch.allclose(intensity(patches, STILL, seeded()), patches, atol=1e-6)


def test_flips_and_turns_move_every_pixel_to_a_pixel():
    patches = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(20, 1, 1, 1)
    out = geometric(patches, affine(AugmentSettings(), 20, seeded()), 8)[0]
    for turned in out:
        assert torch.allclose(turned.flatten().sort().values, torch.arange(64.0), atol=1e-3)
    assert len({tuple(t.flatten().round().int().tolist()) for t in out}) > 4


def test_masks_move_as_pixels_do_and_stay_masks():
    disc = ((torch.arange(64) - 30.0)[:, None] ** 2 + (torch.arange(64) - 34.0) ** 2 < 80)[
        None, None
    ]
    image = disc.float().repeat(6, 1, 1, 1)
    out, mask = geometric(image, affine(ALL, 6, seeded(1)), 40, disc.repeat(6, 1, 1, 1))
    assert mask.dtype is torch.bool
    assert float((mask ^ (out > 0.5)).float().mean()) < 0.02


def test_one_generator_state_one_batch():
    patches = torch.rand(4, 1, 64, 64)
    one, two = (
        geometric(patches, affine(ALL, 4, g), 32, elastic=2.0, where=g)[0]
        for g in (seeded(5), seeded(5))
    )
    assert torch.equal(one, two)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 10.0, 25.0, 90.0]), st.floats(0, 0.3))
def test_a_patch_cut_with_the_margin_shows_no_border(seed, rotation, zoom):
    settings_ = AugmentSettings(rotation=rotation, zoom=zoom, shear=0.1)
    size = 32
    patches = torch.ones(8, 1, size + margin(settings_, size), size + margin(settings_, size))
    out = geometric(patches, affine(settings_, 8, seeded(seed)), size)[0]
    assert float(out.min()) == pytest.approx(1.0, abs=1e-4)


def test_grey_values_shift_and_stretch_within_bounds():
    patches = torch.rand(50, 1, 8, 8)
    out = intensity(patches, AugmentSettings(shift=0.1, gain=0.2), seeded())
    means = (out.mean((1, 2, 3)) - patches.mean((1, 2, 3))).abs()
    ratio = out.std((1, 2, 3)) / patches.std((1, 2, 3))
    assert float(means.max()) <= 0.1 + 1e-5
    assert float(ratio.min()) >= 0.8 - 1e-4 and float(ratio.max()) <= 1.2 + 1e-4
    assert float(means.max()) > 0.05


def test_points_follow_an_elastic_displacement():
    g = seeded(5)
    old, new = 64, 48
    matrices = affine(ALL, 1, g)
    bent = bend(1, new, 1.5, g)
    dot = torch.zeros(1, 1, old, old)
    dot[0, 0, 30:33, 34:37] = 1
    out = geometric(dot, matrices, new, bent=bent)[0][0, 0]
    rows, cols = torch.meshgrid(torch.arange(new), torch.arange(new), indexing="ij")
    middle = torch.stack([(rows * out).sum(), (cols * out).sum()]) / out.sum()
    there = moved(torch.tensor([[[31.0, 35.0]]]), matrices, old, new, bent)[0, 0]
    assert (middle - there).abs().max() < 0.3


def test_a_moved_box_holds_the_moved_lesion():
    g = seeded(6)
    old, new = 64, 64
    matrices = affine(ALL, 8, g)
    image = torch.zeros(8, 1, old, old)
    image[:, 0, 24:40, 20:50] = 1
    out = geometric(image, matrices, new)[0]
    boxes = moved_boxes(torch.tensor([[[24.0, 20, 39, 49]]]).expand(8, 1, 4), matrices, old, new)
    for drawn, (r0, c0, r1, c1) in zip(out[:, 0], boxes[:, 0].tolist(), strict=True):
        there = torch.nonzero(drawn > 0.5)
        low, high = there.amin(0), there.amax(0)
        assert r0 <= low[0] + 0.6 and c0 <= low[1] + 0.6
        assert high[0] <= r1 + 0.6 and high[1] <= c1 + 0.6
