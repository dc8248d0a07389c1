"""What every detector does after its network: peaks, suppression, clusters, scores upwards.

Positions are (row, col). A cluster follows the usual CAD definition, three or more calcifications
within 1 cm²: a calcification is a *core* if a disc of that area round it holds at least that many,
itself included; cores in one another's discs join; a calcification in the disc of a core goes
with the nearest core. So membership depends on no order (density clustering, Ester et al. 1996).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError, cKDTree

from secondreader.domain import Circle, Detection, Kind, Polygon, Region

__all__ = [
    "breast_score",
    "cluster_detections",
    "clusters",
    "exam_score",
    "non_maximum_suppression",
    "peaks",
    "spacing_refusal",
    "with_clusters",
]


def peaks(
    response: np.ndarray,
    *,
    threshold: float,
    min_distance: float,
    mask: np.ndarray | None = None,
    most: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the local maxima of a response, highest first.

    Parameters
    ----------
    response
        (rows, cols) float32.
    threshold
        Peaks are at least this high.
    min_distance
        Peaks are further apart than this many pixels; of two, the higher stays.
    mask
        (rows, cols) bool; peaks outside are left out.
    most
        The most peaks to return.

    Returns
    -------
    positions
        (n, 2) float64, refined below a pixel by a parabola along each axis.
    scores
        (n,) float32, the response at the peak's pixel.
    """
    radius = max(math.floor(min_distance), 1)
    high = ndimage.maximum_filter(response, size=2 * radius + 1, mode="constant", cval=-np.inf)
    at = (response >= threshold) & (response == high)
    if mask is not None:
        at &= mask
    positions = np.argwhere(at)
    scores = response[at]
    order = np.lexsort((positions[:, 1], positions[:, 0], -scores))
    positions, scores = positions[order], scores[order]
    kept = non_maximum_suppression(positions.astype(np.float64), scores, min_distance)[:most]
    return _refined(response, positions[kept]), scores[kept].astype(np.float32)


def _refined(response: np.ndarray, positions: np.ndarray) -> np.ndarray:
    fine = positions.astype(np.float64)
    for axis in (0, 1):
        step = np.eye(2, dtype=int)[axis]
        low = np.maximum(positions - step, 0)
        high = np.minimum(positions + step, np.array(response.shape) - 1)
        before = response[low[:, 0], low[:, 1]].astype(np.float64)
        after = response[high[:, 0], high[:, 1]].astype(np.float64)
        here = response[positions[:, 0], positions[:, 1]].astype(np.float64)
        bend = before - 2 * here + after
        inside = (low != high).any(axis=1) & (high - low == 2 * step).all(axis=1) & (bend < 0)
        shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=inside)
        fine[:, axis] += np.clip(shift, -0.5, 0.5)
    return fine


def non_maximum_suppression(
    positions: np.ndarray, scores: np.ndarray, distance: float
) -> np.ndarray:
    """Keep the highest of all positions within ``distance`` of one another.

    Parameters
    ----------
    positions
        (n, 2) float.
    scores
        (n,) float; of equal scores the one with the smaller row, then column, stays.
    distance
        In the units of ``positions``; positions exactly that far apart suppress each other.

    Returns
    -------
    numpy.ndarray
        Indices of what is kept, highest first.
    """
    order = np.lexsort((positions[:, 1], positions[:, 0], -np.asarray(scores, np.float64)))
    alive = np.ones(len(positions), bool)
    near = cKDTree(positions) if len(positions) else None
    kept = []
    for index in order:
        if alive[index] and near is not None:
            kept.append(index)
            alive[near.query_ball_point(positions[index], distance)] = False
    return np.array(kept, int)


