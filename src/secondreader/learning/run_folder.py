"""A run folder belongs to one training: what it is of is written down first, and held against it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secondreader.domain import SecondReaderError

__all__ = ["RUN_FILE", "BusyError", "claimed", "write_whole"]

RUN_FILE = "run.json"
_LOCK_FILE = "lock"


class BusyError(SecondReaderError):
    """Another process trains in a run folder: it will be free when that has ended."""


@contextlib.contextmanager
def claimed(run_dir: Path, run: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[None]:
    """Hold a run folder: a new or empty one, or this same training's unfinished one.

    Parameters
    ----------
    run_dir
        Made if missing.
    run
        All that makes this training what it is, as plain JSON values: method, configuration,
        fingerprints of the data.
    overwrite
        Throw away what another training left there.

    Raises
    ------
    SecondReaderError
        If the folder holds something else, another process trains in it (`BusyError`), or it cannot
        be written.
    """
    wanted = json.loads(json.dumps(run))
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with _locked(run_dir):
            _check(run_dir, wanted, overwrite)
            write_whole(run_dir / RUN_FILE, json.dumps(wanted, indent=1) + "\n")
            yield
    except OSError as error:
        raise SecondReaderError(
            f"run: {error.strerror or error}; the run so far is kept: {run_dir}"
        ) from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file under another name, then rename it: it is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    other = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with other.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        other.replace(path)
    finally:
        other.unlink(missing_ok=True)


def _check(run_dir: Path, wanted: Mapping[str, Any], overwrite: bool) -> None:
    left = [p for p in run_dir.iterdir() if p.name != _LOCK_FILE]
    if not left:
        return
    told: Any = None
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((run_dir / RUN_FILE).read_text(encoding="utf-8"))
    if told == wanted:
        return
    if overwrite:
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    if not isinstance(told, dict):
        raise SecondReaderError(
            f"run: got a folder that holds something else, expected an empty one or --overwrite: {run_dir}"
        )
    name, had, has = next(_differences(told, wanted))
    raise SecondReaderError(
        f"run: got {name} = {has}, but the training there has {had}; expected the same, another "
        f"folder or --overwrite: {run_dir}"
    )


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        yield name, old, new


@contextlib.contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Keep other processes out; the lock goes with this process, however it ends."""
    with (run_dir / _LOCK_FILE).open("a+b") as stream:
        try:
            _lock(stream.fileno())
        except OSError:
            raise BusyError(
                f"run: got a folder that another process trains in, expected one of its own: {run_dir}"
            ) from None
        yield


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
