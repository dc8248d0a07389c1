from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from secondreader import datasets
from secondreader.datasets.cache import Cache, clear, compact, usage
from secondreader.datasets.image_set import image_set
from secondreader.domain import Frame, ImageSet, Mammogram, Refused, SecondReaderError
from secondreader.geometry import crop, identity


@pytest.fixture
def images(tmp_path, png, make_breast):
    root = tmp_path / "set"
    for name in ("a.png", "b.png", "c.png"):
        png(root / name, make_breast(seed=ord(name[0])))
    text = "path,patient_id,laterality,view,spacing_mm\n"
    (root / "images.csv").write_text(text + "a.png,1,L,CC,0.1\nb.png,2,,,\nc.png,3,R,MLO,\n")
    return image_set([datasets.scan("table", root)], Cache(tmp_path / "cache"))


def prepare(mammogram: Mammogram) -> tuple[np.ndarray, Frame]:
    """The middle of the image, as float32."""
    frame = crop(identity((160, 128)), 40, 20, 80, 60)
    return mammogram.pixels[40:120, 20:80], frame


def test_it_is_an_image_set_and_survives_a_pickle(images):
    assert isinstance(images, ImageSet)
    again = pickle.loads(pickle.dumps(images))  # noqa: S301 - our own bytes
    assert again.records == images.records
    assert np.array_equal(
        again.open(images.records[0]).pixels, images.open(images.records[0]).pixels
    )


def test_what_the_set_says_comes_before_what_the_file_says(images):
    a, b, _ = (images.open(record) for record in images.records)
    assert (a.laterality, a.view, a.spacing_mm) == ("L", "CC", (0.1, 0.1))
    assert (b.laterality, b.view, b.spacing_mm) == (None, None, None)


def test_the_second_epoch_neither_decodes_nor_prepares(images, monkeypatch):
    first = [images.prepared(record, prepare, "k") for record in images.records]

    def never(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(type(images), "open", never)
    second = [images.prepared(record, never, "k") for record in images.records]
    for (a, frame_a), (b, frame_b) in zip(first, second, strict=True):
        assert isinstance(b, np.memmap) and b.dtype == np.float16 and not b.flags.writeable
        assert np.array_equal(a, b) and frame_a == frame_b


def test_the_frame_leads_back_to_the_source(images):
    record = images.records[0]
    pixels, frame = images.prepared(record, prepare, "k")
    whole = images.open(record).pixels.astype(np.float16)
    assert frame.offset == (40, 20) and frame.source_shape == whole.shape
    assert np.array_equal(pixels, whole[40:120, 20:80])


def test_another_key_another_record_or_another_content_is_another_image(images, png, make_breast):
    record = images.records[0]
    images.prepared(record, prepare, "one")
    images.prepared(record, lambda m: (np.zeros((2, 2), np.uint16), identity((2, 2))), "two")
    assert images.prepared(record, prepare, "two")[0].shape == (2, 2)
    assert usage(images.cache.folder).images == 2
    path = Path(images.roots["table"]) / record.path
    png(path, make_breast(20, 20, 4, seed=9))
    with pytest.raises(Refused, match="changed"):
        images.open(record)
    anew = image_set([datasets.scan("table", path.parent)], images.cache)
    anew.prepared(anew.records[0], prepare, "one")
    assert usage(images.cache.folder).images == 3


def test_the_same_bytes_under_another_name_are_prepared_once(images):
    root = Path(images.roots["table"])
    (root / "b.png").write_bytes((root / "a.png").read_bytes())
    (root / "images.csv").write_text("path,patient_id\na.png,1\nb.png,1\n")
    same = image_set([datasets.scan("table", root)], images.cache)
    for record in same.records:
        same.prepared(record, prepare, "k")
    assert usage(same.cache.folder).images == 1


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_file_is_made_again(images, damage):
    record = images.records[0]
    before = np.array(images.prepared(record, prepare, "k")[0])
    (path,) = (images.cache.folder / "prepared").rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-5] if damage is None else damage)
    assert np.array_equal(images.prepared(record, prepare, "k")[0], before)


def test_the_least_recently_used_images_go_first(images):
    cache = Cache(images.cache.folder, limit=30_000)  # two of three images of 9,600 bytes
    for number, record in enumerate(images.records):
        ref = images.ref(record)
        cache.prepared(ref, "k", lambda record=record: prepare(images.open(record)))
        for path in (cache.folder / "prepared").rglob("*.npy"):
            os.utime(path, (number + 1, number + 1))
    images.prepared(images.records[0], prepare, "used now")
    assert usage(cache.folder).images == 4
    small = Cache(cache.folder, limit=20_000)
    small.prepared(
        images.ref(images.records[2]), "new", lambda: prepare(images.open(images.records[2]))
    )
    assert usage(cache.folder).image_bytes <= 20_000


def test_clear_removes_what_it_made_and_nothing_else(images):
    images.prepared(images.records[0], prepare, "k")
    other = images.cache.folder / "mine.txt"
    other.write_text("x")
    assert clear(images.cache.folder).images == 1
    assert usage(images.cache.folder).images == 0 and other.read_text() == "x"
    assert images.prepared(images.records[0], prepare, "k")[0].shape == (80, 60)


def test_a_folder_that_cannot_be_written_is_one_line(images, tmp_path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    with pytest.raises(SecondReaderError, match="--cache"):
        cache.prepared(images.ref(images.records[0]), "k", lambda: None)


def _fill(images, times: int) -> None:
    for _ in range(times):
        for record in images.records:
            pixels, _ = images.prepared(record, prepare, "k")
            assert pixels.shape == (80, 60)


def test_several_processes_share_a_folder_and_a_kill_leaves_nothing_half(images):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(images, 20)) for _ in range(3)]
    for worker in workers:
        worker.start()
    workers[0].kill()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers[1:]] == [0, 0]
    _fill(images, 1)
    assert usage(images.cache.folder).images in (3, 4)  # a killed one may leave a .part


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, bool])
def test_small_types_are_kept_as_they_are(dtype):
    assert compact(np.ones((2, 2), dtype)).dtype == dtype


def test_values_beyond_float16_and_objects_are_refused():
    assert compact(np.array([np.nan, 1.5])).dtype == np.float16
    with pytest.raises(ValueError, match="65504"):
        compact(np.array([1e6]))
    with pytest.raises(ValueError, match="expected numbers"):
        compact(np.array(["x"]))
