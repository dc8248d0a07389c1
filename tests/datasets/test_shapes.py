from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from secondreader.datasets.shapes import as_mask, fitted, pixels, shape
from secondreader.datasets.tree import Tree
from secondreader.domain import Refused, SecondReaderError


def disc(shape: tuple[int, int] = (160, 128), radius: float = 20) -> np.ndarray:
    rows, cols = np.indices(shape)
    return (rows - shape[0] / 2) ** 2 + (cols - shape[1] / 2) ** 2 <= radius**2


def test_a_mask_is_black_and_white_even_after_jpeg_and_a_crop_is_not(tmp_path, make_breast):
    Image.fromarray(disc().astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=75)
    Image.fromarray((make_breast() // 16).astype(np.uint8)).save(tmp_path / "crop.jpg")
    tree = Tree.of(tmp_path)
    mask = as_mask(pixels(tree.ref("mask.jpg")))
    assert mask is not None and (mask != disc()).mean() < 0.005
    assert as_mask(pixels(tree.ref("crop.jpg"))) is None


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.ones((4, 4)), np.zeros((0, 0))])
def test_all_black_and_all_white_are_no_masks(values):
    assert as_mask(values) is None


def test_a_fitted_mask_keeps_its_pixels_and_its_place():
    mask = fitted(disc(), (160, 128))
    assert mask is not None
    whole = np.zeros((160, 128), bool)
    rows, cols = mask.pixels.shape
    whole[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] = mask.pixels
    assert np.array_equal(whole, disc())


def test_a_mask_of_half_the_size_covers_the_same_field():
    half, whole = fitted(disc((80, 64), 10), (160, 128)), fitted(disc(), (160, 128))
    assert half is not None and whole is not None
    assert abs(half.row0 - whole.row0) <= 2 and abs(half.col0 - whole.col0) <= 2
    assert half.pixels.sum() == pytest.approx(whole.pixels.sum(), rel=0.1)


def test_a_mask_of_another_shape_or_without_a_pixel_is_of_no_image():
    assert fitted(disc(), (160, 160)) is None and fitted(np.zeros((4, 4), bool), (4, 4)) is None


def test_rows_and_columns_come_from_the_header(tmp_path, png, dicom, make_breast):
    png(tmp_path / "a.png", make_breast())
    dicom(tmp_path / "b.dcm", make_breast())
    (tmp_path / "c.png").write_bytes(b"no image")
    tree = Tree.of(tmp_path)
    assert shape(tree.ref("a.png")) == shape(tree.ref("b.dcm")) == (160, 128)
    with pytest.raises(Refused, match="rows and columns"):
        shape(tree.ref("c.png"))


def test_a_tree_lists_each_folder_once_and_survives_links_that_lead_nowhere_or_round(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "Film.PNG").write_bytes(b"1")
    (tmp_path / "a" / "film.dcm").write_bytes(b"2")
    (tmp_path / "a" / ".hidden").write_bytes(b"")
    (tmp_path / "a" / "b" / "round").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "b" / "nowhere.png").symlink_to(tmp_path / "gone")
    tree = Tree.of(tmp_path)
    assert list(tree.files) == ["a/Film.PNG", "a/film.dcm"]
    assert tree.images("FILM") == ["a/film.dcm", "a/Film.PNG"]  # the richest format first
    assert tree.named("film.png") == ["a/Film.PNG"]
    with pytest.raises(SecondReaderError, match="expected the root of a data set"):
        Tree.of(tmp_path / "a" / "film.dcm")
