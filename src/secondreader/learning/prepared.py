"""Images as a method prepares them, memory-mapped, with their lesions on the same grid."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakSet

import numpy as np
from pydantic import BaseModel

from secondreader import geometry
from secondreader.domain import Frame, ImageRecord, ImageSet, Lesion, Mammogram, SecondReaderError

__all__ = ["Prepare", "Prepared", "on_grid", "prepared", "prepared_by"]

_MOST_OPEN = 4096
"""Images mapped in a process, at most."""
_MOST_BYTES = 2**29
"""Bytes held of a set, at most: of what is mapped, what was touched counts as the process's memory."""
_GIVE_BACK = getattr(mmap, "MADV_DONTNEED", None)  # Windows has none
_APART = 379  # images, about, from where one process begins to where the next one does
_FOR_ALL_ELSE = 64  # file descriptors


def _most_open() -> int:
    """Return how many images stay mapped, of all sets: each takes a file descriptor, which may be few.

    A macOS process has 256 descriptors.
    """
    try:
        import resource
    except ImportError:  # Windows
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_OPEN
    return min(max(soft - _FOR_ALL_ELSE, 1), _MOST_OPEN)


Prepare = Callable[[Mammogram], tuple[np.ndarray, Frame] | None]


@dataclass(eq=False)
class _Opened:
    """The images that are mapped and those of them that memory is held of, the last used last.

    Mapping a file anew takes ten times as long as cutting a patch out of it: what is too much to hold
    is let go of and stays mapped. Finding an image in the cache takes ten times as long again: where
    all that ever were mapped lie is kept.
    """

    mapped: dict[int, np.ndarray] = field(default_factory=dict)
    places: dict[int, dict[str, Any]] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)
    size: int = 0

    def __post_init__(self) -> None:
        _EVERY.add(self)

    def again(self, index: int) -> np.ndarray | None:
        """Return an image that is mapped or was; ``None`` where it never was, or is no longer there."""
        if index in self.mapped:
            return self.mapped.pop(index)
        if index in self.places:
            with contextlib.suppress(OSError, ValueError):
                return np.memmap(**self.places[index], mode="r")
        return None

    def keep(self, index: int, pixels: np.ndarray) -> None:
        """Hold an image, and let go of those not used for the longest time where they are too many."""
        if isinstance(pixels, np.memmap) and index not in self.places:
            self.places[index] = {
                "filename": pixels.filename,
                "dtype": pixels.dtype,
                "offset": pixels.offset,
                "shape": pixels.shape,
            }
        self.mapped[index] = pixels
        self.size += pixels.nbytes - self.held.pop(index, 0)
        self.held[index] = pixels.nbytes
        most = _most_open()
        while sum(len(other.mapped) for other in _EVERY) > most:
            most_of_all = max(_EVERY, key=lambda other: len(other.mapped))
            most_of_all._forget(next(iter(most_of_all.mapped)))
        while len(self.held) > 1 and self.size > _MOST_BYTES:
            self._let_go(next(iter(self.held)))

    def let_go(self) -> None:
        """Give the memory of all images back; what can be stays mapped."""
        for index in list(self.held):
            self._let_go(index)

    def _forget(self, index: int) -> None:
        del self.mapped[index]
        self.size -= self.held.pop(index, 0)

    def _let_go(self, index: int) -> None:
        """Give an image's memory back; where it cannot be mapped and empty, it goes."""
        below = self.mapped[index].base
        if _GIVE_BACK is not None and isinstance(below, mmap.mmap):
            below.madvise(_GIVE_BACK)
            self.size -= self.held.pop(index)
        else:
            self._forget(index)


_EVERY: WeakSet[_Opened] = WeakSet()  # of this process: descriptors are the process's


@dataclass(frozen=True, eq=False)
class Prepared:
    """Some images of a set, each on its working grid; picklable, and opened where it is used.

    Parameters
    ----------
    images
        Where they come from.
    records
        Those that the preparation does not refuse.
    frames
        Of each record.
    lesions
        Of each record, with regions in pixels of its grid.
    prepare, key
        The preparation, and the name it is kept under.
    """

    images: ImageSet
    records: tuple[ImageRecord, ...]
    frames: tuple[Frame, ...]
    lesions: tuple[tuple[Lesion, ...], ...]
    prepare: Callable[[Mammogram], tuple[np.ndarray, Frame]]
    key: str
    _open: _Opened = field(default_factory=_Opened, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.records)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open images behind: the other process maps them itself."""
        return {**self.__dict__, "_open": _Opened()}

    def pixels(self, index: int) -> np.ndarray:
        """Return the pixels of an image, (rows, cols), memory-mapped; the last used stay open."""
        pixels = self._open.again(index)
        if pixels is None:
            pixels = self.images.prepared(self.records[index], self.prepare, self.key)[0]
        self._open.keep(index, pixels)
        return pixels

    def let_go(self) -> None:
        """Give the memory of all opened images back, where long work follows that looks at none."""
        self._open.let_go()


class _Unprepared(Exception):
    """An image that a method's preparation has nothing of."""


