"""Records into parts by a split's name, refused wherever two parts share a patient."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from secondreader.datasets.records import Records
from secondreader.datasets.splits import (
    CARVED,
    OFFICIAL,
    Split,
    carve,
    load_split,
    make_folds,
    make_parts,
    named_splits,
)
from secondreader.domain import ImageRecord, Part, SecondReaderError

__all__ = ["Parts", "check_disjoint", "divide", "divide_sets", "leaking_patients", "parse_split"]

Parts = dict[Part, tuple[ImageRecord, ...]]
SAME_WOMEN = (("cbis_ddsm", "ddsm"),)
"""Data sets of the same women, whose ids say nothing of it."""
_RULE = re.compile(r"(\d+)fold|(\d+)-(\d+)(?:-(\d+))?")
"""``5fold``; ``70-30``, train and test; ``3-1-1``, train, validation and test."""
_NEIGHBOUR = {Part.VALIDATION: 1, Part.CALIBRATION: 2}  # seeds of what is carved from train


def parse_split(text: str) -> tuple[str, int | None]:
    """Return the name and the fold of ``NAME`` or ``NAME:FOLD``.

    Raises
    ------
    SecondReaderError
        If the fold is no whole number.
    """
    if Path(text).is_file():
        return text, None
    name, sign, fold = text.rpartition(":")
    if not sign:
        return text, None
    if not (name and fold.isdigit()):
        raise SecondReaderError(f"--split: got {text!r}, expected NAME or NAME:FOLD, such as x:0")
    return name, int(fold)


def divide(records: Sequence[ImageRecord], split: str | Split, fold: int | None = None) -> Parts:
    """Put the records of one data set into parts.

    Parameters
    ----------
    records
        Of one data set.
    split
        ``official``, ``official-clean``, a listed split's name, a file, a split; ``SET-3-1-1``
        (train, validation, test), ``SET-70-30`` (train, test) or ``SET-5fold``, where ``patient-``
        may stand for ``SET-``: dealt with seed 0, the same everywhere; ``all``: all of it is test.
    fold
        The fold to test on, for a split into folds.

    Returns
    -------
    dict
        Every part → its records, each with that part; validation and calibration are carved from
        train where the split has none. Train may be empty (a set to test on).

    Raises
    ------
    SecondReaderError
        If two parts share a patient, a patient is in no part, or the fold is wrong.
    """
    parts: Parts
    if split == "all":
        parts = {part: tuple(records) if part is Part.TEST else () for part in Part}
    elif isinstance(split, str) and split in OFFICIAL:
        if fold is not None:
            raise SecondReaderError(f"--split: got {split}:{fold}, expected no fold")
        parts = _official(records, clean=split == "official-clean")
    else:
        found = split if isinstance(split, Split) else _found(records, split)
        parts = _listed(records, found, fold)
    check_disjoint(parts)
    for part, seed in _NEIGHBOUR.items():
        if not parts[part] and parts[Part.TRAIN]:
            taken = carve(parts[Part.TRAIN], CARVED, seed)
            train = parts[Part.TRAIN]
            parts[part] = tuple(r for r in train if r.patient_id in taken)
            parts[Part.TRAIN] = tuple(r for r in train if r.patient_id not in taken)
    check_disjoint(parts)
    return {
        part: tuple(replace(record, part=part) for record in images)
        for part, images in parts.items()
    }


def divide_sets(sources: Sequence[Records], split: str) -> Parts:
    """Put the records of several data sets into parts, as ``--split`` says.

    Parameters
    ----------
    sources
        Data sets, each once.
    split
        ``NAME[:FOLD]`` for all of them, or one for each, parted by commas, in their order:
        ``official-clean,inbreast-3-1-1``.

    Raises
    ------
    SecondReaderError
        As for `divide`, or if the splits are not one or as many as the sets.
    """
    names = split.split(",")
    if len(names) not in (1, len(sources)):
        raise SecondReaderError(
            f"--split: got {len(names)} splits for {len(sources)} data sets, "
            "expected one, or one for each, parted by commas"
        )
    joined: Parts = {part: () for part in Part}
    for source, name in zip(sources, names * (len(sources) if len(names) == 1 else 1), strict=True):
        for part, records in divide(source.records, *parse_split(name)).items():
            joined[part] += records
    check_disjoint(joined)
    return joined


def check_disjoint(parts: Mapping[Part, Sequence[ImageRecord]]) -> None:
    """Refuse parts that share a patient.

    Raises
    ------
    SecondReaderError
        With the number of patients, never their ids.
    """
    held = {part: {record.dataset for record in records} for part, records in parts.items()}
    for one, two in itertools.permutations(held, 2):
        for first, second in SAME_WOMEN:
            if first in held[one] and second in held[two]:
                raise SecondReaderError(
                    f"split: got {first} in {one} and {second} in {two}, expected one of them: "
                    "they are of the same women under other ids"
                )
    shared = leaking_patients(parts)
    if shared:
        names = " and ".join(sorted({part.value for places in shared.values() for part in places}))
        raise SecondReaderError(
            f"split: got {len(shared)} patients in more than one part ({names}), expected none; "
            "use official-clean, or another split"
        )


def leaking_patients(
    parts: Mapping[Part, Sequence[ImageRecord]],
) -> dict[tuple[str, str], set[Part]]:
    """Return (data set, patient) → parts of every patient that is in more than one."""
    places: dict[tuple[str, str], set[Part]] = {}
    for part, records in parts.items():
        for record in records:
            places.setdefault((record.dataset, record.patient_id), set()).add(part)
    return {patient: found for patient, found in places.items() if len(found) > 1}


def _official(records: Sequence[ImageRecord], *, clean: bool) -> Parts:
    parts: Parts = {
        part: tuple(record for record in records if record.part is part) for part in Part
    }
    if not any(parts.values()):
        dataset = records[0].dataset if records else "an empty set"
        raise SecondReaderError(
            f"--split: got official for {dataset}, which has no parts of its own; "
            f"expected {dataset}-3-1-1, {dataset}-5fold, or a split file"
        )
    without = sum(record.part is None for record in records)
    if without:
        raise SecondReaderError(
            f"--split: got {without} of {len(records)} images without a part, "
            "expected one for each; complete the table, or use another split"
        )
    if clean:
        tested = {record.patient_id for record in parts[Part.TEST]}
        for part in set(Part) - {Part.TEST}:
            parts[part] = tuple(r for r in parts[part] if r.patient_id not in tested)
    return parts


def _found(records: Sequence[ImageRecord], name: str) -> Split:
    """Return a listed split, or deal one by the rule that the name tells, with seed 0."""
    dataset = records[0].dataset if records else ""
    for prefix in ("patient-", f"{dataset}-"):
        match = _RULE.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if match is None or name in named_splits() or Path(name).is_file():
            continue
        if match[1]:
            return make_folds(records, int(match[1]), 0, name)
        weights = [float(text) for text in match.group(2, 3, 4) if text]
        two = (Part.TRAIN, Part.TEST)
        parts = two if len(weights) == 2 else (Part.TRAIN, Part.VALIDATION, Part.TEST)
        return make_parts(records, dict(zip(parts, weights, strict=True)), 0, name)
    return load_split(name)


def _listed(records: Sequence[ImageRecord], split: Split, fold: int | None) -> Parts:
    folds = split.folds
    if (fold is None) == bool(folds) or (fold is not None and fold >= folds):
        ask = f"{split.name}:0 to {split.name}:{folds - 1}" if folds else f"{split.name}, no fold"
        raise SecondReaderError(f"--split: got fold {fold}, expected {ask}")
    strangers = {record.patient_id for record in records} - set(split.places)
    if strangers:
        raise SecondReaderError(
            f"split {split.name}: got {len(strangers)} patients that it does not list, "
            f"expected those of {split.dataset or 'its data set'}; make one with data split"
        )

    def part_of(patient: str) -> Part:
        place = split.places[patient]
        if not folds or fold is None:
            return Part(place)
        return {fold: Part.TEST, (fold + 1) % folds: Part.VALIDATION}.get(int(place), Part.TRAIN)

    parts: dict[Part, list[ImageRecord]] = {part: [] for part in Part}
    for record in records:
        parts[part_of(record.patient_id)].append(record)
    return {part: tuple(images) for part, images in parts.items()}
