from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondreader.datasets.parts import check_disjoint, divide, divide_sets, parse_split
from secondreader.datasets.records import Records
from secondreader.datasets.splits import (
    carve,
    load_split,
    make_folds,
    make_parts,
    named_splits,
    save_split,
)
from secondreader.domain import ImageRecord, Kind, Lesion, Part, SecondReaderError


def women(count: int, malignant_every: int = 4, kinds_every: int = 3) -> list[ImageRecord]:
    """Two images of each woman, outcomes and kinds in turns."""
    records = []
    for number in range(count):
        kind = Kind.MASS if number % kinds_every else Kind.CALCIFICATION_CLUSTER
        for view in ("cc", "mlo"):
            records.append(
                ImageRecord(
                    "set",
                    f"{number}-{view}.png",
                    f"w{number:03d}",
                    f"w{number:03d}",
                    malignant=number % malignant_every == 0,
                    lesions=(Lesion(f"s{number}", kind, None),) if number % 2 == 0 else (),
                )
            )
    return records


def patients(records) -> set[str]:
    return {record.patient_id for record in records}


@given(st.integers(10, 60), st.integers(2, 6), st.integers(0, 5))
def test_folds_are_of_equal_size_and_hold_every_woman_once(count, folds, seed):
    split = make_folds(women(count), folds, seed)
    sizes = Counter(split.places.values())
    assert len(split.places) == count
    assert max(sizes.values()) - min(sizes.values()) <= 1 and len(sizes) == folds


def test_outcomes_and_kinds_are_dealt_alike():
    records = women(120)
    split = make_folds(records, 5)
    for condition in (
        lambda r: r.malignant,
        lambda r: any(s.kind is Kind.MASS for s in r.lesions),
        lambda r: not r.lesions,
    ):
        chosen = patients(filter(condition, records))
        counts = Counter(split.places[patient] for patient in chosen)
        assert max(counts.values()) - min(counts.values()) <= 2


def test_a_seed_gives_the_same_split_in_any_order_and_another_seed_another():
    records = women(40)
    assert make_folds(records, 5, 3).places == make_folds(records[::-1], 5, 3).places
    assert make_folds(records, 5, 3).places != make_folds(records, 5, 4).places


def test_fractions_are_kept():
    weights = {Part.TRAIN: 3.0, Part.VALIDATION: 1.0, Part.TEST: 1.0}
    sizes = Counter(make_parts(women(100), weights).places.values())
    assert sizes == {"train": 60, "validation": 20, "test": 20}


@pytest.mark.parametrize("fold", range(4))
def test_a_fold_is_test_the_next_validation_and_calibration_comes_from_train(fold):
    records = women(40)
    split = make_folds(records, 4)
    parts = divide(records, split, fold)
    assert {split.places[p] for p in patients(parts[Part.TEST])} == {str(fold)}
    assert {split.places[p] for p in patients(parts[Part.VALIDATION])} == {str((fold + 1) % 4)}
    assert len(patients(parts[Part.CALIBRATION])) == 3  # 15 % of 20
    assert sum(map(len, parts.values())) == 80


def test_calibration_is_the_same_women_every_time_and_never_all_of_them():
    records = women(30)
    assert carve(records, 0.15, 2) == carve(records[::-1], 0.15, 2)
    assert len(carve(women(2), 0.15, 2)) == 1 and carve(women(1), 0.15, 2) == set()


def test_a_split_with_all_four_parts_is_taken_as_it_is(tmp_path):
    records = women(8)
    names = ["train"] * 5 + ["validation", "calibration", "test"]
    lines = [f"w{number:03d},{name}" for number, name in enumerate(names)]
    path = tmp_path / "mine.csv"
    path.write_text("patient_id,part\n" + "\n".join(lines))
    parts = divide(records, str(path))
    assert [len(parts[part]) for part in Part] == [10, 2, 2, 2]


