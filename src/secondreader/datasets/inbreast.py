"""INbreast: 410 digital images of 115 exams, masses, clusters and calcifications drawn one by one.

Source: the Breast Research Group, INESC Porto. Licence: for research, on request to its owners.
Expected: 410 images, 115 cases, 116 masses and 6,880 calcifications ([1]_).

On disk: ``AllDICOMs/20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm`` (image number, the woman's hash,
side, view), ``AllXML/20586908.xml`` (outlines, see `secondreader.datasets.inbreast_xml`; no file:
nothing drawn), ``INbreast.csv`` with semicolons (or ``.xlsx``; the ``.xls`` must be saved as CSV).
Images may be conversions to PNG of any size: outlines are carried over by the size of the source,
4084 x 3328 or 3328 x 2560, told by its shape. ``ML`` in a file's name is MLO in the table, and MLO
it is. The detector's pixels are 70 µm.

The set states BI-RADS, no biopsy: ``malignant`` stays unknown unless ``birads=shen`` is chosen.

References
----------
.. [1] I. C. Moreira et al., "INbreast: toward a full-field digital mammographic database",
   Academic Radiology 19(2):236-248, 2012. doi:10.1016/j.acra.2011.09.014
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from secondreader.datasets.inbreast_xml import Outline, kind_of, parse_outlines
from secondreader.datasets.records import About, Choice, Expected, Problem
from secondreader.datasets.rows import RowRead, laterality, read_rows
from secondreader.datasets.shapes import shape
from secondreader.datasets.tree import Tree
from secondreader.domain import (
    ImageRecord,
    Kind,
    Lesion,
    Point,
    Polygon,
    Refused,
    SecondReaderError,
    View,
)
from secondreader.geometry import centre, contains, diameter

__all__ = ["ABOUT", "NAME", "SOURCE_SHAPES", "scan"]

NAME = "inbreast"
ABOUT = About(
    title="INbreast",
    good_for="single microcalcifications, clusters and masses on digital images; small, BI-RADS only",
    licence="For research only, on request; not to be passed on.",
    citation="Moreira et al., INbreast: toward a full-field digital mammographic database, "
    "Acad Radiol 19(2):236-248, 2012",
    ask="Breast Research Group, INESC TEC, Porto",
    layout="AllDICOMs, AllXML and INbreast.csv",
    expected=(
        Expected("images", 410, "Moreira et al. 2012", "birads=none"),
        Expected("mass", 116, "Moreira et al. 2012", "birads=none"),
        Expected("microcalcification", 6880, "Moreira et al. 2012", "birads=none"),
    ),
    choices=(
        Choice(
            "birads",
            {
                "none": "BI-RADS says nothing of malignancy",
                "shen": "BI-RADS 1-2 negative, 4-6 positive, 3 left out (Shen et al. 2019)",
            },
        ),
        Choice(
            "calcifications",
            {
                "all": "calcifications of every size",
                "zhang": "single calcifications over 1 mm are of no kind: neither to be found nor "
                "false alarms (Zhang et al. 2019)",
            },
        ),
    ),
    splits=("inbreast-3-1-1",),
)
SPACING_MM = 0.07
SOURCE_SHAPES = ((4084, 3328), (3328, 2560))
"""(rows, cols) of the detector's two fields."""
_FILE = re.compile(r"(\d{6,10})(?:_([0-9a-f]{6,})_MG_([LR])_([A-Z]+)(?:_ANON)?)?", re.IGNORECASE)
_COLUMNS = ("laterality", "view", "file_name", "acr", "bi-rads")
_VIEWS = {"CC": View.CC, "MLO": View.MLO, "ML": View.MLO, "FB": View.FB}
_BIRADS = ("0", "1", "2", "3", "4", "4a", "4b", "4c", "5", "6")
_OVER_MM = 1.0


