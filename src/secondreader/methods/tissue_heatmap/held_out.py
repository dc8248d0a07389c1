"""Which patches are measured: the same findings and the same places of tissue at every magnification.

References
----------
An et al. (2018), table 1; the lattice in millimetres is ours.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from secondreader import geometry
from secondreader.domain import Kind, Lesion
from secondreader.learning.prepared import Prepared
from secondreader.methods.tissue_heatmap.config import Config
from secondreader.methods.tissue_heatmap.data import centres, extent_mm, findings, free

__all__ = ["HeldOut", "groups", "held_out", "tissue_without"]

_EACH = 256  # table 1: held-out patches with a finding, and without
_SEED = 0  # the same for every model
_STEP_MM = 2.88  # 32 pixels of 0.09 mm
_WIDEST_MM = 18.5  # as wide as a patch is at any of the three magnifications
_RANKS = 256  # places each way: more than any detector is wide
_LARGE_MM = 10.0  # about the middle of what is tested


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Patches of a set that are measured.

    Parameters
    ----------
    where
        (n, 3) int of (image, row, col).
    label
        (n,) bool: with a finding.
    names
        (n,): the image's path with the finding's id, or with the place's number on a lattice of
        millimetres: the same for one place at every magnification.
    findings
        (n,): the finding, None without.
    """

    where: np.ndarray
    label: np.ndarray
    names: tuple[str, ...]
    findings: tuple[Lesion | None, ...]


def held_out(images: Prepared, config: Config) -> HeldOut:
    """Draw the patches that are measured, up to 256 with a finding and as many without (table 1).

    By the names of images and a seed, without regard to pixels, so that all magnifications have the
    same: places lie on a lattice of the source image, away from all annotations by the widest patch.
    """
    own = [
        (f"{record.path}#{name}", (index, row, col), findings(images, index, config)[name])
        for index, record in enumerate(images.records)
        for name, (row, col, seen) in centres(images, index, config).items()
        if seen
    ]
    own.sort(key=lambda found: _rank(found[0]))
    without = tissue_without(images, config, range(len(images)), min(_EACH, len(own)))
    own = own[: min(_EACH, len(without))]
    where = [place for _, place, _ in own] + [place for _, place in without]
    return HeldOut(
        np.array(where, np.int64).reshape(-1, 3),
        np.repeat([True, False], [len(own), len(without)]),
        tuple([name for name, *_ in own] + [name for name, _ in without]),
        (*(lesion for *_, lesion in own), *[None] * len(without)),
    )


def tissue_without(
    images: Prepared, config: Config, numbers: Collection[int], count: int
) -> list[tuple[str, tuple[int, int, int]]]:
    """Draw places without a finding in some images: at most ``count`` names with (image, row, col)."""
    found = [place for number in numbers for place in _places(images, number, config)]
    found.sort()
    return [(name, place) for _, name, place in found[:count]]


def _rank(name: str) -> float:
    return float(np.random.default_rng((_SEED, zlib.crc32(name.encode()))).random())


def _places(
    images: Prepared, index: int, config: Config
) -> list[tuple[float, str, tuple[int, int, int]]]:
    """Return the free places of an image's lattice, (rank, name, place); a tenth of the empty ones."""
    frame, path = images.frames[index], images.records[index].path
    pixels = np.asarray(images.pixels(index))
    pitch = config.spacing_mm / np.abs(frame.scale)  # mm of a source pixel
    counts = [
        math.ceil(side * mm / _STEP_MM) for side, mm in zip(frame.source_shape, pitch, strict=True)
    ]
    lattice = np.argwhere(np.ones(np.minimum(counts, _RANKS), bool))
    at = np.rint(geometry.to_grid(frame, lattice * _STEP_MM / pitch)).astype(np.int64)
    inside = ((at >= 0) & (at < pixels.shape)).all(1)
    lattice, at = lattice[inside], at[inside]
    wide = max(math.ceil(_WIDEST_MM / config.spacing_mm), config.patch)
    kept = free(images, index, at[:, 0], at[:, 1], wide)
    kept &= (pixels[at[:, 0], at[:, 1]] > 0) | (lattice.sum(1) % 10 == 0)
    ranks = np.random.default_rng((_SEED, zlib.crc32(path.encode()))).random((_RANKS, _RANKS))
    return [
        (float(ranks[i, j]), f"{path}#{i},{j}", (index, row, col))
        for (i, j), (row, col) in zip(lattice[kept].tolist(), at[kept].tolist(), strict=True)
    ]


def groups(
    images: Prepared, where: np.ndarray, of: Sequence[Lesion | None], config: Config
) -> dict[str, np.ndarray]:
    """Return which patches belong to a group, (n,) bool each: by kind and size of the finding, by density.

    Of findings by what they are, beside all that have none; of breasts both, by what theirs is.
    """
    without = np.array([lesion is None for lesion in of], bool)
    kinds = np.array([str(lesion.kind) if lesion else "" for lesion in of], dtype=object)
    size = np.array(
        [
            extent_mm(images, image, lesion, config) if lesion and lesion.region else 0
            for image, lesion in zip(where[:, 0].tolist(), of, strict=True)
        ],
        float,
    )
    # A record says A to D; None is neither.
    density = np.array([images.records[i].density for i in where[:, 0].tolist()], dtype=object)
    rest = [str(Kind.ASYMMETRY), str(Kind.ARCHITECTURAL_DISTORTION)]
    return {
        "kind=mass": without | (kinds == str(Kind.MASS)),
        "kind=cluster": without | (kinds == str(Kind.CALCIFICATION_CLUSTER)),
        "kind=asymmetry or distortion": without | np.isin(kinds, rest),
        "size=under 10 mm": without | (size < _LARGE_MM),
        "size=10 mm and over": without | (size >= _LARGE_MM),
        "breast=fatty": np.isin(density, ["A", "B"]),
        "breast=dense": np.isin(density, ["C", "D"]),
    }
