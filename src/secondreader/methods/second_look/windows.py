"""Windows of breast tissue, each with its class, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from secondreader.domain import Mask
from secondreader.learning.fit import Batch
from secondreader.learning.patches import cut_out, names
from secondreader.learning.prepared import Prepared
from secondreader.learning.sampling import generator
from secondreader.methods.second_look.config import GENERATED, Config
from secondreader.methods.second_look.data import class_of, drawn, unplaced

__all__ = ["TURNS", "Windows", "held", "turned", "window_places", "windows"]

_LEAST_BREAST = 0.3  # of a window
TURNS = 8
"""A square's turns and mirror images."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of a set, and which patches of them are drawn from.

    Parameters
    ----------
    images
        The set.
    where, label
        (n, 3) int32 of (image, row, col), their middles, and (n,) int64 of their classes.
    drawn
        Class → the numbers of its patches, window times eight and turn; classes without any are
        left out.
    """

    images: Prepared
    where: np.ndarray
    label: np.ndarray
    drawn: dict[int, np.ndarray]

    def counts(self) -> dict[str, int]:
        """Return how many different patches of each class are drawn from."""
        return {str(kind): len(patches) for kind, patches in sorted(self.drawn.items())}

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step: ``image`` (n, 1, w, w), ``label`` (n,) int64.

        A patch is a window with one of its eight turns and mirror images. Those with a lesion are
        `positive_share` of a batch, their classes drawn alike.
        """
        rng = generator(config.seed, step)
        lesions = [kind for kind in self.drawn if kind]
        share = config.positive_share
        if config.trains == "check":  # all classes alike, as they are generated
            share = len(lesions) / len(self.drawn)
        first = round(count * share) if lesions else 0
        kinds = np.zeros(count, np.int64)
        if first:
            kinds[:first] = np.resize(rng.permutation(lesions), first)
        return self.patches(self.pick(kinds, rng), config)

    def pick(self, kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a patch of each class that is asked for, (n,) int64."""
        picked = np.zeros(len(kinds), np.int64)
        for kind in np.unique(kinds).tolist():
            own = kinds == kind
            picked[own] = rng.choice(self.drawn[kind], int(own.sum()))
        return picked

    def patches(self, numbers: np.ndarray, config: Config) -> Batch:
        """Return patches by their numbers."""
        at = self.where[numbers // TURNS]
        image = cut_out(self.images, at, config.window)
        forms = [
            turned(patch, int(turn)) for patch, turn in zip(image, numbers % TURNS, strict=True)
        ]
        return {
            "image": torch.stack(forms),
            "label": torch.from_numpy(self.label[numbers // TURNS]),
            "where": names(self.images, at),
        }


def turned(patch: torch.Tensor, turn: int) -> torch.Tensor:
    """Return one of the eight turns and mirror images of a square."""
    quarter = torch.rot90(patch, turn % 4, (-2, -1))
    return quarter.flip(-1) if turn >= 4 else quarter


def windows(
    own: Prepared, config: Config, *, reading: bool = False, patches: int | None = None
) -> Windows:
    """List the windows of a set, of breast tissue only, with their classes.

    A window is a lesion's if it holds `covered` of it, or is itself so far covered by it; of several
    the most severe counts. A window that holds less of one, or any of unknown pathology, is neither
    a lesion's nor free of one, and left out, as are all of an image with one that has no place; where
    generators are checked, so are other classes than theirs.

    Parameters
    ----------
    own
        The set.
    config
        The settings.
    reading
        Take the stride of reading instead of training's.
    patches
        How many patches are drawn from: half with a lesion, their classes alike (all classes alike
        where generators are checked); all that there are if ``None``, or if there are no more.
    """
    where, label = [np.zeros((0, 3), np.int32)], [np.zeros(0, np.int64)]
    for index in range(len(own)):
        pixels = np.asarray(own.pixels(index))
        places = window_places(pixels, config, reading=reading)
        kinds, unsure = _classes(own, index, places, pixels.shape, config)
        kept = ~unsure | (kinds > 0)
        if config.trains == "check":
            kept &= np.isin(kinds, GENERATED)
        image = np.full((int(kept.sum()), 1), index)
        where.append(np.concatenate([image, places[kept]], 1).astype(np.int32))
        label.append(kinds[kept])
    labels = np.concatenate(label)
    return Windows(own, np.concatenate(where), labels, _drawn_from(labels, patches, config))


def _classes(
    own: Prepared, index: int, places: np.ndarray, shape: tuple[int, ...], config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of each window of an image (n,), and which hold too little to say (n,) bool."""
    kinds = np.zeros(len(places), np.int64)
    unsure = np.full(len(places), unplaced(own, index, config))
    for lesion in own.lesions[index]:
        other = lesion.kind is not None and lesion.kind not in config.kinds
        if other or lesion.region is None:
            continue
        mask = drawn(lesion, (shape[0], shape[1]))
        if mask is None:
            continue
        kind = class_of(lesion, config)
        part = held(mask, places, config.window)
        inside = part >= config.covered * max(min(int(mask.pixels.sum()), config.window**2), 1)
        if kind is None:
            unsure |= part > 0
            continue
        kinds[inside & ((kinds == 0) | (kind < kinds))] = kind
        unsure |= (part > 0) & ~inside
    return kinds, unsure


def _drawn_from(label: np.ndarray, patches: int | None, config: Config) -> dict[int, np.ndarray]:
    """Return each class's patches, `patches` of all classes at most, always the same ones.

    Whatever the seed of a training: beside one generator all of them learn from what it learnt from.
    """
    kinds = np.unique(label).tolist()
    lesions = max(sum(kind > 0 for kind in kinds), 1)
    chosen = {}
    for kind in kinds:
        own = np.flatnonzero(label == kind)
        every = len(own) * TURNS
        most = every if patches is None else round(patches * (0.5 if kind == 0 else 0.5 / lesions))
        if config.trains == "check" and patches is not None:
            most = round(patches / len(kinds))
        rng = np.random.default_rng((0, 12, kind))
        # Of millions a few are drawn without listing all.
        number = (
            np.arange(every)
            if most >= every
            else rng.choice(every, max(most, 1), replace=False, shuffle=False)
        )
        chosen[int(kind)] = own[number // TURNS] * TURNS + number % TURNS
    return chosen


def window_places(prepared: np.ndarray, config: Config, *, reading: bool = True) -> np.ndarray:
    """Return the middles (n, 2) of windows at the stride, three tenths of each or more being breast.

    The last of a row or column ends where the image does: windows that reach beyond would show an edge
    that the breast has not, and the more of it the wider the stride, so that reading would see what
    training hardly did.
    """
    half, step = config.window // 2, config.step(reading=reading)
    sums = np.pad((prepared > 0).astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows, cols = (
        np.unique(np.append(np.arange(half, last, step), last))
        for last in (max(side - half, half) for side in prepared.shape)
    )
    r, c = (axis.ravel() for axis in np.meshgrid(rows, cols, indexing="ij"))
    r0, r1 = np.clip([r - half, r + half], 0, prepared.shape[0])
    c0, c1 = np.clip([c - half, c + half], 0, prepared.shape[1])
    breast = sums[r1, c1] - sums[r0, c1] - sums[r1, c0] + sums[r0, c0]
    places: np.ndarray = np.column_stack([r, c])[breast >= _LEAST_BREAST * config.window**2]
    return places


def held(mask: Mask, places: np.ndarray, size: int) -> np.ndarray:
    """Return how many of a mask's pixels each window holds, (n,)."""
    sums = np.pad(mask.pixels.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    low = np.clip(places - size // 2 - (mask.row0, mask.col0), 0, mask.pixels.shape)
    high = np.clip(places - size // 2 + size - (mask.row0, mask.col0), 0, mask.pixels.shape)
    found: np.ndarray = (
        sums[high[:, 0], high[:, 1]] - sums[low[:, 0], high[:, 1]]
        - sums[high[:, 0], low[:, 1]] + sums[low[:, 0], low[:, 1]]
    )  # fmt: skip
    return found
