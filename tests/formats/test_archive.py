import io
import multiprocessing
import os
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from secondreader import formats
from secondreader.domain import Refused
from secondreader.formats import archive as archives
from secondreader.formats.find import find
from secondreader.formats.source import FileRef, ReadOptions
from secondreader.formats.write import png_bytes

NOISE = np.random.default_rng(0).integers(0, 4096, (80, 90)).astype(np.uint16)


def zipped(path, contents, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def told(*inputs):
    return [f.path if isinstance(f, FileRef) else (f.path, f.code) for f in find(inputs)]


def code_of(ref):
    with pytest.raises(Refused) as error, ref.open() as stream:
        stream.read()
    return error.value.code


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_members_are_read_in_place(tmp_path, compression):
    write = {"b/0_L-CC.png": png_bytes(NOISE), "a.png": b"x" * 3_000_000, "b/": b"", "e": b""}
    file = zipped(tmp_path / "x.bin", write, compression)  # told by content, not by name
    before = sorted(tmp_path.rglob("*"))
    refs = list(find([file]))
    assert [ref.path for ref in refs] == ["x.bin!/a.png", "x.bin!/b/0_L-CC.png", "x.bin!/e"]
    with refs[0].open() as stream:
        stream.seek(-1, os.SEEK_END)
        assert stream.read() == b"x"
        assert stream.seek(10) == 10 and stream.read(2) == b"xx" and stream.tell() == 12
        assert stream.seek(4_000_000) and stream.read() == b""
    mammogram = formats.mammogram(refs[1], ReadOptions())
    assert np.array_equal(mammogram.pixels * np.float32(4095), NOISE)
    assert mammogram.source.path == "x.bin!/b/0_L-CC.png"
    assert formats.header(refs[1], ReadOptions()).exam_id == "x.bin/b/0"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_in_a_folder_is_read_like_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    zipped(
        tmp_path / "sub/a.zip", {"__MACOSX/._1": b"", ".DS_Store": b"", "DICOMDIR": b"", "1": b""}
    )
    (tmp_path / "0").touch()
    assert told(tmp_path) == ["0", "sub/a.zip!/1"]
    zipped(tmp_path / "sub/a.zip", {})
    assert told(tmp_path) == ["0", ("sub/a.zip", "empty")]


def test_only_what_is_asked_for_is_unpacked(tmp_path, monkeypatch):
    (ref,) = find([zipped(tmp_path / "a.zip", {"1": os.urandom(5_000_000)})])
    read = []
    original = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda self, n=-1: read.append(n) or original(self, n)
    )
    with ref.open() as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(0)
        stream.read(512)
    assert len(read) == 1


@pytest.mark.parametrize("name", ["../1", "a/../../1", "/etc/1", "C:/1", "..\\1", "\\\\host\\1"])
def test_a_name_that_leads_out_of_the_zip_is_refused_and_the_rest_is_read(tmp_path, name):
    found = list(find([zipped(tmp_path / "a.zip", {name: b"", "b/ok": b""})]))
    assert sorted(getattr(f, "code", "read") for f in found) == ["read", "unsafe-zip"]


def test_a_zip_in_a_zip_is_refused(tmp_path):
    inner = io.BytesIO()
    zipped(inner, {"1.png": png_bytes(NOISE)})
    (ref,) = find([zipped(tmp_path / "a.zip", {"b.zip": inner.getvalue()})])
    with pytest.raises(Refused, match="a ZIP in a ZIP; unpack it first") as error:
        formats.header(ref, ReadOptions())
    assert error.value.code == "nested-zip"


def test_an_encrypted_member_is_refused_and_the_rest_is_read(tmp_path):
    file = zipped(tmp_path / "a.zip", {"1": b"secret", "2": b"open"})
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # general purpose flag of the first directory entry
    file.write_bytes(data)
    assert told(file) == [("a.zip!/1", "encrypted-zip"), "a.zip!/2"]


def test_a_member_that_swells_is_a_bomb(tmp_path, monkeypatch):
    file = zipped(tmp_path / "a.zip", {"bomb": bytes(70 * 2**20), "fine": bytes(2**20)})
    assert told(file) == [("a.zip!/bomb", "zip-bomb"), "a.zip!/fine"]
    monkeypatch.setattr(archives, "MAX_MEMBER", 2**19)
    assert told(file) == [("a.zip!/bomb", "zip-bomb"), ("a.zip!/fine", "zip-bomb")]


def test_an_archive_that_swells_is_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_SMALL_ARCHIVE", 2**20)
    file = zipped(tmp_path / "a.zip", {str(n): bytes(2**20) for n in range(4)})
    assert told(file) == [("a.zip", "zip-bomb")]


def test_a_member_gives_no_more_than_it_says(tmp_path):
    """A directory entry that says 10 bytes, over a member of a million."""
    file = zipped(tmp_path / "a.zip", {"1": bytes(10**6)})
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = struct.pack("<I", 10)
    file.write_bytes(data)
    (ref,) = find([file])
    assert ref.size == 10
    assert code_of(ref) == "unreadable"  # the checksum is that of a million


def test_a_damaged_member_is_refused_and_the_rest_is_read(tmp_path):
    file = zipped(tmp_path / "a.zip", {"1": os.urandom(1000), "2": b"fine"})
    data = bytearray(file.read_bytes())
    data[500] ^= 255
    file.write_bytes(data)
    one, two = find([file])
    assert code_of(one) == "unreadable"
    with two.open() as stream:
        assert stream.read() == b"fine"


def test_a_zip_cut_short_is_refused(tmp_path):
    file = zipped(tmp_path / "a.zip", {"1": b"x" * 100})
    file.write_bytes(file.read_bytes()[:-30])
    assert told(file) == [("a.zip", "unreadable")]


def test_an_office_document_is_no_archive_of_images(tmp_path):
    file = zipped(tmp_path / "labels.xlsx", {"[Content_Types].xml": b"", "xl/sheet.xml": b""})
    assert told(file) == [("labels.xlsx", "not-an-image")]


def test_a_zip_that_changes_is_refused(tmp_path):
    file = zipped(tmp_path / "a.zip", {"1": b"x"})
    (ref,) = find([file])
    zipped(file, {"1": b"other"})
    os.utime(file, ns=(1, 1))
    assert code_of(ref) == "changed"
    file.unlink()
    assert code_of(ref) == "vanished"


def _content(ref):
    with ref.open() as stream:
        return stream.read()


def test_threads_and_forked_processes_read_one_archive_at_once(tmp_path):
    contents = {f"{n:03}": os.urandom(20_000) for n in range(40)}
    refs = list(find([zipped(tmp_path / "a.zip", contents)]))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_content, refs)) == list(contents.values())
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert workers.map(_content, refs) == list(contents.values())
