"""PNG, PGM, TIFF and JPEG: from stored values to a mammogram, step by step.

A raster says little of itself, and nothing is guessed:

- Its values are divided by 2^b - 1, b the fewest of 8, 10, 12, 14, 16 bits that hold its maximum,
  or `ReadOptions.bits`.
- Its pixel pitch is what the table or the user states. A resolution tag says how to print it.
- Laterality and view are what the table or the name says; if both speak and differ, it is refused.
- Read are 8- to 16-bit unsigned grey values, one picture a file; colour where all channels are
  equal, and alpha where all is opaque. A TIFF that stores white as zero is inverted, as it asks.
- A picture that asks to be turned (EXIF or TIFF Orientation) is refused: positions of findings and
  of truth would mean one thing to programs that turn it and another to those that do not.
- A picture in which air is bright is left as it is, and a step says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

import numpy as np

from secondreader import imaging
from secondreader.domain import ImageSource, Laterality, Mammogram, Refused, Step, View
from secondreader.formats.names import parse
from secondreader.formats.pgm import read_pgm
from secondreader.formats.pillow import Stored, read_picture
from secondreader.formats.source import MIN_SIDE, FileRef, Header, ReadOptions
from secondreader.formats.table import Row

__all__ = ["BITS", "header", "mammogram"]

BITS = (8, 10, 12, 14, 16)
"""The bits that a full range may have unless the user says otherwise."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a raster without its pixels, and where from."""

    header: Header
    spacing_mm: float | None
    spacing_from: str
    steps: tuple[Step, ...]


def header(ref: FileRef, options: ReadOptions) -> Header:
    """Return what grouping needs of a raster; the table comes before the name.

    Raises
    ------
    Refused
        ``contradiction`` where table and name say different things.
    """
    return _known(ref, options).header


def mammogram(stream: BinaryIO, ref: FileRef, options: ReadOptions, kind: str) -> Mammogram:
    """Decode a raster.

    Parameters
    ----------
    stream
        At its start, seekable.
    ref
        The file.
    options
        What the user says of it.
    kind
        ``"PNG"``, ``"JPEG"``, ``"TIFF"`` or ``"PNM"``, as the content tells.

    Raises
    ------
    Refused
        With the code of the reason.
    """
    known = _known(ref, options)
    if kind == "PNM":
        values, words = read_pgm(stream)
        stored = Stored(values, "PGM", words)
    else:
        stored = read_picture(stream, kind)
    values = stored.values
    _check(values)
    bits, scaled, scaling = _scale(stored, options.bits)
    steps = (
        Step("decode", stored.words, "the file's header", None, _span(values)),
        *stored.steps,
        *scaling,
        *_polarity(scaled),
        *known.steps,
        _spacing_step(known, stored),
    )
    return Mammogram(
        pixels=scaled,
        spacing_mm=(known.spacing_mm, known.spacing_mm) if known.spacing_mm else None,
        laterality=known.header.laterality,
        view=known.header.view,
        source=ImageSource(
            path=ref.path,
            format=stored.format,
            bits=bits,
            voi=f"value / (2^{bits} - 1)",
            lossy=stored.lossy,
            steps=steps,
        ),
    )


# ---------------------------------------------------------------------------------------- values


def _check(values: np.ndarray) -> None:
    rows, cols = values.shape
    if min(rows, cols) < MIN_SIDE:
        raise Refused("too-small", f"got {rows} x {cols} pixels, expected at least {MIN_SIDE} each")
    low, high = values.min(), values.max()
    if low == high:
        raise Refused("blank", "a blank image: all values are equal")
    if np.all((values == low) | (values == high)):
        raise Refused("too-few-bits", "an image of two values, as a mask has; expected a picture")


def _scale(stored: Stored, asked: int | None) -> tuple[int, np.ndarray, list[Step]]:
    """Divide by the full range; inverted where white is zero."""
    values = stored.values
    largest = int(values.max())
    bits = asked or next(b for b in BITS if largest < 2**b)
    if largest >= 2**bits:
        raise Refused(
            "bad-bits", f"got values above 2^{bits} - 1, expected none with --bits {bits}"
        )
    full = 2**bits - 1
    if asked:
        origin = "--bits"
    else:
        origin = "the fewest of 8, 10, 12, 14, 16 bits that hold the file's maximum"
    steps = []
    if stored.white_is_zero:
        inverted = full - values
        words = f"white is stored as zero: {full} - value"
        origin_inverted = "TIFF PhotometricInterpretation (262) = 0"
        steps = [Step("invert", words, origin_inverted, _span(values), _span(inverted))]
        values = inverted
    scaled = values.astype(np.float32)
    scaled /= np.float32(full)
    steps.append(Step("scale", f"value / (2^{bits} - 1)", origin, _span(values), _span(scaled)))
    return bits, scaled, steps


def _polarity(pixels: np.ndarray) -> list[Step]:
    if not imaging.looks_inverted(pixels):
        return []
    words = "the air looks bright and the breast dark; left as it is, larger values count as denser"
    return [Step("polarity", words, "the pixels")]


def _span(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


# ---------------------------------------------------------------------- what is said of the image


def _known(ref: FileRef, options: ReadOptions) -> _Known:
    name = parse(ref.path, PurePath(ref.root).name)
    row = options.table.lookup(ref.root, ref.path) if options.table else None
    where = f"{options.table.name} line {row.line}" if options.table and row else ""
    side, side_from = _one("laterality", row, name.laterality, name.rule, where, options)
    view, view_from = _one("view", row, name.view, name.rule, where, options)
    steps = (
        Step("laterality", side or "unknown", side_from),
        Step("view", view or "unknown", view_from),
    )
    by_table = row is not None and row.exam_id is not None
    found = Header(
        exam_id=row.exam_id if row and row.exam_id else name.exam,
        patient_id=(row.patient_id if row else None) or name.patient,
        laterality=Laterality(side) if side else None,
        view=View(view) if view else None,
        grouped_by="table" if by_table else "name",
    )
    if row and row.spacing_mm:
        return _Known(found, row.spacing_mm, where, steps)
    if options.spacing_mm:
        return _Known(found, options.spacing_mm, "--spacing-mm", steps)
    return _Known(found, None, "a raster does not state it (--spacing-mm or a table can)", steps)


def _one(
    what: str, row: Row | None, named: str | None, rule: str, where: str, options: ReadOptions
) -> tuple[str | None, str]:
    """Return laterality or view, and what said so: the table, else the name."""
    stated: str | None = getattr(row, what) if row else None
    if stated and named and stated != named and "contradiction" not in options.accept:
        raise Refused(
            "contradiction", f"{what}: {where} says {stated}, the file's name says {named}"
        )
    if stated:
        return str(stated), where
    return named and str(named), rule if named else "neither the name nor a table says"


def _spacing_step(known: _Known, stored: Stored) -> Step:
    words = f"{known.spacing_mm:g} mm" if known.spacing_mm else "unknown"
    if stored.resolution:
        words += f"; the file's {stored.resolution} says how to print it and is not used"
    return Step("spacing", words, known.spacing_from)
