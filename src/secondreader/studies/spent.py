"""What a row costs: hours, over all calls that it took, on what device, and memory."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from secondreader.domain import SecondReaderError
from secondreader.learning.hardware import device_name, peak_megabytes, where_read

__all__ = ["device_of", "hours", "most_megabytes"]

_EVERY = 60.0  # seconds: what a kill, which nothing is told of, loses of the hours at most


@contextmanager
def hours(
    file: Path, identity: str, write: Callable[[Path, str], None]
) -> Iterator[Callable[[], float]]:
    """Count the hours of a row, with those of calls before that were stopped.

    Parameters
    ----------
    file
        Where hours are kept until the row is done.
    identity
        Of the row: hours of another recipe, or of other data, do not count.
    write
        Writes a file whole or not at all.

    Yields
    ------
    callable
        Gives the hours so far.
    """
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    before = float(told["hours"]) if told.get("identity") == identity else 0.0
    begun = time.monotonic()

    def so_far() -> float:
        return before + (time.monotonic() - begun) / 3600

    def note() -> None:
        write(file, json.dumps({"identity": identity, "hours": so_far()}) + "\n")

    over = threading.Event()

    def now_and_then() -> None:
        while not over.wait(_EVERY):
            with suppress(OSError, SecondReaderError):  # of a full disk the row itself will tell
                note()

    noting = threading.Thread(target=now_and_then, daemon=True)
    noting.start()
    try:
        yield so_far
    except BaseException:  # a key that was pressed is no Exception
        over.set()
        noting.join()
        note()
        raise
    over.set()
    noting.join()
    file.unlink(missing_ok=True)


def digest_of(model: Path | str) -> str:
    """Return the digest of a model's settings, which hold that of its weights; "" for a method without."""
    file = Path(model) / "config.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def device_of(model: Path | str) -> str:
    """Return what a model was trained on, by its folder; where none says it, what readers read on."""
    return str(_environment(model).get("device") or device_name(where_read()))


def most_megabytes(model: Path | str) -> int | None:
    """Return the most memory that this process has held, or the one that trained a model, if that was more.

    Mapped files count as far as they were touched. Of a call that runs several rows it is the most of
    those so far. ``None`` where the system does not say.
    """
    own, told = peak_megabytes(), _environment(model).get("peak_megabytes")
    return max((int(most) for most in (own, told) if most is not None), default=None)


def _environment(model: Path | str) -> dict[str, Any]:
    file = Path(model) / "environment.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
