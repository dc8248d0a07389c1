"""mini-MIAS: 322 digitised films of 161 women, one oblique view of each breast.

Source: the mini-MIAS database of the Mammographic Image Analysis Society, the MIAS films reduced
to 200 µm and put into 1024 x 1024 pixels. Licence: for research only, not to be passed on
(``Licence.txt`` in the download). Expected: 322 films of 161 women (``Info.txt``), 207 of them
normal and 115 with abnormalities: 25 with
calcifications, 23 circumscribed, 19 spiculated and 14 other masses, 19 distortions, 15 asymmetries
(ibid.).

On disk: ``Info.txt`` and ``mdb001.pgm`` … ``mdb322.pgm`` (also as PNG), in any folders. Films 2k-1
and 2k are the right and left breast of one woman, all MLO. A row of ``Info.txt`` is *film tissue
class [severity [x y radius]]*; x and y count from the **bottom-left** corner, so row = 1023 - y.
Several rows may stand for one film; circles of CALC rows are around clusters; rows without a
circle are of findings that are spread over the film.

References
----------
.. [1] J. Suckling et al., "The Mammographic Image Analysis Society digital mammogram database",
   Exerpta Medica, International Congress Series 1069, pp. 375-378, 1994.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from secondreader.datasets.records import About, Expected, Problem
from secondreader.datasets.shapes import shape
from secondreader.datasets.tree import Tree
from secondreader.domain import (
    Circle,
    ImageRecord,
    Kind,
    Laterality,
    Lesion,
    Pathology,
    Refused,
    SecondReaderError,
    View,
)

__all__ = ["ABOUT", "NAME", "scan"]

NAME = "mini_mias"
ABOUT = About(
    title="mini-MIAS database of mammograms",
    good_for="clusters and masses on film, small and quick; too coarse (200 µm) for single "
    "microcalcifications, and old",
    licence="For scientific research only; not to be copied on or used commercially.",
    citation="Suckling et al., The Mammographic Image Analysis Society digital mammogram "
    "database, Exerpta Medica ICS 1069:375-378, 1994",
    ask="Pilot European Image Processing Archive (PEIPA), mini-MIAS",
    layout="Info.txt and mdb001.pgm … mdb322.pgm (or .png)",
    expected=(
        Expected("images", 322, "Info.txt of the distribution"),
        Expected("patients", 161, "Info.txt: films are in pairs of one woman"),
        Expected("images without a finding", 207, "NORM rows of Info.txt"),
    ),
)
SIDE = 1024
FILMS = 322
SPACING_MM = 0.2
_FILM = re.compile(r"mdb(\d{3})", re.IGNORECASE)
_TISSUE = {"F": "fatty", "G": "fatty-glandular", "D": "dense-glandular"}
_CLASSES = {
    "CALC": Kind.CALCIFICATION_CLUSTER,
    "CIRC": Kind.MASS,
    "SPIC": Kind.MASS,
    "MISC": Kind.MASS,
    "ARCH": Kind.ARCHITECTURAL_DISTORTION,
    "ASYM": Kind.ASYMMETRY,
    "NORM": None,
}
_SEVERITIES = {"B": Pathology.BENIGN, "M": Pathology.MALIGNANT}
Rows = dict[int, list[tuple[int, list[str]]]]


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read ``Info.txt`` and match its rows to films.

    Raises
    ------
    SecondReaderError
        If there is no ``Info.txt``, it has no film, a class is unknown, or no film is there.
    """
    del choices  # there are none
    info = (tree.named("Info.txt") or [""])[0]
    if not info:
        raise SecondReaderError(f"{tree.root}: got no Info.txt, expected {ABOUT.layout}")
    rows = parse_info(tree.text(info), info)
    films: dict[int, str] = {}
    for path in tree.image_paths():
        match = _FILM.fullmatch(path.rpartition("/")[2].rpartition(".")[0])
        if match:
            films.setdefault(int(match[1]), tree.images(match[0])[0])
    if not films:
        raise SecondReaderError(
            f"{tree.root}: got no film mdb001 … mdb322, expected {ABOUT.layout}"
        )
    records, problems = [], []
    for film in sorted({*films, *rows}):
        name = f"mdb{film:03d}"
        if film not in films:
            got, remedy = f"no image {name}", "fetch it from the distribution"
            problems.append(Problem(info, "missing-image", got, f"{name}.pgm or .png", remedy))
        elif film not in rows:
            got, remedy = f"no row {name} in {info}", "take Info.txt as the owner distributes it"
            problems.append(Problem(films[film], "missing-row", got, "one row or more", remedy))
        else:
            lesions, odd = _lesions(name, rows[film], info)
            odd += _size(tree, films[film])
            problems += odd
            records.append(_record(film, films[film], rows[film], lesions))
    for film in sorted({*range(1, FILMS + 1)} - {*films, *rows}):
        name, remedy = f"mdb{film:03d}", "fetch it and its row from the distribution"
        problems.append(Problem(name, "absent-film", "neither film nor row", "both", remedy, False))
    return records, problems