def scan(tree: Tree, choices: Mapping[str, str]) -> tuple[list[ImageRecord], list[Problem]]:
    """Read the table and the outlines, and match images to them.

    Raises
    ------
    SecondReaderError
        If there is no table, a column or class is not as expected, or no image is there.
    """
    rows = {
        row["file_name"].removesuffix(".0"): row for row in read_rows(tree, _table(tree), _COLUMNS)
    }
    images: dict[str, list[tuple[str, re.Match[str]]]] = {}
    for path in tree.image_paths():
        name = path.rpartition("/")[2]
        match = _FILE.fullmatch(name.rpartition(".")[0])
        if match:
            images.setdefault(match[1], []).append((path, match))
    known = sorted(images.keys() & rows.keys())
    if not known:
        raise SecondReaderError(
            f"{tree.root}: got a table of {len(rows)} images and none of them, expected "
            "AllDICOMs/20586908_…_MG_R_CC_ANON.dcm and so on (or PNG under those names)"
        )
    problems = [
        Problem(rows[n].where, "missing-image", f"no image {n}", "a DICOM or PNG file", "fetch it")
        for n in sorted(rows.keys() - images.keys())
        if n.isdigit()
    ]
    for number in sorted(images.keys() - rows.keys()):
        got, remedy = f"no row {number}", "take the owner's table whole"
        problems.append(Problem(images[number][0][0], "missing-row", got, "one row", remedy))
    records = []
    for number in known:
        path, match = min(
            images[number], key=lambda image: tree.images(_stem(image[0])).index(image[0])
        )
        record = _record(tree, path, match, rows[number], choices, problems)
        if record is not None:
            records.append(record)
    return records, problems


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _table(tree: Tree) -> str:
    for suffix in (".csv", ".xlsx", ".xls"):
        found = tree.named(f"INbreast{suffix}")
        if found:
            return found[0]
    raise SecondReaderError(f"{tree.root}: got no INbreast.csv, expected {ABOUT.layout}")


def _record(
    tree: Tree,
    path: str,
    match: re.Match[str],
    row: RowRead,
    choices: Mapping[str, str],
    problems: list[Problem],
) -> ImageRecord | None:
    birads = row["bi-rads"].lower().removesuffix(".0")
    if row["view"].upper() not in _VIEWS or birads not in _BIRADS:
        raise SecondReaderError(
            f"{row.where}: got view {row['view']!r} and BI-RADS {row['bi-rads']!r}, expected "
            f"{', '.join(_VIEWS)} and {', '.join(_BIRADS)}; fetch the table again"
        )
    side, view = laterality(row, "laterality"), _VIEWS[row["view"].upper()]
    if match[3] and (match[3].upper(), _VIEWS.get(match[4].upper())) != (side.value, view):
        got, remedy = f"{match[3]} {match[4]} in the file's name", "the table's is taken"
        problems.append(Problem(path, "contradiction", got, f"{side} {view}", remedy))
    if choices["birads"] == "shen" and birads == "3":
        got = "BI-RADS 3"
        remedy = "left out, as birads=shen asks"
        problems.append(Problem(row.where, "left-out", got, "1, 2, 4, 5, 6", remedy, broken=False))
        return None
    patient = match[2].lower() if match[2] else f"image-{match[1]}"
    if not match[2]:
        got, remedy = "no hash of the woman in its name", "keep the owner's file names"
        problems.append(Problem(path, "unknown-patient", got, "number_hash_MG_R_CC", remedy))
    source, scale = _source(tree, path, problems)
    lesions = _lesions(tree, match[1], choices["calcifications"], problems) if source else ()
    spacing = None
    if source and scale:
        lesions = tuple(_scaled(lesion, scale) for lesion in lesions)
        spacing = (SPACING_MM / scale[0], SPACING_MM / scale[1])
    malignant = {"1": False, "2": False, "0": None, "3": None}.get(birads, True)
    size = (
        {}
        if not (source and scale)
        else {
            "rows": str(round(source[0] * scale[0])),
            "cols": str(round(source[1] * scale[1])),
        }
    )
    return ImageRecord(
        dataset=NAME,
        path=path,
        patient_id=patient,
        exam_id=f"{patient}-{row['acquisition_date']}",
        laterality=side,
        view=view,
        spacing_mm=spacing,
        vendor="siemens",
        density=row["acr"].removesuffix(".0") or None,
        birads=birads,
        malignant=malignant if choices["birads"] == "shen" else None,
        lesions=lesions,
        extra=tuple(sorted(size.items())),
    )


