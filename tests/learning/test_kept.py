"""What was made for an image is never made again."""

import numpy as np
import pytest

from secondreader.learning.kept import kept_arrays


def test_a_second_call_goes_on_where_the_first_was_stopped(tmp_path):
    made = []

    def make(index, stop=None):
        if index == stop:
            raise KeyboardInterrupt
        made.append(index)
        return np.full((index, 2), index, np.float32)

    with pytest.raises(KeyboardInterrupt):
        kept_arrays(tmp_path, 5, lambda i: make(i, 3))
    told = []
    found = kept_arrays(tmp_path, 5, make, lambda done, total: told.append((done, total)))
    assert made == [0, 1, 2, 3, 4]
    assert [f.shape for f in found] == [(i, 2) for i in range(5)]
    assert told == [(i, 5) for i in range(1, 6)]
    assert kept_arrays(tmp_path, 5, make)[4].tolist() == [[4, 4]] * 4
    assert len(made) == 5
    cut = tmp_path / "000002.npy"
    cut.write_bytes(cut.read_bytes()[:20])
    assert kept_arrays(tmp_path, 5, make)[2].shape == (2, 2)
    assert made[5:] == [2]
