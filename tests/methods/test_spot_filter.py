"""The spot filter finds what was planted, at any pixel size and depth, and refuses politely."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from secondreader import geometry, phantom
from secondreader.domain import ImageSource, Kind, Mammogram, SecondReaderError
from secondreader.methods import METHODS, WITHOUT_WEIGHTS, method, spot_filter
from secondreader.methods.spot_filter import Config, SpotFilter, load

CLUSTER_MM = ((30.0, 18.0), (32.0, 20.0), (29.0, 21.5), (33.0, 17.5), (31.0, 23.0))


def breast(spacing, spots=CLUSTER_MM, seed=0, contrast=0.12, line=False):
    """A textured half-disc with round spots of 0.5 mm at places in mm."""
    rng = np.random.default_rng(seed)
    rows, cols = round(64 / spacing), round(48 / spacing)
    row, col = np.mgrid[0:rows, 0:cols] * spacing
    inside = np.hypot((row - 32) / 28, col / 40) < 1
    coarse = ndimage.gaussian_filter(rng.standard_normal((rows, cols)), 2 / spacing)
    pixels = np.where(inside, 0.45 + 0.08 * coarse / coarse.std(), 0)
    for r, c in spots:
        pixels += contrast * np.exp(-((row - r) ** 2 + (col - c) ** 2) / (2 * 0.22**2))
    if line:
        pixels += contrast * np.exp(-((row - 0.4 * col - 20) ** 2) / (2 * 0.15**2)) * inside
    pixels += 0.01 * rng.standard_normal((rows, cols)) * inside
    return np.clip(pixels, 0, 1).astype(np.float32)


def read(pixels, spacing):
    mammogram = Mammogram(
        pixels, None if spacing is None else (spacing, spacing), None, None, ImageSource("x")
    )
    return load(None).read(mammogram)


@pytest.mark.parametrize("spacing", [0.07, 0.1, 0.2])
def test_a_planted_cluster_is_found_where_it_is(spacing):
    reading = read(breast(spacing), spacing)
    best = reading.detections[0]
    assert best.kind is Kind.CALCIFICATION_CLUSTER
    row, col = geometry.centre(best.region)
    assert (row * spacing, col * spacing) == pytest.approx((31, 20), abs=1.0)
    assert reading.score == best.score
    assert all(geometry.contains(best.region, r / spacing, c / spacing) for r, c in CLUSTER_MM)


def lowest_operating_point():
    points = json.loads((Path(spot_filter.__file__).parent / "operating_points.json").read_text())
    return min(point["threshold"] for point in points["points"])


@pytest.mark.parametrize("seed", range(3))
def test_without_spots_nothing_reaches_an_operating_point_and_two_spots_do_not(seed):
    assert read(breast(0.1, (), seed), 0.1).score < lowest_operating_point()
    assert read(breast(0.1, CLUSTER_MM[:2], seed), 0.1).score < lowest_operating_point()


def test_a_line_is_no_row_of_spots():
    reading = read(breast(0.1, (), line=True), 0.1)
    assert reading.score < lowest_operating_point()


def test_what_is_below_the_operating_points_is_kept_so_that_curves_go_on():
    assert Config().threshold < 0.9 * lowest_operating_point()


def test_a_different_display_range_changes_nothing_that_matters():
    pixels = breast(0.1)
    plain = read(pixels, 0.1)
    faint = read(pixels * np.float32(0.5), 0.1)
    assert geometry.centre(faint.detections[0].region) == pytest.approx(
        geometry.centre(plain.detections[0].region), abs=1
    )


def test_a_mirrored_image_gives_mirrored_detections():
    pixels = breast(0.2)
    plain, mirrored = read(pixels, 0.2), read(np.ascontiguousarray(pixels[:, ::-1]), 0.2)
    assert mirrored.score == pytest.approx(plain.score, rel=0.02)
    row, col = geometry.centre(plain.detections[0].region)
    r, c = geometry.centre(mirrored.detections[0].region)
    assert (r, pixels.shape[1] - 1 - c) == pytest.approx((row, col), abs=0.6)


def test_the_heatmap_is_highest_at_the_cluster():
    reading = read(breast(0.1), 0.1)
    peak = np.unravel_index(reading.heatmap.values.argmax(), reading.heatmap.values.shape)
    row, col = geometry.to_source(reading.heatmap.frame, np.array(peak)) * 0.1
    assert min(np.hypot(row - r, col - c) for r, c in CLUSTER_MM) < 1


@pytest.mark.parametrize(
    ("pixels", "spacing", "code"),
    [
        (breast(0.2), None, "no-spacing"),
        (breast(0.2), 0.4, "too-coarse"),
        (np.zeros((200, 150), np.float32), 0.1, "no-breast"),
        (np.ones((200, 150), np.float32), 0.1, "no-breast"),
        (np.ones((64, 64), np.float32), 0.2, "no-breast"),
        (np.random.default_rng(0).random((64, 64), np.float32), 0.001, "no-breast"),
        (np.random.default_rng(0).random((3, 3), np.float32), 0.2, "no-breast"),
        (np.random.default_rng(0).random((1, 500), np.float32), 0.1, "no-breast"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(pixels, spacing, code):
    reading = read(pixels, spacing)
    assert reading.score is None
    assert reading.detections == ()
    assert reading.refused[0] == code
    assert "\n" not in reading.refused[1]


def test_the_number_of_spots_is_capped():
    rng = np.random.default_rng(1)
    spots = [tuple(p) for p in rng.uniform((12, 6), (52, 26), (400, 2))]
    pixels = breast(0.1, spots)
    reader = SpotFilter(Config(most=20))
    mammogram = Mammogram(pixels, (0.1, 0.1), None, None, ImageSource("x"))
    found = [d for d in reader.read(mammogram).detections if d.kind is Kind.MICROCALCIFICATION]
    assert len(found) <= 20


def test_settings_that_are_none_are_refused():
    with pytest.raises(ValueError, match="extra"):
        Config(no_such=1)


@pytest.mark.parametrize(
    "setting",
    [
        {"working_mm": 0},
        {"sigmas_mm": ()},
        {"sigmas_mm": (0.2, -0.1)},
        {"surround": 1},
        {"noise_mm": -6},
        {"roundness": 1.5},
        {"skin_mm": -1},
        {"threshold": 0},
        {"threshold": float("nan")},
        {"most": 0},
        {"least": 1},
        {"area_mm2": float("inf")},
    ],
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Config(**setting)


def test_a_folder_is_refused_in_one_line():
    with pytest.raises(SecondReaderError, match=r"spot_filter: got the folder a, expected none"):
        load(Path("a"))


def test_the_table_of_methods_names_modules_that_load():
    assert all(hasattr(method(name), "load") for name in METHODS)
    assert {name: method(name).load(None).name for name in WITHOUT_WEIGHTS} == {
        "spot_filter": "spot_filter"
    }
    for name in set(METHODS) - set(WITHOUT_WEIGHTS):
        with pytest.raises(SecondReaderError, match="no weights of its own"):
            method(name).load(None)
    with pytest.raises(SecondReaderError, match="got 'nobody'"):
        method("nobody")


def test_planted_clusters_that_stand_out_are_found_where_they_are():
    reader = load(None)
    hits = total = 0
    for index in range(8):
        made = phantom.exam(
            21, index, vendor="film", contents=phantom.Contents.MALIGNANT, conspicuity_scale=6.0
        )
        for image in made.images:
            clusters = [t for t in image.truth if t.kind is Kind.CALCIFICATION_CLUSTER]
            if clusters:
                pixels = (image.stored / 255).astype(np.float32)
                mammogram = Mammogram(
                    pixels, (0.2, 0.2), image.laterality, image.view, ImageSource("x")
                )
                found = reader.read(mammogram).detections
            for cluster in clusters:
                row, col = geometry.centre(cluster.region)
                total += 1
                hits += any(
                    np.hypot(*np.subtract(geometry.centre(d.region), (row, col))) * 0.2
                    <= max(5, cluster.diameter_mm / 2)
                    for d in found
                    if d.kind is Kind.CALCIFICATION_CLUSTER
                )
    assert total >= 6
    assert hits >= 0.6 * total
