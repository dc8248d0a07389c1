"""The frozen values that every floor of the house speaks of.

Coordinates are ``(row, col)``, 0-based, with pixel centres on whole numbers, in the source image,
unless a name says otherwise. ``None`` means unknown, and unknown is never treated as negative.
Nothing but numpy and the standard library is imported here, and nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np

__all__ = [
    "Box",
    "BreastReading",
    "Circle",
    "Detection",
    "Exam",
    "ExamReading",
    "Frame",
    "Heatmap",
    "ImageReading",
    "ImageRecord",
    "ImageSet",
    "ImageSource",
    "Intent",
    "Kind",
    "Laterality",
    "Lesion",
    "Mammogram",
    "Mask",
    "ModelScore",
    "OperatingPoint",
    "Part",
    "Pathology",
    "Point",
    "Polygon",
    "Reader",
    "Refused",
    "Region",
    "SecondReaderError",
    "Step",
    "View",
    "ViewReading",
    "abnormal",
]


class Laterality(StrEnum):
    """Which breast, from the woman's point of view."""

    L = "L"
    R = "R"


class View(StrEnum):
    """Mammographic projections of DICOM CID 4014, by their ACR names."""

    CC = "CC"
    MLO = "MLO"
    ML = "ML"
    LM = "LM"
    LMO = "LMO"
    FB = "FB"
    SIO = "SIO"
    ISO = "ISO"
    XCC = "XCC"
    XCCL = "XCCL"
    XCCM = "XCCM"


class Intent(StrEnum):
    """What the stored values are meant for (DICOM Presentation Intent Type)."""

    FOR_PRESENTATION = "for-presentation"
    FOR_PROCESSING = "for-processing"


class Part(StrEnum):
    """The part of a split that a patient belongs to."""

    TRAIN = "train"
    VALIDATION = "validation"
    CALIBRATION = "calibration"
    TEST = "test"


class Kind(StrEnum):
    """What a lesion or a detection is."""

    MICROCALCIFICATION = "microcalcification"
    CALCIFICATION_CLUSTER = "calcification_cluster"
    MASS = "mass"
    ARCHITECTURAL_DISTORTION = "architectural_distortion"
    ASYMMETRY = "asymmetry"
    SUSPICIOUS_REGION = "suspicious_region"


class Pathology(StrEnum):
    """Truth from biopsy or follow-up; unknown is ``None``."""

    MALIGNANT = "malignant"
    BENIGN = "benign"
    BENIGN_WITHOUT_CALLBACK = "benign_without_callback"


class SecondReaderError(Exception):
    """An error that a user can act on: one line that says what, got, expected, file."""


class Refused(SecondReaderError):
    """An input, or an image for one reader, that is not read, with the code of its reason.

    Parameters
    ----------
    code
        A short name, stable across versions (``"spot-view"``, ``"truncated"``, …). Codes in
        :data:`secondreader.formats.ACCEPTABLE` can be accepted by the user.
    reason
        One line: what, got, expected. Never a patient's name, id or date.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str]]:
        return type(self), (self.code, self.reason)


# ------------------------------------------------------------------------------------- regions


@dataclass(frozen=True, slots=True)
class Point:
    """One position, in source pixels."""

    row: float
    col: float


@dataclass(frozen=True, slots=True)
class Circle:
    """A disc: centre and radius in source pixels."""

    row: float
    col: float
    radius: float


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle from the centre of its first pixel to the centre of its last.

    ``Box(r, c, r, c)`` covers one pixel, its area is 1 square pixel.
    """

    row0: float
    col0: float
    row1: float
    col1: float


@dataclass(frozen=True, slots=True)
class Polygon:
    """A closed outline: ``((row, col), …)`` in source pixels; the last point joins the first."""

    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Mask:
    """A binary region: the crop ``pixels`` (rows, cols) bool whose first pixel is (row0, col0)."""

    pixels: np.ndarray
    row0: int
    col0: int


