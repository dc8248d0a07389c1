"""What is there of a data set, what is broken, and what to do about it.

Counts against the owner's, files that are missing or cannot be read, lesions outside their image,
one image twice (by its bytes and by its pixels, across women and across sets), sides and views that
contradict the pixels or the file, women in two parts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from secondreader import imaging
from secondreader.datasets import about
from secondreader.datasets.image_set import FileImages, image_set
from secondreader.datasets.parts import leaking_patients
from secondreader.datasets.records import Problem, Records
from secondreader.domain import ImageRecord, Laterality, Mammogram, Part, Refused, SecondReaderError
from secondreader.geometry import bounding_box

__all__ = ["Finding", "Verdict", "verify"]

State = Literal["ok", "note", "broken"]
_SHOWN = 20  # files named in a row of the table; the JSON names them all


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a verdict.

    Parameters
    ----------
    dataset, check
        Which set, and what was looked at.
    state
        ``ok``, ``note`` (an oddity that costs nothing but this line) or ``broken``.
    got, expected, remedy
        What is there, what should be, what to do.
    count
        How many files or rows.
    files
        All of them.
    """

    dataset: str
    check: str
    state: State
    got: str
    expected: str
    remedy: str = ""
    count: int = 0
    files: tuple[str, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """Return set, state, check, got, expected, remedy and the first files, for a table."""
        shown = ", ".join(self.files[:_SHOWN])
        more = len(self.files) - _SHOWN
        files = f"{shown} and {more} more" if more > 0 else shown
        return self.dataset, self.state, self.check, self.got, self.expected, self.remedy, files


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, what is broken first; ``sets`` is (data set, root, choices, fingerprint)."""

    sets: tuple[tuple[str, str, tuple[tuple[str, str], ...], str], ...]
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> bool:
        """Whether anything is broken: the command line exits with 1."""
        return any(finding.state == "broken" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        sets = [
            {"dataset": name, "root": root, "choices": dict(choices), "fingerprint": fingerprint}
            for name, root, choices, fingerprint in self.sets
        ]
        found = [asdict(finding) | {"files": list(finding.files)} for finding in self.findings]
        return {"sets": sets, "broken": self.broken, "findings": found}


@dataclass(frozen=True, slots=True)
class _Looked:
    """What one image came to."""

    record: ImageRecord
    content: str
    pixels: str
    refused: str = ""
    outside: tuple[str, ...] = ()
    wall: str | None = None
    said: str = ""


def verify(
    sources: Sequence[Records],
    *,
    decode: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verdict:
    """Check data sets, each alone and against each other.

    Parameters
    ----------
    sources
        Freshly scanned records, one data set each.
    decode
        Decode every image; without it, what needs pixels is not looked at.
    progress
        Called with images done and in all.
    """
    findings = [finding for source in sources for finding in _alone(source)]
    if decode:
        images = image_set(sources)
        looked = []
        for done, record in enumerate(images.records, 1):
            looked.append(_look(images, record))
            progress(done, len(images.records))
        findings += _looked_at(sources, looked)
    order = {"broken": 0, "note": 1, "ok": 2}
    return Verdict(
        tuple((s.dataset, s.root, s.choices, s.fingerprint) for s in sources),
        tuple(sorted(findings, key=lambda finding: order[finding.state])),
    )


# ----------------------------------------------------------------------------- without pixels


def _alone(source: Records) -> Iterator[Finding]:
    yield from _counts(source)
    groups: dict[tuple[str, bool], list[Problem]] = {}
    for problem in source.problems:
        groups.setdefault((problem.code, problem.broken), []).append(problem)
    for (code, broken), problems in groups.items():
        first = problems[0]
        got = first.got if len(problems) == 1 else f"{len(problems)} times, first: {first.got}"
        yield Finding(
            source.dataset,
            code.replace("-", " "),
            "broken" if broken else "note",
            got,
            first.expected,
            first.remedy,
            len(problems),
            tuple(problem.file for problem in problems),
        )
    yield from _leaks(source)


def _counts(source: Records) -> Iterator[Finding]:
    records = source.records
    lesions = [lesion for record in records for lesion in record.lesions]
    counted = Counter(str(lesion.kind) for lesion in lesions if lesion.kind)
    counted |= Counter(
        {
            "images": len(records),
            "patients": len({record.patient_id for record in records}),
            "lesions": len(lesions),
            "images without a finding": sum(not record.lesions for record in records),
            "malignant images": sum(record.malignant is True for record in records),
        }
    )
    choices = {f"{name}={value}" for name, value in source.choices}
    for expected in about(source.dataset).expected:
        if expected.only and expected.only not in choices:
            continue
        got = counted[expected.what]
        missing = expected.count - got
        remedy = (
            ""
            if not missing
            else (
                f"{missing} missing: fetch the rest, or say in your figures that they are of a part"
                if missing > 0
                else "more than the owner counts: look for copies"
            )
        )
        yield Finding(
            source.dataset,
            expected.what,
            "broken" if missing else "ok",
            str(got),
            f"{expected.count} ({expected.source})",
            remedy,
            abs(missing),
        )


def _leaks(source: Records) -> Iterator[Finding]:
    parts = {part: [r for r in source.records if r.part is part] for part in Part}
    if not any(parts.values()):
        return
    shared = leaking_patients(parts)
    yield Finding(
        source.dataset,
        "patients in two parts",
        # Where the owner's own parts leak, there is a split that does not, and `official` refuses.
        "note" if shared else "ok",
        str(len(shared)),
        "0",
        "use --split official-clean" if shared else "",
        len(shared),
        tuple(sorted(r.path for r in source.records if (r.dataset, r.patient_id) in shared)),
    )


# -------------------------------------------------------------------------------- with pixels


def _look(images: FileImages, record: ImageRecord) -> _Looked:
    content = ""
    try:
        with images.ref(record).open() as stream:
            digest = hashlib.sha256()
            while block := stream.read(2**20):
                digest.update(block)
        content = digest.hexdigest()
        said = images.said(record)
    except (Refused, SecondReaderError) as error:
        return _Looked(record, content, "", refused=str(error))
    except Exception as error:  # one broken file must not hide the state of the others
        return _Looked(record, content, "", refused=f"{type(error).__name__} while decoding")
    pixels = said.pixels
    values = np.ascontiguousarray(pixels)
    mask = imaging.breast_mask(pixels, record.spacing_mm or said.spacing_mm)
    return _Looked(
        record,
        content,
        hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest(),
        outside=tuple(_outside(record, pixels.shape)),
        wall=imaging.chest_wall(mask) if mask.any() else None,
        said=_contradiction(record, said),
    )


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
    pairs = ((said.laterality, record.laterality), (said.view, record.view))
    return ", ".join(
        f"{there} in the file, {here} in the table"
        for there, here in pairs
        if there and here and there != here
    )


def _looked_at(sources: Sequence[Records], looked: Sequence[_Looked]) -> Iterator[Finding]:
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
    yield from _twice(sources, looked)


def _finding(
    dataset: str,
    check: str,
    bad: Sequence[_Looked],
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


def _walls(dataset: str, own: Sequence[_Looked]) -> Finding:
    """Compare the side of the chest wall with the set's habit.

    Sets are flipped whole or not at all, so the side that most right breasts show, together with
    the opposite of what most left ones show, is the set's habit; an image against it is mirrored or
    of the other breast.
    """
    opposite = {"left": "right", "right": "left"}
    known = [image for image in own if image.wall and image.record.laterality]

    def as_right(image: _Looked) -> str:
        wall = str(image.wall)
        return wall if image.record.laterality is Laterality.R else opposite[wall]

    habit = Counter(as_right(image) for image in known).most_common(1)
    against = [image for image in known if as_right(image) != habit[0][0]] if habit else []
    told = f"{len(against)} of {len(known)} against"
    expected = f"right breasts with the chest wall on the {habit[0][0]}" if habit else "a breast"
    remedy = "mirrored, or the other breast: look at them"
    # A film whose chest wall was misjudged is no broken file; a person decides.
    return _finding(dataset, "chest wall", against, told, "", expected, remedy, state="note")


def _twice(sources: Sequence[Records], looked: Sequence[_Looked]) -> Iterator[Finding]:
    groups: dict[str, list[_Looked]] = {}
    for image in looked:
        if image.pixels:
            groups.setdefault(image.pixels, []).append(image)
    same = [group for group in groups.values() if len(group) > 1]
    names = ", ".join(source.dataset for source in sources)

    def women(group: Iterable[_Looked]) -> set[tuple[str, str]]:
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
