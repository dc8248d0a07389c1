"""Phantom exams on disk: a folder an exam, DICOM files, and ``truth.json`` beside them.

``truth.json`` holds ``{"schema": "secondreader.truth/2", "exam_id", "patient_id", "vendor", "age",
"density", "contents", "spacing_mm": [row, col], "images": [{"file", "laterality", "view", "malignant",
"lesions": [...]}]}``. A lesion has ``lesion_id`` (the same in both views), ``kind``, ``pathology``,
``descriptor``, ``diameter_mm``, ``visible`` (false where a view hides it), ``region``
(`secondreader.phantom.truth`), and a calcification of a cluster ``part_of``, the cluster's id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from secondreader.domain import Intent, SecondReaderError
from secondreader.formats import atomic_write
from secondreader.formats.dicom_write import dicom_bytes
from secondreader.phantom.acquisition import PROCESSING_BITS
from secondreader.phantom.exam import PhantomExam, PhantomImage, exam
from secondreader.phantom.truth import SCHEMA, lesion_json

__all__ = ["TRUTH_FILE", "write_exam", "write_exams"]

TRUTH_FILE = "truth.json"
_COMMAND_FILE = "phantom.json"


def write_exam(folder: Path, made: PhantomExam) -> None:
    """Write an exam's images and truth; the truth comes last, so with it the exam is whole.

    Raises
    ------
    SecondReaderError
        If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecondReaderError(f"cannot make {folder} ({error.strerror})") from None
    name = f"{made.vendor.model} {made.seed} {made.index}"
    images = []
    for number, image in enumerate(made.images, 1):
        file = f"{image.laterality}-{image.view}.dcm"
        atomic_write(folder / file, _dicom(made, image, name, number))
        images.append(
            {
                "file": file,
                "laterality": str(image.laterality),
                "view": str(image.view),
                "malignant": image.malignant,
                "lesions": [lesion_json(lesion) for lesion in image.truth],
            }
        )
    truth = {
        "schema": SCHEMA,
        "exam_id": _uid(name, "study"),
        "patient_id": _patient(made),
        "vendor": made.vendor.model,
        "age": made.age,
        "density": made.density,
        "contents": str(made.contents),
        "spacing_mm": [made.vendor.pitch_mm, made.vendor.pitch_mm],
        "images": images,
    }
    atomic_write(folder / TRUTH_FILE, json.dumps(truth, indent=1) + "\n")


def write_exams(
    out: Path,
    *,
    exams: int,
    seed: int = 0,
    vendor: str = "hologic",
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write a folder of exams; a second call goes on where the first was stopped.

    Parameters
    ----------
    out
        Empty, missing, or this same command's unfinished run.
    exams
        How many women.
    seed, vendor
        See `exam`.
    overwrite
        Write over whatever a run of other settings left there.
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
    command = json.dumps({"exams": exams, "seed": seed, "vendor": vendor}) + "\n"
    _claim(out, command, overwrite)
    folders = []
    for index in range(exams):
        folder = out / f"exam-{index:05d}"
        if overwrite or not (folder / TRUTH_FILE).is_file():
            write_exam(folder, exam(seed, index, vendor=vendor))
        folders.append(folder)
        progress(index + 1, exams)
    return folders


def _claim(out: Path, command: str, overwrite: bool) -> None:
    """Refuse a folder that holds anything but this command's own run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        note = out / _COMMAND_FILE
        own = note.is_file() and note.read_text(encoding="utf-8") == command
        if any(out.iterdir()) and not own and not overwrite:
            raise SecondReaderError(
                f"output: got a folder that holds something else, expected an empty one or "
                f"--overwrite: {out}"
            )
    except OSError as error:
        raise SecondReaderError(f"output: {error.strerror}: {out}") from None
    atomic_write(note, command)


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
        study_uid=_uid(name, "study"),
        series_uid=_uid(name, "series"),
        sop_uid=_uid(name, f"{image.laterality} {image.view}"),
        patient_id=_patient(made),
        number=number,
        vendor=made.vendor.name,
        model=made.vendor.model,
        film=made.vendor.film is not None,
        thickness_mm=made.thickness_mm,
    )


def _patient(made: PhantomExam) -> str:
    return f"PHANTOM-{made.seed}-{made.index}"


def _uid(*parts: str) -> str:
    """Return a UID that follows from names (UUID form, PS3.5 B.2)."""
    digest = hashlib.sha256(" ".join(parts).encode()).digest()[:16]
    return f"2.25.{int.from_bytes(digest, 'big')}"
