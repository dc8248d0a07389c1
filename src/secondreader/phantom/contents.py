"""What a woman has: where lesions lie in her breasts, and where a view cannot show them.

References
----------
Bent, Bassett et al.: see `secondreader.phantom.lesions` for predictive values. Shares of kinds among
screen-detected cancers follow Venkatesan et al., "Positive predictive value of specific mammographic
findings", Radiology 250 (2009): masses most, then calcifications, asymmetry, distortion.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np

from secondreader.domain import Kind, Pathology, View
from secondreader.phantom.anatomy import Breast, Woman
from secondreader.phantom.lesions import Abnormality, draw, draw_benign_calcification
from secondreader.phantom.projection import BEHIND_MM, project
from secondreader.phantom.tissue import expected_share, from_skin_mm

__all__ = ["Contents", "populate", "textured", "visible"]


class Contents(StrEnum):
    """What an exam holds. Benign calcifications that call for nothing may lie in any."""

    NORMAL = "normal"
    BENIGN = "benign"
    MALIGNANT = "malignant"


_KINDS = {  # shares among lesions that are looked at, malignant and benign
    Kind.MASS: (0.46, 0.48),
    Kind.CALCIFICATION_CLUSTER: (0.38, 0.40),
    Kind.ARCHITECTURAL_DISTORTION: (0.08, 0.03),
    Kind.ASYMMETRY: (0.08, 0.09),
}
_UNEVEN = (0.5, 1.3)
_SMALLER = {Kind.MASS: (0.6, 1.0), Kind.ASYMMETRY: (0.4, 0.7)}  # of its radius
_BEHIND = 0.06  # of lesions lie so far back that only MLO shows them
_LEAST_CONTRAST = (
    0.35  # of the spread of parenchyma around it: less, and a mass is hidden in a view
)


def populate(
    rng: np.random.Generator, woman: Woman, contents: Contents, conspicuity_scale: float = 1.0
) -> Woman:
    """Give a woman lesions.

    Malignant: one malignant lesion, in every fourth a second one in the same breast, and in every
    third a benign one. Benign: one benign lesion, in every fourth two. In 30 % of all women (more
    with age) lie calcifications that are benign at sight.

    Parameters
    ----------
    rng
        Its state decides everything.
    woman
        Without lesions.
    contents
        What she has.
    conspicuity_scale
        Multiplies the conspicuity of every lesion; 1 is the phantom's own distribution.
    """
    malignant = contents is Contents.MALIGNANT
    wanted: list[tuple[int, Pathology]] = []
    side = int(rng.integers(2))
    if malignant:
        wanted += [(side, Pathology.MALIGNANT)] * (1 + int(rng.random() < 0.25))
    if contents is Contents.BENIGN or (malignant and rng.random() < 1 / 3):
        for _ in range(1 + int(rng.random() < 0.25)):
            wanted.append((int(rng.integers(2)), Pathology.BENIGN))
    found: tuple[list[Abnormality], list[Abnormality]] = ([], [])
    for number, (breast, pathology) in enumerate(wanted, 1):
        kind = _kind(rng, pathology)
        body = woman.breasts[breast]
        name = f"{body.laterality}-{kind.value.replace('_', '-')}-{number}"
        lesion = draw(
            rng, kind, pathology, _place(rng, body), name, conspicuity_scale=conspicuity_scale
        )
        found[breast].append(_inwards(body, lesion))
    for breast, body in enumerate(woman.breasts):
        for number in range(int(rng.poisson(0.18 + 0.012 * (woman.age - 45)))):
            name = f"{body.laterality}-calcification-{number + 1}"
            found[breast].append(draw_benign_calcification(rng, _place(rng, body), name))
    right, left = (
        replace(body, abnormalities=tuple(lesions))
        for body, lesions in zip(woman.breasts, found, strict=True)
    )
    return replace(woman, breasts=(right, left))


def textured(woman: Woman) -> Woman:
    """Return a woman whose soft lesions are what films show: uneven, of no less contrast and smaller.

    The first three anatomies have smooth ones. What else is drawn for her stays as it is.
    """

    def changed(lesion: Abnormality) -> Abnormality:
        rng = np.random.default_rng((lesion.seed, 17))  # its own stream
        share = float(rng.uniform(*_SMALLER.get(lesion.kind, (1.0, 1.0))))
        return replace(
            lesion,
            uneven=float(rng.uniform(*_UNEVEN)),
            radius_mm=lesion.radius_mm * share,
            conspicuity=lesion.conspicuity / share,
        )

    right, left = (
        replace(body, abnormalities=tuple(map(changed, body.abnormalities)))
        for body in woman.breasts
    )
    return replace(woman, breasts=(right, left))


def visible(breast: Breast, lesion: Abnormality, view: View, soft_mm: float) -> bool:
    """Say whether a view shows a lesion: it lies in the field, and parenchyma does not hide it.

    Parameters
    ----------
    breast, lesion, view
        Which.
    soft_mm
        The most soft tissue that the lesion adds along a beam, 0 for calcifications, which
        parenchyma does not hide.
    """
    down, x = project(np.array([lesion.place_mm]), view)[0]
    behind = 0.0 if view is View.CC else BEHIND_MM
    if x < -behind or from_skin_mm(breast, view, float(down), float(x)) < 0:
        return False
    if soft_mm <= 0:
        return True
    share = expected_share(breast, view, float(down), float(x))
    spread_mm = breast.thickness_mm * 0.5 * np.sqrt(share * (1 - share))
    # What a lesion stands out against is fat; among glands only its own excess is left.
    excess = soft_mm * (1 - 0.8 * share)
    return bool(excess >= _LEAST_CONTRAST * spread_mm)


def _kind(rng: np.random.Generator, pathology: Pathology) -> Kind:
    column = 0 if pathology is Pathology.MALIGNANT else 1
    shares = np.array([shares[column] for shares in _KINDS.values()])
    return list(_KINDS)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _place(rng: np.random.Generator, breast: Breast) -> tuple[float, float, float]:
    """Draw a place in the parenchyma, 8 mm or more from the skin in both views."""
    low = -BEHIND_MM + 4 if rng.random() < _BEHIND else 3.0
    high = 0.0 if low < 0 else 0.9 * breast.depth_mm
    # Wider than the parenchyma itself: many lesions lie at its border.
    spread = np.array([0.32 * breast.depth_mm, 0.40 * breast.half_mm, 0.40 * breast.half_mm])
    place = np.array(breast.centre_mm)
    for _ in range(200):
        place = np.array(breast.centre_mm) + rng.normal(0, 1, 3) * spread
        place[0] = rng.uniform(low, high) if low < 0 else place[0]
        if low <= place[0] <= high and _least_depth(breast, place) > 8:
            break
    return float(place[0]), float(place[1]), float(place[2])


def _inwards(breast: Breast, lesion: Abnormality) -> Abnormality:
    """Move a large lesion so far in that it does not reach through the skin."""
    place = np.array(lesion.place_mm)
    centre = np.array([place[0], *breast.centre_mm[1:]])
    for _ in range(20):
        if _least_depth(breast, place) > 0.6 * lesion.radius_mm + 3:
            break
        place = place + 0.15 * (centre - place) - np.array([1.5, 0, 0]) * (place[0] > 10)
    return replace(lesion, place_mm=(float(place[0]), float(place[1]), float(place[2])))


def _least_depth(breast: Breast, place: np.ndarray) -> float:
    depths = []
    for view in (View.CC, View.MLO):
        down, x = project(place[None], view)[0]
        depths.append(from_skin_mm(breast, view, float(down), float(x)))
    return min(depths)
