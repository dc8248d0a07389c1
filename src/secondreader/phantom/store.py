"""Phantom exams on disk: a folder an exam, images or their recipes, and ``truth.json`` beside them.

``truth.json`` holds ``{"schema": "secondreader.truth/2", "exam_id", "patient_id", "vendor", "age",
"density", "contents", "part", "spacing_mm": [row, col], "images": [{"file", "laterality", "view",
"malignant", "lesions": [...]}]}``. A lesion has ``lesion_id`` (the same in both views), ``kind``,
``pathology``, ``descriptor``, ``diameter_mm``, ``visible`` (false where a view hides it), ``region``
(`secondreader.phantom.truth`), and a calcification of a cluster ``part_of``, the cluster's id.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from secondreader.domain import Intent, Part, SecondReaderError
from secondreader.formats import atomic_write
from secondreader.formats.dicom_write import dicom_bytes
from secondreader.phantom.acquisition import PROCESSING_BITS
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import PhantomExam, PhantomImage, exam, exam_truth
from secondreader.phantom.recipe import SUFFIX, recipe_text
from secondreader.phantom.sets import named, women
from secondreader.phantom.truth import SCHEMA, lesion_json
from secondreader.phantom.vendors import VENDORS

__all__ = [
    "COMMAND_FILE",
    "TRUTH_FILE",
    "claim",
    "each",
    "lazy_set",
    "truth_text",
    "uid",
    "write_exam",
    "write_exams",
    "write_set",
]

TRUTH_FILE = "truth.json"
COMMAND_FILE = "phantom.json"
Progress = Callable[[int, int], None]


def write_exam(folder: Path, made: PhantomExam, part: Part | None = None) -> None:
    """Write an exam's images and truth; the truth comes last, so with it the exam is whole.

    Raises
    ------
    SecondReaderError
        If the folder cannot be written.
    """
    _make(folder)
    name = _name(made)
    for number, image in enumerate(made.images, 1):
        atomic_write(folder / _file(image, ".dcm"), _dicom(made, image, name, number))
    atomic_write(folder / TRUTH_FILE, truth_text(made, ".dcm", part))


def write_exams(
    out: Path,
    *,
    exams: int,
    seed: int = 0,
    vendor: str = "hologic",
    intent: Intent = Intent.FOR_PRESENTATION,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> list[Path]:
    """Write a folder of exams; a second call goes on where the first was stopped.

    Parameters
    ----------
    out
        Empty, missing, or this same command's unfinished run.
    exams
        How many women.
    seed, vendor, intent
        See `exam`.
    workers
        Processes.
    overwrite
        Throw away whatever a run of other settings left there.
    progress
        Called with the exams done, and all.

    Returns
    -------
    list of Path
        The exams' folders.

    Raises
    ------
    SecondReaderError
        If the numbers make no sense, or ``out`` holds something else.
    """
    if not 1 <= exams <= 100_000:
        raise SecondReaderError(f"--exams: got {exams}, expected 1 to 100,000")
    if not 0 <= seed < 2**63:
        raise SecondReaderError(f"--seed: got {seed}, expected 0 to {2**63 - 1}")
    if vendor not in VENDORS:
        raise SecondReaderError(f"--vendor: got {vendor!r}, expected one of {', '.join(VENDORS)}")
    command = {"exams": exams, "seed": seed, "vendor": vendor, "intent": str(intent)}
    claim(out, command, overwrite)
    jobs = [_Job(out / f"exam-{i:05d}", seed, i, vendor, None, intent, None) for i in range(exams)]
    return _write_all(jobs, exams, workers, progress)


def write_set(
    out: Path,
    text: str,
    *,
    intent: Intent = Intent.FOR_PRESENTATION,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> list[Path]:
    """Write a named set, ``NAME[:VENDOR]``, as DICOM; other parameters and errors as `write_exams`."""
    name, chosen, vendor = named(text)
    claim(out, {"set": name, "vendor": vendor, "intent": str(intent)}, overwrite)
    jobs = [
        _Job(
            out / f"exam-{w.index:05d}",
            chosen.seed,
            w.index,
            w.vendor,
            w.contents,
            intent,
            w.part,
            chosen.anatomy,
        )
        for w in women(chosen, vendor)
    ]
    return _write_all(jobs, len(jobs), workers, progress)


def lazy_set(folder: Path, text: str, *, progress: Progress = lambda done, total: None) -> Path:
    """Write the truth of a named set, and a recipe for each image; a set that is whole is left alone.

    Parameters
    ----------
    folder
        Where sets are kept; the set goes below it.
    text
        ``NAME[:VENDOR]``.
    progress
        Called with the exams done, and all.

    Returns
    -------
    Path
        The root of the set.
    """
    name, chosen, vendor = named(text)
    home = folder / (f"{name}-{vendor}" if vendor else name)
    root, done = home / "truth", home / COMMAND_FILE
    if done.is_file():
        return root
    listed = list(women(chosen, vendor))
    for number, woman in enumerate(listed, 1):
        place = root / f"exam-{woman.index:05d}"
        if not (place / TRUTH_FILE).is_file():
            made = exam_truth(
                chosen.seed, woman.index, vendor=woman.vendor, contents=woman.contents,
                anatomy=chosen.anatomy,
            )  # fmt: skip
            _make(place)
            for image in made.images:
                atomic_write(place / _file(image, SUFFIX), recipe_text(made, image))
            atomic_write(place / TRUTH_FILE, truth_text(made, SUFFIX, woman.part))
        progress(number, len(listed))
    atomic_write(done, json.dumps({"set": name, "vendor": vendor}) + "\n")
    return root


def truth_text(made: PhantomExam, suffix: str, part: Part | None) -> str:
    """Return what ``truth.json`` holds of an exam."""
    truth = {
        "schema": SCHEMA,
        "exam_id": uid(_name(made), "study"),
        "patient_id": _patient(made),
        "vendor": made.vendor.model,
        "age": made.age,
        "density": made.density,
        "contents": str(made.contents),
        **({} if part is None else {"part": str(part)}),
        "spacing_mm": [made.vendor.pitch_mm, made.vendor.pitch_mm],
        "images": [
            {
                "file": _file(image, suffix),
                "laterality": str(image.laterality),
                "view": str(image.view),
                "malignant": image.malignant,
                "lesions": [lesion_json(lesion) for lesion in image.truth],
            }
            for image in made.images
        ],
    }
    return json.dumps(truth, indent=1) + "\n"


def claim(out: Path, command: dict[str, object], overwrite: bool) -> None:
    """Refuse a folder that holds anything but this command's own run.

    Raises
    ------
    SecondReaderError
        If it does, or cannot be written.
    """
    text = json.dumps(command) + "\n"
    note = out / COMMAND_FILE
    try:
        out.mkdir(parents=True, exist_ok=True)
        own = note.is_file() and note.read_text(encoding="utf-8") == text
        left = list(out.iterdir())
        if left and not own and not overwrite:
            raise SecondReaderError(
                f"output: got a folder that holds something else, expected an empty one or "
                f"--overwrite: {out}"
            )
        if not own:
            for path in left:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise SecondReaderError(f"output: {error.strerror}: {out}") from None
    atomic_write(note, text)


def uid(*parts: str) -> str:
    """Return a UID that follows from names (UUID form, PS3.5 B.2)."""
    digest = hashlib.sha256(" ".join(parts).encode()).digest()[:16]
    return f"2.25.{int.from_bytes(digest, 'big')}"


@dataclass(frozen=True, slots=True)
class _Job:
    """One exam to write."""

    folder: Path
    seed: int
    index: int
    vendor: str
    contents: Contents | None
    intent: Intent
    part: Part | None
    anatomy: int = 1


def _write_all(jobs: Sequence[_Job], total: int, workers: int, progress: Progress) -> list[Path]:
    missing = [job for job in jobs if not (job.folder / TRUTH_FILE).is_file()]
    done = total - len(missing)
    for _ in each(_write_job, missing, workers):
        done += 1
        progress(done, total)
    return [job.folder for job in jobs]


def each(write: Callable[[Any], Path], jobs: Sequence[Any], workers: int) -> Iterator[Path]:
    """Yield what ``write`` returns for each job, in order, worked on by so many processes."""
    if workers == 1 or len(jobs) < 2:
        yield from map(write, jobs)
        return
    # Spawned: a fork of a process that holds threads may hang.
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(write, jobs)


def _write_job(job: _Job) -> Path:
    made = exam(
        job.seed, job.index, vendor=job.vendor, contents=job.contents, intent=job.intent,
        anatomy=job.anatomy,
    )  # fmt: skip
    write_exam(job.folder, made, job.part)
    return job.folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecondReaderError(f"cannot make {folder} ({error.strerror})") from None


def _file(image: PhantomImage, suffix: str) -> str:
    return f"{image.laterality}-{image.view}{suffix}"


def _name(made: PhantomExam) -> str:
    body = "" if made.anatomy == 1 else f" {made.anatomy}"
    return f"{made.vendor.model} {made.intent} {made.seed} {made.index} {made.contents}{body}"


def _dicom(made: PhantomExam, image: PhantomImage, name: str, number: int) -> bytes:
    assert image.stored is not None
    processing = made.intent is Intent.FOR_PROCESSING
    return dicom_bytes(
        image.stored,
        bits=PROCESSING_BITS if processing else made.vendor.bits,
        intent=made.intent,
        inverse=processing,
        intensity=("LIN", 1) if processing else ("LOG", -1),
        laterality=image.laterality,
        view=image.view,
        spacing_mm=made.vendor.pitch_mm,
        study_uid=uid(name, "study"),
        series_uid=uid(name, "series"),
        sop_uid=uid(name, f"{image.laterality} {image.view}"),
        patient_id=_patient(made),
        number=number,
        vendor=made.vendor.name,
        model=made.vendor.model,
        film=made.vendor.film is not None,
        thickness_mm=made.thickness_mm,
    )


def _patient(made: PhantomExam) -> str:
    return f"PHANTOM-{made.seed}-{made.index}"
