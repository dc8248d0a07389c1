"""Lesions: what they are called, how often they are cancer, how far they stand out, and their truth.

An abnormality is a short description; its shape in any view follows from its seed, so that both
views of a breast show the same lesion.

References
----------
BI-RADS Atlas, 5th edition (2013), sections on calcifications and masses, for positive predictive
values of morphology (amorphous 21 %, coarse heterogeneous 13 %, fine pleomorphic 29 %, fine linear
70 %) and distribution (grouped 31 %, linear 60 %, segmental 62 %). Liberman et al., "The Breast
Imaging Reporting and Data System: positive predictive value of mammographic features and final
assessment categories", AJR 171 (1998): spiculated 81 %, irregular and indistinct about 45 %.
Venkatesan et al., Radiology 250 (2009): distortion 60 % at diagnosis, asymmetry 7 to 13 %.
Punctate, lobulated and circumscribed are called rarely malignant there; 8, 20 and 5 % are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import spatial

from secondreader import geometry
from secondreader.domain import Kind, Mask, Pathology, Point, Polygon, Region, View
from secondreader.phantom.calcifications import BENIGN, benign_grains, cluster_grains
from secondreader.phantom.grains import Grains, render
from secondreader.phantom.masses import soft_patch

__all__ = [
    "CONSPICUITY",
    "PREDICTIVE",
    "Abnormality",
    "Layers",
    "Truth",
    "draw",
    "draw_benign_calcification",
    "layers",
    "mirrored",
]

# Descriptor → share among lesions that are biopsied, and the fraction of those that is malignant.
PREDICTIVE: dict[Kind, dict[str, tuple[float, float]]] = {
    Kind.CALCIFICATION_CLUSTER: {
        "fine-pleomorphic": (0.30, 0.29),
        "amorphous": (0.25, 0.21),
        "coarse-heterogeneous": (0.15, 0.13),
        "punctate": (0.20, 0.08),
        "fine-linear-branching": (0.10, 0.70),
    },
    Kind.MASS: {
        "circumscribed": (0.35, 0.05),
        "lobulated": (0.20, 0.20),
        "ill-defined": (0.30, 0.45),
        "spiculated": (0.15, 0.81),
    },
    Kind.ARCHITECTURAL_DISTORTION: {"distortion": (1.0, 0.60)},
    Kind.ASYMMETRY: {"asymmetry": (1.0, 0.10)},
}
_SPREAD = {"grouped": (0.75, 0.31), "linear": (0.12, 0.60), "segmental": (0.13, 0.62)}

CONSPICUITY: dict[Kind, tuple[float, float]] = {
    Kind.CALCIFICATION_CLUSTER: (1.25, 0.55),
    Kind.MICROCALCIFICATION: (1.0, 0.25),
    Kind.MASS: (2.7, 0.5),
    Kind.ARCHITECTURAL_DISTORTION: (1.3, 0.40),
    Kind.ASYMMETRY: (1.2, 0.40),
}
"""Median and spread (of the logarithm) of the lognormal that conspicuity is drawn from, by kind."""


@dataclass(frozen=True, slots=True)
class Abnormality:
    """What is there, in breast coordinates; everything seen of it follows from this.

    Parameters
    ----------
    lesion_id, kind, pathology
        As in the truth. Calcifications that are benign at sight are of kind microcalcification.
    descriptor
        Morphology, or morphology and distribution of a cluster: ``"amorphous/grouped"``.
    place_mm, radius_mm
        Its middle (x, y, z), and about how far it reaches.
    conspicuity
        Multiplies its path lengths: 1 is what its size and matter say.
    oxalate
        Whether its mineral is calcium oxalate (never malignant), else hydroxyapatite.
    seed
        Of its shape.
    uneven
        How uneven soft tissue and its outline are; 0: smooth.
    """

    lesion_id: str
    kind: Kind
    descriptor: str
    pathology: Pathology
    place_mm: tuple[float, float, float]
    radius_mm: float
    conspicuity: float
    oxalate: bool
    seed: int
    uneven: float = 0.0


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a lesion, or of one calcification, in one view.

    ``region`` is in pixels of the image; ``diameter_mm`` that of a disc of the same area.
    """

    lesion_id: str
    kind: Kind
    pathology: Pathology
    descriptor: str
    diameter_mm: float
    region: Region
    part_of: str | None = None
    visible: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class Layers:
    """What a lesion adds along the beam: patches whose first pixel is (row0, col0) of the image.

    Parameters
    ----------
    row0, col0
        May lie outside of the image.
    soft_mm
        (rows, cols) float32, mm of carcinoma-like tissue in the place of what lies there.
    mineral_mm
        (rows, cols) float32, mm of calcification.
    oxalate
        What the mineral is.
    pull_mm
        (2, rows, cols) float32 or ``None``: from where tissue was pulled to each pixel.
    truth
        The lesion, then its parts.
    excess
        The share of the soft tissue that is contrast alone: what lies before and behind stays to be seen.
    """

    row0: int
    col0: int
    soft_mm: np.ndarray
    mineral_mm: np.ndarray
    oxalate: bool
    pull_mm: np.ndarray | None
    truth: tuple[Truth, ...]
    excess: float = 0.0


