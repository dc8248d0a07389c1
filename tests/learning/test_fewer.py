"""Learning from fewer patients."""

from __future__ import annotations

import numpy as np

from secondreader.domain import Frame, ImageRecord
from secondreader.learning.fewer import some_patients


class Films:
    """Two films each of six women, a data set or two; a film's pixels are its path."""

    def __init__(self) -> None:
        self.records = tuple(
            ImageRecord(dataset, f"{dataset}-{woman}-{film}", str(woman), "exam")
            for woman in range(3)
            for dataset in "ab"
            for film in range(2)
        )

    def open(self, record):
        return record.path

    def prepared(self, record, prepare, key):
        return np.array([record.path, key]), Frame((1, 1), (1, 1), (0, 0), (1, 1))


def paths(images):
    return {record.path for record in images.records}


def test_more_patients_hold_all_of_fewer_and_a_patient_is_whole():
    few, more = (some_patients(Films(), count, seed=3) for count in (2, 4))
    assert paths(few) < paths(more) < paths(Films())
    assert len(few.records) == 2 * 2
    assert len({(r.dataset, r.patient_id) for r in few.records}) == 2


def test_another_seed_draws_others():
    drawn = {frozenset(paths(some_patients(Films(), 2, seed))) for seed in range(8)}
    assert len(drawn) > 1


def test_more_patients_than_there_are_is_all_of_them_with_a_note(caplog):
    every = Films()
    assert some_patients(every, None, seed=3) is every
    assert some_patients(every, 7, seed=3) is every
    assert "patients: got 7, the train part has 6; all are taken" in caplog.text


def test_what_is_left_is_opened_and_prepared_as_before():
    few = some_patients(Films(), 1, seed=0)
    first = few.records[0]
    assert few.open(first) == first.path
    pixels, _ = few.prepared(first, None, "key")
    assert pixels.tolist() == [first.path, "key"]
