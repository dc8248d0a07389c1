"""Patient-level splits: made from a seed, written as small text files, and kept apart.

A split file is a CSV of ``patient_id,part`` (train, validation, calibration, test) or
``patient_id,fold`` (0, 1, …), below comment lines ``# name: value``. With folds, ``NAME:K`` tests on
fold K, validates on the next one, and trains on the rest. A split without a calibration part (or
without a validation part) gets 15 % of its train patients for it, the same ones every time.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.resources
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from secondreader.domain import ImageRecord, Part, SecondReaderError
from secondreader.formats.write import atomic_write

__all__ = [
    "OFFICIAL",
    "Split",
    "carve",
    "deal",
    "load_split",
    "make_folds",
    "make_parts",
    "named_splits",
    "save_split",
]

OFFICIAL = {
    "official": "the owner's parts, as they are; refused where they share a patient",
    "official-clean": "the owner's parts; patients of the test part leave the others",
}
"""Splits that sets with parts of their own have."""
CARVED = 0.15
"""Of the train patients that are left, for each part that a split does not have."""


@dataclass(frozen=True, slots=True)
class Split:
    """Who belongs where.

    Parameters
    ----------
    name, dataset
        ``mini_mias-5fold``, ``mini_mias``.
    about
        How it was made, in a sentence.
    seed
        ``None`` where none was used.
    places
        patient id → the name of a part, or the number of a fold as text.
    """

    name: str
    dataset: str
    about: str
    seed: int | None
    places: Mapping[str, str]

    @property
    def folds(self) -> int:
        """The number of folds, 0 for a split into parts."""
        places = set(self.places.values())
        return len(places) if all(place.isdigit() for place in places) else 0


# ------------------------------------------------------------------------------------- making


def make_folds(records: Sequence[ImageRecord], folds: int, seed: int = 0, name: str = "") -> Split:
    """Deal patients into folds of equal size, stratified by outcome, lesion kind and density.

    Raises
    ------
    SecondReaderError
        For fewer than 2 folds, or more folds than patients.
    """
    if folds < 2:
        raise SecondReaderError(f"folds: got {folds}, expected 2 or more")
    dealt = deal(records, {str(fold): 1.0 for fold in range(folds)}, seed)
    return _made(records, dealt, seed, name, f"{folds} folds")


def make_parts(
    records: Sequence[ImageRecord], fractions: Mapping[Part, float], seed: int = 0, name: str = ""
) -> Split:
    """Deal patients into parts, stratified by outcome, lesion kind and density.

    Parameters
    ----------
    records
        Of one data set.
    fractions
        Weights of the parts; only their ratios count.
    seed
        Another seed, another split.
    name
        Of the split; made of the set's name where it is empty.

    Raises
    ------
    SecondReaderError
        If there are fewer patients than parts, or a weight is not above 0.
    """
    weights = {part.value: float(weight) for part, weight in fractions.items()}
    told = ", ".join(f"{part} {weight:g}" for part, weight in weights.items())
    return _made(records, deal(records, weights, seed), seed, name, told)


def _made(
    records: Sequence[ImageRecord], places: dict[str, str], seed: int, name: str, told: str
) -> Split:
    datasets = sorted({record.dataset for record in records})
    if len(datasets) != 1:
        raise SecondReaderError(f"split: got records of {datasets}, expected one data set")
    about = f"{told}; by patient, stratified by outcome, lesion kind and density"
    return Split(name or f"{datasets[0]}-seed{seed}", datasets[0], about, seed, places)


def deal(records: Iterable[ImageRecord], weights: Mapping[str, float], seed: int) -> dict[str, str]:
    """Deal patients to places in proportion to weights, alike in every stratum.

    Patients are put in order of outcome, lesion kinds and density, in each stratum by a hash of
    seed and id; each goes to the place that is furthest behind its share, so that any run of
    neighbours is dealt in proportion. It depends on no random generator, hence on no version.

    Returns
    -------
    dict
        patient id → place.
    """
    strata = {patient: _stratum(images) for patient, images in _by_patient(records).items()}
    if len(strata) < len(weights) or not all(weight > 0 for weight in weights.values()):
        raise SecondReaderError(
            f"split: got {len(strata)} patients for {dict(weights)}, "
            "expected a weight above 0 each, and at least as many patients as places"
        )
    total = sum(weights.values())
    dealt = dict.fromkeys(weights, 0)
    order = sorted(strata, key=lambda patient: (strata[patient], _shuffled(patient, seed)))
    places = {}
    for count, patient in enumerate(order, 1):
        behind = {place: weight / total * count - dealt[place] for place, weight in weights.items()}
        most = max(behind.values())
        place = next(place for place in weights if behind[place] > most - 1e-9)
        places[patient] = place
        dealt[place] += 1
    return dict(sorted(places.items()))


def carve(patients: Iterable[ImageRecord], fraction: float, seed: int) -> set[str]:
    """Return the ids of a fraction of patients, stratified, the same for the same seed.

    At least one, unless there is only one patient.
    """
    records = list(patients)
    if len(_by_patient(records)) < 2:
        return set()
    places = deal(records, {"rest": 1 - fraction, "carved": fraction}, seed)
    carved = {patient for patient, place in places.items() if place == "carved"}
    return carved or {min(places, key=lambda patient: _shuffled(patient, seed))}


def _by_patient(records: Iterable[ImageRecord]) -> dict[str, list[ImageRecord]]:
    patients: dict[str, list[ImageRecord]] = {}
    for record in records:
        patients.setdefault(record.patient_id, []).append(record)
    return patients


def _stratum(images: Sequence[ImageRecord]) -> tuple[str, str, str]:
    known = {image.malignant for image in images}
    lesions = [lesion for image in images for lesion in image.lesions]
    if True in known:
        outcome = "malignant"
    elif lesions:
        outcome = "benign"
    else:
        outcome = "unknown" if None in known else "normal"
    kinds = sorted({lesion.kind.value for lesion in lesions if lesion.kind})
    return outcome, "+".join(kinds), max((image.density or "" for image in images), default="")


def _shuffled(patient: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{patient}".encode("utf-8", "surrogateescape")).hexdigest()


# -------------------------------------------------------------------------------------- files


def named_splits() -> list[str]:
    """Return the names of the splits that are listed in this package."""
    folder = importlib.resources.files("secondreader.datasets") / "splits"
    return sorted(
        path.name.removesuffix(".csv") for path in folder.iterdir() if path.name.endswith(".csv")
    )


def load_split(name: str) -> Split:
    """Read a split by its name in this package, or from a file.

    Raises
    ------
    SecondReaderError
        If there is no such split, or a line is not as expected.
    """
    if name in named_splits():
        folder = importlib.resources.files("secondreader.datasets") / "splits"
        return _parse((folder / f"{name}.csv").read_text("utf-8"), f"{name}.csv")
    path = Path(name)
    if not path.is_file():
        known = ", ".join([*OFFICIAL, *named_splits()])
        raise SecondReaderError(
            f"--split: got {name!r}, expected a file, all, SET-3-1-1, SET-70-30, SET-5fold, "
            f"or one of: {known}"
        )
    try:
        return _parse(path.read_text("utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise SecondReaderError(f"{path}: cannot be read as text ({error})") from None


def save_split(split: Split, path: Path) -> None:
    """Write a split as a text that can be published: ids and places, nothing else.

    Raises
    ------
    SecondReaderError
        If it cannot be written.
    """
    column = "fold" if split.folds else "part"
    text = io.StringIO(newline="")
    told = {"name": split.name, "dataset": split.dataset, "about": split.about, "seed": split.seed}
    for key, value in told.items():
        text.write(f"# {key}: {'' if value is None else value}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["patient_id", column])
    writer.writerows(sorted(split.places.items()))
    atomic_write(path, text.getvalue())


def _parse(text: str, file: str) -> Split:
    told: dict[str, str] = {}
    lines = text.splitlines()
    while lines and lines[0].startswith("#"):
        key, _, value = lines.pop(0)[1:].partition(":")
        told[key.strip()] = value.strip()
    rows = list(csv.reader(lines))
    header = rows[0] if rows else []
    if header not in (["patient_id", "part"], ["patient_id", "fold"]):
        raise SecondReaderError(
            f"{file}: got columns {header}, expected patient_id,part or patient_id,fold"
        )
    places: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        allowed = len(row) == 2 and (
            row[1].isdigit() if header[1] == "fold" else row[1] in set(Part)
        )
        if not allowed or row[0] in places:
            raise SecondReaderError(
                f"{file}: row {number}: expected each patient once, with a {header[1]} "
                f"({'a whole number' if header[1] == 'fold' else ', '.join(Part)})"
            )
        places[row[0]] = row[1]
    seed = told.get("seed", "")
    name, dataset = told.get("name", file), told.get("dataset", "")
    return Split(name, dataset, told.get("about", ""), int(seed) if seed else None, places)