Region = Point | Circle | Box | Polygon | Mask


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a working grid lies in its source image.

    ``source = offset + scale * grid`` for each axis, both in pixels with centres on whole numbers;
    a negative scale is a mirrored axis. Crops, flips and resamplings compose exactly
    (:mod:`secondreader.geometry`).

    Parameters
    ----------
    shape
        (rows, cols) of the working grid.
    source_shape
        (rows, cols) of the source image.
    offset
        Source (row, col) of grid pixel (0, 0).
    scale
        Source pixels per grid pixel, (row, col), never zero.
    """

    shape: tuple[int, int]
    source_shape: tuple[int, int]
    offset: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)


# -------------------------------------------------------------------------------------- images


@dataclass(frozen=True, slots=True)
class Step:
    """One step from stored values to the mammogram, as ``secondreader inspect`` shows it.

    ``origin`` is the tag or rule that asked for the step; ``before`` and ``after`` are the value
    ranges (minimum, maximum) on its two sides, ``None`` where values were not touched.
    """

    name: str
    detail: str
    origin: str = ""
    before: tuple[float, float] | None = None
    after: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where a mammogram came from and what was done to its values.

    ``path`` is relative to its input (``a.zip!/b.dcm`` inside a ZIP). ``voi`` says in words what
    made display values out of stored ones; ``steps`` tells it step by step. ``study_uid`` to
    ``sop_uid`` are DICOM's and ``None`` for rasters.
    """

    path: str
    frame: int = 0
    format: str = ""
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    vendor: str | None = None
    model: str | None = None
    intent: Intent | None = None
    bits: int | None = None
    voi: str | None = None
    lossy: bool | None = None
    sha256: str | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, eq=False)