def clusters(
    positions_mm: np.ndarray, *, least: int = 3, area_mm2: float = 100.0
) -> list[np.ndarray]:
    """Group positions that lie close together.

    Parameters
    ----------
    positions_mm
        (n, 2) float, in millimetres.
    least
        The fewest positions of a cluster: 3 as CAD does, 5 within 1 cm as BI-RADS 5 has it.
    area_mm2
        The area of the disc round a core that must hold them; 1 cm² unless told.

    Returns
    -------
    list of numpy.ndarray
        Sorted indices of each cluster's members, clusters by their first member.
    """
    count = len(positions_mm)
    if count < least:
        return []
    radius = math.sqrt(area_mm2 / math.pi)
    tree = cKDTree(positions_mm)
    near = tree.query_ball_point(positions_mm, radius)
    core = np.array([len(n) >= least for n in near])
    if not core.any():
        return []
    pairs = [(i, j) for i in np.flatnonzero(core) for j in near[i] if core[j]]
    rows, cols = np.array(pairs).T
    graph = coo_matrix((np.ones(len(pairs)), (rows, cols)), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    # In the order of their places: then the tree, and which of two equally near cores it names,
    # depend on no order of the input.
    cores = np.flatnonzero(core)
    cores = cores[np.lexsort((positions_mm[cores, 1], positions_mm[cores, 0]))]
    distance, nearest = cKDTree(positions_mm[cores]).query(positions_mm)
    member = distance <= radius
    owner = labels[cores[nearest]]
    groups = [np.flatnonzero(member & (owner == label)) for label in np.unique(labels[core])]
    return sorted(groups, key=lambda group: int(group[0]))


def cluster_detections(
    positions: np.ndarray,
    scores: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    least: int = 3,
    area_mm2: float = 100.0,
    margin_mm: float = 0.5,
) -> tuple[Detection, ...]:
    """Group calcifications into cluster detections, highest score first.

    A cluster's score is the lowest of its ``least`` highest scores: a cluster is as sure as the
    calcification without which it would be none. Its region is the outline of its members.

    Parameters
    ----------
    positions
        (n, 2) float, source pixels.
    scores
        (n,) float.
    spacing_mm
        Of source pixels.
    least, area_mm2
        See `clusters`.
    margin_mm
        Added round the members.
    """
    scaled = positions * np.array(spacing_mm)
    found = []
    for members in clusters(scaled, least=least, area_mm2=area_mm2):
        score = float(np.sort(scores[members])[::-1][least - 1])
        region = _outline(scaled[members], spacing_mm, margin_mm)
        found.append(Detection(Kind.CALCIFICATION_CLUSTER, region, score))
    return tuple(sorted(found, key=lambda detection: -detection.score))


def _outline(members_mm: np.ndarray, spacing_mm: tuple[float, float], margin_mm: float) -> Region:
    """Return the convex hull of discs of ``margin_mm`` round the members, in source pixels."""
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = margin_mm * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    around = (members_mm[:, None] + ring).reshape(-1, 2)
    try:
        hull = around[ConvexHull(around).vertices]
    except QhullError:
        centre = members_mm.mean(axis=0) / spacing_mm
        return Circle(float(centre[0]), float(centre[1]), margin_mm / spacing_mm[0])
    return Polygon(tuple((float(r), float(c)) for r, c in hull / np.array(spacing_mm)))


def breast_score(scores: Sequence[float | None]) -> float | None:
    """Return the mean over the views that have a score, ``None`` where none has."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def exam_score(scores: Sequence[float | None]) -> float | None:
    """Return the largest score that is known, ``None`` where none is."""
    return max((score for score in scores if score is not None), default=None)


def with_clusters(
    source: np.ndarray,
    scores: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    least: int,
    area_mm2: float,
    wide_mm: float,
) -> tuple[tuple[Detection, ...], float]:
    """Return microcalcifications and their clusters as detections, and an image's score.

    Parameters
    ----------
    source
        (n, 2) in source pixels.
    scores
        (n,).
    spacing_mm
        Pixel pitch of the source.
    least, area_mm2
        Of a cluster, see `clusters`.
    wide_mm
        Diameter that a calcification is drawn with.

    Returns
    -------
    tuple of Detection, float
        Clusters, highest first, then calcifications; the score of the best cluster, 0 without one.
    """
    groups = cluster_detections(source, scores, spacing_mm, least=least, area_mm2=area_mm2)
    radius = wide_mm / 2 / spacing_mm[0]
    points = tuple(
        Detection(Kind.MICROCALCIFICATION, Circle(float(r), float(c), radius), float(score))
        for (r, c), score in zip(source, scores, strict=True)
    )
    return groups + points, groups[0].score if groups else 0.0


def spacing_refusal(
    name: str, spacing_mm: tuple[float, float] | None, coarsest_mm: float
) -> tuple[str, str] | None:
    """Return why a detector of calcifications does not read an image of this pixel size, or None."""
    if spacing_mm is None:
        return (
            "no-spacing",
            f"{name} works in millimetres: the image states no pixel size; "
            "give it with --spacing-mm",
        )
    if max(spacing_mm) > coarsest_mm:
        return (
            "too-coarse",
            f"{name}: got pixels of {max(spacing_mm):g} mm, expected {coarsest_mm:g} mm or less",
        )
    return None