def parse_info(text: str, file: str = "Info.txt") -> Rows:
    """Return the rows of each film of an ``Info.txt``: (line number, words after the film).

    Raises
    ------
    SecondReaderError
        If it has no row of a film, or a row has an unknown class.
    """
    rows: Rows = {}
    for line, words in enumerate((line.split() for line in text.split("\n")), 1):
        match = _FILM.fullmatch(words[0]) if words else None
        if match is None:
            continue
        known = len(words) > 2 and words[1] in _TISSUE and words[2] in _CLASSES
        if not known or (len(words) > 3 and words[3] not in _SEVERITIES):
            raise SecondReaderError(
                f"{file}:{line}: got {' '.join(words[1:4])!r}, expected tissue "
                f"{'/'.join(_TISSUE)}, class {'/'.join(_CLASSES)} and severity B or M; "
                "take Info.txt as the owner distributes it"
            )
        rows.setdefault(int(match[1]), []).append((line, words[1:]))
    if not rows:
        raise SecondReaderError(
            f"{file}: got no row of a film, expected lines such as 'mdb003 D NORM'"
        )
    return rows


def _lesions(
    name: str, rows: list[tuple[int, list[str]]], info: str
) -> tuple[tuple[Lesion, ...], list[Problem]]:
    lesions: list[Lesion] = []
    problems = []
    for line, words in rows:
        if words[1] == "NORM":
            continue
        region = None
        try:
            x, y, radius = (float(word) for word in words[3:6])
            region = Circle(row=SIDE - 1 - y, col=x, radius=radius)
        except ValueError:
            got = " ".join(words[3:]) or "no circle"
            problems.append(
                Problem(
                    f"{info}:{line}",
                    "no-region",
                    f"{name} {words[1]}: {got}",
                    "x y radius",
                    "the owner says the finding is spread over the film: it counts for the "
                    "film's truth and has no place",
                    broken=False,
                )
            )
        lesions.append(
            Lesion(
                lesion_id=f"{name}-{len(lesions) + 1}",
                kind=_CLASSES[words[1]],
                region=region,
                pathology=_SEVERITIES[words[2]] if len(words) > 2 else None,
            )
        )
    return tuple(lesions), problems


def _size(tree: Tree, path: str) -> list[Problem]:
    try:
        rows, cols = shape(tree.ref(path))
        got = f"{rows} x {cols}"
    except Refused as refused:
        got = refused.reason
    expected = f"{SIDE} x {SIDE}"
    remedy = "its circles do not fit: take the film as distributed"
    return [] if got == expected else [Problem(path, "image-misfit", got, expected, remedy)]


def _record(
    film: int, path: str, rows: list[tuple[int, list[str]]], lesions: tuple[Lesion, ...]
) -> ImageRecord:
    woman = f"woman-{(film + 1) // 2:03d}"
    classes = sorted({words[1] for _, words in rows})
    return ImageRecord(
        dataset=NAME,
        path=path,
        patient_id=woman,
        exam_id=woman,
        laterality=Laterality.R if film % 2 else Laterality.L,
        view=View.MLO,
        spacing_mm=(SPACING_MM, SPACING_MM),
        vendor="film",
        density=_TISSUE[rows[0][1][0]],
        malignant=any(lesion.pathology is Pathology.MALIGNANT for lesion in lesions),
        lesions=lesions,
        extra=(("classes", " ".join(classes)), ("cols", str(SIDE)), ("rows", str(SIDE))),
    )
