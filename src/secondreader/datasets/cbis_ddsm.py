"""CBIS-DDSM: 3,103 digitised film images of 1,566 women with masses or calcifications, outlined.

Source: The Cancer Imaging Archive, the curated subset of DDSM. Licence: CC BY 3.0, with the
collection's citation. Expected: tables of 1,318 + 378 mass rows and 1,546 + 326 calcification rows
of 691, 201, 602 and 151 patients (the tables themselves); 3,103 full images and 3,568 masks ([1]_
and the tables).

On disk: the four case tables, and DICOM files in folders named after patient, side and view, with
``_1`` and so on for an abnormality's mask and crop. The folders lie below each other as the
archive's downloaders leave them: ``…/<study UID>/<series UID>/000000.dcm``, or
``…/<date>-DDSM-NA-<digits>/1.000000-ROI mask images-<digits>/1-1.dcm``, or the files at once in
the named folder, or in folders named after the series UID alone (the JPEG conversion). All are
told by a folder's name anywhere in the path. Which of an abnormality's two files is the mask is
told by content: a mask is black and white.

A film with masses and calcifications is there twice, once in each pair of tables; with
``tables=both`` it is one record with the lesions of both. Pooled, the owner's parts then share 31
patients and 29 films: ``official`` is refused and ``official-clean`` takes those patients out of
train.

References
----------
.. [1] R. S. Lee et al., "A curated mammography data set for use in computer-aided detection and
   diagnosis research", Scientific Data 4:170177, 2017. doi:10.1038/sdata.2017.177
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from secondreader.datasets.cbis_ddsm_tables import Abnormality, leaks, read_tables
from secondreader.datasets.records import About, Choice, Expected, Problem
from secondreader.datasets.shapes import as_mask, fitted, pixels, shape
from secondreader.datasets.tree import Tree, image_stem
from secondreader.domain import (
    ImageRecord,
    Kind,
    Lesion,
    Mask,
    Part,
    Pathology,
    Refused,
    SecondReaderError,
)

__all__ = ["ABOUT", "NAME", "lesion_names", "scan"]

NAME = "cbis_ddsm"
ABOUT = About(
    title="Curated Breast Imaging Subset of DDSM",
    good_for="masses and calcifications with outlines and biopsy on film, large; no normal women, "
    "no pixel spacing",
    licence="CC BY 3.0; cite the collection and its paper.",
    citation="Lee et al., A curated mammography data set for use in computer-aided detection and "
    "diagnosis research, Sci Data 4:170177, 2017",
    ask="The Cancer Imaging Archive, collection CBIS-DDSM, doi:10.7937/K9/TCIA.2016.7O02S9CY",
    layout="mass_ and calc_case_description_train_set.csv and _test_set.csv, and the DICOM folders",
    expected=(
        Expected("images", 3032, "the tables: 3,103 files, 71 films twice", "tables=both"),
        Expected("images", 1592, "the mass tables", "tables=mass"),
        Expected("images", 1511, "the calcification tables", "tables=calc"),
        Expected("patients", 1566, "Lee et al. 2017, and the tables", "tables=both"),
        Expected("patients", 892, "the mass tables: 691 + 201", "tables=mass"),
        Expected("patients", 753, "the calcification tables: 602 + 151", "tables=calc"),
        Expected("lesions", 3568, "the tables: 1318 + 378 + 1546 + 326 rows", "tables=both"),
        Expected("lesions", 1696, "the mass tables: 1318 + 378 rows", "tables=mass"),
        Expected("lesions", 1872, "the calcification tables: 1546 + 326 rows", "tables=calc"),
    ),
    choices=(
        Choice(
            "tables",
            {
                "both": "mass and calcification tables, a film in both is one record",
                "mass": "the mass tables only",
                "calc": "the calcification tables only",
            },
        ),
        Choice(
            "kinds",
            {
                "type": "mass or calcification, as the abnormality's type says",
                "shape": "distortions and asymmetries among the masses told by their shape",
            },
        ),
    ),
    splits=("official", "official-clean"),
)
_FOLDER = re.compile(
    r"(?:mass|calc)-(?:training|test)_p_\d+_(?:left|right)_[a-z]+(?:_\d+)?", re.IGNORECASE
)
_UID = re.compile(r"[0-9.]{20,64}")


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read the tables, find each row's image, and match masks by content.

    Raises
    ------
    SecondReaderError
        If a table is missing or not as expected, or none of its images is there.
    """
    tables = ("mass", "calc") if choices["tables"] == "both" else (choices["tables"],)
    rows, problems = read_tables(tree, tables)
    problems += _leak_problem(rows)
    files = _by_folder(tree)
    films: dict[tuple[object, ...], list[Abnormality]] = {}
    paths: dict[str, str] = {}
    for row in rows:
        if row.image_name not in paths:
            paths[row.image_name] = _image(row, files)
            if not paths[row.image_name]:
                problems.append(_missing(row.where, row.image, "missing-image"))
        if paths[row.image_name]:
            films.setdefault(row.film, []).append(row)
    if not films:
        raise SecondReaderError(
            f"{tree.root}: got tables of {len(rows)} abnormalities and none of their images, "
            f"expected folders such as {rows[0].image_name}; fetch the DICOM files"
        )
    names, records = lesion_names(rows), []
    for film in films.values():
        for group in _twins(film, paths, tree, problems):
            records.append(_record(group, paths, names, tree, files, problems, choices["kinds"]))
    return records, problems


