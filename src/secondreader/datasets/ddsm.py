"""DDSM: 2,620 digitised four-view screening exams, each finding outlined.

Source: the Digital Database for Screening Mammography, University of South Florida. Licence: free
for research with citation, as its pages state. Expected: 2,620 cases in 43 volumes: 695 normal,
914 with cancer, 870 benign, 141 benign without callback (the database's pages).

On disk: a folder a case (``cancers/cancer_01/case1141/``) with ``A-1141-1.ics``, for each film
``A_1141_1.LEFT_CC.LJPEG``, and ``A_1141_1.LEFT_CC.OVERLAY`` where something is marked. The size of
a pixel is the digitiser's: DBA 42 µm (16 bits), HOWTEK 43.5 µm and LUMISYS 50 µm (12 bits).

Films are read from LJPEG as they are (`secondreader.datasets.ddsm_ljpeg`), or from conversions to
PNG or TIFF of 16 bits under the same name (``A_1141_1.LEFT_CC.png``, ``….LJPEG.png``, ``….tif``),
which come first. A conversion must be unscaled, uncropped and not inverted. A film that cannot be
decoded says which conversion it needs.

References
----------
.. [1] M. Heath et al., "The digital database for screening mammography", Proc. 5th International
   Workshop on Digital Mammography, pp. 212-218, 2001.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from secondreader.datasets import ddsm_ljpeg
from secondreader.datasets.ddsm_overlay import (
    CaseFile,
    FilmLine,
    Marking,
    parse_ics,
    parse_overlay,
)
from secondreader.datasets.records import About, Expected, Problem
from secondreader.datasets.shapes import shape
from secondreader.datasets.tree import Tree
from secondreader.domain import (
    ImageRecord,
    Kind,
    Laterality,
    Lesion,
    Pathology,
    Polygon,
    Refused,
    SecondReaderError,
    View,
)

__all__ = ["ABOUT", "NAME", "scan"]

NAME = "ddsm"
ABOUT = About(
    title="Digital Database for Screening Mammography",
    good_for="whole film exams with normal women, outlined findings and known pixel size",
    licence="Free for research with citation, as its pages state.",
    citation="Heath et al., The digital database for screening mammography, IWDM 2000:212-218",
    ask="University of South Florida, DDSM",
    layout="case folders with .ics, .OVERLAY, and each film as LJPEG, or as 16-bit PNG or TIFF",
    expected=(
        Expected("patients", 2620, "the database's pages: 695 + 914 + 870 + 141 cases"),
        Expected("images", 10480, "the database's pages: four views a case"),
    ),
)
SPACING_MM = {"DBA": 0.042, "HOWTEK": 0.0435, "LUMISYS": 0.05, "LUMYSIS": 0.05}
"""Pixel pitch of each digitiser; the last is how some cases spell the one before."""
_FILM = re.compile(r"([a-z])[_-](\d+)[_-](\d+)\.(left|right)_(cc|mlo)", re.IGNORECASE)
_KINDS = {
    "MASS": Kind.MASS,
    "CALCIFICATION": Kind.CALCIFICATION_CLUSTER,
    "OTHER": Kind.SUSPICIOUS_REGION,
}
_PATHOLOGIES = {
    "MALIGNANT": Pathology.MALIGNANT,
    "BENIGN": Pathology.BENIGN,
    "BENIGN_WITHOUT_CALLBACK": Pathology.BENIGN_WITHOUT_CALLBACK,
    "UNPROVEN": None,
}
Key = tuple[str, str, str]  # folder, case in capitals (B_3024_1), film (LEFT_CC)


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read every case file, its overlays, and match films to them.

    Raises
    ------
    SecondReaderError
        If there is no case, a file is not as expected, or films are there as LJPEG only.
    """
    del choices  # there are none
    cases = tree.ending(".ics")
    if not cases:
        raise SecondReaderError(f"{tree.root}: got no .ics file, expected {ABOUT.layout}")
    images, overlays = (
        _films([*tree.image_paths(), *tree.ending(".ljpeg")]),
        _films(tree.ending(".overlay")),
    )
    if not images:
        raise SecondReaderError(
            f"{tree.root}: got {len(cases)} case files and no film, expected {ABOUT.layout}"
        )
    records: list[ImageRecord] = []
    problems: list[Problem] = []
    for path in sorted(cases):
        records += _case(tree, path, images, overlays, problems)
    return records, problems


