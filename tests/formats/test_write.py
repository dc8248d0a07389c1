import errno
import io
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secondreader.domain import SecondReaderError
from secondreader.formats.write import atomic_stream, atomic_write, png_bytes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pictures_come_back_as_they_were(dtype):
    pixels = np.arange(600, dtype=dtype).reshape(20, 30) * dtype(97)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(pixels)))), pixels)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_pictures_come_back_as_they_were(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(png_bytes(pixels[:, ::-1])))), pixels[:, ::-1]
    )


@pytest.mark.parametrize(
    "pixels", [np.zeros((3, 3)), np.zeros((0, 3), np.uint8), np.zeros((3, 3, 3), np.uint16)]
)
def test_other_arrays_are_no_pictures(pixels):
    with pytest.raises(ValueError, match="expected grey"):
        png_bytes(pixels)


@pytest.mark.parametrize("content", [b"new", "new", iter(["n", "e", "w"])])
def test_a_file_is_replaced_whole(tmp_path, content):
    file = tmp_path / "a.json"
    file.write_text("old and longer")
    atomic_write(file, content)
    assert file.read_text() == "new"
    assert [child.name for child in tmp_path.iterdir()] == ["a.json"]


def test_a_new_file_follows_the_users_umask(tmp_path):
    atomic_write(tmp_path / "a", "")
    (tmp_path / "b").touch()
    a, b = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab")
    assert a == b


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_what_stood_there(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "a.json"
    file.write_text("old")
    monkeypatch.setattr(os if call == "fsync" else type(file), call, full)
    with pytest.raises(
        SecondReaderError, match=r"cannot write .*a\.json \(No space left on device\)"
    ):
        atomic_write(file, "new")
    assert file.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_while_writing_is_one_line(tmp_path, monkeypatch):
    """The real thing: the system says that the disk is full when the buffer is written out."""
    monkeypatch.setattr("secondreader.formats.write.secrets.token_hex", lambda _: "full")
    file = tmp_path / "a.json"
    (tmp_path / ".a.json.full.part").symlink_to("/dev/full")
    real = type(file).open
    monkeypatch.setattr(type(file), "open", lambda self, _: real(self, "wb"))
    with pytest.raises(SecondReaderError, match="No space left"):
        atomic_write(file, b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_stream(tmp_path / "a") as stream:
        stream.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for folder in ("none", "file"):
        with pytest.raises(SecondReaderError, match="expected a writable folder with room"):
            atomic_write(tmp_path / folder / "a", b"")


def test_several_writers_of_one_name_never_mix(tmp_path):
    file = tmp_path / "a"
    pieces = [bytes([65 + n]) * 50_000 for n in range(4)]
    threads = [threading.Thread(target=atomic_write, args=(file, piece)) for piece in pieces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() in pieces
