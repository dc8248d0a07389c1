"""Which breast, which view: what the tags say, checked against one another and the pixels.

View: ViewCodeSequence (CID 4014, SRT or SCT codes), then ViewPosition. ``ML`` is not ``MLO``.
Laterality: ImageLaterality, then Laterality.

Three checks, each a ``contradiction`` when it fails:

- both laterality tags, where both speak;
- the row direction of PatientOrientation (A or P) says on which side the chest wall lies, and the
  pixels must agree; where it says nothing, a left breast has its chest wall on the image's left, as
  mammograms are hung, unless FieldOfViewHorizontalFlip tells of a mirror image;
- the column direction runs to medial in CC, and feet go with medial in oblique views: toward the
  right of a left breast. A letter of the other side belongs to the other breast.
"""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from secondreader import imaging
from secondreader.domain import Laterality, Refused, Step, View

__all__ = ["laterality_of", "modifiers_of", "refuse_contradictions", "view_of"]

_4014 = codes.CID4014
_VIEWS = (
    (_4014.MedioLateralProjection, View.ML),
    (_4014.MedioLateralObliqueProjection, View.MLO),
    (_4014.LateroMedial, View.LM),
    (_4014.LateroMedialOblique, View.LMO),
    (_4014.CranioCaudal, View.CC),
    (_4014.CaudoCranial, View.FB),
    (_4014.SuperolateralToInferomedialOblique, View.SIO),
    (_4014.InferomedialToSuperolateralOblique, View.ISO),
    (Code("Y-X1770", "SRT", "cranio-caudal exaggerated"), View.XCC),
    (_4014.CranioCaudalExaggeratedLaterally, View.XCCL),
    (Code("Y-X1771", "SRT", "cranio-caudal exaggerated laterally"), View.XCCL),
    (_4014.CranioCaudalExaggeratedMedially, View.XCCM),
    (Code("Y-X1772", "SRT", "cranio-caudal exaggerated medially"), View.XCCM),
)
_CC_LIKE = frozenset({View.CC, View.XCC, View.XCCL, View.XCCM})
_OBLIQUE = frozenset({View.MLO})


def view_of(ds: Dataset) -> tuple[View | None, Step]:
    """Return the view, and where it was read."""
    items = ds.get("ViewCodeSequence") or []
    for item in items[:1]:
        # Codes are equal across SRT and SCT, but their hashes differ: no dictionary look-up.
        view = next((view for code, view in _VIEWS if code == _code(item)), None)
        if view is not None:
            extra = ", ".join(code.meaning for code in modifiers_of(ds))
            detail = f"{view}{f' ({extra})' if extra else ''}"
            return view, Step("view", detail, "ViewCodeSequence (0054,0220)")
    position = str(ds.get("ViewPosition", "") or "").strip().upper()
    if position in View.__members__:
        return View(position), Step("view", position, "ViewPosition (0018,5101)")
    return None, Step("view", "unknown", "")


def modifiers_of(ds: Dataset) -> list[Code]:
    """Return the view's modifiers (CID 4015), in SNOMED CT where they are known."""
    known = [getattr(codes.CID4015, name) for name in codes.CID4015.dir()]
    found = []
    for view in (ds.get("ViewCodeSequence") or [])[:1]:
        for item in view.get("ViewModifierCodeSequence") or []:
            code = _code(item)
            found.append(next((k for k in known if k == code), code))
    return found


def laterality_of(ds: Dataset) -> tuple[Laterality | None, Step]:
    """Return the laterality, and where it was read; ``B`` (both) and nonsense are unknown."""
    for name, origin in (
        ("ImageLaterality", "ImageLaterality (0020,0062)"),
        ("Laterality", "Laterality (0020,0060)"),
    ):
        value = str(ds.get(name, "") or "").strip().upper()
        if value in Laterality.__members__:
            return Laterality(value), Step("laterality", value, origin)
    return None, Step("laterality", "unknown", "")


def refuse_contradictions(
    ds: Dataset, laterality: Laterality | None, view: View | None, pixels: np.ndarray
) -> Step:
    """Check the tags against one another and the pixels.

    Raises
    ------
    Refused
        ``contradiction``.
    """
    other = str(ds.get("Laterality", "") or "").strip().upper()
    if laterality is not None and other in Laterality.__members__ and other != laterality:
        _contradiction(f"ImageLaterality {laterality}, but Laterality {other}")
    along, down = _orientation(ds)
    told = {"A": "left", "P": "right"}.get(_only(along, "AP"))
    belongs = _breast_of(down, view)
    if laterality is not None and belongs is not None and belongs != laterality:
        _contradiction(
            f"laterality {laterality}, but PatientOrientation {along}\\{down} of a {view} view "
            f"is that of a breast {belongs}"
        )
    if told is None and laterality is not None and ds.get("FieldOfViewHorizontalFlip") != "YES":
        told = "left" if laterality is Laterality.L else "right"
    elif told is not None and belongs is None and laterality is not None:
        hung = "left" if laterality is Laterality.L else "right"
        if told != hung and ds.get("FieldOfViewHorizontalFlip") != "YES":
            _contradiction(
                f"laterality {laterality}, but PatientOrientation {along}\\{down} puts the chest "
                f"wall on the image's {told}"
            )
    seen = imaging.chest_wall(imaging.breast_mask(pixels))
    if told is not None and seen is not None and told != seen:
        _contradiction(
            f"by its tags the chest wall lies on the image's {told}, in the pixels on its {seen}"
        )
    detail = f"tags: chest wall {told or 'unknown'}; pixels: {seen or 'unsure'}"
    return Step("side", detail, "PatientOrientation (0020,0020)" if along else "hanging convention")


def _code(item: Dataset) -> Code:
    return Code(
        str(item.get("CodeValue", "")),
        str(item.get("CodingSchemeDesignator", "")),
        str(item.get("CodeMeaning", "")),
    )


def _orientation(ds: Dataset) -> tuple[str, str]:
    """Return the two directions; CBIS-DDSM writes the view there, which is none."""
    value = ds.get("PatientOrientation")
    parts = [str(p).strip().upper() for p in value] if value and not isinstance(value, str) else []
    if len(parts) != 2 or any(set(part) - set("AHFLRP") for part in parts):
        return "", ""
    return parts[0], parts[1]


def _only(letters: str, wanted: str) -> str:
    """Return the first of the wanted letters in a direction (its main ones come first)."""
    return next((letter for letter in letters if letter in wanted), "")


def _breast_of(down: str, view: View | None) -> Laterality | None:
    """Tell the breast from the column direction, None where it does not say."""
    side = _only(down, "LR")
    foot = _only(down, "HF")
    if not side or view not in _CC_LIKE | _OBLIQUE or (view in _OBLIQUE and not foot):
        return None
    medial_is_right = (side == "R") != (view in _OBLIQUE and foot == "H")
    return Laterality.L if medial_is_right else Laterality.R


def _contradiction(what: str) -> None:
    raise Refused("contradiction", f"{what}; expected them to agree (--accept contradiction)")
