"""From the values of a reading to the form of ``reading.json``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from secondreader import geometry
from secondreader.domain import (
    Box,
    BreastReading,
    Detection,
    ExamReading,
    Heatmap,
    ImageSource,
    ModelScore,
    Point,
    SecondReaderError,
    ViewReading,
)
from secondreader.formats import atomic_write, png_bytes
from secondreader.report import schema

__all__ = ["exam_form", "exam_values", "readings_lines", "whole_image", "write_heatmaps"]

_LONGEST = 512


def exam_form(reading: ExamReading, heatmaps: Mapping[tuple[int, str], str]) -> schema.Exam:
    """Return an exam in the form of ``reading.json``.

    Parameters
    ----------
    reading
        The exam.
    heatmaps
        (index of the image, model) → file of the heatmap, relative to OUT.
    """
    return schema.Exam(
        exam_id=reading.exam_id,
        patient_id=reading.patient_id,
        scores=tuple(_score(score) for score in reading.scores),
        breasts=tuple(
            schema.Breast(
                laterality=breast.laterality, scores=tuple(_score(s) for s in breast.scores)
            )
            for breast in reading.breasts
        ),
        images=tuple(_image(index, view, heatmaps) for index, view in enumerate(reading.images)),
    )


def exam_values(form: schema.Exam) -> ExamReading:
    """Return the values of an exam in the form of ``reading.json``.

    A detection's region is its box, or its centre where it has none: the form holds no outline.
    """
    return ExamReading(
        form.exam_id,
        form.patient_id,
        tuple(ModelScore(s.model, s.score, s.probability) for s in form.scores),
        tuple(
            BreastReading(
                b.laterality, tuple(ModelScore(s.model, s.score, s.probability) for s in b.scores)
            )
            for b in form.breasts
        ),
        tuple(_view_values(image) for image in form.images),
    )


def _view_values(image: schema.Image) -> ViewReading:
    return ViewReading(
        source=ImageSource(image.path, sop_uid=image.sop_instance_uid),
        rows=image.rows,
        cols=image.cols,
        laterality=image.laterality,
        view=image.view,
        spacing_mm=image.spacing_mm,
        scores=tuple(
            ModelScore(
                s.model,
                s.score,
                s.probability,
                None if s.refused is None else (s.refused.code, s.refused.reason),
                left_out=tuple((of.code, of.reason) for of in s.left_out),
            )
            for s in image.scores
        ),
        detections=tuple(
            Detection(
                d.kind,
                Point(*d.center) if d.box is None else Box(*d.box),
                d.score,
                d.link,
                d.model,
                d.probability,
                d.finding,
            )
            for d in image.detections
        ),
        input=image.input,
    )


def readings_lines(header: schema.ReadingHeader, exams: Iterable[schema.Exam]) -> Iterator[str]:
    """Yield ``readings.jsonl``: the header, then an exam a line."""
    yield schema.header_line(header) + "\n"
    for exam in exams:
        yield exam.model_dump_json() + "\n"


def write_heatmaps(out: Path, stem: str, reading: ExamReading) -> dict[tuple[int, str], str]:
    """Write each heatmap as a picture of its whole image, 255 = 1.0; their files come back."""
    files = {}
    for index, view in enumerate(reading.images):
        for model, heatmap in view.heatmaps:
            file = f"images/{stem}.{index}.{_plain(model)}.png"
            _folder(out / "images")
            atomic_write(out / file, png_bytes(whole_image(heatmap)))
            files[index, model] = file
    return files


def whole_image(heatmap: Heatmap) -> np.ndarray:
    """Return a heatmap laid over its whole source image, (rows, cols) uint8, at most 512 long."""
    rows, cols = heatmap.frame.source_shape
    step = max(rows, cols) / min(_LONGEST, max(rows, cols))
    shape = (max(round(rows / step), 1), max(round(cols / step), 1))
    grid = geometry.resample(geometry.identity((rows, cols)), shape, (step, step))
    ends = geometry.to_grid(heatmap.frame, geometry.to_source(grid, np.array([[0, 0], [1, 1]])))
    (row0, col0), (down, across) = ends[0], ends[1] - ends[0]
    values = Picture.fromarray(np.ascontiguousarray(heatmap.values, np.float32), "F")
    # PIL speaks of pixel corners, x first.
    affine = (across, 0, col0 + 0.5 - across / 2, 0, down, row0 + 0.5 - down / 2)
    moved = values.transform(
        (shape[1], shape[0]), Picture.Transform.AFFINE, affine, Picture.Resampling.BILINEAR
    )
    return np.asarray(np.rint(np.clip(np.asarray(moved), 0, 1) * 255), np.uint8)


def _image(index: int, view: ViewReading, heatmaps: Mapping[tuple[int, str], str]) -> schema.Image:
    return schema.Image(
        input=view.input,
        path=view.source.path,
        sop_instance_uid=view.source.sop_uid,
        laterality=view.laterality,
        view=view.view,
        rows=view.rows,
        cols=view.cols,
        spacing_mm=view.spacing_mm,
        source=schema.SourceNote(
            bits=view.source.bits, voi=view.source.voi, lossy=view.source.lossy
        ),
        scores=tuple(_image_score(score) for score in view.scores),
        heatmaps=tuple(
            schema.HeatmapFile(model=model, file=heatmaps[index, model])
            for model, _ in view.heatmaps
        ),
        detections=tuple(_detection(d, view.spacing_mm) for d in view.detections),
    )


def _detection(detection: Detection, spacing_mm: tuple[float, float] | None) -> schema.Detection:
    region = detection.region
    row, col = geometry.centre(region)
    box = None if isinstance(region, Point) else geometry.bounding_box(region)
    return schema.Detection(
        model=detection.model or "",
        kind=detection.kind,
        center=(round(row, 2), round(col, 2)),
        box=None if box is None else _rounded(box),
        diameter_mm=_diameter(detection, spacing_mm),
        score=detection.score,
        probability=detection.probability,
        finding=bool(detection.finding),
        link=detection.link,
    )


def _rounded(box: Box) -> tuple[float, float, float, float]:
    return round(box.row0, 2), round(box.col0, 2), round(box.row1, 2), round(box.col1, 2)


def _diameter(detection: Detection, spacing_mm: tuple[float, float] | None) -> float | None:
    if spacing_mm is None or isinstance(detection.region, Point):
        return None
    box = geometry.bounding_box(detection.region)
    high = (box.row1 - box.row0) * spacing_mm[0]
    wide = (box.col1 - box.col0) * spacing_mm[1]
    return round(max(high, wide), 3) or None


def _score(score: ModelScore) -> schema.Score:
    return schema.Score(model=score.model, score=score.score, probability=score.probability)


def _image_score(score: ModelScore) -> schema.ImageScore:
    refused = score.refused and schema.Refusal(code=score.refused[0], reason=score.refused[1])
    return schema.ImageScore(
        model=score.model,
        score=score.score,
        probability=score.probability,
        refused=refused,
        left_out=tuple(schema.Refusal(code=code, reason=why) for code, why in score.left_out),
    )


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text)


def _folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise SecondReaderError(f"cannot make {path} ({error.strerror})") from None
