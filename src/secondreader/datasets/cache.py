"""Prepared images on disk, so that the second epoch neither decodes nor prepares.

One file an image: an array in NumPy's format, memory-mapped when read, and behind it where its
grid lies in the source image. A file is named by the SHA-256 of what it was made from: the bytes of
the image and the preparation's key. It is written under another name and renamed, so that any
number of processes may write and be killed without a lock; what two of them write is the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from secondreader.domain import Frame, SecondReaderError
from secondreader.formats.source import FileRef
from secondreader.formats.write import atomic_stream

__all__ = ["Cache", "Usage", "clear", "default_folder", "usage"]

DEFAULT_LIMIT = 100 * 2**30
"""Bytes of prepared images that are kept, unless told otherwise."""
_MAGIC = b"SRPREP01"
_KEPT = 0.9  # of the limit after making room, so that not every new image makes room again


def default_folder() -> Path:
    """Return the user's cache folder for this program; it may not be there yet."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "secondreader"


@dataclass(frozen=True, slots=True)
class Usage:
    """What lies in a cache folder: files and bytes of prepared images, and of indexes."""

    folder: str
    images: int
    image_bytes: int
    indexes: int
    index_bytes: int


def usage(folder: Path | None = None) -> Usage:
    """Count what lies in a cache folder (``None``: the user's)."""
    folder = folder or default_folder()
    images = _listing(folder / "prepared")
    indexes = _listing(folder / "indexes")
    return Usage(
        str(folder),
        len(images),
        sum(size for _, size, _ in images),
        len(indexes),
        sum(size for _, size, _ in indexes),
    )


def clear(folder: Path | None = None) -> Usage:
    """Remove prepared images, noted contents and indexes; nothing else in the folder is touched.

    Returns
    -------
    Usage
        What was there.
    """
    folder = folder or default_folder()
    before = usage(folder)
    for part in ("prepared", "contents", "indexes"):
        for path, _, _ in _listing(folder / part):
            with contextlib.suppress(OSError):
                path.unlink()
    return before


@dataclass(eq=False)
class Cache:
    """The prepared images in one folder; picklable, and any number may share the folder.

    Parameters
    ----------
    folder
        Made when first written to.
    limit
        Bytes of prepared images to keep; the least recently used go first.
    """

    folder: Path = field(default_factory=default_folder)
    limit: int = DEFAULT_LIMIT
    _unchecked: int | None = field(default=None, repr=False)

    def prepared(
        self, ref: FileRef, key: str, make: Callable[[], tuple[np.ndarray, Frame]]
    ) -> tuple[np.ndarray, Frame]:
        """Return a prepared image, made and kept where it is not there yet.

        Parameters
        ----------
        ref
            The image's file.
        key
            Names the preparation and everything that it depends on.
        make
            Prepares the image: an array of any shape and its frame. float32 and float64 are kept
            as float16.

        Returns
        -------
        tuple
            Read-only memory-mapped array, and the frame.

        Raises
        ------
        SecondReaderError
            If the folder cannot be written.
        ValueError
            If a value does not fit into float16.
        """
        told = f"{self.content(ref)}\n{key}"
        name = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
        path = self.folder / "prepared" / name[:2] / f"{name}.npy"
        found = _read(path)
        if found is None:
            pixels, frame = make()
            self._write(path, compact(pixels), frame)
            found = _read(path)
            if found is None:  # someone cleared the cache just now
                return compact(pixels), frame
        else:
            with contextlib.suppress(OSError):
                os.utime(path)  # used now: the last to go
        return found

    def content(self, ref: FileRef) -> str:
        """Return the SHA-256 of a file's bytes, noted until its size or time changes."""
        state = json.dumps([ref.root, ref.path, ref.size, ref.mtime_ns])
        name = hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()
        note = self.folder / "contents" / name[:2] / name
        with contextlib.suppress(OSError):
            known = note.read_text("ascii")
            if len(known) == 64:
                return known
        with ref.open() as stream:
            digest = sha256(stream)
        _make_folder(note.parent)
        with atomic_stream(note) as out:
            out.write(digest.encode())
        return digest

    def _write(self, path: Path, pixels: np.ndarray, frame: Frame) -> None:
        _make_folder(path.parent)
        told = json.dumps(asdict(frame)).encode()
        with atomic_stream(path) as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(pixels), allow_pickle=False)
            stream.write(told + len(told).to_bytes(8, "little") + _MAGIC)
        grown = pixels.nbytes + (self._unchecked or 0)
        if self._unchecked is None or grown > self.limit // 64:
            self._make_room()
            grown = 0
        self._unchecked = grown

    def _make_room(self) -> None:
        """Remove the least recently used images where there are more than the limit."""
        images = _listing(self.folder / "prepared")
        total = sum(size for _, size, _ in images)
        if total <= self.limit:
            return
        for path, size, _ in sorted(images, key=lambda image: image[2]):
            with contextlib.suppress(OSError):  # another process was first, or has it open
                path.unlink()
                total -= size
            if total <= self.limit * _KEPT:
                return


def compact(pixels: np.ndarray) -> np.ndarray:
    """Return an array as it is kept: floats as float16, everything else as it is.

    Raises
    ------
    ValueError
        If a value does not fit, or the array holds objects.
    """
    if pixels.dtype.kind not in "bufi":
        raise ValueError(f"prepared: got {pixels.dtype}, expected numbers")
    if pixels.dtype.kind != "f" or pixels.dtype == np.float16:
        return pixels
    with np.errstate(over="ignore"):
        small = pixels.astype(np.float16)
    if not np.array_equal(np.isfinite(small), np.isfinite(pixels)):
        raise ValueError(
            f"prepared: got values up to {float(np.nanmax(np.abs(pixels))):.4g}, "
            "expected at most 65504, the largest of float16"
        )
    return small


def sha256(stream: BinaryIO) -> str:
    """Return the SHA-256 of what is left of a stream."""
    digest = hashlib.sha256()
    while block := stream.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def _read(path: Path) -> tuple[np.ndarray, Frame] | None:
    """Map a kept image; ``None`` where it is missing or not whole."""
    try:
        with path.open("rb") as stream:
            stream.seek(-16, os.SEEK_END)
            tail = stream.read(16)
            if tail[8:] != _MAGIC:
                return None
            stream.seek(-16 - int.from_bytes(tail[:8], "little"), os.SEEK_END)
            told = json.loads(stream.read()[:-16])
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return pixels, Frame(**{name: tuple(values) for name, values in told.items()})


def _listing(folder: Path) -> list[tuple[Path, int, int]]:
    """Return (path, bytes, last used) of the files in a folder and below."""
    files = []
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            with contextlib.suppress(OSError):
                state = path.stat()
                files.append((path, state.st_size, state.st_mtime_ns))
    return files


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecondReaderError(
            f"cannot make {folder} ({error.strerror}); name another with --cache"
        ) from None