def draw(
    rng: np.random.Generator,
    kind: Kind,
    pathology: Pathology,
    place_mm: tuple[float, float, float],
    lesion_id: str,
    *,
    conspicuity_scale: float = 1.0,
) -> Abnormality:
    """Draw a lesion of a kind; its descriptor by Bayes' rule from what descriptors predict.

    Parameters
    ----------
    rng
        Its state decides everything.
    kind, pathology, place_mm, lesion_id
        What, and where its middle lies.
    conspicuity_scale
        Multiplies the drawn conspicuity.
    """
    malignant = pathology is Pathology.MALIGNANT
    name = _drawn(rng, PREDICTIVE[kind], malignant)
    match kind:
        case Kind.CALCIFICATION_CLUSTER:
            name = f"{name}/{_drawn(rng, _SPREAD, malignant)}"
            radius = float(np.clip(rng.lognormal(np.log(4.5), 0.4), 2, 14))
            radius *= 2.2 if name.endswith(("linear", "segmental")) else 1.0
        case Kind.MASS:
            radius = float(np.clip(rng.lognormal(np.log(9.0 if malignant else 8.0), 0.4), 2.5, 24))
        case Kind.ARCHITECTURAL_DISTORTION:
            radius = float(rng.uniform(6, 14))
        case _:
            radius = float(rng.uniform(8, 18))
    median, spread = CONSPICUITY[kind]
    return Abnormality(
        lesion_id=lesion_id,
        kind=kind,
        descriptor=name,
        pathology=pathology,
        place_mm=place_mm,
        radius_mm=radius,
        conspicuity=float(rng.lognormal(np.log(median), spread)) * conspicuity_scale,
        # Oxalate is seen in benign disease only (Frappart et al., Hum. Pathol. 15 (1984)).
        oxalate=bool(not malignant and rng.random() < 0.3),
        seed=int(rng.integers(2**31)),
    )


def draw_benign_calcification(
    rng: np.random.Generator, place_mm: tuple[float, float, float], lesion_id: str
) -> Abnormality:
    """Draw calcifications that are benign at sight and fool detectors."""
    shares = np.array([0.3, 0.12, 0.08, 0.14, 0.14, 0.04, 0.18])
    name = BENIGN[int(rng.choice(len(BENIGN), p=shares))]
    median, spread = CONSPICUITY[Kind.MICROCALCIFICATION]
    return Abnormality(
        lesion_id=lesion_id,
        kind=Kind.MICROCALCIFICATION,
        descriptor=name,
        pathology=Pathology.BENIGN_WITHOUT_CALLBACK,
        place_mm=place_mm,
        radius_mm=6.0,
        conspicuity=float(rng.lognormal(np.log(median), spread)),
        oxalate=False,
        seed=int(rng.integers(2**31)),
    )


