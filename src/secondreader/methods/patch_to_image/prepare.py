"""The one preparation, for training and reading alike; and which patches an image has.

References
----------
Shen et al. (2019), section 3.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secondreader import geometry, imaging
from secondreader.domain import Frame, Kind, Lesion, Mammogram, Mask, Pathology
from secondreader.methods.patch_to_image.config import Config

__all__ = ["draw_patches", "prepare"]

_TRIES = 400
_KINDS = {
    Kind.MASS: 1, Kind.ARCHITECTURAL_DISTORTION: 1, Kind.ASYMMETRY: 1,
    Kind.CALCIFICATION_CLUSTER: 3,
}  # fmt: skip


def prepare(mammogram: Mammogram, config: Config) -> tuple[np.ndarray, Frame] | None:
    """Bring the breast to the network's size.

    The paper shrinks the whole image, whatever its shape; here its shape is kept, the breast is cut
    out and set into a corner, and the rest is background: data sets crop differently.

    Returns
    -------
    tuple or None
        (rows, cols) float16 in [0, 1], at most ``size``, and its frame; ``None`` without a breast.
    """
    made = imaging.breast_within(
        mammogram.pixels, mammogram.spacing_mm, config.size, enlarge=config.enlarge
    )
    if made is None:
        return None
    return made[0].astype(np.float16), made[1]


def draw_patches(
    lesions: Sequence[Lesion],
    breast: np.ndarray,
    config: Config,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the patches of an image: round each region, and as many in the background.

    S1 has one patch in the middle of a region and one of the background; S10 ten of each, the former
    overlapping the region by `overlap` at least: of the region, or of the patch where the region is
    larger. Background is tested against all lesions of the image.

    Parameters
    ----------
    lesions
        With regions in pixels of the grid; those of unknown pathology or without a region are no
        class, but no background either.
    breast
        (rows, cols) bool.
    config
        Patch size, set, overlap.
    rng
        The image's own generator.

    Returns
    -------
    where, label
        (n, 2) int64 middles of patches (pixel ``patch // 2``), and (n,) int64 classes.
    """
    each = 10 if config.patch_set == "s10" else 1
    where: list[tuple[int, int]] = []
    label: list[int] = []
    for lesion in lesions:
        kind = _class(lesion)
        if kind is None or lesion.region is None:
            continue
        mask = geometry.rasterise(lesion.region, (breast.shape[0], breast.shape[1]))
        if not mask.pixels.any():
            continue
        drawn = _round(mask, config, each, rng)
        where += drawn
        label += [kind] * len(drawn)
    covered = _covered(lesions, breast.shape)
    background = _away(covered, breast, config.patch, max(len(where), each), rng)
    return (
        np.array(where + background, np.int64).reshape(-1, 2),
        np.array(label + [0] * len(background), np.int64),
    )


def _class(lesion: Lesion) -> int | None:
    """Return the class of a region, None where it is none."""
    if lesion.kind not in _KINDS or lesion.pathology is None or lesion.visible is False:
        return None
    return _KINDS[lesion.kind] + (lesion.pathology is Pathology.MALIGNANT)


def _round(
    mask: Mask, config: Config, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    rows, cols = np.nonzero(mask.pixels)
    rows, cols = rows + mask.row0, cols + mask.col0
    middle = (int((rows.min() + rows.max() + 1) // 2), int((cols.min() + cols.max() + 1) // 2))
    if config.patch_set == "s1":
        return [middle]
    half = config.patch // 2
    # No further than where the region's box would leave the patch.
    reach = [max(half, (int(np.ptp(axis)) + 1) // 2) for axis in (rows, cols)]
    drawn: list[tuple[int, int]] = []
    wanted = config.overlap * min(len(rows), config.patch**2)
    for _ in range(_TRIES):
        if len(drawn) == count:
            break
        row, col = (m + int(rng.integers(-r, r + 1)) for m, r in zip(middle, reach, strict=True))
        top, left = row - half, col - half
        inside = (rows >= top) & (rows < top + config.patch)
        inside &= (cols >= left) & (cols < left + config.patch)
        if inside.sum() >= wanted:
            drawn.append((row, col))
    # A region that no window covers enough, ragged and larger than a patch: its middle.
    return drawn + [middle] * (count - len(drawn))


def _covered(lesions: Sequence[Lesion], shape: tuple[int, ...]) -> np.ndarray:
    """Return the sums of lesion pixels above and left of each pixel, for counting in windows."""
    every = np.zeros(shape, np.int32)
    for lesion in lesions:
        if lesion.region is not None:
            mask = geometry.rasterise(lesion.region, (shape[0], shape[1]))
            rows, cols = mask.pixels.shape
            every[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] |= mask.pixels
    return np.pad(every.cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _away(
    covered: np.ndarray, breast: np.ndarray, size: int, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return middles in the breast of patches without a single pixel of a lesion."""
    rows, cols = np.nonzero(breast)
    drawn: list[tuple[int, int]] = []
    for _ in range(_TRIES):
        if len(drawn) == count or not len(rows):
            break
        pick = int(rng.integers(len(rows)))
        row, col = int(rows[pick]), int(cols[pick])
        r0, c0 = (max(v - size // 2, 0) for v in (row, col))
        r1 = min(row - size // 2 + size, breast.shape[0])
        c1 = min(col - size // 2 + size, breast.shape[1])
        if covered[r1, c1] - covered[r0, c1] - covered[r1, c0] + covered[r0, c0] == 0:
            drawn.append((row, col))
    return drawn
