"""Images of a set stay open in a process, as many as it may have files."""

from __future__ import annotations

import numpy as np
import pytest

from secondreader import geometry
from secondreader.domain import ImageRecord
from secondreader.learning.prepared import Prepared, prepared

resource = pytest.importorskip("resource")


class Counted:
    """Images that say how often they were opened."""

    def __init__(self, count):
        self.records = tuple(
            ImageRecord("x", f"{n}", f"p{n}", f"e{n}", spacing_mm=(0.1, 0.1)) for n in range(count)
        )
        self.opened = 0

    def open(self, record):
        raise AssertionError

    def prepared(self, record, prepare, key):
        self.opened += 1
        return np.full((4, 4), float(record.path), np.float32), geometry.identity((4, 4))


def allowed(monkeypatch, files):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))


@pytest.mark.parametrize(
    ("files", "kept"), [(256, 96), (1024, 480), (16, 1), (20_000, 600), (-1, 600)]
)
def test_as_many_images_stay_open_as_there_are_files_to_have(monkeypatch, files, kept):
    images = Counted(600)
    ready: Prepared = prepared(images, lambda mammogram: None, "k")
    allowed(monkeypatch, files)
    for index in range(600):
        assert ready.pixels(index)[0, 0] == index
    images.opened = 0
    for index in reversed(range(600)):
        ready.pixels(index)
    assert images.opened == 600 - kept
