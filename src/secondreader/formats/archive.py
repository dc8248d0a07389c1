"""ZIP archives, read in place: what is in them, what is refused, and a stream over one member.

Nothing is ever unpacked to disk. A member counts as a bomb when it says that it holds more than
4 GiB, or more than 64 MiB at over 200 times its packed size; an archive, when its members together
hold more than 1 GiB at over 200 times the archive's size. (Deflate reaches 1,032; mammograms with
wide black margins reach about 20.) A member never gives more bytes than its directory entry says.
"""

from __future__ import annotations

import functools
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from secondreader.domain import Refused

__all__ = ["MAX_MEMBER", "MAX_RATIO", "ZIP_MAGIC", "Member", "members", "open_member"]

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""The first bytes of an archive with members, and of one without."""
MAX_MEMBER = 4 * 2**30
MAX_RATIO = 200
_SMALL_MEMBER = 64 * 2**20
_SMALL_ARCHIVE = 2**30
_CHUNK = 2**20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError)
# Office documents, ODF, and Java archives are ZIPs too, and hold no exams.
_DOCUMENTS = {"[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF"}


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its position in the directory, its name and its size when unpacked.

    ``refused`` is (code, reason) where it is not to be read.
    """

    index: int
    name: str
    size: int
    refused: tuple[str, str] | None = None


def members(path: Path, mtime_ns: int) -> Iterator[Member]:
    """Yield the files of an archive, sorted by name.

    Parameters
    ----------
    path
        The archive.
    mtime_ns
        When it was last changed.

    Raises
    ------
    Refused
        If the archive as a whole is not read: ``unreadable``, ``zip-bomb``, ``not-an-image``.
    """
    entries = _archive(str(path), mtime_ns, os.getpid()).infolist()
    if _DOCUMENTS & {entry.filename for entry in entries}:
        raise Refused("not-an-image", "an office document or program, not a ZIP of images")
    total = sum(entry.file_size for entry in entries)
    if total > _SMALL_ARCHIVE and total > MAX_RATIO * path.stat().st_size:
        raise Refused(
            "zip-bomb",
            f"a ZIP that would unpack to {total / 2**30:.1f} GiB, over {MAX_RATIO} times its size",
        )
    order = sorted(range(len(entries)), key=lambda index: (entries[index].filename, index))
    for index in order:
        entry = entries[index]
        if not entry.is_dir():
            name = entry.filename.replace("\\", "/")
            yield Member(index, name, entry.file_size, _refusal(entry, name))


def open_member(path: Path, mtime_ns: int, index: int, size: int) -> io.BufferedReader:
    """Open one member as a seekable stream that unpacks as far as it is read.

    Raises
    ------
    Refused
        ``unreadable`` if the archive or the member is damaged, ``changed`` if it is not what was
        found, ``unsupported`` for a compression that is not read.
    """
    archive = _archive(str(path), mtime_ns, os.getpid())
    entries = archive.infolist()
    if index >= len(entries) or entries[index].file_size != size:
        raise Refused("changed", "the ZIP has changed since it was found; read it again")
    try:
        packed = archive.open(entries[index])
    except NotImplementedError:
        raise Refused("unsupported", "packed in a way that is not read; expected deflate") from None
    except RuntimeError:
        raise Refused("encrypted-zip", "encrypted; expected a ZIP without a password") from None
    except _DAMAGE:
        raise Refused("unreadable", "a damaged ZIP member") from None
    return io.BufferedReader(_Unpacking(packed, size))


@functools.lru_cache(maxsize=2)
def _archive(path: str, mtime_ns: int, process: int) -> zipfile.ZipFile:
    """Keep the archives in hand open: a directory of 10,000 members takes long to read.

    A forked process must not share its parent's file position, hence ``process``.
    """
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise
    except (*_DAMAGE, NotImplementedError):
        raise Refused("unreadable", "a damaged ZIP: its directory cannot be read") from None


def _refusal(entry: zipfile.ZipInfo, name: str) -> tuple[str, str] | None:
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        return "unsafe-zip", "a name that leads out of the ZIP; expected a relative one"
    if entry.flag_bits & 1:
        return "encrypted-zip", "encrypted; expected a ZIP without a password"
    swollen = entry.file_size > max(_SMALL_MEMBER, MAX_RATIO * entry.compress_size)
    if entry.file_size > MAX_MEMBER or swollen:
        return "zip-bomb", (
            f"would unpack to {entry.file_size / 2**20:.0f} MiB; expected at most "
            f"{MAX_MEMBER // 2**30} GiB and {MAX_RATIO} times its packed size"
        )
    return None


class _Unpacking(io.RawIOBase):
    """A seekable stream over a member: what was unpacked is kept, the rest waits until asked for.

    `zipfile` would unpack from the start again at every step back.
    """

    name = ""  # pydicom asks every buffered reader for one

    def __init__(self, packed: IO[bytes], size: int) -> None:
        self._packed = packed
        self._size = size
        self._kept = io.BytesIO()
        self._end = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek: got position {base + offset}, expected 0 or more")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._unpack(self._at + len(buffer))
        self._kept.seek(self._at)
        count = self._kept.readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        self._packed.close()
        super().close()

    def _unpack(self, end: int) -> None:
        self._kept.seek(self._end)
        while self._end < min(end, self._size):
            try:
                chunk = self._packed.read(_CHUNK)
            except (*_DAMAGE, RuntimeError):
                raise Refused("unreadable", "a damaged ZIP member") from None
            if not chunk:
                raise Refused("truncated", "a ZIP member that ends early")
            self._kept.write(chunk)
            self._end += len(chunk)
