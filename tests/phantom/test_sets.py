"""Named sets are the same from their name, and their images are made when they are opened."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from secondreader import phantom, sources
from secondreader.domain import Part, Refused, SecondReaderError
from secondreader.formats import FileRef
from secondreader.phantom.recipe import mammogram, recipe_text
from secondreader.phantom.sets import SETS, named, women
from secondreader.phantom.store import lazy_set
from secondreader.phantom.vendors import VENDORS, name_of, system


def test_bench_is_a_third_each_in_every_part_and_the_small_one_is_its_beginning():
    whole, small = (list(women(SETS[name])) for name in ("bench-1", "bench-1-small"))
    for part, count, first in ((Part.TRAIN, 200, 100), (Part.TEST, 300, 80)):
        own = [w for w in whole if w.part is part]
        assert len(own) == count
        numbers = [sum(w.contents is c for w in own) for c in phantom.Contents]
        assert max(numbers) - min(numbers) <= 1
        assert [w for w in small if w.part is part] == own[:first]
    assert len({w.index for w in whole}) == len(whole) == 700


def test_a_suffix_is_another_system_for_the_same_women():
    _, chosen, vendor = named("bench-1:ge")
    assert [w.contents for w in women(chosen, vendor)] == [w.contents for w in women(chosen)]
    assert {w.vendor for w in women(chosen, vendor)} == {"ge"}
    for wrong in ("bench-9", "tiny:canon", "", "tiny:ge+canon", "tiny:ge+ge", "tiny:"):
        with pytest.raises(SecondReaderError, match="expected"):
            named(wrong)


def test_drawn_systems_are_each_another_and_the_same_from_their_number(tmp_path):
    drawn = [system(f"drawn-{n}") for n in range(60)]
    assert drawn == [system(name_of(v)) for v in drawn]
    assert len({v.quanta_mm2 for v in drawn}) == 60
    assert {v.model for v in drawn} == {v.model for v in VENDORS.values()}
    assert {v.bits for v in drawn} >= {8, 10, 12, 14}
    assert min(v.pitch_mm for v in drawn) == 0.05 and max(v.pitch_mm for v in drawn) == 0.2
    for v in drawn:
        assert 0 <= v.smooth_noise <= 1 and 0 <= v.tail <= 1 and 0 <= v.display.lift <= 1
        assert (v.film is None) == (VENDORS[next(
            n for n, k in VENDORS.items() if k.model == v.model)].film is None)  # fmt: skip
    with pytest.raises(SecondReaderError, match="--vendor"):
        phantom.exam_truth(1, 1, vendor="drawn-x")


def test_the_default_s_sets_are_the_same_women_in_other_anatomies(tmp_path, monkeypatch):
    one, two = (list(women(SETS[f"default-{n}"])) for n in (1, 2))
    assert one == two
    monkeypatch.setitem(SETS, "few", replace(SETS["default-2"], parts=((Part.TRAIN, 1),)))
    root = lazy_set(tmp_path, "few")
    told = [json.loads(file.read_text()) for file in sorted(root.glob("*/*.phantom"))]
    assert len(told) == 4 and all(one["anatomy"] == 2 for one in told)


def test_each_woman_of_the_default_s_set_has_a_system_of_her_own_until_she_is_tested():
    listed = list(women(SETS["default-1"]))
    learnt = [w for w in listed if w.part is not Part.TEST]
    assert len({w.vendor for w in learnt}) == len(learnt) == 310
    tested = [(w.vendor, w.contents) for w in listed if w.part is Part.TEST]
    assert {tested.count(pair) for pair in tested} == {6}  # as many of each sort through each
    _, tiny, vendor = named("tiny:drawn")
    assert len({w.vendor for w in women(tiny, vendor)}) == 27


def test_a_drawn_system_s_image_is_made_and_kept_like_any_other(tmp_path):
    number = next(n for n in range(99) if system(f"drawn-{n}").pitch_mm == 0.2)  # the quickest
    made = phantom.exam_truth(1, 1, vendor=f"drawn-{number}")
    file = tmp_path / "truth" / "e" / "R-CC.phantom"
    file.parent.mkdir(parents=True)
    file.write_text(recipe_text(made, made.images[0]))
    stat = file.stat()
    ref = FileRef(0, str(tmp_path / "truth"), "e/R-CC.phantom", stat.st_size, stat.st_mtime_ns)
    first, again = mammogram(ref), mammogram(ref)
    assert json.loads(file.read_text())["vendor"] == f"drawn-{number}"
    assert first.spacing_mm == (0.2, 0.2) and first.source.bits == made.vendor.bits
    assert np.array_equal(first.pixels, again.pixels) and 0.2 < first.pixels.max() <= 1


def test_several_systems_are_dealt_so_that_each_sees_as_many_of_each_sort():
    _, chosen, vendor = named("bench-1-small:hologic+ge+siemens")
    dealt = list(women(chosen, vendor))
    alone = list(women(chosen, "ge"))
    assert [(w.index, w.contents, w.part) for w in dealt] == [
        (w.index, w.contents, w.part) for w in alone
    ]
    for part in Part:
        own = [(w.vendor, w.contents) for w in dealt if w.part is part]
        numbers = [
            own.count((v, c)) for v in ("hologic", "ge", "siemens") for c in phantom.Contents
        ]
        assert max(numbers) - min(numbers) <= 1


def test_screening_has_about_six_cancers_in_a_thousand():
    drawn = [w.contents for w in women(SETS["screening-1"])]
    assert len(drawn) == 10_000
    assert 35 <= drawn.count(phantom.Contents.MALIGNANT) <= 90


def test_mordang_validates_by_women_of_its_own_and_those_counted_stay_as_they_were():
    few = replace(SETS["mordang-1"], calcifications=((Part.TRAIN, 20), (Part.TEST, 10)))
    counted = (Part.TRAIN, Part.TEST)
    alone = replace(few, parts=tuple(p for p in few.parts if p[0] in counted))
    listed = list(women(few))
    assert [w for w in listed if w.part in counted] == list(women(alone))
    assert [w.part for w in listed].count(Part.VALIDATION) == 60
    assert [w.part for w in listed].count(Part.CALIBRATION) == 60
    assert len({w.index for w in listed}) == len(listed)


@pytest.mark.slow
def test_mordang_has_as_many_calcifications_as_the_paper():
    # Counted again, part by part, over a much smaller demand: the rule is the same.
    few = replace(SETS["mordang-1"], calcifications=((Part.TRAIN, 60), (Part.TEST, 30)))
    listed = list(women(few))
    held = dict.fromkeys(Part, 0)
    for w in listed:
        made = phantom.exam_truth(few.seed, w.index, vendor=w.vendor, contents=w.contents)
        held[w.part] += sum(t.part_of is not None for i in made.images for t in i.truth)
    assert held[Part.TRAIN] >= 60 and held[Part.TEST] >= 30
    assert {w.vendor for w in listed} <= {"hologic", "ge", "siemens"}
    assert not {w.index for w in listed if w.part is Part.TRAIN} & {
        w.index for w in listed if w.part is Part.TEST
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return lazy_set(tmp_path_factory.mktemp("sets"), "tiny")


def test_its_truth_is_there_before_any_image_and_reads_as_a_data_set(root):
    records = sources.load_all([f"phantom={root}"])[0].records
    assert len(records) == 27 * 4
    assert {r.part for r in records} == set(Part)
    assert not list(root.parent.rglob("*.jls"))
    assert lazy_set(root.parent.parent, "tiny") == root  # whole: left alone


def test_an_image_is_made_once_and_is_what_the_exam_has(root):
    loaded = sources.load_all([f"phantom={root}"])
    images = sources.images_of(loaded)
    record = images.records[5]
    first = images.open(record)
    kept = list(root.parent.rglob("*.jls"))
    assert len(kept) == 1
    written = kept[0].stat().st_mtime_ns
    second = images.open(record)
    assert kept[0].stat().st_mtime_ns == written
    assert (first.pixels == second.pixels).all()
    told = json.loads((root / record.path).read_text())
    made = phantom.exam(
        told["seed"],
        told["index"],
        vendor=told["vendor"],
        contents=phantom.Contents(told["contents"]),
    )
    image = next(
        i for i in made.images if (i.laterality, i.view) == (record.laterality, record.view)
    )
    assert (np.rint(first.pixels * 255) == image.stored).all()
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # cut off: made again
    assert (images.open(record).pixels == first.pixels).all()


def test_a_recipe_of_another_version_is_refused(root, tmp_path):
    told = json.loads(next(root.rglob("*.phantom")).read_text())
    for change, words in (
        ({"schema": "secondreader.phantom/9"}, "expected"),
        ({"view": "X"}, "recipe"),
    ):
        file = tmp_path / "a.phantom"
        file.write_text(json.dumps(told | change))
        state = os.stat(file)  # noqa: PTH116
        with pytest.raises(Refused, match=words):
            mammogram(FileRef(0, str(tmp_path), "a.phantom", state.st_size, state.st_mtime_ns))


def test_a_written_set_has_parts_and_the_same_truth_as_the_lazy_one(root, tmp_path, monkeypatch):
    from secondreader.phantom import sets

    few = replace(SETS["tiny"], parts=((Part.TRAIN, 1), (Part.TEST, 1)))
    monkeypatch.setitem(sets.SETS, "tiny", few)
    phantom.write_set(tmp_path / "s", "tiny")
    truth = json.loads((tmp_path / "s" / "exam-00000" / "truth.json").read_text())
    lazy = json.loads((root / "exam-00000" / "truth.json").read_text())
    assert truth["part"] == "train"
    assert [i["lesions"] for i in truth["images"]] == [i["lesions"] for i in lazy["images"]]


def test_two_processes_write_what_one_writes(tmp_path):
    for workers in (1, 2):
        phantom.write_exams(
            tmp_path / str(workers), exams=2, seed=3, vendor="film", workers=workers
        )
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in "12"
    )
    assert one == two
