"""What every detector does after its network: peaks, suppression, clusters, scores upwards.

Positions are (row, col). A cluster follows the usual CAD definition, three or more calcifications
within 1 cm², taken level by level as the threshold falls: faint spots, kept for the clusters that they
make, join no two surer ones.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
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
    positions_mm: np.ndarray,
    scores: np.ndarray,
    *,
    least: int = 3,
    area_mm2: float = 100.0,
) -> list[tuple[float, np.ndarray]]:
    """Group positions that lie close together, the surest group first.

    The *level* of a position is the highest threshold at which it is one of ``least`` in the disc
    round it. The position of the highest level takes its disc (of equal levels the one with most
    members, then the smaller row, then column); among those left the levels are taken anew, and so
    on. Members are all in the disc that score at least half its level: what is fainter is noise
    beside it. So a faint cluster is found beside a sure one, and no row of positions is one cluster.

    Parameters
    ----------
    positions_mm
        (n, 2) float, in millimetres.
    scores
        (n,) float, not below 0.
    least
        The fewest positions of a cluster: 3 as CAD does, 5 within 1 cm as BI-RADS 5 has it.
    area_mm2
        The area of the disc that must hold them, and that no cluster outgrows; 1 cm² unless told.

    Returns
    -------
    list of (float, numpy.ndarray)
        The level of each cluster, falling, and the sorted indices of its members.
    """
    if len(positions_mm) < least:
        return []
    radius = math.sqrt(area_mm2 / math.pi)
    near = [np.array(n) for n in cKDTree(positions_mm).query_ball_point(positions_mm, radius)]
    free = np.ones(len(positions_mm), bool)

    def rank(index: int) -> tuple[float, int, float, float, int] | None:
        disc = near[index][free[near[index]]]
        if not free[index] or disc.size < least:
            return None
        level = min(float(scores[index]), float(np.partition(scores[disc], -least)[-least]))
        members = int((scores[disc] >= level / 2).sum())
        row, col = positions_mm[index]
        return -level, -members, float(row), float(col), index

    waiting = [r for r in map(rank, range(len(positions_mm))) if r is not None]
    heapq.heapify(waiting)
    groups = []
    while waiting:
        first = heapq.heappop(waiting)
        now = rank(first[-1])
        if now == first:
            disc = near[first[-1]][free[near[first[-1]]]]
            groups.append((-first[0], np.sort(disc[scores[disc] >= -first[0] / 2])))
            free[disc] = False
        elif now is not None:  # its disc has lost some since; a rank only ever falls
            heapq.heappush(waiting, now)
    return groups


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

    A cluster's score is its level, see `clusters`: it is as sure as the calcification without
    which it would be none. Its region is the outline of its members.

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
    groups = clusters(scaled, scores, least=least, area_mm2=area_mm2)
    return tuple(
        Detection(
            Kind.CALCIFICATION_CLUSTER, _outline(scaled[members], spacing_mm, margin_mm), level
        )
        for level, members in groups
    )


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
    grouped_by: np.ndarray | None = None,
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
    grouped_by
        (n,), what clusters are made by in place of the scores; what has 0 is in none.

    Returns
    -------
    tuple of Detection, float
        Clusters, highest first, then calcifications; the score of the best cluster, 0 without one.
    """
    own, by = source, scores
    if grouped_by is not None:
        own, by = source[grouped_by > 0], grouped_by[grouped_by > 0]
    groups = cluster_detections(own, by, spacing_mm, least=least, area_mm2=area_mm2)
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
