"""Learning from fewer patients than there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from secondreader.domain import Frame, ImageRecord, ImageSet, Mammogram

__all__ = ["some_patients"]

_LOG = logging.getLogger("secondreader")


def some_patients(images: ImageSet, count: int | None, seed: int) -> ImageSet:
    """Return the images of so many patients, drawn by the seed; more patients hold all of fewer.

    Where there are not so many all are taken, and a note says so.
    """
    every = sorted({(r.dataset, r.patient_id) for r in images.records})
    if count is None:
        return images
    if count > len(every):
        _LOG.warning("patients: got %d, the train part has %d; all are taken", count, len(every))
        return images
    order = np.random.default_rng((seed, 4)).permutation(len(every))
    kept = {every[i] for i in order[:count]}
    return _Some(images, tuple(r for r in images.records if (r.dataset, r.patient_id) in kept))


@dataclass(frozen=True, eq=False)
class _Some:
    """Some records of a set."""

    images: ImageSet
    records: Sequence[ImageRecord]

    def open(self, record: ImageRecord) -> Mammogram:
        return self.images.open(record)

    def prepared(
        self,
        record: ImageRecord,
        prepare: Callable[[Mammogram], tuple[np.ndarray, Frame]],
        key: str,
    ) -> tuple[np.ndarray, Frame]:
        return self.images.prepared(record, prepare, key)
