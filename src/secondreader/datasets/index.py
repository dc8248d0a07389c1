"""A data set's records as JSON lines, loaded again as long as no file or folder has changed.

The first line says what was read and the state of every folder, of every table, mask and image;
each further line is one record. Masks are run lengths: unsigned 32-bit counts, little-endian,
base64, of the mask read row by row, starting with a run of zeros.
"""

from __future__ import annotations

import base64
import functools
import gc
import hashlib
import importlib.resources
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from secondreader.datasets.cache import default_folder
from secondreader.datasets.records import Problem, Records
from secondreader.domain import (
    Box,
    Circle,
    ImageRecord,
    Kind,
    Laterality,
    Lesion,
    Mask,
    Part,
    Pathology,
    Point,
    Polygon,
    Region,
    SecondReaderError,
    View,
)
from secondreader.formats.write import atomic_write
from secondreader.geometry import from_run_lengths, run_lengths

__all__ = ["SCHEMA", "index_path", "load_index", "record_line", "write_index"]

SCHEMA = "secondreader.index/1"
_VIEWS: dict[str | None, View | None] = {None: None, **{view.value: view for view in View}}
_SIDES: dict[str | None, Laterality | None] = {None: None, **{s.value: s for s in Laterality}}
_PARTS: dict[str | None, Part | None] = {None: None, **{part.value: part for part in Part}}
_KINDS: dict[str | None, Kind | None] = {None: None, **{kind.value: kind for kind in Kind}}
_PATHOLOGIES: dict[str | None, Pathology | None] = {None: None, **{p.value: p for p in Pathology}}


def index_path(
    name: str, root: str | Path, choices: Mapping[str, str], cache: Path | None = None
) -> Path:
    """Return where the index of a root under these choices lies."""
    base = os.path.abspath(root)  # noqa: PTH100 - as `Tree` has it
    told = json.dumps([SCHEMA, _code(), name, base, sorted(choices.items())])
    key = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return (cache or default_folder()) / "indexes" / f"{name}-{key}.jsonl"


