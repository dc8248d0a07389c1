"""From inputs to files: folders of any depth, ZIPs in place, DICOMDIRs; every file accounted for.

Files come lazily and in a fixed order: input by input; in a folder its files by name, then its
folders by name. What is held in memory is the listing of one folder, the names of the folders still
to visit, and which folders were visited, never the files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from secondreader.domain import Refused
from secondreader.formats.archive import ZIP_MAGIC, members
from secondreader.formats.dicomdir import is_dicomdir, referenced_files
from secondreader.formats.source import FileRef, Skipped

__all__ = ["find"]

# What operating systems leave beside files: nobody put it there, nobody misses it.
_JUNK = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", ".spotlight-v100",
         ".trashes", ".fseventsd", "$recycle.bin", "system volume information", "@eadir"}  # fmt: skip


def find(inputs: Sequence[Path]) -> Iterator[FileRef | Skipped]:
    """Find the files of some inputs; nothing is decoded.

    Parameters
    ----------
    inputs
        Files, folders, ZIP archives (told by content), DICOMDIR files.

    Yields
    ------
    FileRef or Skipped
        Each file once, however often it is reached: a second way to it is skipped as
        ``duplicate``. Links are followed; one that leads back to a folder around it is skipped as
        ``symlink-loop``. Hidden system files (``.DS_Store``, ``Thumbs.db``, ``__MACOSX``, …) are
        left out, and a DICOMDIR in a folder, since the walk finds its files.
    """
    seen = _Seen()
    for number, path in enumerate(inputs):
        whole = path.absolute()
        try:
            info = whole.stat()
        except OSError as error:
            yield Skipped(number, shown(path.name or str(path)), *_unreachable(error))
            continue
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(number, whole, seen)
        elif stat.S_ISREG(info.st_mode) and is_dicomdir(whole):
            yield from _listed(number, whole, seen)
        else:
            yield from _file(number, whole.parent, whole.name, seen)


def shown(path: str) -> str:
    """Make a path printable: bytes that are no text, and control characters, become escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(slots=True)
class _Seen:
    """What was reached: folders whole, and single files that were not found by a walk."""

    folders: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def file(self, real: str, *, alone: bool) -> bool:
        """Note a file, and say whether it was, or will be, reached in another way.

        ``alone`` is True for a file that a walk through its folder does not find by itself.
        """
        if real in self.files or (alone and os.path.dirname(real) in self.folders):  # noqa: PTH120
            return True
        if alone:
            self.files.add(real)
        return False


class _Folder(NamedTuple):
    """A folder to visit: its path from the root, its real path, and the folders around it."""

    path: str
    real: str
    outer: _Folder | None
    linked: bool

    def within(self, real: str) -> bool:
        """Say whether a folder is one of those around this one, as it was reached."""
        outer = self.outer
        while outer is not None:
            if outer.real == real:
                return True
            outer = outer.outer
        return False


def _walk(number: int, root: Path, seen: _Seen) -> Iterator[FileRef | Skipped]:
    waiting = [_Folder("", os.path.realpath(root), None, False)]
    while waiting:
        here = waiting.pop()
        printable = shown(here.path or ".")
        if here.linked and here.within(here.real):
            reason = "a link to a folder around it; each folder is read once"
            yield Skipped(number, printable, "symlink-loop", reason)
            continue
        if here.real in seen.folders:
            reason = "this folder is reached in another way too; it is read once"
            yield Skipped(number, printable, "duplicate", reason)
            continue
        seen.folders.add(here.real)
        try:
            files, folders = _listing(root / here.path)
        except OSError as error:
            reason = f"the folder cannot be read ({error.strerror})"
            yield Skipped(number, printable, "unreadable-folder", reason)
            continue
        if not files and not folders:
            yield Skipped(number, printable, "empty", "an empty folder")
        for name in files:
            path = f"{here.path}/{name}" if here.path else name
            yield from _file(number, root, path, seen, here.real)
        for name, linked in reversed(folders):
            path = f"{here.path}/{name}" if here.path else name
            real = os.path.realpath(root / path) if linked else os.path.join(here.real, name)  # noqa: PTH118
            waiting.append(_Folder(path, real, here, linked))