def layers(lesion: Abnormality, view: View, pitch_mm: float, centre: tuple[float, float]) -> Layers:
    """Render a lesion onto the pixel grid of one view.

    Parameters
    ----------
    lesion
        What.
    view, pitch_mm
        The grid, hung with the chest wall on the left.
    centre
        Image (row, col) of the lesion's place.
    """
    if lesion.kind in (Kind.CALCIFICATION_CLUSTER, Kind.MICROCALCIFICATION):
        return _mineral(lesion, view, pitch_mm, centre)
    soft, pull = soft_patch(
        lesion.seed, lesion.descriptor, lesion.radius_mm, view, pitch_mm, lesion.uneven
    )
    half = soft.shape[0] // 2
    # The patch's middle pixel stands for the lesion's place: moved by the rest of a pixel.
    row0, col0 = round(centre[0]) - half, round(centre[1]) - half
    soft = np.maximum(soft * np.float32(lesion.conspicuity), 0)
    seen = soft >= 0.2 * float(soft.max())
    if lesion.kind is Kind.ARCHITECTURAL_DISTORTION:
        r, c = np.indices(soft.shape) - half
        seen = np.hypot(r, c) * pitch_mm <= lesion.radius_mm
    truth = Truth(
        lesion.lesion_id,
        lesion.kind,
        lesion.pathology,
        lesion.descriptor,
        _diameter(int(seen.sum()), pitch_mm),
        _mask(seen, row0, col0),
    )
    excess = max(1 - 1 / lesion.conspicuity, 0.0) if lesion.uneven else 0.0
    return Layers(row0, col0, soft, np.zeros_like(soft), False, pull, (truth,), excess)


def mirrored(truth: Truth, shape: tuple[int, int]) -> Truth:
    """Return a truth as the image of ``shape``, mirrored left and right, shows it."""
    frame = geometry.flip_cols(geometry.identity(shape))
    return replace(truth, region=geometry.move(truth.region, frame, to="grid"))


def _mineral(
    lesion: Abnormality, view: View, pitch_mm: float, centre: tuple[float, float]
) -> Layers:
    path, owner, row0, col0 = render(_grains(lesion), view, pitch_mm, centre)
    path *= np.float32(lesion.conspicuity)
    cluster = lesion.kind is Kind.CALCIFICATION_CLUSTER
    parts: list[Truth] = []
    numbers = [int(n) for n in np.unique(owner) if n >= 0]
    for number in numbers:
        seen = (owner == number) & (path > 0.1 * float(path[owner == number].max()))
        parts.append(
            Truth(
                f"{lesion.lesion_id}-{number + 1}"
                if cluster or len(numbers) > 1
                else lesion.lesion_id,
                Kind.MICROCALCIFICATION,
                lesion.pathology,
                lesion.descriptor,
                _diameter(int(seen.sum()), pitch_mm),
                _mask(seen, row0, col0),
                part_of=lesion.lesion_id if cluster else None,
            )
        )
    if cluster:
        middles = np.array([geometry.centre(part.region) for part in parts])
        outline = _outline(middles, 1.0 / pitch_mm)
        area = _area(outline) * pitch_mm**2
        whole = Truth(
            lesion.lesion_id,
            lesion.kind,
            lesion.pathology,
            lesion.descriptor,
            float(2 * np.sqrt(area / np.pi)),
            Polygon(tuple((float(r), float(c)) for r, c in outline)),
        )
        parts.insert(0, whole)
    return Layers(row0, col0, np.zeros_like(path), path, lesion.oxalate, None, tuple(parts))


def _grains(lesion: Abnormality) -> Grains:
    rng = np.random.default_rng(lesion.seed)
    if lesion.kind is Kind.CALCIFICATION_CLUSTER:
        morphology, spread = lesion.descriptor.split("/")
        return cluster_grains(rng, morphology, spread, lesion.radius_mm)
    return benign_grains(rng, lesion.descriptor)


def _drawn(rng: np.random.Generator, table: dict[str, Any], malignant: bool) -> str:
    weights = np.array([share * (p if malignant else 1 - p) for share, p in table.values()])
    return list(table)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _mask(seen: np.ndarray, row0: int, col0: int) -> Mask | Point:
    rows, cols = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    cut = seen[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return Mask(cut, row0 + int(rows[0]), col0 + int(cols[0]))


def _diameter(pixels: int, pitch_mm: float) -> float:
    return float(2 * np.sqrt(pixels / np.pi) * pitch_mm)


def _outline(points: np.ndarray, margin: float) -> np.ndarray:
    """Return the convex hull of discs of radius ``margin`` about points, (n, 2)."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = margin * np.column_stack([np.sin(angles), np.cos(angles)])
    around = (points[:, None] + ring[None]).reshape(-1, 2)
    hull = spatial.ConvexHull(around)
    return np.asarray(around[hull.vertices])


def _area(outline: np.ndarray) -> float:
    r, c = outline.T
    return 0.5 * abs(float(np.dot(r, np.roll(c, 1)) - np.dot(c, np.roll(r, 1))))
