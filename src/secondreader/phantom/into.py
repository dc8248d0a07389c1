"""Lesions inserted into the normal images of a real data set: known truth on real tissue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secondreader.domain import (
    ImageRecord,
    ImageSet,
    Kind,
    Lesion,
    Mammogram,
    Pathology,
    SecondReaderError,
)
from secondreader.formats import atomic_write, png_bytes
from secondreader.phantom.insertion import insert
from secondreader.phantom.lesions import draw
from secondreader.phantom.store import TRUTH_FILE, claim, each, uid
from secondreader.phantom.truth import SCHEMA, lesion_json

__all__ = ["write_inserted"]

_KINDS = (Kind.CALCIFICATION_CLUSTER, Kind.MASS, None)
"""What a film gets, a third each; the last third stays normal."""


@dataclass(frozen=True, eq=False, slots=True)
class _Woman:
    """One patient's normal images, and where they go."""

    folder: Path
    images: ImageSet
    records: tuple[ImageRecord, ...]
    seed: int


def write_inserted(
    out: Path,
    images: ImageSet,
    *,
    seed: int = 1,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write every normal image of a set, with a cluster, a mass or nothing in it, a third each.

    Half of the lesions are called malignant and drawn as malignant ones are. The same for the same
    images and seed; the set's fingerprint is written down. A patient's images stay together.

    Parameters
    ----------
    out
        Empty, missing, or this same command's unfinished run.
    images
        A data set; its images without lesions that are not malignant are the normal ones.
    seed
        Another seed, other lesions.
    workers, overwrite, progress
        As for `write_exams`.

    Returns
    -------
    list of Path
        A folder for each patient.

    Raises
    ------
    SecondReaderError
        If no image is normal, or ``out`` holds something else.
    """
    if seed < 0:
        raise SecondReaderError(f"--seed: got {seed}, expected 0 or more")
    normal = [r for r in images.records if not r.lesions and r.malignant is not True]
    if not normal:
        raise SecondReaderError("--into: got no normal image, expected at least one")
    patients: dict[str, list[ImageRecord]] = {}
    for record in normal:
        patients.setdefault(f"{record.dataset}/{record.patient_id}", []).append(record)
    contents = hashlib.sha256("\n".join(sorted(r.path for r in normal)).encode()).hexdigest()
    sets = sorted({record.dataset for record in normal})
    claim(out, {"into": sets, "seed": seed, "images": contents}, overwrite)
    jobs = [
        _Woman(out / f"woman-{number:05d}", images, tuple(records), seed)
        for number, (_, records) in enumerate(sorted(patients.items()))
    ]
    missing = [job for job in jobs if not (job.folder / TRUTH_FILE).is_file()]
    done = len(jobs) - len(missing)
    for _ in each(_write, missing, workers):
        done += 1
        progress(done, len(jobs))
    return [job.folder for job in jobs]


def _write(job: _Woman) -> Path:
    job.folder.mkdir(parents=True, exist_ok=True)
    plain = []
    spacing: tuple[float, float] | None = None
    for number, record in enumerate(job.records, 1):
        mammogram = job.images.open(record)
        if mammogram.spacing_mm is None:
            raise SecondReaderError(f"--into: got no pixel size, expected one: {record.path}")
        spacing = mammogram.spacing_mm
        prints = hashlib.sha256(np.ascontiguousarray(mammogram.pixels).tobytes()).hexdigest()
        changed, lesions = _with_lesion(mammogram, record, job.seed)
        bits = mammogram.source.bits or 16
        stored = np.rint(changed.pixels * (2**bits - 1)).astype(
            np.uint8 if bits <= 8 else np.uint16
        )
        file = f"image-{number}.png"
        atomic_write(job.folder / file, png_bytes(stored))
        plain.append(
            {
                "file": file,
                "laterality": record.laterality and str(record.laterality),
                "view": record.view and str(record.view),
                "malignant": any(s.pathology is Pathology.MALIGNANT for s in lesions),
                "bits": bits,
                "of": {"dataset": record.dataset, "path": record.path, "pixels_sha256": prints},
                "lesions": [lesion_json(lesion) for lesion in lesions],
            }
        )
    first = job.records[0]
    truth = {
        "schema": SCHEMA,
        "exam_id": uid("inserted", str(job.seed), first.dataset, first.exam_id),
        "patient_id": first.patient_id,
        "vendor": first.vendor or "unknown",
        **({} if first.density is None else {"density": first.density}),
        "spacing_mm": list(spacing or ()),
        "images": plain,
    }
    atomic_write(job.folder / TRUTH_FILE, json.dumps(truth, indent=1) + "\n")
    return job.folder


def _with_lesion(
    mammogram: Mammogram, record: ImageRecord, seed: int
) -> tuple[Mammogram, Sequence[Lesion]]:
    # From the image's name alone: the films beside it do not matter.
    name = hashlib.sha256(f"{record.dataset}/{record.path}".encode()).digest()
    rng = np.random.default_rng((seed, int.from_bytes(name[:8], "big")))
    kind = _KINDS[int(rng.integers(len(_KINDS)))]
    if kind is None:
        return mammogram, ()
    pathology = (Pathology.MALIGNANT, Pathology.BENIGN)[int(rng.integers(2))]
    side = record.laterality or "X"
    lesion = draw(rng, kind, pathology, (0.0, 0.0, 0.0), f"{side}-{kind.value.replace('_', '-')}")
    try:
        return insert(mammogram, lesion, rng)
    except SecondReaderError:  # no room in this breast: it stays normal
        return mammogram, ()
