"""Whole images with regions, and windows with a class, of a set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from secondreader import geometry, imaging
from secondreader.domain import Frame, ImageSet, Kind, Lesion, Mammogram, Mask, Pathology
from secondreader.learning import augment as moving
from secondreader.learning.fit import Batch
from secondreader.learning.patches import cut_out, names, whole
from secondreader.learning.positions import Positions, of_where
from secondreader.learning.prepared import Prepared, prepared_by
from secondreader.learning.sampling import balanced, generator
from secondreader.learning.targets import edges_of
from secondreader.methods.second_look.config import NAME, Config

__all__ = ["KINDS", "Regions", "Windows", "class_of", "moved", "prepare", "ready", "windows"]

KINDS = (
    Kind.MASS, Kind.CALCIFICATION_CLUSTER, Kind.ARCHITECTURAL_DISTORTION, Kind.ASYMMETRY,
)  # fmt: skip
"""What counts as a region: single calcifications are too small for the network."""
_CLASSES = {
    Pathology.MALIGNANT: 1,
    Pathology.BENIGN: 2,
    Pathology.BENIGN_WITHOUT_CALLBACK: 3,
}
_WINDOW_LEAST = 0.3  # of a window that is breast


def prepare(mammogram: Mammogram, config: Config) -> tuple[np.ndarray, Frame] | None:
    """Bring the breast into the network's size, (rows, cols) float16 in [0, 1]; None without one."""
    made = imaging.breast_within(mammogram.pixels, mammogram.spacing_mm, config.size)
    return None if made is None else (made[0].astype(np.float16), made[1])


