"""The form of ``reading.json`` and ``readings.jsonl``, number ``secondreader.reading/1``.

``reading.json`` is one object: the header, then ``exams`` and ``skipped``. ``readings.jsonl``
holds the same a line at a time, so that archives of any size can be written and read in constant
memory: the first line is the header, every other line one exam.

Positions are ``[row, col]`` in source pixels, 0-based, with pixel centres on whole numbers; a
``box`` is ``[row0, col0, row1, col1]`` from the centre of its first pixel to the centre of its
last. ``null`` means unknown. A heatmap's file is a picture of the whole image, 255 = 1.0, however
many pixels it has. A change of this form changes its number, but for a field that is only written
where it says something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from secondreader.domain import Kind, Laterality, SecondReaderError, View

__all__ = [
    "SCHEMA",
    "Breast",
    "Detection",
    "Exam",
    "HeatmapFile",
    "Image",
    "ImageScore",
    "ModelIdentity",
    "Reading",
    "ReadingHeader",
    "Refusal",
    "Score",
    "SkippedInput",
    "SourceNote",
    "header_line",
    "parse_exam",
    "parse_header",
    "read_reading",
    "reading_text",
    "write_reading",
]

T = TypeVar("T", bound=BaseModel)
SCHEMA: Literal["secondreader.reading/1"] = "secondreader.reading/1"


def _encodable(value: object) -> object:
    """Spell out what UTF-8 cannot hold: file names may carry bytes that are no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