class Mammogram:
    """One view of one breast.

    Parameters
    ----------
    pixels
        (rows, cols) float32 in [0, 1], read-only; larger = denser.
    spacing_mm
        (row, col) pixel pitch in the breast, or ``None`` when unknown; then nothing is ever
        reported in millimetres.
    laterality, view
        ``None`` when unknown.
    source
        Where it came from.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None
    laterality: Laterality | None
    view: View | None
    source: ImageSource

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.float32:
            raise ValueError(
                f"pixels: got {self.pixels.dtype} with shape {self.pixels.shape}, "
                "expected float32 with shape (rows, cols)"
            )
        self.pixels.flags.writeable = False


@dataclass(frozen=True, eq=False, slots=True)
class Exam:
    """One woman, one visit; two images of one view are both kept."""

    exam_id: str
    patient_id: str | None
    images: tuple[Mammogram, ...]


@dataclass(frozen=True, slots=True)
class Lesion:
    """Truth, from a radiologist or biopsy.

    ``lesion_id`` is the same in both views of one lesion; ``part_of`` names the cluster that a
    calcification belongs to; ``visible`` is False where the lesion lies in the field but cannot be
    seen, ``None`` where nobody said. ``diameter_mm`` is that of a disc of the same area, where the
    data set says it.
    """

    lesion_id: str
    kind: Kind | None
    region: Region | None
    part_of: str | None = None
    visible: bool | None = None
    pathology: Pathology | None = None
    birads: str | None = None
    subtlety: int | None = None
    descriptor: str | None = None
    diameter_mm: float | None = None


def abnormal(lesions: Sequence[Lesion], malignant: bool | None) -> bool | None:
    """Say whether an image of these lesions holds anything abnormal; ``None`` is unknown.

    A lone calcification that is benign at sight is nothing abnormal: most breasts have some.
    """
    notable = any(
        lesion.kind is not Kind.MICROCALCIFICATION
        or lesion.pathology is not Pathology.BENIGN_WITHOUT_CALLBACK
        for lesion in lesions
    )
    return True if notable else malignant


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What a data set says of an image, without pixels.

    ``path`` is relative to the data set's root. ``malignant`` is ``None`` where nobody said.
    ``extra`` holds what only one data set knows, as sorted (name, value) pairs of plain text.
    """

    dataset: str
    path: str
    patient_id: str
    exam_id: str
    part: Part | None = None
    laterality: Laterality | None = None
    view: View | None = None
    spacing_mm: tuple[float, float] | None = None
    vendor: str | None = None
    density: str | None = None
    birads: str | None = None
    age: float | None = None
    malignant: bool | None = None
    lesions: tuple[Lesion, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()


@runtime_checkable
class ImageSet(Protocol):
    """Records with a way to their pixels; picklable, and all that a method sees of a data set."""

    @property
    def records(self) -> Sequence[ImageRecord]:
        """The records, in a fixed order."""
        ...

    def open(self, record: ImageRecord) -> Mammogram:
        """Decode the image of a record."""
        ...

    def prepared(
        self,
        record: ImageRecord,
        prepare: Callable[[Mammogram], tuple[np.ndarray, Frame]],
        key: str,
    ) -> tuple[np.ndarray, Frame]:
        """Return the prepared image, memory-mapped from the cache that ``key`` names."""
        ...


# ------------------------------------------------------------------------------------ readings


@dataclass(frozen=True, slots=True)
class Detection:
    """A region and a score from a method.

    ``region`` is in source pixels; ``link`` joins detections of one finding in two views.
    ``model``, ``probability`` and ``finding`` are added by :func:`secondreader.read`.
    """

    kind: Kind
    region: Region
    score: float
    link: str | None = None
    model: str | None = None
    probability: float | None = None
    finding: bool | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Heatmap:
    """(rows, cols) float32 values in [0, 1] on a working grid, and where the grid lies."""

    values: np.ndarray
    frame: Frame


@dataclass(frozen=True, eq=False, slots=True)
class ImageReading:
    """What one reader says of one image.

    ``refused`` is (code, reason) where the reader does not read such an image; then ``score`` is
    ``None`` and there are no detections. ``parts`` are the scores of a panel's members, which are
    weighed anew for a breast and an exam; ``left_out`` is the (code, reason) of each member that does
    not read such an image where others do.
    """

    source: ImageSource
    score: float | None
    refused: tuple[str, str] | None = None
    detections: tuple[Detection, ...] = ()
    heatmap: Heatmap | None = None
    parts: tuple[float | None, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelScore:
    """One model's score, its calibrated probability, or why it has none.

    ``parts`` are the scores of a panel's members, where it weighs them by level; ``left_out`` says
    which of them do not read the image, and why.
    """

    model: str
    score: float | None
    probability: float | None = None
    refused: tuple[str, str] | None = None
    parts: tuple[float | None, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class ViewReading:
    """What all models say of one image.

    ``input`` is the index of the input it came from; ``detections`` carry their model's name.
    """

    source: ImageSource
    rows: int
    cols: int
    laterality: Laterality | None
    view: View | None
    spacing_mm: tuple[float, float] | None
    scores: tuple[ModelScore, ...]
    detections: tuple[Detection, ...] = ()
    heatmaps: tuple[tuple[str, Heatmap], ...] = ()
    input: int = 0


@dataclass(frozen=True, slots=True)
class BreastReading:
    """What all models say of one breast; ``laterality`` is ``None`` where it is unknown."""

    laterality: Laterality | None
    scores: tuple[ModelScore, ...]


@dataclass(frozen=True, eq=False, slots=True)
class ExamReading:
    """What all models say of one exam."""

    exam_id: str
    patient_id: str | None
    scores: tuple[ModelScore, ...]
    breasts: tuple[BreastReading, ...]
    images: tuple[ViewReading, ...]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, and the data it was chosen on.

    Detections of ``kind`` scoring ``threshold`` or more reach it; the surest of them are findings.
    """

    name: str
    kind: Kind
    threshold: float
    rule: str
    chosen_on: str


@runtime_checkable
class Reader(Protocol):
    """A trained method, ready to read.

    ``intents`` are the kinds of values it was trained on: an image of another kind is refused
    unless the user accepts it; ``None`` in it admits images whose intent is unknown (rasters).
    A panel that weighs its members by level also has ``combined(level, parts)``: a score of theirs.
    A reader that reads whole exams also has ``read_exam(images) -> (ImageReading, …)``, one for each
    image of an exam in their order. One that can be
    measured by more than its readings tell, such as by patches, also has ``own_figures(parts, part, *,
    reader, resamples, seed) -> (figures, curves)``: the images of each part of a split, and the part
    that is measured. One that scores every position has ``positions(images)``: the records that it
    reads, and a function of the number of each to the scores of its calcifications and of its other
    positions (`secondreader.counting`).
    """

    name: str
    intents: frozenset[Intent | None]

    def read(self, mammogram: Mammogram) -> ImageReading:
        """Read one image."""
        ...