def lesion_names(rows: Sequence[Abnormality]) -> dict[str, str]:
    """Return row → lesion id; one id for both views where the tables let one know.

    Rows of both views of a breast are one lesion where they have the same number and agree in
    descriptors and pathology.
    """
    groups: dict[tuple[object, ...], list[Abnormality]] = {}
    for row in rows:
        same = (row.patient, row.side, row.table, row.number, row.words, row.pathology)
        groups.setdefault(same, []).append(row)
    names = {}
    for group in groups.values():
        one = len(group) == len({row.view for row in group})
        for row in group:
            name = f"{row.patient}-{row.side}-{row.table}-{row.number}"
            views = "+".join(sorted(r.view for r in group)) if one else f"{row.view}-{row.part}"
            names[row.where] = name if one and len(group) > 1 else f"{name}-{views}"
    return names


def _by_folder(tree: Tree) -> dict[str, list[str]]:
    """Return folder name, or series UID, in lower case → its images."""
    files: dict[str, list[str]] = {}
    for path in tree.image_paths():
        *folders, name = path.lower().split("/")
        keys = {folder for folder in folders if _FOLDER.fullmatch(folder) or _UID.fullmatch(folder)}
        stem = _FOLDER.match(image_stem(name) or "")
        if stem:
            keys.add(stem.group())
        for key in keys:
            files.setdefault(key, []).append(path)
    return files


def _candidates(path: str, folder: str, files: Mapping[str, list[str]]) -> list[str]:
    """Return the images that a table's path may mean: by series UID, else by named folder."""
    parts = path.lower().split("/")
    series = parts[-2] if len(parts) > 1 else ""
    return files.get(series) or files.get(folder.lower()) or []


def _image(row: Abnormality, files: Mapping[str, list[str]]) -> str:
    found = _candidates(row.image, row.image_name, files)
    return found[0] if found else ""


def _twins(
    film: list[Abnormality], paths: Mapping[str, str], tree: Tree, problems: list[Problem]
) -> list[list[Abnormality]]:
    """Return the film's rows in one group, or one a file where its two files differ in size."""
    by_file: dict[str, list[Abnormality]] = {}
    for row in film:
        by_file.setdefault(row.image_name, []).append(row)
    if len(by_file) == 1:
        return [film]
    try:
        shapes = {shape(tree.ref(paths[name])) for name in by_file}
    except Refused as refused:
        problems.append(_unreadable(paths[film[0].image_name], refused))
        shapes = set()
    if len(shapes) == 1:
        return [film]
    got = f"two files of one film of {len(shapes)} sizes"
    remedy = "they stay two records; fetch them again"
    problems.append(Problem(film[0].where, "twin-misfit", got, "one size", remedy))
    return list(by_file.values())


