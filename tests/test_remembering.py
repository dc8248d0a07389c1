"""What members said before a panel asks no more, and the panel says the same."""

import json

import numpy as np
import pytest

from secondreader import pipeline
from secondreader.domain import ImageReading, ImageSource, Mammogram
from secondreader.methods.spot_filter import SpotFilter
from secondreader.remembering import Remembering

DATA = ["phantom=tiny:film"]
QUICK = {"resamples": 100, "groups": False, "split": "official"}
PANEL = ["combine=stack", "absent=leave out"]


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    """A model folder that reads as the spot filter does, trained and measured as any other."""
    folder = tmp_path_factory.mktemp("member")
    model = pipeline.train("panel", DATA, folder / "run", settings=['members=["spot_filter"]'])
    pipeline.evaluate([str(model)], DATA, folder / "measured", **QUICK)
    return folder


def panel_of(member, run):
    return pipeline.train("panel", DATA, run, settings=[*PANEL, f'members=["{member}/run/model"]'])


def said(out):
    """Return what readings say, but of what is of an outline, for which its rounded box stands."""
    exams = [json.loads(line) for line in (out / "readings.jsonl").read_text().splitlines()[1:]]
    for exam in exams:
        for image in exam["images"]:
            for detection in image["detections"]:
                for of_outline in ("center", "diameter_mm"):
                    detection.pop(of_outline)
    return exams


@pytest.mark.slow
def test_a_panel_of_models_that_read_these_images_reads_none(member, tmp_path, monkeypatch):
    plain = tmp_path / "plain"
    (member / "run" / "calibration").rename(tmp_path / "calibration")
    (member / "run" / "validation").rename(tmp_path / "validation")
    asked = panel_of(member, plain)
    first = pipeline.evaluate([str(asked)], DATA, tmp_path / "asked", **QUICK)
    for part in ("calibration", "validation"):
        (tmp_path / part).rename(member / "run" / part)

    with monkeypatch.context() as context:
        context.setattr(SpotFilter, "read", lambda *a: pytest.fail("an image was read again"))
        known = [(str(member / "run"), member / "measured")]
        quick = panel_of(member, tmp_path / "quick")
        again = pipeline.evaluate([str(quick)], DATA, tmp_path / "known", known=known, **QUICK)
    assert again.figures == first.figures and len(said(tmp_path / "known")) == 6
    assert said(tmp_path / "known") == said(tmp_path / "asked")
    for file in ("weights.safetensors", "operating_points.json", "calibration.json"):
        assert (quick / file).read_bytes() == (asked / file).read_bytes()


@pytest.mark.slow
def test_what_another_model_said_or_of_other_files_is_not_taken(member, tmp_path, monkeypatch):
    quick = panel_of(member, tmp_path / "quick")
    calls = []
    whole = SpotFilter.read

    def counted(self, mammogram):
        calls.append(mammogram.source.path)
        return whole(self, mammogram)

    monkeypatch.setattr(SpotFilter, "read", counted)
    # This model's name for what that one said: its weights are others.
    other = tmp_path / "other"
    pipeline.train("panel", DATA, other, settings=['members=["spot_filter"]', "seed=1"])
    calls.clear()
    known = [(str(other), member / "measured")]
    pipeline.evaluate([str(quick)], DATA, tmp_path / "of-another", known=known, **QUICK)
    assert len(calls) == 24
    # Of the images of another part nothing was said there.
    calls.clear()
    known = [(str(member / "run"), member / "run" / "calibration")]
    pipeline.evaluate([str(quick)], DATA, tmp_path / "of-a-part", known=known, **QUICK)
    assert len(calls) == 24


class Half:
    name, intents = "half", frozenset({None})

    def read(self, mammogram):
        return ImageReading(mammogram.source, 0.5)


def test_of_an_image_that_nobody_told_of_the_reader_is_asked():
    images = [
        Mammogram(np.zeros((2, 2), np.float32), None, None, None, ImageSource(path, bits=8))
        for path in "ab"
    ]
    reader = Remembering(Half(), {"a": ImageReading(ImageSource("a"), 0.25)})
    assert [reader.read(image).score for image in images] == [0.25, 0.5]
    assert reader.read(images[0]).source is images[0].source  # as it is now
    assert (reader.name, reader.intents) == ("half", frozenset({None}))