def _films(paths: list[str]) -> dict[Key, str]:
    """Return (folder, case, film) → file, the richest format where there are several.

    A file stands under its own folder, the one above (``case1141/PNGFiles``), and none at all, for
    conversions that lie apart from their case files.
    """
    found: dict[Key, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        match = _FILM.match(name)
        if match:
            case = f"{match[1]}_{match[2]}_{match[3]}".upper()
            for place in {folder, folder.rpartition("/")[0], ""}:
                found.setdefault((place, case, f"{match[4]}_{match[5]}".upper()), []).append(path)
    return {key: min(here, key=_by_format) for key, here in found.items()}


def _by_format(path: str) -> tuple[int, str]:
    lossless = (".dcm", ".png", ".tif", ".tiff", ".pgm")
    return 0 if path.lower().endswith(lossless) else 1 if _is_packed(path) else 2, path


def _is_packed(path: str) -> bool:
    return path.lower().endswith(".ljpeg")


def _case(
    tree: Tree,
    path: str,
    images: Mapping[Key, str],
    overlays: Mapping[Key, str],
    problems: list[Problem],
) -> list[ImageRecord]:
    folder, _, name = path.rpartition("/")
    case = parse_ics(tree.text(path), path)
    code = (case.name or name[: -len(".ics")]).replace("-", "_").upper()
    markings: dict[str, tuple[Marking, ...]] = {}
    for film in case.films:
        drawn = _near(overlays, folder, code, film.name)
        if drawn:
            markings[film.name] = parse_overlay(tree.text(drawn), drawn)
            for marking in markings[film.name]:
                if marking.pathology not in _PATHOLOGIES or not {*dict(marking.types)} <= {*_KINDS}:
                    raise SecondReaderError(
                        f"{drawn}: got {marking.pathology} {marking.types}, expected pathology of "
                        f"{', '.join(_PATHOLOGIES)} and type of {', '.join(_KINDS)}"
                    )
        elif film.overlay:
            got, remedy = f"no overlay of {film.name}", "fetch it; until then nothing is known"
            problems.append(Problem(path, "missing-overlay", got, "an .OVERLAY file", remedy))
    spacing = _spacing(case, path, problems)
    records = []
    for film in case.films:
        image = _near(images, folder, code, film.name)
        if not image:
            got = f"no image of {film.name}"
            remedy = "fetch it, or convert it again"
            problems.append(Problem(path, "missing-image", got, "LJPEG, PNG or TIFF", remedy))
        elif _fits(tree, image, film, problems):
            known = not film.overlay or film.name in markings
            records.append(_record(image, code, case, film, spacing, markings, known))
    return records


def _near(files: Mapping[Key, str], folder: str, code: str, film: str) -> str | None:
    """Return a case's file from its folder, the folders below it, or anywhere."""
    return files.get((folder, code, film)) or files.get(("", code, film))


def _fits(tree: Tree, image: str, film: FilmLine, problems: list[Problem]) -> bool:
    """Say whether an image has the size that the case file states; note it where it has not."""
    expected = f"{film.rows} x {film.cols}"
    try:
        ref = tree.ref(image)
        size = ddsm_ljpeg.header(ref)[:2] if _is_packed(image) else shape(ref)
        if _is_packed(image) and sorted(size) == sorted((film.rows, film.cols)):
            return True  # swapped in the stream, as some are
        got = f"{size[0]} x {size[1]}"
    except Refused as refused:
        got = refused.reason
    if got != expected:
        remedy = "convert it again, unscaled and uncropped"
        problems.append(Problem(image, "image-misfit", got, expected, remedy))
    return got == expected


def _spacing(case: CaseFile, path: str, problems: list[Problem]) -> float | None:
    """Return the digitiser's pixel pitch in mm; the file's own word decides nothing but a note."""
    spacing = SPACING_MM.get(case.digitizer or "")
    written = {film.resolution_um for film in case.films} - {None}
    if spacing is None:
        known = ", ".join(SPACING_MM)
        remedy = "the pixel pitch stays unknown"
        got = f"digitizer {case.digitizer}"
        problems.append(Problem(path, "unknown-digitizer", got, f"one of {known}", remedy))
    elif any(abs((um or 0) - spacing * 1000) > 0.5 for um in written):
        got = f"RESOLUTION {sorted(map(str, written))} for {case.digitizer}"
        remedy = "the digitiser's is taken"
        problems.append(
            Problem(path, "odd-resolution", got, f"{spacing * 1000:g} µm", remedy, broken=False)
        )
    return spacing


def _record(
    image: str,
    code: str,
    case: CaseFile,
    film: FilmLine,
    spacing: float | None,
    markings: Mapping[str, tuple[Marking, ...]],
    known: bool,
) -> ImageRecord:
    lesions = tuple(_lesions(code, film, markings))
    malignant = any(lesion.pathology is Pathology.MALIGNANT for lesion in lesions)
    unknown = not known or any(lesion.pathology is None for lesion in lesions)
    volume = re.search(r"(normal|cancer|benign_without_callback|benign|bwc)", image.lower())
    digitizer = (case.digitizer or "film").lower()
    extra = {"rows": str(film.rows), "cols": str(film.cols), "bits": str(film.bits)}
    return ImageRecord(
        dataset=NAME,
        path=image,
        patient_id=code.rpartition("_")[0],
        exam_id=code,
        laterality=film.laterality,
        view=film.view,
        spacing_mm=(spacing, spacing) if spacing else None,
        vendor=digitizer,
        density=case.density,
        birads=max((s.birads for s in lesions if s.birads), default=None),
        age=case.age,
        malignant=True if malignant else None if unknown else False,
        lesions=lesions,
        extra=tuple(sorted({**extra, **({"volume": volume[1]} if volume else {})}.items())),
    )


def _lesions(
    code: str, film: FilmLine, markings: Mapping[str, tuple[Marking, ...]]
) -> list[Lesion]:
    """Return the film's lesions, and those that are marked in the breast's other view only."""
    side = "LEFT" if film.laterality is Laterality.L else "RIGHT"
    other = f"{side}_{View.MLO if film.view is View.CC else View.CC}"
    here, there = markings.get(film.name, ()), markings.get(other, ())
    lesions = []
    for marking in here:
        twin = any(_same(marking, candidate) for candidate in there)
        stem = f"{code}-{side if twin else film.name}-{marking.number}"
        lesions += _each_type(marking, stem, marking.outline)
    for marking in there:
        if not any(_same(marking, candidate) for candidate in here):
            lesions += _each_type(marking, f"{code}-{other}-{marking.number}", None)
    return lesions


def _each_type(marking: Marking, stem: str, outline: Polygon | None) -> list[Lesion]:
    types = list(dict(marking.types)) or ["OTHER"]
    return [
        Lesion(
            lesion_id=stem if len(types) == 1 else f"{stem}-{name.lower()}",
            kind=_KINDS[name],
            region=outline,
            visible=outline is not None,
            pathology=_PATHOLOGIES[marking.pathology],
            birads=marking.assessment,
            subtlety=marking.subtlety,
        )
        for name in types
    ]


def _same(a: Marking, b: Marking) -> bool:
    return (a.number, {*dict(a.types)}, a.pathology) == (b.number, {*dict(b.types)}, b.pathology)