@functools.cache
def _code() -> str:
    """Return a digest of the adapters, for another version may read the same files otherwise."""
    digest = hashlib.sha256()
    folder = importlib.resources.files("secondreader.datasets")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def write_index(records: Records, cache: Path | None = None) -> Path:
    """Write an index, whole or not at all, and return its path.

    Raises
    ------
    SecondReaderError
        If it cannot be written.
    """
    path = index_path(records.dataset, records.root, dict(records.choices), cache)
    head = {
        "schema": SCHEMA,
        "dataset": records.dataset,
        "root": records.root,
        "choices": list(records.choices),
        "count": len(records.records),
        "fingerprint": records.fingerprint,
        "problems": [asdict(problem) for problem in records.problems],
        "folders": dict(records.folders),
        "files": dict(records.files),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecondReaderError(f"cannot make {path.parent} ({error.strerror})") from None
    lines = [json.dumps(head, ensure_ascii=True), *map(record_line, records.records)]
    atomic_write(path, "\n".join(lines) + "\n")
    return path


def load_index(
    name: str, root: str | Path, choices: Mapping[str, str], cache: Path | None = None
) -> Records | None:
    """Return the records of an index, ``None`` where there is none or something has changed."""
    path = index_path(name, root, choices, cache)
    # Tens of thousands of small objects that all stay: looking for garbage among them meanwhile
    # would take half of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _loaded(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing, or not written by this version: made anew
    finally:
        if collecting:
            gc.enable()


def _loaded(path: Path) -> Records | None:
    head_line, *lines = path.read_bytes().splitlines()
    head = json.loads(head_line)
    if head["schema"] != SCHEMA or head["count"] != len(lines):
        return None
    if not _unchanged(Path(head["root"]), head):
        return None
    # One array parses in half the time of as many lines.
    plain = json.loads(b"[" + b",".join(lines) + b"]")
    records = tuple(_record(values) for values in plain)
    return Records(
        dataset=head["dataset"],
        root=head["root"],
        choices=tuple((key, value) for key, value in head["choices"]),
        records=records,
        problems=tuple(Problem(**values) for values in head["problems"]),
        files={file: (size, mtime) for file, (size, mtime) in head["files"].items()},
        folders=head["folders"],
        fingerprint=head["fingerprint"],
    )


def _unchanged(root: Path, head: Mapping[str, Any]) -> bool:
    base, stat = str(root), os.stat  # thousands of files: a Path each would take most of the time
    for folder, mtime_ns in head["folders"].items():
        if stat(f"{base}/{folder}").st_mtime_ns != mtime_ns:
            return False
    for file, (size, mtime_ns) in head["files"].items():
        state = stat(f"{base}/{file}")
        if state.st_size != size or state.st_mtime_ns != mtime_ns:
            return False
    return True


# -------------------------------------------------------------------------------- one record


def record_line(record: ImageRecord) -> str:
    """Return a record as one line of JSON; what is unknown is left out."""
    values: dict[str, Any] = {
        field: value
        for field in _PLAIN
        if (value := getattr(record, field)) is not None and value != ()
    }
    if record.lesions:
        values["lesions"] = [_lesion_values(lesion) for lesion in record.lesions]
    return json.dumps(values, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


_PLAIN = (
    "dataset",
    "path",
    "patient_id",
    "exam_id",
    "part",
    "laterality",
    "view",
    "spacing_mm",
    "vendor",
    "density",
    "birads",
    "age",
    "malignant",
    "extra",
)


_LESION_PLAIN = (
    "kind",
    "part_of",
    "visible",
    "pathology",
    "birads",
    "subtlety",
    "descriptor",
    "diameter_mm",
)


def _lesion_values(lesion: Lesion) -> dict[str, Any]:
    values = {
        field: value for field in _LESION_PLAIN if (value := getattr(lesion, field)) is not None
    }
    values["id"] = lesion.lesion_id
    if lesion.region is not None:
        values["region"] = _region_values(lesion.region)
    return values


def _region_values(region: Region) -> list[Any]:
    match region:
        case Point(row, col):
            return ["point", row, col]
        case Circle(row, col, radius):
            return ["circle", row, col, radius]
        case Box(row0, col0, row1, col1):
            return ["box", row0, col0, row1, col1]
        case Polygon(points):
            return ["polygon", [coordinate for point in points for coordinate in point]]
        case Mask(pixels, row0, col0):
            runs = run_lengths(pixels).astype("<u4").tobytes()
            return ["mask", row0, col0, *pixels.shape, base64.b64encode(runs).decode()]


def _record(values: dict[str, Any]) -> ImageRecord:
    get = values.get
    spacing = get("spacing_mm")
    return ImageRecord(
        values["dataset"],
        values["path"],
        values["patient_id"],
        values["exam_id"],
        _PARTS[get("part")],
        _SIDES[get("laterality")],
        _VIEWS[get("view")],
        (spacing[0], spacing[1]) if spacing else None,
        get("vendor"),
        get("density"),
        get("birads"),
        get("age"),
        get("malignant"),
        tuple([_lesion(lesion) for lesion in get("lesions", ())]),
        tuple([(name, value) for name, value in get("extra", ())]),
    )


def _lesion(values: dict[str, Any]) -> Lesion:
    get = values.get
    region = get("region")
    return Lesion(
        values["id"],
        _KINDS[get("kind")],
        _region(region) if region else None,
        get("part_of"),
        get("visible"),
        _PATHOLOGIES[get("pathology")],
        get("birads"),
        get("subtlety"),
        get("descriptor"),
        get("diameter_mm"),
    )


def _region(values: list[Any]) -> Region:
    match values:
        case ["point", row, col]:
            return Point(row, col)
        case ["circle", row, col, radius]:
            return Circle(row, col, radius)
        case ["box", row0, col0, row1, col1]:
            return Box(row0, col0, row1, col1)
        case ["polygon", flat]:
            return Polygon(tuple(zip(flat[::2], flat[1::2], strict=True)))
        case ["mask", row0, col0, rows, cols, text]:
            runs = np.frombuffer(base64.b64decode(text), "<u4")
            return Mask(from_run_lengths(runs, (rows, cols)), row0, col0)
    raise ValueError(f"region: got {values[:1]}, expected point, circle, box, polygon or mask")
