"""Records with a way to their pixels: what a method sees of data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from secondreader import formats
from secondreader.datasets.cache import Cache
from secondreader.datasets.records import Records
from secondreader.domain import Frame, ImageRecord, Mammogram, SecondReaderError
from secondreader.formats.source import FileRef, ReadOptions

__all__ = ["FileImages", "image_set"]


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images in files, as :class:`secondreader.domain.ImageSet` wants them; picklable.

    Parameters
    ----------
    records
        In a fixed order.
    roots
        Data set → absolute path of its root.
    files
        (data set, path) → (bytes, mtime_ns) as indexed.
    cache
        Keeps prepared images.
    recipes
        Makes the images of files that hold none but say how they are made (``.phantom``).
    """

    records: Sequence[ImageRecord]
    roots: Mapping[str, str]
    files: Mapping[tuple[str, str], tuple[int, int]]
    cache: Cache
    recipes: Callable[[FileRef], Mammogram] | None = None

    def open(self, record: ImageRecord) -> Mammogram:
        """Decode the image of a record; what the data set says comes before what the file says.

        Every code that could refuse it is accepted: the set's owner chose the images.

        Raises
        ------
        Refused
            If the file cannot be read, or has changed since it was indexed.
        """
        mammogram = self.said(record)
        return replace(
            mammogram,
            spacing_mm=record.spacing_mm or mammogram.spacing_mm,
            laterality=record.laterality or mammogram.laterality,
            view=record.view or mammogram.view,
        )

    def said(self, record: ImageRecord) -> Mammogram:
        """Decode the image of a record, with what its file says of it and nothing else."""
        extra = dict(record.extra)
        if record.path.lower().endswith(".ljpeg"):
            from secondreader.datasets import ddsm_ljpeg

            size = int(extra["rows"]), int(extra["cols"])
            return ddsm_ljpeg.mammogram(self.ref(record), size, int(extra["bits"]))
        if record.path.endswith(".phantom") and self.recipes is not None:
            return self.recipes(self.ref(record))
        options = ReadOptions(
            accept=frozenset(formats.ACCEPTABLE),
            bits=int(extra["bits"]) if "bits" in extra and _is_raster(record.path) else None,
        )
        return formats.mammogram(self.ref(record), options)

    def prepared(
        self,
        record: ImageRecord,
        prepare: Callable[[Mammogram], tuple[np.ndarray, Frame]],
        key: str,
    ) -> tuple[np.ndarray, Frame]:
        """Return the prepared image from the cache, memory-mapped; prepare it the first time.

        Parameters
        ----------
        record
            One of `records`.
        prepare
            Makes an array (the breast crop, uint16 or float) and its frame of a mammogram.
        key
            Names the preparation and its configuration; another key is another image.
        """
        # What the set says of an image may change the mammogram without changing its file.
        said = [record.spacing_mm, record.laterality, record.view, dict(record.extra).get("bits")]
        told = f"{key}\n{said!r}"
        return self.cache.prepared(self.ref(record), told, lambda: prepare(self.open(record)))

    def ref(self, record: ImageRecord) -> FileRef:
        """Return the file of a record.

        Raises
        ------
        SecondReaderError
            If the record is of no set that is here.
        """
        state = self.files.get((record.dataset, record.path))
        if state is None:
            raise SecondReaderError(
                f"{record.path}: got a record of {record.dataset}, "
                f"expected one of {', '.join(self.roots)}"
            )
        return FileRef(0, self.roots[record.dataset], record.path, *state)

    def part(self, records: Iterable[ImageRecord]) -> FileImages:
        """Return the set of these records only."""
        chosen = tuple(records)
        wanted = {(record.dataset, record.path) for record in chosen}
        files = {name: state for name, state in self.files.items() if name in wanted}
        return replace(self, records=chosen, files=files)


def image_set(
    sources: Sequence[Records],
    cache: Cache | None = None,
    recipes: Callable[[FileRef], Mammogram] | None = None,
) -> FileImages:
    """Return the images of data sets, one after another.

    Parameters
    ----------
    sources
        Each once.
    cache
        Of prepared images; the user's if ``None``.
    recipes
        See `FileImages`.

    Raises
    ------
    SecondReaderError
        If one data set is there twice.
    """
    roots: dict[str, str] = {}
    for source in sources:
        if source.dataset in roots:
            raise SecondReaderError(f"--data: got {source.dataset} twice, expected it once")
        roots[source.dataset] = source.root
    return FileImages(
        records=tuple(record for source in sources for record in source.records),
        roots=roots,
        files={
            (source.dataset, record.path): source.files[record.path]
            for source in sources
            for record in source.records
        },
        cache=cache or Cache(),
        recipes=recipes,
    )


def _is_raster(path: str) -> bool:
    return not path.lower().endswith((".dcm", ".dicom"))