def _listing(folder: Path) -> tuple[list[str], list[tuple[str, bool]]]:
    """Return the names of files, and of folders with whether they are links, each sorted."""
    files: list[str] = []
    folders: list[tuple[str, bool]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower() in _JUNK or entry.name.startswith("._"):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link to itself
                is_folder = False
            if is_folder:
                folders.append((entry.name, entry.is_symlink()))
            else:
                files.append(entry.name)
    return sorted(files), sorted(folders)


def _file(
    number: int, root: Path, path: str, seen: _Seen, walked: str | None = None
) -> Iterator[FileRef | Skipped]:
    """Yield a file, or the members of a ZIP.

    ``walked`` is the real path of the folder in whose listing it stands, ``None`` if in none.
    """
    whole = root / path
    printable = shown(path)
    try:
        linked = whole.is_symlink()
        if walked is None or linked:
            real = os.path.realpath(whole)
        else:
            real = os.path.join(walked, whole.name)  # noqa: PTH118
        info = whole.stat()
        if not stat.S_ISREG(info.st_mode):
            reason = "not a regular file; expected an image or a ZIP"
            yield Skipped(number, printable, "not-an-image", reason)
            return
        if seen.file(real, alone=walked is None or linked):
            reason = "this file is reached in another way too; it is read once"
            yield Skipped(number, printable, "duplicate", reason)
            return
        if walked is not None and whole.name.upper() == "DICOMDIR" and is_dicomdir(whole):
            return
        with whole.open("rb") as stream:
            zipped = stream.read(4) in ZIP_MAGIC
    except OSError as error:
        yield Skipped(number, printable, *_unreachable(error))
        return
    ref = FileRef(
        number, str(root), printable, info.st_size, info.st_mtime_ns,
        disk=path if path != printable else None,
    )  # fmt: skip
    if zipped:
        yield from _members(ref, path)
    else:
        yield ref


def _members(archive: FileRef, path: str) -> Iterator[FileRef | Skipped]:
    """Yield the members of a ZIP; ``archive`` is the ZIP itself."""
    count = 0
    try:
        for member in members(archive.file, archive.mtime_ns):
            parts = member.name.lower().split("/")
            if _JUNK & set(parts) or parts[-1].startswith("._") or parts[-1] == "dicomdir":
                continue
            count += 1
            inside = f"{archive.path}!/{shown(member.name)}"
            if member.refused:
                yield Skipped(archive.input, inside, *member.refused)
            else:
                yield FileRef(
                    archive.input, archive.root, inside, member.size, archive.mtime_ns,
                    disk=path, member=member.index,
                )  # fmt: skip
    except Refused as refused:
        yield Skipped(archive.input, archive.path, refused.code, refused.reason)
    except OSError as error:
        yield Skipped(archive.input, archive.path, *_unreachable(error))
    else:
        if not count:
            yield Skipped(archive.input, archive.path, "empty", "a ZIP without files")


def _listed(number: int, directory: Path, seen: _Seen) -> Iterator[FileRef | Skipped]:
    """Yield the files that a DICOMDIR references."""
    root = directory.parent
    try:
        paths = referenced_files(directory)
    except Refused as refused:
        yield Skipped(number, shown(directory.name), refused.code, refused.reason)
        return
    if not paths:
        yield Skipped(number, shown(directory.name), "empty", "a DICOMDIR that lists no files")
    for path in paths:
        if ".." in path.split("/") or path.startswith("/"):
            reason = "the DICOMDIR names a file outside its folder; expected one inside"
            yield Skipped(number, shown(path), "unsafe-path", reason)
        else:
            yield from _file(number, root, path, seen)


def _unreachable(error: OSError) -> tuple[str, str]:
    if error.errno == errno.ELOOP:
        return "symlink-loop", "a link that leads back to itself"
    if isinstance(error, FileNotFoundError):
        return "missing", "no such file, or a link that leads nowhere"
    return "unreadable", f"cannot be read ({error.strerror})"
