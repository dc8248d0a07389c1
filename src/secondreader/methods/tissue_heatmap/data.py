"""Patches of tissue and whole images of a set, with what is true of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from skimage.transform import resize

from secondreader import geometry
from secondreader.domain import ImageSet, Kind, Lesion, Pathology, View
from secondreader.learning import augment as moving
from secondreader.learning.fit import Batch
from secondreader.learning.patches import cut_out, names
from secondreader.learning.positions import Positions, of_where
from secondreader.learning.prepared import Prepared, prepared_by
from secondreader.learning.sampling import balanced, generator
from secondreader.methods.tissue_heatmap.config import NAME, Config
from secondreader.methods.tissue_heatmap.network import PLACES
from secondreader.methods.tissue_heatmap.prepare import prepare

__all__ = [
    "KINDS", "Patches", "Small", "augmented", "centres", "extent_mm", "findings", "free", "middle",
    "patches", "places_of", "ready", "shrunk", "warmed",
]  # fmt: skip

KINDS = (
    Kind.MASS, Kind.CALCIFICATION_CLUSTER, Kind.ARCHITECTURAL_DISTORTION, Kind.ASYMMETRY,
)  # fmt: skip


def ready(
    images: ImageSet,
    config: Config,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
) -> Prepared:
    """Prepare every image of a set once, in so many processes."""
    return prepared_by(
        images, prepare, config, name=f"{NAME}/2",
        depends=("spacing_mm", "coarsest_mm", "canvas_mm"), progress=progress, workers=workers,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Patches:
    """Where patches with a finding lie, and where those without."""

    images: Prepared
    positive: Positions
    negative: Positions

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step: ``image`` (n, 1, h, w) and ``label`` (n,) float32."""
        rng = generator(config.seed, step)
        share = config.positive_share
        where, label = balanced(
            {"findings": self.positive, "tissue without": self.negative},
            {"findings": share, "tissue without": 1 - share},
            rng, count,
        )  # fmt: skip
        own = label == 0
        where[own, 1:] += rng.integers(-config.offset, config.offset + 1, (int(own.sum()), 2))
        size = config.seen + moving.margin(config.augment, config.seen)
        return {
            "image": cut_out(self.images, where, size),
            "label": torch.from_numpy(1.0 - label.astype(np.float32)),
            "where": names(self.images, where),
        }


def patches(own: Prepared, config: Config) -> Patches:
    """List the patches of a set: at the centre of each annotation, and on a grid away from all.

    Very wide annotations, and those of what is hidden in this view, are left out, and are no
    background (section 3).
    """
    positive = [
        [index, row, col]
        for index in range(len(own))
        for row, col, seen in centres(own, index, config).values()
        if seen
    ]
    negative = [_grid(own, index, config) for index in range(len(own))]
    return Patches(
        own,
        of_where(np.array(positive, np.int64).reshape(-1, 3)),
        of_where(np.concatenate([np.zeros((0, 3), np.int64), *negative])),
    )


def findings(own: Prepared, index: int, config: Config) -> dict[str, Lesion]:
    """Return the findings of an image, of BI-RADS 2 and above, that are not very wide, by their ids."""
    return {
        lesion.lesion_id or str(number): lesion
        for number, lesion in enumerate(own.lesions[index])
        if lesion.region is not None
        and lesion.kind in KINDS
        and extent_mm(own, index, lesion, config) <= config.largest_mm
    }


def extent_mm(own: Prepared, index: int, lesion: Lesion, config: Config) -> float:
    """Return the largest extent of one of an image's lesions, in mm of the image as it came.

    On the working grid it would be another at every magnification.
    """
    number = next(n for n, one in enumerate(own.lesions[index]) if one is lesion)
    region, scale = own.records[index].lesions[number].region, np.abs(own.frames[index].scale)
    assert region is not None
    return geometry.diameter(region) * config.spacing_mm / float(scale.min())


def centres(own: Prepared, index: int, config: Config) -> dict[str, tuple[int, int, bool]]:
    """Return the centre of mass (row, col) of each finding of an image, and whether it is seen there."""
    pixels = own.pixels(index)
    found = {}
    for name, lesion in findings(own, index, config).items():
        assert lesion.region is not None
        mask = geometry.rasterise(lesion.region, (pixels.shape[0], pixels.shape[1]))
        if mask.pixels.any():
            row, col = np.argwhere(mask.pixels).mean(0)
            at = round(row + mask.row0), round(col + mask.col0)
            found[name] = (*at, lesion.visible is not False)
    return found