def ready(
    images: ImageSet,
    config: Config,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Prepare every image of a set once."""
    return prepared_by(
        images, prepare, config, name=f"{NAME}/1",
        depends=("size",), progress=progress,
    )  # fmt: skip


def class_of(lesion: Lesion) -> int | None:
    """Return the class of a region, ``None`` where it is none or its pathology is unknown."""
    if lesion.kind not in KINDS or lesion.region is None or lesion.visible is False:
        return None
    return None if lesion.pathology is None else _CLASSES[lesion.pathology]


def _drawn(lesion: Lesion, shape: tuple[int, int]) -> Mask | None:
    assert lesion.region is not None
    mask = geometry.rasterise(lesion.region, shape)
    return mask if mask.pixels.any() else None


@dataclass(frozen=True, eq=False)
class Regions:
    """Whole images, and of each the masks and classes of its regions."""

    images: Prepared
    masks: tuple[tuple[Mask, ...], ...]
    classes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, images: Prepared) -> Regions:
        """Draw the regions of known pathology; circles where a set has only those."""
        masks, classes = [], []
        for lesions, frame in zip(images.lesions, images.frames, strict=True):
            both = [
                (mask, kind)
                for lesion in lesions
                if (kind := class_of(lesion)) is not None
                and (mask := _drawn(lesion, frame.shape)) is not None
            ]
            masks.append(tuple(mask for mask, _ in both))
            classes.append(tuple(kind for _, kind in both))
        return cls(images, tuple(masks), tuple(classes))

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step: images, half of them with a region where there are both.

        ``image`` (n, 1, h, w), ``boxes`` (k, 4), ``labels`` (k,) and ``masks`` (k, h, w) of each.
        """
        rng = generator(config.seed, step)
        some = np.array([bool(m) for m in self.masks])
        kinds = {"images with a region": some, "images without": ~some}
        own = {
            name: of_where(np.column_stack([np.flatnonzero(m), np.zeros((m.sum(), 2), int)]))
            for name, m in kinds.items()
            if m.any() or name == "images with a region"
        }
        where, _ = balanced(own, dict.fromkeys(own, 1 / len(own)), rng, count)
        return self.at(where[:, 0], config)

    def at(self, numbers: np.ndarray, config: Config) -> Batch:
        """Return images by their numbers."""
        boxes, labels, masks = [], [], []
        for number in numbers.tolist():
            own = np.zeros((len(self.masks[number]), *config.size), bool)
            for full, mask in zip(own, self.masks[number], strict=True):
                rows, cols = mask.pixels.shape
                full[mask.row0 : mask.row0 + rows, mask.col0 : mask.col0 + cols] = mask.pixels
            corners = [[*np.argwhere(m).min(0), *np.argwhere(m).max(0)] for m in own]
            boxes.append(edges_of(torch.tensor(corners, dtype=torch.float32).reshape(-1, 4), 4.0))
            labels.append(torch.tensor(self.classes[number], dtype=torch.int64))
            masks.append(torch.from_numpy(own))
        return {
            "image": whole(self.images, numbers, config.size),
            "boxes": boxes,
            "labels": labels,
            "masks": masks,
            "where": [self.images.records[int(i)].path for i in numbers],
        }


def moved(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    """Mirror and shade a batch of whole images, their boxes and masks with them."""
    flips = torch.rand((len(batch["image"]), 2), generator=where, device=where.device) < 0.5
    images, boxes, masks = [], [], []
    rows, cols = batch["image"].shape[2:]
    for image, own, mask, (up, across) in zip(
        batch["image"], batch["boxes"], batch["masks"], flips.tolist(), strict=True
    ):
        axes = [axis for axis, on in ((-2, up), (-1, across)) if on]
        images.append(image.flip(axes))
        masks.append(mask.flip(axes))
        x0, y0, x1, y1 = own.unbind(1)
        if up:
            y0, y1 = rows - y1, rows - y0
        if across:
            x0, x1 = cols - x1, cols - x0
        boxes.append(torch.stack([x0, y0, x1, y1], 1))
    image = torch.stack(images)
    changed = moving.intensity(image, config.augment, where)
    image = torch.where(image > 0, changed.clamp(1e-3, 1), image)
    return {**batch, "image": image, "boxes": boxes, "masks": masks}


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of a set: where with a lesion, their classes, and where without.

    ``label`` (n,) int64 of the windows with one, in the order of ``positive``.
    """

    images: Prepared
    positive: Positions
    negative: Positions
    label: np.ndarray

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step: ``image`` (n, 1, w, w), ``label`` (n,) int64.

        A patch is a window with one of its eight turns and mirror images; with ``patches`` only so
        many of all are drawn from, always the same.
        """
        rng = generator(config.seed, step)
        first = round(count * config.positive_share) if len(self.positive) else 0
        where, labels, turns = [], [], []
        for positions, number in ((self.positive, first), (self.negative, count - first)):
            pick = _picked(len(positions), number, config, rng)
            where.append(positions.at(pick // 8))
            turns.append(pick % 8)
            own = (
                self.label[pick // 8] if positions is self.positive else np.zeros(number, np.int64)
            )
            labels.append(own)
        at = np.concatenate(where)
        image = cut_out(self.images, at, config.window)
        turned = [
            _turned(patch, int(turn))
            for patch, turn in zip(image, np.concatenate(turns), strict=True)
        ]
        return {
            "image": torch.stack(turned),
            "label": torch.from_numpy(np.concatenate(labels)),
            "where": names(self.images, at),
        }


def _picked(windows: int, number: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Draw patches, each a window and one of its eight forms, of the ``patches`` first of a shuffle."""
    every = windows * 8
    if config.patches is None or config.patches // 2 >= every:
        return rng.integers(every, size=number) if every else np.zeros(0, np.int64)
    kept = np.random.default_rng((config.seed, 12)).permutation(every)[
        : max(config.patches // 2, 1)
    ]
    chosen: np.ndarray = kept[rng.integers(len(kept), size=number)]
    return chosen


def _turned(patch: torch.Tensor, turn: int) -> torch.Tensor:
    quarter = torch.rot90(patch, turn % 4, (-2, -1))
    return quarter.flip(-1) if turn >= 4 else quarter


def windows(own: Prepared, config: Config) -> Windows:
    """List the windows of a set, of breast tissue only, with their classes.

    A window is a lesion's if it holds `covered` of it, or is itself so far covered by it; of several
    the most severe counts. A window that holds less of one, or any of unknown pathology, is neither.
    """
    positive, label, negative = [], [], []
    for index in range(len(own)):
        pixels = np.asarray(own.pixels(index))
        shape = (pixels.shape[0], pixels.shape[1])
        places = window_places(pixels, config)
        kinds = np.zeros(len(places), np.int64)
        unsure = np.zeros(len(places), bool)
        for lesion in own.lesions[index]:
            if lesion.kind not in KINDS or lesion.region is None:
                continue
            mask = _drawn(lesion, shape)
            if mask is None:
                continue
            kind = class_of(lesion)
            held = _held(mask, places, config.window)
            most = max(min(int(mask.pixels.sum()), config.window**2), 1)
            inside = held >= config.covered * most
            if kind is None:
                unsure |= held > 0
                continue
            better = inside & ((kinds == 0) | (kind < kinds))
            kinds[better] = kind
            unsure |= (held > 0) & ~inside
        for number, (place, kind) in enumerate(zip(places.tolist(), kinds.tolist(), strict=True)):
            if kind:
                positive.append([index, *place])
                label.append(kind)
            elif not unsure[number]:
                negative.append([index, *place])
    return Windows(
        own,
        of_where(np.array(positive, np.int64).reshape(-1, 3)),
        of_where(np.array(negative, np.int64).reshape(-1, 3)),
        np.array(label, np.int64),
    )


def window_places(prepared_: np.ndarray, config: Config) -> np.ndarray:
    """Return the middles (n, 2) of windows at the stride, three tenths of each or more being breast."""
    half = config.window // 2
    sums = np.pad((prepared_ > 0.02).astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows = np.arange(half, max(prepared_.shape[0] - half, half) + config.stride, config.stride)
    cols = np.arange(half, max(prepared_.shape[1] - half, half) + config.stride, config.stride)
    r, c = (axis.ravel() for axis in np.meshgrid(rows, cols, indexing="ij"))
    r0, r1 = np.clip([r - half, r + half], 0, prepared_.shape[0])
    c0, c1 = np.clip([c - half, c + half], 0, prepared_.shape[1])
    breast = sums[r1, c1] - sums[r0, c1] - sums[r1, c0] + sums[r0, c0]
    kept = breast >= _WINDOW_LEAST * config.window**2
    places: np.ndarray = np.column_stack([r, c])[kept]
    return places


def _held(mask: Mask, places: np.ndarray, size: int) -> np.ndarray:
    """Return how many of a mask's pixels each window holds, (n,)."""
    sums = np.pad(mask.pixels.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    low = np.clip(places - size // 2 - (mask.row0, mask.col0), 0, mask.pixels.shape)
    high = np.clip(places - size // 2 + size - (mask.row0, mask.col0), 0, mask.pixels.shape)
    found: np.ndarray = (
        sums[high[:, 0], high[:, 1]] - sums[low[:, 0], high[:, 1]]
        - sums[high[:, 0], low[:, 1]] + sums[low[:, 0], low[:, 1]]
    )  # fmt: skip
    return found
