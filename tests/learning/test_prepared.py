"""Images of a set stay open in a process: as many as it may have files, and bytes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest

from secondreader import geometry
from secondreader.domain import ImageRecord, ImageSource, Mammogram, SecondReaderError
from secondreader.learning.prepared import Prepared, _ahead, _OrRaise, prepared

resource = pytest.importorskip("resource")


class Counted:
    """Images that say how often they were opened."""

    def __init__(self, count):
        self.records = tuple(
            ImageRecord("x", f"{n}", f"p{n}", f"e{n}", spacing_mm=(0.1, 0.1)) for n in range(count)
        )
        self.opened = 0

    def open(self, record):
        raise AssertionError

    def prepared(self, record, prepare, key):
        self.opened += 1
        return np.full((4, 4), float(record.path), np.float32), geometry.identity((4, 4))


def allowed(monkeypatch, files):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
    # Sets that other tests have open are none of theirs.
    monkeypatch.setattr("secondreader.learning.prepared._EVERY", WeakSet())


@pytest.mark.parametrize(
    ("files", "kept"), [(256, 192), (512, 448), (16, 1), (20_000, 600), (-1, 600)]
)
def test_as_many_images_stay_open_as_there_are_files_to_have(monkeypatch, files, kept):
    images = Counted(600)
    allowed(monkeypatch, files)
    ready: Prepared = prepared(images, lambda mammogram: None, "k")
    for index in range(600):
        assert ready.pixels(index)[0, 0] == index
    images.opened = 0
    for index in reversed(range(600)):
        ready.pixels(index)
    assert images.opened == 600 - kept


def test_several_sets_share_the_files_that_a_process_may_have(monkeypatch):
    allowed(monkeypatch, 64 + 40)
    sets: list[Prepared] = [prepared(Counted(30), lambda mammogram: None, "k") for _ in range(4)]
    for ready in sets:
        for index in range(30):
            assert ready.pixels(index)[0, 0] == index
    assert sum(len(ready._open.mapped) for ready in sets) == 40
    for index in range(30):
        assert [ready.pixels(index)[0, 0] for ready in sets] == [index] * 4
    assert [len(ready._open.mapped) for ready in sets] == [10] * 4


class Kept:
    """Images that keep what is prepared in a folder, with the process that did it; picklable."""

    def __init__(self, folder, count):
        self.folder, self.records = folder, Counted(count).records

    def prepared(self, record, prepare, key):
        file = Path(self.folder, f"{record.path}.npy")
        if not file.is_file():
            pixels = np.full((4, 4), float(record.path), np.float32)
            made = prepare(Mammogram(pixels, (0.1, 0.1), None, None, ImageSource(record.path)))
            np.save(file, made[0])
            Path(self.folder, f"{record.path}.by").write_text(str(os.getpid()))
        return np.load(file, mmap_mode="r"), geometry.identity((4, 4))


def odd_ones_doubled(mammogram):
    """Refuses even images, and dies of the thirteenth."""
    number = int(mammogram.pixels[0, 0])
    if number == 13:
        raise SecondReaderError("13.dcm: got no pixels")
    return (mammogram.pixels * 2, geometry.identity((4, 4))) if number % 2 else None


def test_several_processes_prepare_what_one_would(tmp_path):
    images, told = Kept(tmp_path, 12), []
    ready = prepared(
        images, odd_ones_doubled, "k", progress=lambda done, total: told.append((done, total)), workers=2
    )  # fmt: skip
    assert [r.path for r in ready.records] == ["1", "3", "5", "7", "9", "11"]
    assert [ready.pixels(i)[0, 0] for i in range(6)] == [2, 6, 10, 14, 18, 22]
    assert str(os.getpid()) not in {file.read_text() for file in tmp_path.glob("*.by")}
    assert told[11] == (12, 12)


def test_what_another_process_cannot_read_is_one_line_as_here(tmp_path):
    images, line = Kept(tmp_path, 14), r"^13\.dcm: got no pixels$"
    with pytest.raises(SecondReaderError, match=line):
        _ahead(images, images.records, _OrRaise(odd_ones_doubled), "k", lambda done, total: None, 2)
    assert str(os.getpid()) not in {file.read_text() for file in tmp_path.glob("*.by")}
    with pytest.raises(SecondReaderError, match=line):
        prepared(images, odd_ones_doubled, "k")


def test_no_process_is_begun_where_all_is_prepared(tmp_path, monkeypatch):
    images = Kept(tmp_path, 12)
    images.records = images.records[1::2]  # none is refused
    prepared(images, odd_ones_doubled, "k")
    monkeypatch.setattr("secondreader.learning.prepared.ProcessPoolExecutor", None)
    assert len(prepared(images, odd_ones_doubled, "k", workers=2)) == 6


def doubled(mammogram):
    return mammogram.pixels * 2, geometry.identity((4, 4))


@pytest.mark.parametrize("given_back", [True, False])
def test_so_many_bytes_are_held_and_what_was_let_go_is_not_searched(
    monkeypatch, tmp_path, given_back
):
    images = Kept(tmp_path, 5)
    ready = prepared(images, doubled, "k")
    size = np.asarray(ready.pixels(0)).nbytes
    monkeypatch.setattr("secondreader.learning.prepared._MOST_BYTES", 2 * size)
    if not given_back:  # as where the system cannot
        monkeypatch.setattr("secondreader.learning.prepared._GIVE_BACK", None)
    first = [np.array(ready.pixels(index)) for index in range(5)]
    assert list(ready._open.held) == [3, 4]
    assert sorted(ready._open.mapped) == ([0, 1, 2, 3, 4] if given_back else [3, 4])
    assert ready._open.size == 2 * size
    monkeypatch.setattr(images, "prepared", None)  # finding them in the cache is what takes long
    for index in (2, 0, 4, 4, 1):
        np.testing.assert_array_equal(ready.pixels(index), first[index])
        assert len(ready._open.held) == 2
    assert ready._open.size == 2 * size


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="tells what memory is held")
def test_what_is_let_go_of_takes_no_memory(monkeypatch, tmp_path):
    big = np.arange(2**20, dtype=np.float32).reshape(1024, 1024)
    kept = Kept(tmp_path, 2)
    for record in kept.records:
        np.save(tmp_path / f"{record.path}.npy", big)
    ready = prepared(kept, doubled, "k")
    monkeypatch.setattr("secondreader.learning.prepared._MOST_BYTES", 1)

    def resident(name):
        maps = Path("/proc/self/smaps").read_text().split(str(tmp_path / f"{name}.npy"))[1:]
        return sum(int(of.split("Rss:")[1].split()[0]) for of in maps)

    assert ready.pixels(0).sum() == big.sum()
    assert resident(0) == big.nbytes // 1024 + 4
    ready.pixels(1)
    assert resident(0) == 0
    assert ready.pixels(0).sum() == big.sum()
    ready.let_go()
    assert resident(0) == resident(1) == ready._open.size == 0
    assert ready.pixels(0).sum() == big.sum()


def test_an_image_that_was_let_go_and_removed_is_prepared_again(monkeypatch, tmp_path):
    images = Kept(tmp_path, 2)
    ready = prepared(images, doubled, "k")
    monkeypatch.setattr("secondreader.learning.prepared._MOST_BYTES", 1)
    first = np.array(ready.pixels(0))
    ready.pixels(1)
    (tmp_path / "0.npy").unlink()
    np.testing.assert_array_equal(ready.pixels(0), first)


def test_some_of_the_images_share_no_map_with_all():
    ready = prepared(Counted(3), lambda mammogram: None, "k")
    assert ready.pixels(0)[0, 0] == 0
    some = replace(
        ready, records=ready.records[1:], frames=ready.frames[1:], lesions=ready.lesions[1:]
    )
    assert some.pixels(0)[0, 0] == 1
