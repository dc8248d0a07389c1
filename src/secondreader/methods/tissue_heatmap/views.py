"""The other view of a breast, and where in it a place of this one lies.

Both views squeeze the breast along other lines, but show a place as far behind the nipple as it lies.
A reader has no ids, and takes, of all places as deep, the one that looks most like a finding. Training
pairs half of the findings by their ids, the others and all background by that rule, and moves every
second patch by as much: or a network would tell the rules apart.

References
----------
An et al. (2018), section 4, "Tissue classifier": the paper's own next step; the rule is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from secondreader.domain import ImageRecord, Laterality, View
from secondreader.learning import augment as moving
from secondreader.learning.fit import Batch
from secondreader.learning.patches import cut_out, names
from secondreader.learning.positions import Positions, of_where
from secondreader.learning.prepared import Prepared
from secondreader.learning.sampling import balanced, generator
from secondreader.methods.tissue_heatmap.config import Config
from secondreader.methods.tissue_heatmap.data import Patches, centres
from secondreader.methods.tissue_heatmap.local import middles
from secondreader.methods.tissue_heatmap.network import Pair
from secondreader.methods.tissue_heatmap.prepare import nipple

__all__ = ["Pairs", "opposite", "other_views", "pairs", "partners", "together"]

_NONE = -1


def opposite(views: Sequence[tuple[Laterality | None, View | None]]) -> list[int | None]:
    """Return for each image of an exam the number of the first that shows its breast the other way.

    CC and MLO are each other's; what has no known side or another view has none.
    """
    found: list[int | None] = []
    for side, view in views:
        wanted = {View.CC: View.MLO, View.MLO: View.CC}.get(view) if view else None
        key = (side, wanted)
        known = side is not None and wanted is not None
        found.append(views.index(key) if known and key in views else None)
    return found


def other_views(records: Sequence[ImageRecord]) -> np.ndarray:
    """Return (n,) int: the number of the image of the same breast in the other view, -1 for none."""
    exams: dict[tuple[str, str, str], list[int]] = {}
    for number, record in enumerate(records):
        exams.setdefault((record.dataset, record.patient_id, record.exam_id), []).append(number)
    found = np.full(len(records), _NONE)
    for numbers in exams.values():
        of = opposite([(records[n].laterality, records[n].view) for n in numbers])
        for number, other in zip(numbers, of, strict=True):
            if other is not None:
                found[number] = numbers[other]
    return found


def partners(
    columns: int,
    own: np.ndarray,
    other: np.ndarray,
    local: np.ndarray,
    breast: np.ndarray,
    config: Config,
) -> np.ndarray:
    """Return where in the other view the places of each column are looked for.

    Parameters
    ----------
    columns
        Of this view's places.
    own, other
        Both prepared images, chest wall on the left.
    local, breast
        (rows, cols): the other view's answers, and which of them hold breast.
    config
        `depth_mm`, patch and stride.

    Returns
    -------
    numpy.ndarray
        (columns, 2) int: the place (row, col) of the highest answer as far behind the nipple, to
        `depth_mm`; -1 where the other view shows no breast so deep.
    """
    tips = [nipple(np.asarray(pixels) > 0, config.spacing_mm).col for pixels in (own, other)]
    counts = (columns, local.shape[1])
    deep, there = (tip - middles(np.arange(n), config) for tip, n in zip(tips, counts, strict=True))
    value = np.where(breast, local, -1.0)
    best = value.argmax(0)  # row of each column of the other view
    height = value.max(0)
    found = np.full((columns, 2), _NONE)
    for column in range(columns):
        near = np.abs(deep[column] - there) <= config.depth_mm / config.spacing_mm
        if near.any() and (height[near] >= 0).any():
            col = int(np.where(near, height, -2.0).argmax())
            found[column] = best[col], col
    return found


@torch.inference_mode()
def together(network: Pair, own: Tensor, other: Tensor | None, at: np.ndarray) -> np.ndarray:
    """Return the answers of an image with the other view beside it.

    Parameters
    ----------
    network
        Of two views.
    own, other
        What is seen in the places of each, (rows, cols, channels); no other view, no change.
    at
        What `partners` gives.

    Returns
    -------
    numpy.ndarray
        (rows, cols) float32 in [0, 1]; where no partner is, the answer of one view.
    """
    where = next(network.parameters()).device
    own = own.to(where)
    logit = network.tissue.called(own)
    if other is not None:
        beside = other.to(where)[at[:, 0].clip(0), at[:, 1].clip(0)].expand_as(own)
        both = network.joined(own.flatten(0, 1), beside.flatten(0, 1)).view_as(logit)
        logit = torch.where(torch.from_numpy(at[:, 0] != _NONE).to(where), both, logit)
    answered: np.ndarray = torch.sigmoid(logit).float().cpu().numpy()
    return answered


@dataclass(frozen=True, eq=False)
class Pairs:
    """Places with a finding and without, each with its place in the other view.

    Parameters
    ----------
    images
        What places are numbered by.
    positive
        (n, 3) int: (image, row, col) of findings seen in at least one of the two views.
    by_ids
        (n, 3) int: where the other view shows the same finding, by its id; -1 where it does not.
    hidden
        (n,) bool: annotated here, and seen in the other view only.
    names
        (n,): the findings' ids.
    negative
        Of images that have another view.
    other
        (images,) int: the other view's image, -1 for none.
    columns
        For each image what `partners` gives; nothing where there is no other view.
    """

    images: Prepared
    positive: np.ndarray
    by_ids: np.ndarray
    hidden: np.ndarray
    names: tuple[str, ...]
    negative: Positions
    other: np.ndarray
    columns: tuple[np.ndarray, ...]

    def partner(self, where: np.ndarray, config: Config) -> np.ndarray:
        """Return (n, 3) where the reader's rule looks for places (n, 3); -1 for nowhere."""
        found = np.full(where.shape, _NONE)
        for i, (image, _, col) in enumerate(where.tolist()):
            of = self.columns[image]
            if len(of):
                at = of[
                    int(np.clip(round((col - config.patch // 2) / config.stride), 0, len(of) - 1))
                ]
                if at[0] != _NONE:
                    found[i] = self.other[image], *middles(at, config)
        return found

    def batch(self, step: int, count: int, config: Config, *, ids: bool = True) -> Batch:
        """Return ``image`` and ``other`` (n, 1, h, w) and ``label`` (n,) float32 of a step.

        With ``ids`` half of the findings are paired by them, the rest and background as a reader pairs
        them, and every second patch lies off its place by chance: the rule tells nothing. Without,
        all are paired as a reader pairs them: so it is validated.
        """
        rng = generator(config.seed, step)
        share = config.positive_share
        # The positives' numbers stand where an image's would.
        numbers = np.column_stack(
            [np.arange(len(self.positive)), *np.zeros((2, len(self.positive)), int)]
        )
        drawn, kind = balanced(
            {"findings in two views": of_where(numbers), "tissue without": self.negative},
            {"findings in two views": share, "tissue without": 1 - share},
            rng, count,
        )  # fmt: skip
        own, where = kind == 0, drawn.copy()
        where[own] = self.positive[drawn[own, 0]]
        reach = (-config.offset, config.offset + 1)
        where[own, 1:] += rng.integers(*reach, (int(own.sum()), 2))
        other = self.partner(where, config)
        if ids:
            exact = self.by_ids[drawn[own, 0]]
            taken = (exact[:, 0] != _NONE) & (rng.random(len(exact)) < 0.5)
            other[own] = np.where(taken[:, None], exact, other[own])
            other[:, 1:] += rng.integers(*reach, (count, 2))
        there = other[:, 0] != _NONE
        size = config.seen + moving.margin(config.augment, config.seen)
        return {
            "image": cut_out(self.images, where[there], size),
            "other": cut_out(self.images, other[there], size),
            "label": torch.from_numpy(own[there].astype(np.float32)),
            "where": names(self.images, where[there]),
        }


def pairs(
    own: Patches, local: Sequence[np.ndarray], breast: Sequence[np.ndarray], config: Config
) -> Pairs:
    """Pair the places of a set; ``local`` and ``breast`` are the answers of each of its images."""
    images = own.images
    other = other_views(images.records)
    columns = []
    for number, second in enumerate(other.tolist()):
        places = np.zeros((0, 2), int)
        if second != _NONE:
            here, there = (np.asarray(images.pixels(n)) for n in (number, second))
            wide = local[number].shape[1]
            places = partners(wide, here, there, local[second], breast[second], config)
        columns.append(places)
    where, by_ids, hidden, ids = _findings(images, other, config)
    paired = [
        of for n in np.flatnonzero(other != _NONE).tolist() for of in own.negative.of_image(n)
    ]
    negative = of_where(own.negative.at(np.array(paired, np.int64)))
    return Pairs(images, where, by_ids, hidden, ids, negative, other, tuple(columns))


def _findings(
    images: Prepared, other: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return `Pairs.positive`, `by_ids`, `hidden` and `names`."""
    known = [centres(images, number, config) for number in range(len(images))]
    where, exact, hidden, ids = [], [], [], []
    for number, second in enumerate(other.tolist()):
        if second == _NONE:
            continue
        for name, (row, col, seen) in known[number].items():
            there = known[second].get(name)
            if not seen and (there is None or not there[2]):
                continue
            where.append((number, row, col))
            exact.append((second, *there[:2]) if there and there[2] else (_NONE,) * 3)
            hidden.append(not seen)
            ids.append(name)
    shape = (-1, 3)
    return (
        np.array(where, np.int64).reshape(shape),
        np.array(exact, np.int64).reshape(shape),
        np.array(hidden, bool),
        tuple(ids),
    )
