"""What the pixels of data sets say: unreadable files, lesions outside, copies, sides and views."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from secondreader import imaging
from secondreader.datasets.image_set import FileImages
from secondreader.datasets.records import Records
from secondreader.datasets.verdict import Finding, State
from secondreader.domain import (
    ImageRecord,
    Laterality,
    Mammogram,
    Refused,
    SecondReaderError,
    View,
)
from secondreader.geometry import bounding_box

__all__ = ["Looked", "look", "looked_at"]

_WIDE, _NARROW = 0.6, 0.25  # of the largest width, at the upper edge: MLO over 0.4, CC under 0.25


@dataclass(frozen=True, slots=True)
class Looked:
    """What one image came to.

    Parameters
    ----------
    record
        The image's.
    content, pixels
        SHA-256 of the file's bytes and of the decoded pixels; empty where it cannot be read.
    refused
        Why it cannot be read.
    outside
        Ids of lesions whose centre lies outside the image; ``size`` where the image is not of the
        size that the data set states.
    wall
        The side of the chest wall.
    oblique
        Whether the breast looks as in an oblique view (wide at the upper edge), ``None`` when unsure.
    said
        Where the file's own side or view differs from the data set's.
    """

    record: ImageRecord
    content: str
    pixels: str
    refused: str = ""
    outside: tuple[str, ...] = ()
    wall: str | None = None
    oblique: bool | None = None
    said: str = ""


def look(images: FileImages, record: ImageRecord) -> Looked:
    """Decode one image and look at it; whatever is wrong with it is told, never raised."""
    content = ""
    try:
        with images.ref(record).open() as stream:
            digest = hashlib.sha256()
            while block := stream.read(2**20):
                digest.update(block)
        content = digest.hexdigest()
        said = images.said(record)
    except (Refused, SecondReaderError) as error:
        return Looked(record, content, "", refused=str(error))
    except Exception as error:  # one broken file must not hide the state of the others
        return Looked(record, content, "", refused=f"{type(error).__name__} while decoding")
    pixels = said.pixels
    values = np.ascontiguousarray(pixels)
    mask = imaging.breast_mask(pixels, record.spacing_mm or said.spacing_mm)
    return Looked(
        record,
        content,
        hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest(),
        outside=tuple(_outside(record, pixels.shape)),
        wall=imaging.chest_wall(mask) if mask.any() else None,
        oblique=_looks_oblique(mask),
        said=_contradiction(record, said),
    )


def _looks_oblique(mask: np.ndarray) -> bool | None:
    """Say whether a breast is as wide at its upper end as the pectoral muscle makes it in MLO."""
    widths = mask.sum(axis=1)
    rows = np.flatnonzero(widths)
    if rows.size == 0:
        return None
    edge = max(1, rows.size // 50)
    upper, lower = (float(widths[end].mean() / widths.max()) for end in (rows[:edge], rows[-edge:]))
    if upper > _WIDE and lower < _WIDE / 2:
        return True
    return False if upper < _NARROW and lower < _WIDE else None


def _outside(record: ImageRecord, shape: tuple[int, ...]) -> Iterator[str]:
    for lesion in record.lesions:
        if lesion.region is not None:
            box = bounding_box(lesion.region)
            row, col = (box.row0 + box.row1) / 2, (box.col0 + box.col1) / 2
            if not (-0.5 <= row <= shape[0] - 0.5 and -0.5 <= col <= shape[1] - 0.5):
                yield lesion.lesion_id
    extra = dict(record.extra)
    if "rows" in extra and (extra["rows"], extra["cols"]) != (str(shape[0]), str(shape[1])):
        yield "size"


def _contradiction(record: ImageRecord, said: Mammogram) -> str:
    """Say where the file's own side or view differs from the table's."""
    view = said.view
    if record.dataset == "inbreast" and view is View.ML:
        view = View.MLO  # as its table has what its files call ML
    pairs = ((said.laterality, record.laterality), (view, record.view))
    return ", ".join(
        f"{there} in the file, {here} in the table"
        for there, here in pairs
        if there and here and there != here
    )


def looked_at(sources: Sequence[Records], looked: Sequence[Looked]) -> Iterator[Finding]:
    """Yield what the images of data sets came to, each set alone, then all together."""
    for source in sources:
        own = [image for image in looked if image.record.dataset == source.dataset]
        name = source.dataset
        refused = [image for image in own if image.refused]
        first = refused[0].refused if refused else ""
        yield _finding(
            name,
            "readable images",
            refused,
            f"{len(own) - len(refused)}",
            first,
            f"{len(own)}",
            "fetch these files again",
        )
        outside = [image for image in own if image.outside]
        yield _finding(
            name,
            "lesions inside their image",
            outside,
            f"{len(outside)} outside",
            "",
            "0 outside",
            "the images were resized or cropped: fetch or convert them again",
        )
        said = [image for image in own if image.said]
        yield _finding(
            name,
            "side and view as the file says",
            said,
            f"{len(said)} differ",
            said[0].said if said else "",
            "0 differ",
            "look at these files and the table",
        )
        yield _walls(name, own)
        yield _views(name, own)
    yield from _twice(sources, looked)


def _finding(
    dataset: str,
    check: str,
    bad: Sequence[Looked],
    got: str,
    first: str,
    expected: str,
    remedy: str,
    state: State = "broken",
) -> Finding:
    return Finding(
        dataset,
        check,
        state if bad else "ok",
        f"{got}; first: {first}" if first else got,
        expected,
        remedy if bad else "",
        len(bad),
        tuple(image.record.path for image in bad),
    )


def _walls(dataset: str, own: Sequence[Looked]) -> Finding:
    """Compare the side of the chest wall with the set's habit.

    Sets are flipped whole or not at all, so the side that most right breasts show, together with
    the opposite of what most left ones show, is the set's habit; an image against it is mirrored or
    of the other breast.
    """
    opposite = {"left": "right", "right": "left"}
    known = [image for image in own if image.wall and image.record.laterality]

    def as_right(image: Looked) -> str:
        wall = str(image.wall)
        return wall if image.record.laterality is Laterality.R else opposite[wall]

    habit = Counter(as_right(image) for image in known).most_common(1)
    against = [image for image in known if as_right(image) != habit[0][0]] if habit else []
    told = f"{len(against)} of {len(known)} against"
    expected = f"right breasts with the chest wall on the {habit[0][0]}" if habit else "a breast"
    remedy = "mirrored, or the other breast: look at them"
    # A film whose chest wall was misjudged is no broken file; a person decides.
    return _finding(
        dataset, "side by its chest wall", against, told, "", expected, remedy, state="note"
    )


def _views(dataset: str, own: Sequence[Looked]) -> Finding:
    """Compare CC and MLO with the breast's width at its upper end."""
    oblique = {View.CC: False, View.MLO: True}
    known = [image for image in own if image.oblique is not None and image.record.view in oblique]
    against = [
        image
        for image in known
        if image.record.view and image.oblique != oblique[image.record.view]
    ]
    told = f"{len(against)} of {len(known)} against"
    expected = "MLO wide at the upper edge, CC narrow"
    remedy = "turned, mirrored or of the other view: look at them"
    return _finding(
        dataset, "view by its outline", against, told, "", expected, remedy, state="note"
    )


