"""What is there of a data set, what is broken, and what to do about it.

Counts against the owner's, files that are missing or cannot be read, lesions outside their image,
one image twice (by its bytes and by its pixels, across women and across sets), sides and views that
contradict the pixels or the file, women in two parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from secondreader.datasets import about
from secondreader.datasets.image_set import FileImages
from secondreader.datasets.parts import leaking_patients
from secondreader.datasets.records import Problem, Records
from secondreader.datasets.verdict import Finding, Verdict
from secondreader.datasets.verify_pixels import look, looked_at
from secondreader.domain import Part

__all__ = ["Finding", "Verdict", "verify"]


def verify(
    sources: Sequence[Records],
    *,
    images: FileImages | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verdict:
    """Check data sets, each alone and against each other.

    Parameters
    ----------
    sources
        Freshly scanned records, one data set each.
    images
        Their images, to decode every one; without them, what needs pixels is not looked at.
    progress
        Called with images done and in all.
    """
    findings = [finding for source in sources for finding in _alone(source)]
    if images is not None:
        looked = []
        for done, record in enumerate(images.records, 1):
            looked.append(look(images, record))
            progress(done, len(images.records))
        findings += looked_at(sources, looked)
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
        remedy = ""
        if missing > 0:
            remedy = f"{missing} missing: fetch the rest, or say that figures are of a part"
        elif missing < 0:
            remedy = "more than the owner counts: look for copies"
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
