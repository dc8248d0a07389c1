"""What is not a mammogram to be read as such, each with its code; every one can be accepted."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from secondreader.domain import Refused
from secondreader.formats.dicom_view import modifiers_of

__all__ = ["refuse"]

_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
_MAGNIFIED = 1.2
"""A contact view magnifies by 1.0 to 1.1; a magnification view by 1.5 or more."""


def refuse(ds: Dataset, accept: frozenset[str]) -> None:
    """Refuse what is not read unless its code is accepted.

    Raises
    ------
    Refused
        With the first code that is not accepted.
    """
    for code, what in _reasons(ds):
        if code not in accept:
            raise Refused(code, f"{what} (--accept {code})")


def _reasons(ds: Dataset) -> Iterator[tuple[str, str]]:
    kind = [str(part).upper() for part in ds.get("ImageType") or []]
    words = set(kind)
    modality = str(ds.get("Modality", "") or "")
    uid = str(ds.get("SOPClassUID", ""))
    if modality != "MG":
        yield "other-modality", f"got modality {modality[:16] or 'unknown'}, expected MG"
    if uid.startswith(_SECONDARY) and modality != "MG":
        yield "secondary-capture", "a Secondary Capture image that is no digitised mammogram"
    if str(ds.get("BurnedInAnnotation", "")).upper() == "YES":
        yield "burned-in", "text is burned into the pixels"
    if words & {"QC", "QUALITY_CONTROL", "PHANTOM"} or str(
        ds.get("QualityControlImage", "")
    ).upper() in ("YES", "BOTH"):
        yield "quality-control", "a quality-control or phantom image"
    modifiers = modifiers_of(ds)
    if _is_specimen(ds, words):
        yield "specimen", "an image of a specimen"
    yield from _spot(ds, modifiers)
    if _is_raw_tomosynthesis(ds, uid, words):
        yield "tomosynthesis", "a tomosynthesis stack or projection, no 2-D image"
    implant = str(ds.get("BreastImplantPresent", "")).upper() == "YES"
    if implant and codes.CID4015.ImplantDisplaced not in modifiers:
        yield "implant", "an implant that is not displaced"


def _spot(ds: Dataset, modifiers: list[Code]) -> Iterator[tuple[str, str]]:
    for code in (codes.CID4015.Magnification, codes.CID4015.SpotCompression):
        if code in modifiers:
            yield "spot-view", f"a view with {code.meaning.lower()}"
            return
    try:
        factor = float(ds.get("EstimatedRadiographicMagnificationFactor") or 1)
    except (TypeError, ValueError):
        factor = 1.0
    if factor > _MAGNIFIED:
        yield "spot-view", f"a magnification view, factor {factor:g}"


def _is_specimen(ds: Dataset, words: set[str]) -> bool:
    specimen = codes.CID4014.TissueSpecimenFromBreast
    views = ds.get("ViewCodeSequence") or []
    coded = any(str(item.get("CodeValue", "")) in (specimen.value, "G-8310") for item in views)
    return coded or "SPECIMEN" in words or bool(ds.get("SpecimenDescriptionSequence"))


def _is_raw_tomosynthesis(ds: Dataset, uid: str, words: set[str]) -> bool:
    """Several frames, or a projection; a 2-D image made from a stack is one frame and is read."""
    if words & {"TOMO_PROJ", "TOMO", "TOMOSYNTHESIS"} and not words & {
        "GENERATED_2D",
        "SYNTHESIZED",
    }:
        return True
    frames = int(ds.get("NumberOfFrames") or 1)
    return frames > 1 or (uid == _TOMOSYNTHESIS and "GENERATED_2D" not in words and frames != 1)