_FORM = ConfigDict(
    strict=True,
    frozen=True,
    extra="forbid",
    allow_inf_nan=False,
    validate_by_name=True,
    serialize_by_alias=True,
)
Text = Annotated[str, BeforeValidator(_encodable)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Spacing = Annotated[float, Field(gt=0.0)]


class Refusal(BaseModel):
    """Why a model does not read an image."""

    model_config = _FORM
    code: Text
    reason: Text


class Score(BaseModel):
    """A model's score of an exam or a breast; ``probability`` is null where it is uncalibrated."""

    model_config = _FORM
    model: Text
    score: float | None
    probability: Probability | None


class ImageScore(BaseModel):
    """A model's score of an image, or why it has none.

    ``left_out`` says which of a panel's members do not read the image, and why; it is written only
    where there are some, so that all other files are what they were before it.
    """

    model_config = _FORM
    model: Text
    score: float | None
    probability: Probability | None
    refused: Refusal | None
    left_out: tuple[Refusal, ...] = ()

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        if not self.left_out:
            told.pop("left_out", None)
        return told


class Detection(BaseModel):
    """What a model marked; ``finding`` says whether it is one of the surest that reach the operating point."""

    model_config = _FORM
    model: Text
    kind: Kind
    center: tuple[float, float]
    box: tuple[float, float, float, float] | None
    diameter_mm: Spacing | None
    score: float
    probability: Probability | None
    finding: bool
    link: Text | None


class HeatmapFile(BaseModel):
    """A picture of a model's heatmap over the whole image; ``file`` is relative to OUT."""

    model_config = _FORM
    model: Text
    file: Text


class SourceNote(BaseModel):
    """What was done to the values of an image."""

    model_config = _FORM
    bits: int | None
    voi: Text | None
    lossy: bool | None


class Image(BaseModel):
    """One view of one breast; ``path`` is relative to the input number ``input``."""

    model_config = _FORM
    input: Annotated[int, Field(ge=0)]
    path: Text
    sop_instance_uid: Text | None
    laterality: Laterality | None
    view: View | None
    rows: Annotated[int, Field(ge=1)]
    cols: Annotated[int, Field(ge=1)]
    spacing_mm: tuple[Spacing, Spacing] | None
    source: SourceNote
    scores: tuple[ImageScore, ...]
    heatmaps: tuple[HeatmapFile, ...]
    detections: tuple[Detection, ...]


class Breast(BaseModel):
    """The scores of one breast."""

    model_config = _FORM
    laterality: Laterality | None
    scores: tuple[Score, ...]


class Exam(BaseModel):
    """One woman, one visit."""

    model_config = _FORM
    exam_id: Text
    patient_id: Text | None
    scores: tuple[Score, ...]
    breasts: tuple[Breast, ...]
    images: tuple[Image, ...]


class ModelIdentity(BaseModel):
    """A model's name, and the SHA-256 of its weights; of its name, version and settings without any.

    ``prevalence`` is the share of exams with cancer that its probabilities hold for; it is written only
    where there is one, so that all other files are what they were before it.
    """

    model_config = _FORM
    name: Text
    sha256: Text | None
    prevalence: Probability | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        if self.prevalence is None:
            told.pop("prevalence", None)
        return told


class SkippedInput(BaseModel):
    """A file that was not read, and why."""

    model_config = _FORM
    input: Annotated[int, Field(ge=0)]
    path: Text
    code: Text
    reason: Text


class ReadingHeader(BaseModel):
    """What holds for every exam of a reading: the first line of ``readings.jsonl``."""

    model_config = _FORM
    schema_: Annotated[Literal["secondreader.reading/1"], Field(alias="schema")] = SCHEMA
    version: Text
    inputs: tuple[Text, ...]
    models: tuple[ModelIdentity, ...]


class Reading(BaseModel):
    """All of ``reading.json``."""

    model_config = _FORM
    schema_: Annotated[Literal["secondreader.reading/1"], Field(alias="schema")] = SCHEMA
    version: Text
    inputs: tuple[Text, ...]
    models: tuple[ModelIdentity, ...]
    exams: tuple[Exam, ...]
    skipped: tuple[SkippedInput, ...]

    def header(self) -> ReadingHeader:
        """Return what holds for every exam."""
        return ReadingHeader(version=self.version, inputs=self.inputs, models=self.models)


def header_line(header: ReadingHeader) -> str:
    """Return the first line of ``readings.jsonl``, without its end."""
    return header.model_dump_json()


def parse_header(line: str | bytes) -> ReadingHeader:
    """Read the first line of ``readings.jsonl``.

    Raises
    ------
    SecondReaderError
        If the line is no header of this schema number.
    """
    return _parsed(ReadingHeader, line, "header line")


def parse_exam(line: str | bytes) -> Exam:
    """Read an exam's line of ``readings.jsonl``; its inverse is ``Exam.model_dump_json()``.

    Raises
    ------
    SecondReaderError
        If the line is no exam.
    """
    return _parsed(Exam, line, "exam line")


def read_reading(path: Path) -> Reading:
    """Read a whole ``reading.json``.

    Raises
    ------
    SecondReaderError
        If the file cannot be read or is no reading of this schema number.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SecondReaderError(f"reading: {error.strerror or error}, {path}") from error
    return _parsed(Reading, text, str(path))


def reading_text(
    header: ReadingHeader, exams: Iterable[Exam], skipped: Iterable[SkippedInput]
) -> Iterator[str]:
    """Yield ``reading.json`` piece by piece, one exam or skipped file a line.

    Parameters
    ----------
    header
        What holds for every exam.
    exams, skipped
        Taken one at a time, ``exams`` first.
    """
    yield header.model_dump_json()[:-1] + ',\n"exams": ['
    yield from _joined(exam.model_dump_json() for exam in exams)
    yield '],\n"skipped": ['
    yield from _joined(entry.model_dump_json() for entry in skipped)
    yield "]}\n"


def write_reading(
    stream: TextIO, header: ReadingHeader, exams: Iterable[Exam], skipped: Iterable[SkippedInput]
) -> None:
    """Write ``reading.json`` to a stream, holding one exam at a time."""
    stream.writelines(reading_text(header, exams, skipped))


def _joined(lines: Iterable[str]) -> Iterator[str]:
    first = True
    for line in lines:
        yield ("\n" if first else ",\n") + line
        first = False


def _parsed(form: type[T], text: str | bytes, what: str) -> T:
    try:
        return form.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise SecondReaderError(
            f"reading: {where}: {first['msg']}, expected {SCHEMA}, {what}"
        ) from error