def _annotated(own: Prepared, index: int) -> np.ndarray:
    """Return where anything is annotated, (rows, cols) bool."""
    pixels = own.pixels(index)
    covered = np.zeros((pixels.shape[0], pixels.shape[1]), bool)
    for lesion in own.lesions[index]:
        if lesion.region is None or lesion.kind not in (*KINDS, Kind.MICROCALCIFICATION, None):
            continue
        mask = geometry.rasterise(lesion.region, covered.shape)
        rows, cols = mask.pixels.shape
        covered[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] |= mask.pixels
    return covered


def _grid(own: Prepared, index: int, config: Config) -> np.ndarray:
    """Return places (n, 3) at fixed strides whose patch touches no annotation; empty ones too.

    However the patch is turned and stretched in training.
    """
    pixels = np.asarray(own.pixels(index))
    rows, cols = (np.arange(0, side, config.grid) for side in pixels.shape)
    r, c = (axis.ravel() for axis in np.meshgrid(rows, cols, indexing="ij"))
    kept = free(own, index, r, c, config.patch + moving.margin(config.augment, config.patch))
    # Empty space is the paper's too ("ranged from empty space …"), but a tenth of it is enough.
    empty = pixels[r, c] == 0
    kept &= ~empty | ((r // config.grid + c // config.grid) % 10 == 0)
    return np.column_stack([np.full(kept.sum(), index), r[kept], c[kept]])


def free(own: Prepared, index: int, rows: np.ndarray, cols: np.ndarray, size: int) -> np.ndarray:
    """Return which patches of ``size`` pixels about places (n,) touch no annotation, (n,) bool."""
    covered = _annotated(own, index)
    sums = np.pad(covered.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    half = size // 2
    r0, r1 = np.clip([rows - half, rows + half], 0, covered.shape[0])
    c0, c1 = np.clip([cols - half, cols + half], 0, covered.shape[1])
    untouched: np.ndarray = (sums[r1, c1] - sums[r0, c1] - sums[r1, c0] + sums[r0, c0]) == 0
    return untouched


def augmented(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    """Turn, stretch and shade a batch, each view of a pair its own way, and cut it to the patch."""
    made = dict(batch)
    for name in ("image", "other"):
        if name in batch:
            matrices = moving.affine(config.augment, len(batch[name]), where)
            image, _ = moving.geometric(batch[name], matrices, config.seen)
            changed = moving.intensity(image, config.augment, where)
            made[name] = torch.where(image > 0, changed.clamp(1e-3, 1), image)
    return made


def middle(image: torch.Tensor, config: Config) -> torch.Tensor:
    """Cut images (n, 1, h, w) to what is seen of a patch, as augmentation does."""
    rest = (image.shape[-1] - config.seen) // 2
    inner: torch.Tensor = image[..., rest : rest + config.seen, rest : rest + config.seen]
    return inner


def shrunk(pixels: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Return an image in the corner of a small square, and how many of its pixels one of those is."""
    scale = max(pixels.shape) / size
    rows, cols = (max(round(side / scale), 1) for side in pixels.shape)
    small = np.zeros((size, size), np.float32)
    small[:rows, :cols] = resize(
        pixels.astype(np.float32), (rows, cols), order=1, anti_aliasing=True
    )
    return small, scale


@dataclass(frozen=True, eq=False)
class Small:
    """Whole images, small, with their targets and the local answers: all in memory.

    Parameters
    ----------
    image
        (n, 1, s, s) float32.
    target
        (n, 1, 32, 32) float32, blurred annotations of malignant findings, highest 1.
    local
        (n, 1, 32, 32) float32 in [0, 1], what the tissue classifier says.
    paths
        Their names.
    mirrors
        (n,) bool: those whose rows may be mirrored, CC views as high as the square they lie in.
    """

    image: torch.Tensor
    target: torch.Tensor
    local: torch.Tensor
    paths: tuple[str, ...]
    mirrors: np.ndarray

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step, half of it with a malignant finding where there is any."""
        rng = generator(config.seed, step)
        hot = self.target.flatten(1).amax(1).numpy() > 0
        kinds = [k for k in (np.flatnonzero(hot), np.flatnonzero(~hot)) if len(k)]
        pick = np.array([rng.choice(kinds[i % len(kinds)]) for i in range(count)])
        turned = (rng.random(count) < 0.5) & self.mirrors[pick] & config.heat_augment.flips
        parts = {"image": self.image, "target": self.target, "local": self.local}
        made: Batch = {
            name: torch.stack(
                [tensor[i].flip(1) if up else tensor[i]
                 for i, up in zip(pick.tolist(), turned.tolist(), strict=True)]
            )
            for name, tensor in parts.items()
        }  # fmt: skip
        return {**made, "where": [self.paths[i] for i in pick]}

    @classmethod
    def of(
        cls,
        own: Prepared,
        local: Sequence[np.ndarray],
        config: Config,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Small:
        """Shrink a set's images, of the views that count; ``local`` are the answers of each."""
        images, targets, answers, paths, mirrors = [], [], [], [], []
        for index, record in enumerate(own.records):
            progress(index + 1, len(own))
            if config.views == "cc" and record.view not in (View.CC, None):
                continue
            pixels = np.asarray(own.pixels(index))
            small, scale = shrunk(pixels, config.small)
            images.append(small)
            targets.append(_target(own.lesions[index], pixels.shape, scale, config))
            answers.append(places_of(local[index], pixels.shape, config))
            paths.append(record.path)
            mirrors.append(record.view is View.CC and pixels.shape[0] >= pixels.shape[1])
        stacked = [
            torch.from_numpy(np.stack(a).astype(np.float32))[:, None]
            for a in (images, targets, answers)
        ]
        return cls(stacked[0], stacked[1], stacked[2], tuple(paths), np.array(mirrors, bool))


def places_of(local: np.ndarray, shape: tuple[int, ...], config: Config) -> np.ndarray:
    """Bring local answers (rows, cols) in [0, 1] to the heatmap's places, (32, 32) float32.

    Place (i, j) of the answers is the patch that begins at pixel ``stride`` times that.
    """
    side = max(shape) / PLACES
    at = (np.arange(PLACES) + 0.5) * side - 0.5
    middle = (at - (config.patch - 1) / 2) / config.stride
    r, c = np.meshgrid(middle, middle, indexing="ij")
    found: np.ndarray = ndimage.map_coordinates(local, [r, c], order=1, mode="nearest")
    r0, c0 = np.meshgrid(at, at, indexing="ij")
    return np.where((r0 < shape[0]) & (c0 < shape[1]), found, 0).astype(np.float32)


def _target(
    lesions: tuple[Lesion, ...], shape: tuple[int, ...], scale: float, config: Config
) -> np.ndarray:
    side = scale * config.small / PLACES
    heat = np.zeros((PLACES, PLACES), np.float32)
    for lesion in lesions:
        malignant = lesion.pathology is Pathology.MALIGNANT and lesion.kind in KINDS
        if not malignant or lesion.region is None or lesion.visible is False:
            continue
        mask = geometry.rasterise(lesion.region, (shape[0], shape[1]))
        rows, cols = np.nonzero(mask.pixels)
        r = np.minimum(((rows + mask.row0) / side).astype(int), PLACES - 1)
        c = np.minimum(((cols + mask.col0) / side).astype(int), PLACES - 1)
        heat[r, c] = 1
    blurred = ndimage.gaussian_filter(heat, config.target_sigma)
    return blurred / blurred.max() if blurred.max() > 0 else blurred


def warmed(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    """Turn and stretch whole images a little about their middle, heat and answers with them, and shade.

    Rows are mirrored when the batch is made, for only some may be.
    """
    little = config.heat_augment.model_copy(update={"flips": False})
    matrices = moving.affine(little, len(batch["image"]), where)
    made = {
        name: moving.geometric(batch[name], matrices, batch[name].shape[-1])[0]
        for name in ("image", "target", "local")
    }
    changed = moving.intensity(made["image"], little, where)
    made["image"] = torch.where(made["image"] > 0, changed.clamp(1e-3, 1), made["image"])
    return {**batch, **made}
