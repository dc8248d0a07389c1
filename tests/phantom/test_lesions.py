"""Lesions are the same body in both views, and what they add along the beam is exact."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from secondreader import geometry
from secondreader.domain import Kind, Mask, Pathology, View
from secondreader.phantom.acquisition import _add
from secondreader.phantom.calcifications import BENIGN, MORPHOLOGIES, SPREADS
from secondreader.phantom.grains import joined, random_rotation, render, single
from secondreader.phantom.lesions import (
    PREDICTIVE,
    Layers,
    draw,
    draw_benign_calcification,
    layers,
    mirrored,
)
from secondreader.phantom.masses import MARGINS, soft_patch
from secondreader.phantom.materials import Material, attenuation
from secondreader.phantom.projection import axes, project
from secondreader.phantom.texture import power_law, ridges, smooth_field
from secondreader.phantom.truth import lesion_json

VIEWS = (View.CC, View.MLO)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(VIEWS), st.sampled_from([0.05, 0.07, 0.1, 0.2]))
def test_the_shadow_of_an_ellipsoid_has_its_volume_at_any_pitch(seed, view, pitch):
    rng = np.random.default_rng(seed)
    semi = rng.uniform(0.2, 0.8, 3)
    grains = single(rng.normal(0, 1, 3), semi, random_rotation(rng), 0)
    path, _, _, _ = render(grains, view, pitch, tuple(rng.uniform(100, 101, 2)))
    volume = 4 / 3 * np.pi * np.prod(semi)
    assert path.sum() * pitch**2 == pytest.approx(volume, rel=0.02)


def test_a_sphere_is_as_deep_as_it_is_wide_and_lies_where_it_is_put():
    place = np.array([3.0, -2.0, 1.0])
    grains = single(place, np.full(3, 0.5), np.eye(3), 0)
    for view in VIEWS:
        path, owner, row0, col0 = render(grains, view, 0.02, (200.0, 300.0))
        down, across = project(place[None], view)[0]
        middle = np.array([np.average(i, weights=path) for i in np.indices(path.shape)])
        assert middle + np.array([row0, col0]) == pytest.approx(
            [200 + down / 0.02, 300 + across / 0.02], abs=0.1
        )
        assert path.max() == pytest.approx(1.0, abs=0.01)
        assert set(np.unique(owner)) == {-1, 0}


def test_a_rim_is_a_shell():
    outer = single(np.zeros(3), np.full(3, 1.0), np.eye(3), 0)
    inner = single(np.zeros(3), np.full(3, 0.8), np.eye(3), 0, -1.0)
    path, _, _, _ = render(joined([outer, inner]), View.CC, 0.05, (50.0, 50.0))
    middle = path.shape[0] // 2
    assert path[middle, middle] == pytest.approx(0.4, abs=0.02)
    assert path.max() > 1.0


def test_views_see_along_axes_at_right_angles_and_columns_are_depth():
    for view in VIEWS:
        assert axes(view) @ axes(view).T == pytest.approx(np.eye(3), abs=1e-12)
    rng = np.random.default_rng(0)
    points = rng.normal(0, 30, (20, 3))
    for view in VIEWS:
        assert project(points, view)[:, 1] == pytest.approx(points[:, 0])


@pytest.mark.parametrize("kind", list(PREDICTIVE))
def test_descriptors_follow_what_they_predict(kind):
    rng = np.random.default_rng(1)
    share = {}
    for pathology in (Pathology.MALIGNANT, Pathology.BENIGN):
        names = [
            draw(rng, kind, pathology, (0.0, 0.0, 0.0), "x").descriptor.partition("/")[0]
            for _ in range(1500)
        ]
        share[pathology] = {n: names.count(n) / 1500 for n in PREDICTIVE[kind]}
    prevalence = sum(s * p for s, p in PREDICTIVE[kind].values())
    for name, (of_all, predicted) in PREDICTIVE[kind].items():
        malignant = share[Pathology.MALIGNANT][name] * prevalence
        benign = share[Pathology.BENIGN][name] * (1 - prevalence)
        if of_all * predicted > 0.02:
            assert malignant / (malignant + benign) == pytest.approx(predicted, abs=0.08)


def every_lesion():
    rng = np.random.default_rng(5)
    made = []
    for kind in PREDICTIVE:
        for pathology in (Pathology.MALIGNANT, Pathology.BENIGN):
            made += [draw(rng, kind, pathology, (40.0, 5.0, 3.0), "x") for _ in range(12)]
    return made + [draw_benign_calcification(rng, (40.0, 5.0, 3.0), "b") for _ in range(120)]


def test_every_lesion_renders_in_both_views_with_truth_inside_its_patch():
    names = set()
    for lesion in every_lesion():
        names |= set(lesion.descriptor.split("/"))
        for view in VIEWS:
            layer = layers(lesion, view, 0.1, (400.0, 300.0))
            assert np.isfinite(layer.soft_mm).all() and np.isfinite(layer.mineral_mm).all()
            assert layer.soft_mm.max() > 0 or layer.mineral_mm.max() > 0
            assert layer.truth
            rows, cols = layer.soft_mm.shape
            for truth in layer.truth:
                row, col = geometry.centre(truth.region)
                assert layer.row0 - 12 <= row <= layer.row0 + rows + 12
                assert layer.col0 - 12 <= col <= layer.col0 + cols + 12
                assert truth.diameter_mm > 0
                assert lesion_json(truth)["region"]
    assert {*MORPHOLOGIES, *SPREADS, *BENIGN, *MARGINS, "distortion", "asymmetry"} <= names


def test_conspicuity_scales_what_is_added_and_nothing_else():
    for kind in (Kind.MASS, Kind.CALCIFICATION_CLUSTER):
        lesion = next(x for x in every_lesion() if x.kind is kind)
        one, two = (
            layers(replace(lesion, conspicuity=c), View.CC, 0.1, (100.0, 100.0)) for c in (0.5, 1.0)
        )
        assert one.soft_mm * 2 == pytest.approx(two.soft_mm, rel=1e-5)
        assert one.mineral_mm * 2 == pytest.approx(two.mineral_mm, rel=1e-5)


def test_calcifications_of_a_cluster_are_a_tenth_to_one_millimetre():
    for lesion in every_lesion():
        if (
            lesion.kind is Kind.CALCIFICATION_CLUSTER
            and "linear-branching" not in lesion.descriptor
        ):
            parts = [t for t in layers(lesion, View.CC, 0.02, (0.0, 0.0)).truth if t.part_of]
            assert all(0.05 < t.diameter_mm < 1.3 for t in parts)


def test_a_mirrored_truth_is_where_the_mirrored_image_shows_it():
    lesion = next(x for x in every_lesion() if x.kind is Kind.MASS)
    truth = layers(lesion, View.CC, 0.2, (100.0, 80.0)).truth[0]
    shape = (200, 160)
    picture = np.zeros(shape, bool)
    mask = truth.region
    assert isinstance(mask, Mask)
    rows, cols = mask.pixels.shape
    picture[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] = mask.pixels
    other = geometry.rasterise(mirrored(truth, shape).region, shape)
    flipped = np.zeros(shape, bool)
    rows, cols = other.pixels.shape
    flipped[other.row0 : other.row0 + rows, other.col0 : other.col0 + cols] = other.pixels
    assert (flipped == picture[:, ::-1]).all()


def test_a_spiculated_mass_pulls_from_outside_and_a_round_one_does_not():
    soft, pull = soft_patch(3, "spiculated", 8.0, View.CC, 0.2)
    half = soft.shape[0] // 2
    assert pull[1, half, half + 30] > 0 > pull[1, half, half - 30]
    assert soft_patch(3, "circumscribed", 8.0, View.CC, 0.2)[1] is None


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**31),
    st.sampled_from([*MARGINS, "distortion", "asymmetry"]),
    st.floats(3.0, 14.0),
    st.floats(0.5, 1.3),
)
def test_an_uneven_lesion_ends_before_its_patch_does(seed, shape, radius, uneven):
    soft, _ = soft_patch(seed, shape, radius, View.MLO, 0.2, uneven)
    border = max(soft[0].max(), soft[-1].max(), soft[:, 0].max(), soft[:, -1].max())
    assert border < 0.05 * soft.max()


def test_an_uneven_mass_is_the_same_mass_with_finer_texture():
    def fine(soft):
        inside = soft > 0.5 * soft.max()
        return (soft - ndimage.gaussian_filter(soft, 5))[ndimage.binary_erosion(inside, None, 10)]

    smooth, uneven = (
        soft_patch(3, "circumscribed", 8.0, View.CC, 0.2, degree)[0] for degree in (0.0, 1.0)
    )
    assert smooth.shape == uneven.shape
    assert np.corrcoef(smooth.ravel(), uneven.ravel())[0, 1] > 0.9
    assert fine(uneven).std() > 3 * fine(smooth).std()


@pytest.mark.parametrize("excess", [0.0, 0.4, 0.8])
def test_of_what_lies_before_and_behind_only_the_thickness_of_a_mass_is_displaced(excess):
    mu = {material: attenuation(material, 20) for material in Material}
    noise = np.random.default_rng(0).normal(0, 0.01, (200, 200)).astype(np.float32)
    room = np.full(noise.shape, 50.0, np.float32)
    depth = 50 * np.float32(mu[Material.ADIPOSE]) + noise
    soft = np.full(noise.shape, 10.0, np.float32)
    mass = Layers(0, 0, soft, np.zeros_like(soft), False, None, (), excess)
    before = depth.copy()
    _add(depth, room, mass, mu, 0.2)
    assert (depth > before).all()
    kept = depth.std() / before.std()
    # A tenth of a millimetre or two less by the bend that keeps domes from ending flat.
    assert kept == pytest.approx(1 - (1 - excess) * 10 / 50, abs=0.01)


# --------------------------------------------------------------------------- matter and texture


def test_attenuation_is_that_of_the_literature():
    # Johns and Yaffe 1987 at 20 keV: fat 0.456, gland 0.802 per cm; within a tenth.
    assert attenuation(Material.GLANDULAR, 20) * 10 == pytest.approx(0.802, rel=0.1)
    assert attenuation(Material.ADIPOSE, 20) * 10 == pytest.approx(0.49, rel=0.1)
    assert attenuation(Material.HYDROXYAPATITE, 20) > 2 * attenuation(Material.OXALATE, 20)
    for material in Material:
        assert attenuation(material, 18) > attenuation(material, 22)
    with pytest.raises(ValueError, match="15 to 30"):
        attenuation(Material.SKIN, 40)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 4.0])
def test_power_law_noise_has_its_exponent(exponent):
    rng = np.random.default_rng(0)
    slopes = []
    for _ in range(6):
        field = power_law(rng, (512, 512), 0.2, exponent, 200.0)
        assert field.std() == pytest.approx(1, abs=1e-3)
        window = np.outer(np.hanning(512), np.hanning(512))
        power = np.abs(np.fft.fft2(field * window)) ** 2
        ring = np.rint(np.hypot(*np.meshgrid(*[np.fft.fftfreq(512) * 512] * 2))).astype(int)
        mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
        k = np.arange(10, 120)
        slopes.append(-np.polyfit(np.log(k), np.log(mean[k]), 1)[0])
    assert np.mean(slopes) == pytest.approx(exponent, abs=0.15)


def test_ridges_lie_where_the_field_crosses_zero():
    field = smooth_field(np.random.default_rng(1), (200, 200), 0.2, (3, 3))
    lines = ridges(field, 0.1)
    assert lines.min() >= 0 and lines.max() <= 1
    assert np.abs(field[lines > 0.5]).max() < 0.15
