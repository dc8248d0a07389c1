"""From readings to what people and programs take away: JSON, CSV, HTML."""

from secondreader.report.form import exam_form, exam_values, readings_lines, write_heatmaps
from secondreader.report.index import index_text
from secondreader.report.page import exam_page, page_name
from secondreader.report.pixels import ViewPixels, view_pixels
from secondreader.report.pseudonym import pseudonym, pseudonym_path, secret_from
from secondreader.report.schema import (
    Exam,
    ModelIdentity,
    Reading,
    ReadingHeader,
    SkippedInput,
    parse_exam,
    parse_header,
    read_reading,
    reading_text,
)
from secondreader.report.table import findings_lines

__all__ = [
    "Exam",
    "ModelIdentity",
    "Reading",
    "ReadingHeader",
    "SkippedInput",
    "ViewPixels",
    "exam_form",
    "exam_page",
    "exam_values",
    "findings_lines",
    "index_text",
    "page_name",
    "parse_exam",
    "parse_header",
    "pseudonym",
    "pseudonym_path",
    "read_reading",
    "reading_text",
    "readings_lines",
    "secret_from",
    "view_pixels",
    "write_heatmaps",
]
