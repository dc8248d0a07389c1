r"""What file and folder names say: laterality, view, exam, patient.

A name is cut into words at everything that is no letter or digit. It speaks of a view where a side
(``L``, ``R``, ``LT``, ``RT``, ``LEFT``, ``RIGHT``) and a projection stand next to each other
(``0_L-CC``, ``1_R_CC``, ``LEFT_MLO``, ``CC_R``) or as one word (``LCC``, ``rmlo``); failing that,
``LEFT``, ``RIGHT``, ``CC`` and ``MLO`` speak for themselves. Letters inside words never count
(``mdb001lm``), and a name that says two different things says nothing.

Two data sets have ways of their own:

- INbreast, ``20586908_6c613a14b80a8591_MG_R_CC_ANON``: the hash is the woman, and ``ML`` is how it
  writes MLO. Nowhere else is ``ML`` taken for ``MLO``.
- CBIS-DDSM, ``Mass-Training_P_00001_LEFT_CC`` (and ``…_CC_1`` for its crops and masks), mostly as
  the name of a folder; ``P_00001`` is the woman.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from secondreader.domain import Laterality, View

__all__ = ["Name", "data_set_name", "parse"]

_SUFFIXES = {".png", ".pgm", ".pnm", ".ppm", ".tif", ".tiff", ".jpg", ".jpeg", ".dcm", ".dicom"}
_SIDES = {
    "L": Laterality.L, "LT": Laterality.L, "LEFT": Laterality.L,
    "R": Laterality.R, "RT": Laterality.R, "RIGHT": Laterality.R,
}  # fmt: skip
_JOINED = re.compile(r"(L|R|LT|RT|LEFT|RIGHT)(CC|MLO|ML|LM|LMO|XCC|XCCL|XCCM)\d?")
_WORD = re.compile(r"[A-Za-z0-9]+")
_INBREAST = re.compile(r"(\d{6,10})_([0-9a-f]{16})_MG_([LR])_(CC|ML|MLO)_ANON", re.IGNORECASE)
_CBIS = re.compile(
    r"((?:mass|calc)-(?:training|test)_(p_\d{5}))_(left|right)_(cc|mlo)(?:_\d+)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Name:
    """What a path says.

    Parameters
    ----------
    exam
        The folder, and the name without the part that tells the view: images of one exam that lie
        together share it. A name that tells no view stands for an exam of its own.
    patient
        Where a data set's way of naming tells it.
    laterality, view
        ``None`` where the path does not say.
    rule
        Which way of naming was recognised, in words; empty if none.
    """

    exam: str
    patient: str | None = None
    laterality: Laterality | None = None
    view: View | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """What one part of a path says, and what is left of it without that."""

    rest: str
    laterality: Laterality | None = None
    view: View | None = None
    patient: str | None = None
    rule: str = ""

    @property
    def whole(self) -> bool:
        return self.laterality is not None and self.view is not None


def parse(path: str, root: str = "") -> Name:
    """Read laterality, view, exam and patient from a path.

    Parameters
    ----------
    path
        From the input, with forward slashes; ``a.zip!/b.png`` in a ZIP.
    root
        The name of the folder that `path` starts from.

    Notes
    -----
    The file's own name comes first; where it says nothing, the nearest folder that names both side
    and projection speaks for all images in it.
    """
    *folders, name = path.replace("!/", "/").split("/")
    stem = _stem(name)
    said = _read(stem)
    if said.laterality is None and said.view is None:
        for depth in range(len(folders), -1, -1):
            outer = _read(folders[depth - 1] if depth else root)
            if outer.whole:
                return _named(outer, folders[: max(depth - 1, 0)], stem)
    return _named(said, folders, "" if folders else root or stem)


def data_set_name(path: str, root: str = "") -> Name | None:
    """Return what `parse` does, where INbreast's or CBIS-DDSM's way of naming is recognised.

    Their DICOM files do not state the view, and nobody else names files like that.
    """
    name = parse(path, root)
    return name if name.patient else None


def _inbreast(stem: str) -> _Said | None:
    match = _INBREAST.fullmatch(stem)
    if match is None:
        return None
    _, patient, side, view = match.groups()
    view = "MLO" if view.upper() == "ML" else view.upper()
    return _Said(
        patient, Laterality(side.upper()), View(view), patient,
        "INbreast's way of naming, which writes ML for MLO",
    )  # fmt: skip


def _read(part: str) -> _Said:
    known = _inbreast(part)
    if known is not None:
        return known
    match = _CBIS.fullmatch(part)
    if match is not None:
        exam, patient, side, view = match.groups()
        return _Said(
            exam, _SIDES[side.upper()], View(view.upper()), patient.upper(),
            "CBIS-DDSM's way of naming",
        )  # fmt: skip
    words = list(_WORD.finditer(part))
    return _pair(part, words) or _lone(part, words)


def _pair(part: str, words: list[re.Match[str]]) -> _Said | None:
    """Find a side and a projection as one word or as neighbours."""
    found: dict[tuple[Laterality, View], tuple[int, int]] = {}
    for word in words:
        joined = _JOINED.fullmatch(word.group().upper())
        if joined:
            found[_SIDES[joined[1]], View(joined[2])] = word.span()
    for first, second in pairwise(words):
        for side, view in ((first, second), (second, first)):
            if side.group().upper() in _SIDES and view.group().upper() in View.__members__:
                meant = (_SIDES[side.group().upper()], View(view.group().upper()))
                found[meant] = (first.start(), second.end())
    if not found:
        return None
    sides, views = _alone(words)
    sides |= {side for side, _ in found}
    views |= {view for _, view in found}
    if len(sides) > 1 or len(views) > 1:
        return _Said(part)
    ((laterality, projection), span), *_ = found.items()
    return _Said(_without(part, [span]), laterality, projection, None, "the name")


def _lone(part: str, words: list[re.Match[str]]) -> _Said:
    """Find words that say a side or a projection by themselves."""
    sides, views = _alone(words)
    if len(sides) > 1 or len(views) > 1 or not (sides or views):
        return _Said(part)
    rest = _without(part, [word.span() for word in words if any(_alone([word]))])
    return _Said(rest, next(iter(sides), None), next(iter(views), None), None, "the name")


def _alone(words: list[re.Match[str]]) -> tuple[set[Laterality], set[View]]:
    """Return the sides and projections of words that mean nothing else (a lone ``R`` may)."""
    said = [word.group() for word in words]
    sides = {_SIDES[word.upper()] for word in said if word.upper() in ("LEFT", "RIGHT")}
    return sides, {View(word.upper()) for word in said if word in ("CC", "MLO", "mlo")}


def _without(part: str, spans: list[tuple[int, int]]) -> str:
    """Take the words at `spans` out, and a short number behind them: a second image of the view."""
    before = re.sub(r"[^A-Za-z0-9]+$", "", part[: spans[0][0]])
    after = re.sub(r"^[^A-Za-z0-9]+", "", part[spans[-1][1] :])
    between = [part[end:start].strip("_-. ") for (_, end), (start, _) in pairwise(spans)]
    if re.search(r"\d", before) and re.fullmatch(r"\d{1,2}", after):
        after = ""
    return "_".join(filter(None, [before, *between, after]))


def _named(said: _Said, folders: list[str], otherwise: str) -> Name:
    """Name the exam: folders, and what is left of the name, or `otherwise` if nothing is."""
    exam = "/".join(filter(None, [*folders, said.rest or otherwise]))
    return Name(exam, said.patient, said.laterality, said.view, said.rule)


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in _SUFFIXES else name