def _source(
    tree: Tree, path: str, problems: list[Problem]
) -> tuple[tuple[int, int] | None, tuple[float, float] | None]:
    """Return the source's (rows, cols) and the image's scale from it; ``None`` where unknown."""
    try:
        rows, cols = shape(tree.ref(path))
    except Refused as refused:
        problems.append(Problem(path, "unreadable", refused.reason, "an image", "fetch it again"))
        return None, None
    if (rows, cols) in SOURCE_SHAPES:
        return (rows, cols), (1.0, 1.0)
    for source in SOURCE_SHAPES:
        # One pixel of rounding on either side is no other shape.
        low, high = (rows - 1) / (cols + 1), (rows + 1) / max(cols - 1, 1)
        if low <= source[0] / source[1] <= high:
            return source, (rows / source[0], cols / source[1])
    got = f"{rows} x {cols}"
    expected = "the shape of 4084 x 3328 or 3328 x 2560"
    remedy = "convert it again, uncropped and keeping its shape; its lesions have no place"
    problems.append(Problem(path, "image-misfit", got, expected, remedy))
    return None, None


def _lesions(tree: Tree, number: str, rule: str, problems: list[Problem]) -> tuple[Lesion, ...]:
    files = tree.named(f"{number}.xml")
    if not files:
        return ()  # nothing was drawn on it
    outlines = parse_outlines(tree.content(files[0]), files[0])
    lesions = [_lesion(number, i, outline) for i, outline in enumerate(outlines, 1)]
    for outline, lesion in zip(outlines, lesions, strict=True):
        if lesion.kind is None:
            got, remedy = f"an outline {outline.name!r}", "it is kept, of no known kind"
            problems.append(
                Problem(files[0], "unknown-kind", got, "Mass, Calcification, …", remedy, False)
            )
    clusters = [s for s in lesions if s.kind is Kind.CALCIFICATION_CLUSTER and s.region]
    return tuple(_placed(lesion, clusters, rule) for lesion in lesions)


def _lesion(number: str, order: int, outline: Outline) -> Lesion:
    return Lesion(f"{number}-{order}", kind_of(outline.name), outline.region, visible=True)


def _placed(lesion: Lesion, clusters: list[Lesion], rule: str) -> Lesion:
    """Put a calcification into the cluster around it, and apply the rule on its size."""
    if lesion.kind is not Kind.MICROCALCIFICATION or lesion.region is None:
        return lesion
    row, col = centre(lesion.region)
    around = [c for c in clusters if c.region is not None and contains(c.region, row, col)]
    over = diameter(lesion.region) * SPACING_MM > _OVER_MM
    return replace(
        lesion,
        part_of=around[0].lesion_id if around else None,
        kind=None if over and rule == "zhang" else lesion.kind,
    )


def _scaled(lesion: Lesion, scale: tuple[float, float]) -> Lesion:
    """Carry a lesion to an image of another scale; outer corners stay on outer corners."""
    if scale == (1.0, 1.0):
        return lesion

    def carried(row: float, col: float) -> tuple[float, float]:
        return (row + 0.5) * scale[0] - 0.5, (col + 0.5) * scale[1] - 0.5

    match lesion.region:
        case Point(row, col):
            return replace(lesion, region=Point(*carried(row, col)))
        case Polygon(points):
            return replace(lesion, region=Polygon(tuple(carried(*point) for point in points)))
    return lesion
