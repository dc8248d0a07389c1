"""The text files of DDSM: ``.ics`` of a case, ``.OVERLAY`` of a film.

An overlay draws outlines as chain codes: the column and the row of the first pixel, counted from
the top-left corner, then one digit a step, 0 up, 1 up and right, 2 right, and on clockwise to
7 up and left, until ``#``.

References
----------
.. [1] M. Heath et al., DDSM, "Description of a case", University of South Florida.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secondreader.domain import Laterality, Polygon, SecondReaderError, View

__all__ = ["CaseFile", "FilmLine", "Marking", "chain", "parse_ics", "parse_overlay"]

_STEPS = {
    "0": (-1, 0),
    "1": (-1, 1),
    "2": (0, 1),
    "3": (1, 1),
    "4": (1, 0),
    "5": (1, -1),
    "6": (0, -1),
    "7": (-1, -1),
}
_SIDES = {"LEFT": Laterality.L, "RIGHT": Laterality.R}


@dataclass(frozen=True, slots=True)
class FilmLine:
    """What an ``.ics`` says of one film; ``resolution_um`` as written, ``None`` where it is not."""

    name: str
    laterality: Laterality
    view: View
    rows: int
    cols: int
    bits: int
    resolution_um: float | None
    overlay: bool


@dataclass(frozen=True, slots=True)
class CaseFile:
    """An ``.ics``; ``digitizer`` is its first word, in capitals."""

    name: str
    age: float | None
    density: str | None
    digitizer: str | None
    films: tuple[FilmLine, ...]


@dataclass(frozen=True, slots=True)
class Marking:
    """One abnormality of an overlay.

    ``types`` are (``MASS``, its words), (``CALCIFICATION``, its words), …; ``outline`` is its
    boundary; further outlines, the cores, lie within it.
    """

    number: int
    types: tuple[tuple[str, str], ...]
    assessment: str | None
    subtlety: int | None
    pathology: str
    outline: Polygon


def parse_ics(text: str, file: str) -> CaseFile:
    """Read an ``.ics``.

    Raises
    ------
    SecondReaderError
        If it has no line of a film, or one that is not as expected.
    """
    told: dict[str, list[str]] = {}
    films = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words:
            continue
        side, _, view = words[0].upper().partition("_")
        if side in _SIDES and view in View.__members__:
            films.append(_film(words, _SIDES[side], View(view), f"{file}:{number}"))
        else:
            told[words[0].upper()] = words[1:]
    if not films:
        raise SecondReaderError(f"{file}: got no line of a film, expected 'LEFT_CC LINES …'")
    age = told.get("PATIENT_AGE", [])
    density = told.get("DENSITY", [])
    digitizer = told.get("DIGITIZER", [])
    return CaseFile(
        name=(told.get("FILENAME") or [""])[0],
        age=float(age[0]) if age and age[0].replace(".", "", 1).isdigit() else None,
        density=density[0] if density and density[0] in ("1", "2", "3", "4") else None,
        digitizer=digitizer[0].upper() if digitizer else None,
        films=tuple(films),
    )


def _film(words: list[str], side: Laterality, view: View, where: str) -> FilmLine:
    pairs = dict(zip(words[1:-1:2], words[2::2], strict=False))
    try:
        resolution = float(pairs["RESOLUTION"]) if "RESOLUTION" in pairs else None
        return FilmLine(
            name=words[0].upper(),
            laterality=side,
            view=view,
            rows=int(pairs["LINES"]),
            cols=int(pairs["PIXELS_PER_LINE"]),
            bits=int(pairs.get("BITS_PER_PIXEL", "16")),
            resolution_um=resolution,
            overlay=words[-1].upper() == "OVERLAY",
        )
    except (KeyError, ValueError):
        raise SecondReaderError(
            f"{where}: got {' '.join(words)[:80]!r}, expected LINES n PIXELS_PER_LINE n "
            "BITS_PER_PIXEL n RESOLUTION n OVERLAY or NON_OVERLAY; fetch the file again"
        ) from None


def parse_overlay(text: str, file: str) -> tuple[Marking, ...]:
    """Read an overlay.

    Raises
    ------
    SecondReaderError
        If an abnormality has no outline, an outline does not end or goes a way that is none.
    """
    lines = [line.split() for line in text.split("\n")]
    starts = [i for i, words in enumerate(lines) if words[:1] == ["ABNORMALITY"]]
    if not starts:
        raise SecondReaderError(f"{file}: got no ABNORMALITY, expected one or more")
    ends = [*starts[1:], len(lines)]
    return tuple(
        _marking(lines[start:end], f"{file}:{start + 1}")
        for start, end in zip(starts, ends, strict=True)
    )


def _marking(lines: list[list[str]], where: str) -> Marking:
    told = {words[0]: words[1:] for words in lines if words}
    types = tuple(
        (words[1], " ".join(words[2:]))
        for words in lines
        if words[:1] == ["LESION_TYPE"] and len(words) > 1
    )
    outlines = list(_outlines(lines, where))
    if not outlines:
        raise SecondReaderError(f"{where}: got an abnormality without a BOUNDARY, expected one")
    subtlety = (told.get("SUBTLETY") or [""])[0]
    return Marking(
        number=int((told.get("ABNORMALITY") or ["1"])[0]),
        types=types,
        assessment=next(iter(told.get("ASSESSMENT", [])), None),
        subtlety=int(subtlety) if subtlety in ("1", "2", "3", "4", "5") else None,
        pathology=(told.get("PATHOLOGY") or [""])[0].upper(),
        outline=outlines[0],
    )


def _outlines(lines: list[list[str]], where: str) -> Iterator[Polygon]:
    for i, words in enumerate(lines):
        if words[:1] in (["BOUNDARY"], ["CORE"]):
            code: list[str] = []
            for further in lines[i + 1 :]:
                code += further
                if "#" in further:
                    break
            yield chain(code, where)


def chain(code: list[str], where: str = "chain code") -> Polygon:
    """Return the outline of a chain code: column, row, steps, ``#``.

    Only the corners are kept: pixels in a straight line say nothing more.

    Raises
    ------
    SecondReaderError
        If it is none.
    """
    try:
        col, row = int(code[0]), int(code[1])
        end = code.index("#")
        steps = [_STEPS[step] for step in code[2:end]]
    except (IndexError, ValueError, KeyError):
        raise SecondReaderError(
            f"{where}: got a chain code that is none, expected 'column row 0-7 … #'; "
            "fetch the overlay again"
        ) from None
    points = [(float(row), float(col))]
    for i, (down, right) in enumerate(steps):
        row, col = row + down, col + right
        if i + 1 == len(steps) or steps[i + 1] != (down, right):
            points.append((float(row), float(col)))
    if len(points) > 1 and points[-1] == points[0]:
        points.pop()
    return Polygon(tuple(points))