def _record(
    rows: list[Abnormality],
    paths: Mapping[str, str],
    names: Mapping[str, str],
    tree: Tree,
    files: Mapping[str, list[str]],
    problems: list[Problem],
    kinds: str,
) -> ImageRecord:
    first = rows[0]
    path = paths[first.image_name]
    try:
        size = shape(tree.ref(path))
    except Refused as refused:
        problems.append(_unreadable(path, refused))
        size = None
    lesions = tuple(
        Lesion(
            lesion_id=names[row.where],
            kind=_kind(row, kinds),
            region=_region(row, path, size, tree, files, problems) if size else None,
            pathology=row.pathology,
            birads=row.birads,
            subtlety=row.subtlety,
        )
        for row in rows
    )
    parts = {row.part for row in rows}
    extra = {"words": " ".join("/".join(row.words) for row in rows)}
    if size:
        extra |= {"rows": str(size[0]), "cols": str(size[1])}
    twins = {paths[row.image_name] for row in rows} - {path}
    if twins:
        extra["twin"] = min(twins)
    return ImageRecord(
        dataset=NAME,
        path=path,
        patient_id=first.patient,
        exam_id=first.patient,
        part=Part.TEST if len(parts) > 1 else first.part,
        laterality=first.side,
        view=first.view,
        vendor="film",
        density=next((row.density for row in rows if row.density), None),
        birads=max(row.birads for row in rows),
        malignant=any(row.pathology is Pathology.MALIGNANT for row in rows),
        lesions=lesions,
        extra=tuple(sorted(extra.items())),
    )


def _kind(row: Abnormality, kinds: str) -> Kind:
    if row.table == "calc":
        return Kind.CALCIFICATION_CLUSTER
    if kinds == "shape" and row.words[0] == "ARCHITECTURAL_DISTORTION":
        return Kind.ARCHITECTURAL_DISTORTION
    if kinds == "shape" and row.words[0] in (
        "ASYMMETRIC_BREAST_TISSUE",
        "FOCAL_ASYMMETRIC_DENSITY",
    ):
        return Kind.ASYMMETRY
    return Kind.MASS


def _region(
    row: Abnormality,
    image: str,
    size: tuple[int, int],
    tree: Tree,
    files: Mapping[str, list[str]],
    problems: list[Problem],
) -> Mask | None:
    """Return the mask of a row, told from its crop by content."""
    folder = f"{row.image_name}_{row.number}"
    found = {*_candidates(row.roi, folder, files), *_candidates(row.crop, folder, files)} - {image}
    misfit = ""
    # The one of the image's size first: then the other, the crop, need not be decoded.
    for path in sorted(found, key=lambda path: (_size(tree, path) != size, path)):
        tree.read.add(path)
        try:
            white = as_mask(pixels(tree.ref(path)))
        except Refused as refused:
            problems.append(_unreadable(path, refused))
            continue
        mask = None if white is None else fitted(white, size)
        if mask is not None:
            return mask
        if white is not None:
            misfit = f"mask of {white.shape[0]} x {white.shape[1]}, image of {size[0]} x {size[1]}"
    if misfit:
        remedy = "the lesion counts and has no place; fetch mask and image again"
        problems.append(Problem(row.where, "mask-misfit", misfit, "one size or one shape", remedy))
    else:
        problems.append(_missing(row.where, row.roi, "missing-mask"))
    return None


def _size(tree: Tree, path: str) -> tuple[int, int] | None:
    try:
        return shape(tree.ref(path))
    except Refused:
        return None  # told when its pixels are asked for


def _leak_problem(rows: Sequence[Abnormality]) -> list[Problem]:
    patients, films = leaks(rows)
    if not patients:
        return []
    got = f"{len(patients)} patients and {len(films)} films in train and test"
    remedy = "use --split official-clean; official is refused"
    return [Problem("mass and calc tables", "official-leak", got, "none", remedy, broken=False)]


def _missing(where: str, path: str, code: str) -> Problem:
    folder = path.partition("/")[0]
    return Problem(where, code, f"no file for {folder}", "a DICOM file", "fetch it again")


def _unreadable(path: str, refused: Refused) -> Problem:
    return Problem(path, "unreadable", refused.reason, "an image", "fetch it again")