@dataclass(frozen=True)
class _OrRaise:
    """A preparation that raises where it has nothing to give; picklable if the preparation is."""

    prepare: Prepare

    def __call__(self, mammogram: Mammogram) -> tuple[np.ndarray, Frame]:
        made = self.prepare(mammogram)
        if made is None:
            raise _Unprepared
        return made


def prepared(
    images: ImageSet,
    prepare: Prepare,
    key: str,
    *,
    records: Sequence[ImageRecord] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
) -> Prepared:
    """Prepare every image of a set once; the next call finds them in the cache.

    Parameters
    ----------
    images
        The set.
    prepare
        A method's preparation; ``None`` where it refuses an image, which is then left out.
    key
        Names the preparation with its configuration.
    records
        Those of the set that are wanted; all if ``None``.
    progress
        Called with the images done, and all.
    workers
        Processes that prepare; up to 1 prepares in this one.

    Raises
    ------
    SecondReaderError
        If an image cannot be read, or a process died.
    """
    make = _OrRaise(prepare)
    wanted = images.records if records is None else records
    refused = _ahead(images, wanted, make, key, progress, workers) if workers > 1 else set()
    found: dict[int, Frame] = {}
    # Trainings that begin together each begin elsewhere: what one has made the others find.
    first = os.getpid() * _APART % max(len(wanted), 1)
    for done, number in enumerate(np.roll(np.arange(len(wanted)), -first).tolist(), 1):
        if number not in refused:
            with contextlib.suppress(_Unprepared):
                found[number] = images.prepared(wanted[number], make, key)[1]
        progress(done, len(wanted))
    there = sorted(found)
    kept = [wanted[number] for number in there]
    frames = [found[number] for number in there]
    lesions = [on_grid(record.lesions, frame) for record, frame in zip(kept, frames, strict=True)]
    return Prepared(images, tuple(kept), tuple(frames), tuple(lesions), make, key)


_held: list[Any] = []
"""Of a process that prepares: the images, the preparation and its key."""


def _ahead(
    images: ImageSet,
    records: Sequence[ImageRecord],
    make: _OrRaise,
    key: str,
    progress: Callable[[int, int], None],
    workers: int,
) -> set[int]:
    """Put images into the cache from several processes, and return the numbers of those refused."""
    # A process takes as long to begin as some images take, and longer than to find all in the cache.
    if len(records) <= workers or all(
        _there(images, r, key) for r in records[:: -(-len(records) // 8)]
    ):
        return set()
    refused: set[int] = set()
    try:
        with ProcessPoolExecutor(
            min(workers, 61),  # as many as Windows waits for
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_hold,
            initargs=(images, make, key),
        ) as pool:
            for number, made in enumerate(pool.map(_one, records, chunksize=4)):
                refused |= set() if made else {number}
                progress(number + 1, len(records))
    except BrokenProcessPool:
        raise SecondReaderError(
            "a process that prepared images died (out of memory, or a script without a __main__ guard?); "
            "what was prepared is kept: run the same command again, with fewer --workers"
        ) from None
    return refused


class _Absent(Exception):
    """An image that is not in the cache."""


def _there(images: ImageSet, record: ImageRecord, key: str) -> bool:
    def absent(mammogram: Mammogram) -> tuple[np.ndarray, Frame]:
        raise _Absent

    try:
        images.prepared(record, absent, key)
    except _Absent:
        return False
    return True


def _hold(*told: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers Ctrl-C
    _held[:] = told


def _one(record: ImageRecord) -> bool:
    """Prepare an image, and return whether the preparation takes it."""
    images, make, key = _held
    try:
        images.prepared(record, make, key)
    except _Unprepared:
        return False
    return True


@dataclass(frozen=True)
class _By:
    """A method's `prepare` under one configuration; picklable."""

    prepare: Callable[[Mammogram, Any], tuple[np.ndarray, Frame] | None]
    config: BaseModel

    def __call__(self, mammogram: Mammogram) -> tuple[np.ndarray, Frame] | None:
        return self.prepare(mammogram, self.config)


def prepared_by(
    images: ImageSet,
    prepare: Callable[[Mammogram, Any], tuple[np.ndarray, Frame] | None],
    config: BaseModel,
    *,
    name: str,
    depends: Collection[str],
    records: Sequence[ImageRecord] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
) -> Prepared:
    """Prepare every image of a set as a method does.

    Parameters
    ----------
    images
        The set.
    prepare
        The method's own, a function of a mammogram and its configuration.
    config
        The configuration.
    name
        Of the method and its preparation's version, such as ``mined_cnn/1``: another version is
        another place in the cache.
    depends
        The fields of the configuration that change what is prepared.
    records
        Those of the set that are wanted; all if ``None``.
    progress
        Called with the images done, and all.
    workers
        Processes that prepare.
    """
    told = config.model_dump_json(include=set(depends))
    key = f"{name}/{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    make = _By(prepare, config)
    return prepared(images, make, key, records=records, progress=progress, workers=workers)


def on_grid(lesions: Sequence[Lesion], frame: Frame) -> tuple[Lesion, ...]:
    """Return lesions with their regions carried to a grid; those without a region as they are."""
    return tuple(
        lesion
        if lesion.region is None
        else replace(lesion, region=geometry.move(lesion.region, frame, to="grid"))
        for lesion in lesions
    )
