"""The files under a data set's root, listed once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from secondreader.domain import SecondReaderError
from secondreader.formats.source import FileRef

__all__ = ["IMAGE_SUFFIXES", "Tree", "image_stem"]

IMAGE_SUFFIXES = (".dcm", ".dicom", ".png", ".tif", ".tiff", ".pgm", ".jpg", ".jpeg")
"""Suffixes of images, the ones with the most information first."""


@dataclass(eq=False)
class Tree:
    """Every file and folder under a root, and which of them were read as truth.

    Parameters
    ----------
    root
        Absolute path.
    files
        path → (bytes, mtime_ns), sorted; paths relative, with forward slashes.
    folders
        path → mtime_ns; ``""`` is the root.
    read
        Files that truth was taken from; adapters add to it through `text` and `ref`.
    """

    root: Path
    files: dict[str, tuple[int, int]]
    folders: dict[str, int]
    read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in self.files:
            name = path.rpartition("/")[2].lower()
            self._by_name.setdefault(name, []).append(path)
            stem = image_stem(name)
            if stem is not None:
                self._by_stem.setdefault(stem, []).append(path)

    @classmethod
    def of(cls, root: str | Path) -> Tree:
        """List a root, links followed, each folder once.

        Raises
        ------
        SecondReaderError
            If the root is no folder that can be read.
        """
        base = Path(os.path.abspath(root))  # noqa: PTH100 - without following links
        if not base.is_dir():
            raise SecondReaderError(f"{root}: got no folder, expected the root of a data set")
        files: dict[str, tuple[int, int]] = {}
        folders: dict[str, int] = {}
        seen: set[tuple[int, int]] = set()
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                state = (base / folder).stat()
                with os.scandir(base / folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                raise SecondReaderError(
                    f"{base / folder}: cannot list the folder ({error.strerror}); "
                    "make it readable, or remove it"
                ) from None
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            folders[folder] = state.st_mtime_ns
            for entry in listed:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                try:
                    if entry.is_dir():
                        pending.append(path)
                    elif entry.is_file():
                        found = entry.stat()
                        files[path] = (found.st_size, found.st_mtime_ns)
                except OSError:
                    continue  # a dangling link: as good as missing
        return cls(base, dict(sorted(files.items())), dict(sorted(folders.items())))

    def named(self, name: str) -> list[str]:
        """Return the paths of files with this name, whatever its case."""
        return self._by_name.get(name.lower(), [])

    def ending(self, suffix: str) -> list[str]:
        """Return the paths of files whose name ends so, whatever its case."""
        return [
            path
            for name, paths in sorted(self._by_name.items())
            if name.endswith(suffix.lower())
            for path in paths
        ]

    def images(self, stem: str) -> list[str]:
        """Return the images with this name before the suffix, the richest format first."""
        paths = self._by_stem.get(stem.lower(), [])
        return sorted(paths, key=lambda path: (_richness(path), path))

    def image_paths(self) -> list[str]:
        """Return all files with an image's suffix."""
        return sorted(path for paths in self._by_stem.values() for path in paths)

    def under(self, folder: str) -> list[str]:
        """Return the files in a folder and below, where it is a path from the root."""
        return [path for path in self.files if path.startswith(f"{folder}/")]

    def content(self, path: str) -> bytes:
        """Read a file that truth is taken from.

        Raises
        ------
        SecondReaderError
            If it cannot be read.
        """
        self.read.add(path)
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise SecondReaderError(f"{path}: cannot be read ({error.strerror})") from None

    def text(self, path: str) -> str:
        """Read a text that truth is taken from: UTF-8, else Latin-1, line ends made newlines."""
        content = self.content(path)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def ref(self, path: str) -> FileRef:
        """Return the file as `secondreader.formats` takes it."""
        size, mtime_ns = self.files[path]
        return FileRef(0, str(self.root), path, size, mtime_ns)

    def kept(self, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return the state of these files and of those that truth was taken from."""
        return {path: self.files[path] for path in sorted({*paths, *self.read})}


def image_stem(name: str) -> str | None:
    """Return the lower-case name of an image without its suffix, ``None`` for other files."""
    pure = PurePosixPath(name.lower())
    return pure.name[: -len(pure.suffix)] if pure.suffix in IMAGE_SUFFIXES else None


def _richness(path: str) -> int:
    return IMAGE_SUFFIXES.index(PurePosixPath(path.lower()).suffix)