def _twice(sources: Sequence[Records], looked: Sequence[Looked]) -> Iterator[Finding]:
    groups: dict[str, list[Looked]] = {}
    for image in looked:
        if image.pixels:
            groups.setdefault(image.pixels, []).append(image)
    same = [group for group in groups.values() if len(group) > 1]
    names = ", ".join(source.dataset for source in sources)

    def women(group: Iterable[Looked]) -> set[tuple[str, str]]:
        return {(image.record.dataset, image.record.patient_id) for image in group}

    within = [group for group in same if len(women(group)) == 1]
    across = [group for group in same if len(women(group)) > 1]
    kept = [g for g in across if len({image.record.dataset for image in g}) == 1]
    sets = [g for g in across if len({image.record.dataset for image in g}) > 1]
    for check, found, remedy in (
        ("one image twice", within, "keep one of each"),
        ("one image of two patients", kept, "one woman has two ids: keep one, or join them"),
        ("one image in two sets", sets, "keep it in one set; no split keeps it apart"),
    ):
        if check == "one image in two sets" and len(sources) < 2:
            continue
        copies = [image for group in found for image in group]
        by_bytes = sum(len({image.content for image in group}) == 1 for group in found)
        first = " = ".join(image.record.path for image in found[0]) if found else ""
        told = f"{len(found)} ({by_bytes} by their bytes, all by their pixels)" if found else "0"
        yield _finding(names, check, copies, told, first, "0", remedy)
