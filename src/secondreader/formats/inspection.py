"""What ``secondreader inspect`` tells of a file: fit for a bug report, no name, id or date in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from secondreader.domain import Laterality, Mammogram, Refused, Step, View
from secondreader.formats.source import FileRef, Header, ReadOptions

__all__ = ["ACCEPTABLE", "Inspection", "Refusal", "inspected"]

ACCEPTABLE = frozenset(
    {
        "burned-in",
        "contradiction",
        "for-presentation",
        "for-processing",
        "implant",
        "other-modality",
        "quality-control",
        "secondary-capture",
        "specimen",
        "spot-view",
        "tomosynthesis",
        "unlike-training",
    }
)
"""The codes under which images are refused unless the user accepts them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason not to read a file; `acceptable` ones can be accepted, `accepted` ones were."""

    code: str
    reason: str
    acceptable: bool
    accepted: bool


@dataclass(frozen=True, slots=True)
class Breast:
    """Where the breast lies: its share of the image, and the side that the chest wall cuts off."""

    area_fraction: float
    chest_wall: str | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """One file, from stored values to mammogram.

    ``path`` is shown as it was given. Where the file cannot be decoded, what would have come from
    its pixels is ``None``. ``refusals`` holds every reason to refuse it, in the order of the
    checks. ``identifiers`` is filled only where asked for.
    """

    path: str
    read: bool
    refusals: tuple[Refusal, ...]
    format: str | None = None
    rows: int | None = None
    cols: int | None = None
    spacing_mm: tuple[float, float] | None = None
    laterality: Laterality | None = None
    view: View | None = None
    intent: str | None = None
    vendor: str | None = None
    model: str | None = None
    bits: int | None = None
    lossy: bool | None = None
    voi: str | None = None
    breast: Breast | None = None
    steps: tuple[Step, ...] = ()
    identifiers: tuple[tuple[str, str | None], ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; without ``identifiers`` unless they were asked for."""
        plain = asdict(self)
        if self.identifiers is None:
            del plain["identifiers"]
        else:
            plain["identifiers"] = dict(self.identifiers)
        return plain


def inspected(
    ref: FileRef,
    options: ReadOptions,
    decode: Callable[[FileRef, ReadOptions], Mammogram],
    header: Header | None,
) -> Inspection:
    """Decode a file, accepting one reason to refuse it after the other until it reads.

    Parameters
    ----------
    ref, options
        The file, and what the user says of it.
    decode
        Makes the mammogram, or raises `Refused`.
    header
        The file's ids, where they may be shown.
    """
    mammogram, refusals = _tried(ref, options, decode)
    identifiers = None if header is None else _identifiers(header)
    read = mammogram is not None and all(refusal.accepted for refusal in refusals)
    if mammogram is None:
        return Inspection(ref.path, read, refusals, identifiers=identifiers)
    source = mammogram.source
    return Inspection(
        path=ref.path,
        read=read,
        refusals=refusals,
        format=source.format,
        rows=mammogram.pixels.shape[0],
        cols=mammogram.pixels.shape[1],
        spacing_mm=mammogram.spacing_mm,
        laterality=mammogram.laterality,
        view=mammogram.view,
        intent=source.intent.value if source.intent else None,
        vendor=source.vendor,
        model=source.model,
        bits=source.bits,
        lossy=source.lossy,
        voi=source.voi,
        breast=_breast(mammogram),
        steps=source.steps,
        identifiers=identifiers,
    )


def _tried(
    ref: FileRef, options: ReadOptions, decode: Callable[[FileRef, ReadOptions], Mammogram]
) -> tuple[Mammogram | None, tuple[Refusal, ...]]:
    accepted: frozenset[str] = frozenset()
    refusals: list[Refusal] = []
    while True:
        try:
            mammogram = decode(ref, replace(options, accept=accepted))
        except Refused as refused:
            acceptable = refused.code in ACCEPTABLE and refused.code not in accepted
            refusals.append(
                Refusal(refused.code, refused.reason, acceptable, refused.code in options.accept)
            )
            if not acceptable:
                return None, tuple(refusals)
            accepted |= {refused.code}
        else:
            return mammogram, tuple(refusals)


def _breast(mammogram: Mammogram) -> Breast:
    from secondreader import imaging

    mask = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    return Breast(float(mask.mean()), imaging.chest_wall(mask))


def _identifiers(header: Header) -> tuple[tuple[str, str | None], ...]:
    return (
        ("exam_id", header.exam_id),
        ("patient_id", header.patient_id),
        ("study_uid", header.study_uid),
        ("sop_uid", header.sop_uid),
    )
