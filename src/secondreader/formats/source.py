"""A file that was found, what is known of it before its pixels, and how it is to be read."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from secondreader.domain import Laterality, Refused, SecondReaderError, View
from secondreader.formats.archive import open_member
from secondreader.formats.table import Table

__all__ = ["MAX_PIXELS", "MIN_SIDE", "FileRef", "Header", "ReadOptions", "Skipped"]

MAX_PIXELS = 2**27
"""Most pixels of one image that is read: a 24 x 30 cm film at 25 µm has 115 million."""
MIN_SIDE = 64
"""Fewest rows and columns of an image that is read."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file that was found, on disk or in a ZIP; picklable, and plain values in JSON.

    Parameters
    ----------
    input
        The index of the input that it was found under.
    root
        The absolute path of the folder that `path` starts from: the input, or the folder that
        holds it where the input is a file.
    path
        Relative to `root`, with forward slashes, printable; ``a.zip!/b.dcm`` inside a ZIP.
    size
        Bytes; of a ZIP member, when unpacked.
    mtime_ns
        When the file, or the ZIP that holds it, was last changed.
    disk
        The path on disk relative to `root`, where it is not `path`.
    member
        The position of a ZIP member in its archive's directory.
    """

    input: int
    root: str
    path: str
    size: int
    mtime_ns: int
    disk: str | None = None
    member: int | None = None

    @property
    def file(self) -> Path:
        """The file on disk; for a ZIP member, the archive."""
        return Path(self.root, self.path if self.disk is None else self.disk)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file for reading; a ZIP member is unpacked in memory, as far as it is read.

        Yields
        ------
        BinaryIO
            A seekable stream.

        Raises
        ------
        Refused
            ``vanished``, ``changed`` (since it was found, or while it was read), ``unreadable``.
        """
        try:
            with self.file.open("rb") as stream:
                self._check(stream)
                try:
                    yield self._unpacked(stream)
                finally:
                    self._check(stream)
        except FileNotFoundError:
            raise Refused("vanished", "the file has vanished since it was found") from None
        except OSError as error:
            if error.errno is None:  # not the system's: what a decoder says of the content
                raise
            raise Refused("unreadable", f"the file cannot be read ({error.strerror})") from None

    def _unpacked(self, stream: BinaryIO) -> BinaryIO:
        if self.member is None:
            return stream
        return cast(BinaryIO, open_member(self.file, self.mtime_ns, self.member, self.size))

    def _check(self, stream: BinaryIO) -> None:
        now = os.fstat(stream.fileno())
        if not stat.S_ISREG(now.st_mode):
            raise Refused("not-an-image", "not a regular file")
        size = now.st_size if self.member is None else self.size
        if (size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise Refused("changed", "the file has changed since it was found; read it again")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is not read, with the code of its reason and one line of words."""

    input: int
    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class ReadOptions:
    """What the user says of the files to read; its ``repr`` tells equal options from others.

    Parameters
    ----------
    accept
        Codes of :data:`secondreader.formats.ACCEPTABLE` that are read all the same.
    spacing_mm
        The pixel pitch of files that do not state theirs.
    bits
        The bits of a raster's full range; ``None`` takes the fewest that hold its maximum.
    table
        What is known of rasters by their paths.

    Raises
    ------
    SecondReaderError
        If the spacing or the bits make no sense.
    """

    accept: frozenset[str] = frozenset()
    spacing_mm: float | None = None
    bits: int | None = None
    table: Table | None = field(default=None)

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and not (
            math.isfinite(self.spacing_mm) and 0 < self.spacing_mm <= 5
        ):
            raise SecondReaderError(
                f"--spacing-mm: got {self.spacing_mm}, expected millimetres, above 0 and up to 5"
            )
        if self.bits is not None and self.bits not in range(8, 17):
            raise SecondReaderError(f"--bits: got {self.bits}, expected 8 to 16")

    def __repr__(self) -> str:
        return (
            f"ReadOptions(accept={sorted(self.accept)}, spacing_mm={self.spacing_mm}, "
            f"bits={self.bits}, table={self.table})"
        )


@dataclass(frozen=True, slots=True)
class Header:
    """What grouping into exams needs of a file, without pixels.

    Parameters
    ----------
    exam_id
        Unique among the files of one root that belong to other exams.
    patient_id, study_uid, sop_uid
        ``None`` when unknown.
    laterality, view
        ``None`` when unknown.
    grouped_by
        Where `exam_id` comes from: ``"study"`` (DICOM), ``"table"`` or ``"name"``.
    """

    exam_id: str
    patient_id: str | None = None
    study_uid: str | None = None
    sop_uid: str | None = None
    laterality: Laterality | None = None
    view: View | None = None
    grouped_by: str = "study"
