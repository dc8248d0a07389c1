"""DICOMDIR: the directory file of DICOM media (PS3.3 F.3), and the files that it references."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from secondreader.domain import Refused

__all__ = ["is_dicomdir", "referenced_files"]

# Media Storage SOP Class UID (0002,0002), always in explicit little endian: Media Storage Directory.
_MEDIA_STORAGE_DIRECTORY = b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"


def is_dicomdir(path: Path) -> bool:
    """Tell a DICOMDIR by its content: the media SOP class stands in the first bytes."""
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return False
    return head[128:132] == b"DICM" and _MEDIA_STORAGE_DIRECTORY in head


def referenced_files(path: Path) -> list[str]:
    """Return the files that a DICOMDIR references, in its order, each once.

    Parameters
    ----------
    path
        The DICOMDIR.

    Returns
    -------
    list of str
        Paths from its folder, with forward slashes, as they stand on disk where upper and lower
        case differ (media often come as ISO 9660, copies in lower case).

    Raises
    ------
    Refused
        ``bad-header`` if it cannot be parsed.
    """
    from pydicom import dcmread

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = dcmread(path, specific_tags=["DirectoryRecordSequence"])
            ids = [record.get("ReferencedFileID") for record in directory.DirectoryRecordSequence]
    except Exception:  # pydicom raises many kinds on damaged files
        raise Refused("bad-header", "a damaged DICOMDIR; give its folder instead") from None
    named = [[file_id] if isinstance(file_id, str) else list(file_id) for file_id in ids if file_id]
    listings: dict[Path, dict[str, str]] = {}
    found = (_on_disk(path.parent, parts, listings) for parts in named)
    return list(dict.fromkeys(found))


def _on_disk(folder: Path, parts: Sequence[str], listings: dict[Path, dict[str, str]]) -> str:
    """Return the path of a file ID; a part that is not there as it is written is tried in any case.

    ``listings`` keeps the names of folders already looked into.
    """
    path = ""
    for part in parts:
        if folder not in listings:
            try:
                listings[folder] = {child.name.lower(): child.name for child in folder.iterdir()}
            except OSError:
                listings[folder] = {}
        name = part if (folder / part).exists() else listings[folder].get(part.lower(), part)
        path = f"{path}/{name}" if path else name
        folder = folder / name
    return path