def test_a_split_is_a_small_text_that_comes_back(tmp_path):
    split = make_folds(women(12), 3, 7, "mine-3fold")
    path = tmp_path / "mine-3fold.csv"
    save_split(split, path)
    assert load_split(str(path)) == split
    assert path.read_text().splitlines()[4:6] == ["patient_id,fold", f"w000,{split.places['w000']}"]


def test_parts_that_share_a_woman_are_refused_without_her_name():
    records = women(3)
    with pytest.raises(SecondReaderError, match="1 patients in more than one part") as error:
        check_disjoint({Part.TRAIN: records[:3], Part.TEST: records[3:]})
    assert "w001" not in str(error.value)
    check_disjoint({Part.TRAIN: records[:2], Part.TEST: records[2:]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,part\nw000,train\n", "got columns"),
        ("patient_id,part\nw000,training\n", "row 2: expected each patient once, with a part"),
        ("patient_id,part\nw000,train\nw000,test\n", "each patient once"),
        ("patient_id,part\nw000,train\n", "1 patients that it does not list"),
        ("patient_id,fold\nw000,0\nw001,1\n", "expected .*:0 to .*:1"),
    ],
)
def test_a_split_file_that_does_not_fit_is_one_line(tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(SecondReaderError, match=message):
        divide(women(2), str(path))


def test_names_and_folds_are_parsed():
    assert parse_split("mini_mias-5fold:3") == ("mini_mias-5fold", 3)
    assert parse_split("official") == ("official", None)
    for wrong in ("x:y", ":1", "x:"):
        with pytest.raises(SecondReaderError):
            parse_split(wrong)
    with pytest.raises(SecondReaderError, match="mini_mias-5fold"):
        load_split("no-such-split")


def test_a_set_without_parts_has_no_official_split():
    with pytest.raises(SecondReaderError, match="set-5fold"):
        divide(women(4), "official")


def test_every_split_in_the_package_can_be_read():
    assert "mini_mias-5fold" in named_splits()
    for name in named_splits():
        split = load_split(name)
        assert (split.name, split.folds) == ("mini_mias-5fold", 5)
        assert set(split.places) == {f"woman-{number:03d}" for number in range(1, 162)}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("patient-70-30", {"train": 51, "validation": 10, "calibration": 9, "test": 30}),
        ("set-3-1-1", {"train": 51, "validation": 20, "calibration": 9, "test": 20}),
        ("all", {"train": 0, "validation": 0, "calibration": 0, "test": 100}),
    ],
)
def test_a_rule_by_name_deals_any_set(name, sizes):
    parts = divide(women(100), name)
    assert {part.value: len(patients(records)) for part, records in parts.items()} == sizes


def test_sets_of_the_same_women_never_stand_in_two_parts():
    one = [ImageRecord("ddsm", "a", "A_1", "A_1")]
    two = [ImageRecord("cbis_ddsm", "b", "P_00001", "P_00001")]
    with pytest.raises(SecondReaderError, match="the same women under other ids"):
        check_disjoint({Part.TRAIN: two, Part.TEST: one})
    check_disjoint({Part.TRAIN: [*one, *two], Part.TEST: []})


def test_several_sets_are_divided_each_by_its_own_split_or_all_by_one():
    sets = [Records(name, "/", (), tuple(women(20)), ()) for name in ("set", "set2")]
    sets[1] = Records("set2", "/", (), tuple(replace(r, dataset="set2") for r in women(10)), ())
    parts = divide_sets(sets, "patient-70-30")
    assert Counter(r.dataset for r in parts[Part.TEST]) == {"set": 12, "set2": 6}
    parts = divide_sets(sets, "set-5fold:1,all")
    assert Counter(r.dataset for r in parts[Part.TEST]) == {"set": 8, "set2": 20}
    with pytest.raises(SecondReaderError, match="3 splits for 2 data sets"):
        divide_sets(sets, "all,all,all")
