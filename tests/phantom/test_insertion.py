"""A lesion goes into a real image where it is told, as strong as it is told, and nowhere else."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from secondreader import geometry, phantom, sources
from secondreader.domain import (
    ImageSource,
    Kind,
    Laterality,
    Mammogram,
    Pathology,
    SecondReaderError,
    View,
)
from secondreader.phantom import contrast_to_noise, insert
from secondreader.phantom.lesions import draw

ROWS, COLS = 500, 360


def film(side=Laterality.L, spacing=0.2):
    rng = np.random.default_rng(0)
    row, col = np.mgrid[0:ROWS, 0:COLS]
    inside = np.hypot((row - 250) / 220, col / 300) < 1
    coarse = ndimage.gaussian_filter(rng.standard_normal((ROWS, COLS)), 6)
    fine = rng.standard_normal((ROWS, COLS))
    pixels = np.where(inside, 0.5 + 0.06 * coarse / coarse.std() + 0.006 * fine, 0)
    pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.float32) / 255
    if side is Laterality.R:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    return Mammogram(
        pixels, spacing and (spacing, spacing), side, View.MLO, ImageSource("x", bits=8)
    )


def lesion(kind, conspicuity=1.0, radius=6.0, seed=2):
    made = draw(np.random.default_rng(seed), kind, Pathology.MALIGNANT, (0.0, 0.0, 0.0), "x")
    return replace(made, conspicuity=conspicuity, radius_mm=radius)


def rng():
    return np.random.default_rng(4)


def test_outside_of_the_lesion_every_bit_stays():
    before = film()
    after, truth = insert(before, lesion(Kind.MASS), rng(), at=(250.0, 120.0))
    changed = np.argwhere(after.pixels != before.pixels)
    assert len(changed) > 50
    assert np.hypot(*(changed - (250, 120)).T).max() * 0.2 < 2.5 * 6 + 2
    assert truth[0].kind is Kind.MASS
    assert after.source.steps[-1].name == "insertion"
    levels = after.pixels * 255
    assert np.abs(levels - np.rint(levels)).max() < 1e-3


@pytest.mark.parametrize("side", list(Laterality))
@pytest.mark.parametrize("kind", [Kind.MASS, Kind.CALCIFICATION_CLUSTER])
def test_its_truth_lies_where_the_image_changed(side, kind):
    before = film(side)
    at = (250.0, 120.0) if side is Laterality.L else (250.0, COLS - 1 - 120.0)
    # Strong, or the grey levels of 8 bits swallow what it adds.
    after, truth = insert(before, lesion(kind, 4.0), rng(), at=at)
    added = ndimage.gaussian_filter((after.pixels - before.pixels).astype(np.float64), 1)
    for part in truth[1:6] if kind is Kind.CALCIFICATION_CLUSTER else truth[:1]:
        mask = geometry.rasterise(part.region, (ROWS, COLS))
        rows, cols = mask.pixels.shape
        here = added[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols]
        assert here[mask.pixels].mean() > 5 * np.abs(added).mean()


def test_twice_as_conspicuous_is_twice_the_contrast():
    before = film()
    ratios = []
    for seed in range(4):
        cnr = []
        for conspicuity in (0.3, 0.6):
            mass = replace(lesion(Kind.MASS, conspicuity, seed=seed), descriptor="circumscribed")
            after, truth = insert(before, mass, rng(), at=(250.0, 120.0))
            cnr.append(contrast_to_noise(before.pixels, after.pixels, truth[0], (0.2, 0.2)))
        ratios.append(cnr[1] / cnr[0])
    assert np.mean(ratios) == pytest.approx(2.0, rel=0.15)


def test_places_are_in_the_breast_and_not_at_its_skin():
    before = film()
    for seed in range(5):
        _, truth = insert(before, lesion(Kind.MASS), np.random.default_rng(seed))
        row, col = geometry.centre(truth[0].region)
        assert np.hypot((row - 250) / 220, col / 300) < 0.93


def test_no_room_and_no_pixel_size_are_said():
    with pytest.raises(SecondReaderError, match="pixel size"):
        insert(film(spacing=None), lesion(Kind.MASS), rng())
    dark = replace(film(), pixels=np.zeros((ROWS, COLS), np.float32))
    with pytest.raises(SecondReaderError, match="no room"):
        insert(dark, lesion(Kind.MASS), rng())


def test_in_black_and_in_white_a_lesion_leaves_little():
    before = film()
    white = replace(before, pixels=np.where(before.pixels > 0, 0.996, 0).astype(np.float32))
    after, _ = insert(white, lesion(Kind.MASS, 2.0), rng(), at=(250.0, 120.0))
    assert np.abs(after.pixels - white.pixels).max() < 0.02


REAL = os.environ.get("SECONDREADER_TEST_DATA")


@pytest.mark.skipif(not REAL, reason="needs SECONDREADER_TEST_DATA")
@pytest.mark.slow
def test_inserted_films_read_as_a_data_set_and_are_the_same_each_time(tmp_path):
    found = sources.load_all([f"mini_mias={REAL}/mini-mias"])
    images = sources.images_of(found)
    few = images.part([r for r in images.records if not r.lesions][:6])
    for name in "ab":
        phantom.write_inserted(tmp_path / name, few, seed=1)
    a, b = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in "ab"
    )
    assert a == b
    records = sources.load_all([f"phantom={tmp_path / 'a'}"])[0].records
    assert len(records) == 6
    assert {r.spacing_mm for r in records} == {(0.2, 0.2)}
    told = json.loads(next((tmp_path / "a").rglob("truth.json")).read_text())
    assert len(told["images"][0]["of"]["pixels_sha256"]) == 64
    with pytest.raises(SecondReaderError, match="--overwrite"):
        phantom.write_inserted(tmp_path / "a", few, seed=2)
