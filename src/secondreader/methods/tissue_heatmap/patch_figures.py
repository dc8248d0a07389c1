"""What the method measures of patches: table 2, figure 3, and what a second view adds to them.

References
----------
An et al. (2018), section 4, "Tissue classifier".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secondreader.domain import ImageRecord, ImageSet, Part, SecondReaderError, View
from secondreader.evaluation.bootstrap import difference, estimate, replicates
from secondreader.evaluation.classification import score_figures, score_statistic, too_small
from secondreader.evaluation.figures import Curve, Figure, figure, without_value
from secondreader.evaluation.means import mean_figures
from secondreader.evaluation.units import Units, positions
from secondreader.learning.patches import cut_out
from secondreader.learning.prepared import Prepared
from secondreader.methods.tissue_heatmap.config import Config
from secondreader.methods.tissue_heatmap.data import findings, patches, ready
from secondreader.methods.tissue_heatmap.held_out import HeldOut, groups, tissue_without
from secondreader.methods.tissue_heatmap.local import inside
from secondreader.methods.tissue_heatmap.network import Pair
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap
from secondreader.methods.tissue_heatmap.two_views import TwoViews
from secondreader.methods.tissue_heatmap.views import pairs

__all__ = ["areas", "of_patches", "of_split", "of_two_views", "patch_scores", "told_draws", "whose"]

_CALLED = 0.5  # of a softmax of two
_AT_ONCE = 64
_RULE = {"label_rule": "finding in the patch"}


def whose(images: Prepared, numbers: np.ndarray) -> list[str]:
    """Return the patients of images by their numbers (n,)."""
    return [images.records[i].patient_id for i in numbers.tolist()]


def of_patches(
    model: TissueHeatmap, images: Prepared, drawn: HeldOut, known: dict[str, Any]
) -> tuple[list[Figure], list[Curve]]:
    """Return table 2's shares of all patches at a probability of a half, figure 3's curve, and groups."""
    where, label = drawn.where, drawn.label
    told = known | _RULE
    if not len(where):
        return without_value(
            ["auc", "error"],
            "no patch with a finding",
            reader=known["reader"],
            level="patch",
            **_RULE,
        ), []
    scores = patch_scores(model, images, where)
    called, patients = scores >= _CALLED, whose(images, where[:, 0])
    shares = {
        "true_positive_share": label & called,
        "false_positive_share": ~label & called,
        "true_negative_share": ~label & ~called,
        "false_negative_share": label & ~called,
        "error": label != called,
    }
    counts = {"positives": int(label.sum()), "negatives": int((~label).sum())}
    figures = mean_figures(shares, patients, level="patch", **told, **counts)
    more, curves = score_figures(positions(scores, label, patients, "patch"), **told)
    figures += _counts(counts | {"patients": len(set(patients))}, "patch", known["reader"])
    rule = {"reader": known["reader"], "level": "patch", **_RULE}
    for group, chosen in groups(images, where, drawn.findings, model.config).items():
        some = {"": scores[chosen]}
        women = [patients[i] for i in np.flatnonzero(chosen)]
        more += areas(some, label[chosen], women, rule | {"group": group}, told_draws(known))
    return figures + more, curves


def told_draws(known: Mapping[str, Any]) -> dict[str, int]:
    """Return the bootstrap's resamples and seed of what is known."""
    return {name: known[name] for name in ("resamples", "seed")}


def _counts(numbers: Mapping[str, int], level: str, reader: str) -> list[Figure]:
    """Return how many there are of things: facts about the data, their own intervals."""
    return [
        Figure(reader, level, name, float(n), float(n), float(n), method="count")
        for name, n in numbers.items()
    ]


def of_split(
    parts: Mapping[Part, ImageSet], part: Part, drawn: HeldOut, config: Config, reader: str
) -> list[Figure]:
    """Return the counts of table 1: patches and CC views, with a finding and without, of each part."""
    figures: list[Figure] = []
    for name in (p for p in (Part.TRAIN, Part.VALIDATION, part) if p in parts):
        yes, no = int(drawn.label.sum()), int((~drawn.label).sum())
        if name is not part:
            of = patches(ready(parts[name], config), config)
            yes, no = len(of.positive), len(of.negative)
        stage = "test" if name is part else str(name)
        figures += _counts({"positives": yes, "negatives": no}, f"{stage}_patch", reader)
        figures += _counts(_whole(parts[name].records), f"{stage}_image", reader)
    return figures


def _whole(records: Iterable[ImageRecord]) -> dict[str, int]:
    malignant = [r.malignant for r in records if r.view is View.CC and r.malignant is not None]
    return {"positives": sum(malignant), "negatives": len(malignant) - sum(malignant)}


@torch.inference_mode()
def patch_scores(model: TissueHeatmap, images: Prepared, where: np.ndarray) -> np.ndarray:
    """Return what one view says of patches, (n,) float64, crop by crop."""
    at = next(model.tissue.parameters()).device
    found = [model.tissue(crop.to(at)).cpu() for crop in _crops(images, where, model.config)]
    return torch.sigmoid(torch.cat(found)).double().numpy()


def _crops(images: Prepared, where: np.ndarray, config: Config) -> list[Tensor]:
    return [
        cut_out(images, where[low : low + _AT_ONCE], config.seen)
        for low in range(0, len(where), _AT_ONCE)
    ]


# ------------------------------------------------------------------------------------- two views


def of_two_views(model: TwoViews, images: Prepared, known: dict[str, Any]) -> list[Figure]:
    """Return the areas of one view and of two, over places seen in either, and what the second adds.

    ``auc_two_views`` finds the other view's place as a reader does, ``auc_two_views_by_ids`` that of
    a finding by its id. Of findings that this view is known to hide only the number is given: there
    are too few. Those that one view scores lowest were chosen by its score: it falls short on them.
    """
    config = model.config
    one = TissueHeatmap(config, model.tissue).local(images)
    breast = [inside(np.asarray(images.pixels(i)), config, a.shape) for i, a in enumerate(one)]
    of = pairs(patches(images, config), one, breast, config)
    told = {"reader": known["reader"], "level": "patch", **_RULE}
    paired = np.flatnonzero(of.other >= 0).tolist()
    without = [place for _, place in tissue_without(images, config, paired, len(of.positive))]
    if not len(of.positive) or not without:
        return without_value(["auc_two_views", "auc_gain"], "no breast in two views", **told)
    where = np.concatenate([of.positive, np.array(without)])
    label = np.repeat([True, False], [len(of.positive), len(without)])
    rule = of.partner(where, config)
    ids = rule.copy()
    exact = np.flatnonzero(of.by_ids[:, 0] >= 0)
    ids[exact] = of.by_ids[exact]
    scores = {
        "one_view": patch_scores(model, images, where),
        "two_views": _beside(model.pair, images, where, rule, config),
        "two_views_by_ids": _beside(model.pair, images, where, ids, config),
    }
    patients = whose(images, where[:, 0])
    lesions = [
        findings(images, number, config)[name]
        for number, name in zip(of.positive[:, 0].tolist(), of.names, strict=True)
    ]
    parts = {"": np.ones(len(label), bool)}
    parts |= groups(images, where, [*lesions, *[None] * len(without)], config)
    low = scores["one_view"] <= np.quantile(scores["one_view"][label], 1 / 3)
    parts["one view=lowest third"] = low | ~label
    figures = _counts({"hidden_findings": int(of.hidden.sum())}, "patch", known["reader"])
    for group, chosen in parts.items():
        some = {name: values[chosen] for name, values in scores.items()}
        women = [patients[i] for i in np.flatnonzero(chosen)]
        figures += areas(some, label[chosen], women, told | {"group": group}, told_draws(known))
    return figures


@torch.inference_mode()
def _beside(
    network: Pair, images: Prepared, where: np.ndarray, other: np.ndarray, config: Config
) -> np.ndarray:
    """Return what two views say of patches, (n,) float64; one view where there is no other."""
    there = other[:, 0] >= 0
    second = np.where(there[:, None], other, where)
    device = next(network.parameters()).device
    crops = ([c.to(device) for c in _crops(images, at, config)] for at in (where, second))
    found = [torch.stack([network(a, b), network.tissue(a)]) for a, b in zip(*crops, strict=True)]
    both, alone = torch.sigmoid(torch.cat(found, 1).cpu()).double().numpy()
    answered: np.ndarray = np.where(there, both, alone)
    return answered


def areas(
    scores: Mapping[str, np.ndarray],
    label: np.ndarray,
    patients: list[str],
    told: dict[str, Any],
    drawn: dict[str, int],
) -> list[Figure]:
    """Return the area of each way to score the same units, and of the second less the first."""
    units = [positions(values, label, patients, "patch") for values in scores.values()]
    told = told | {
        "positives": int(label.sum()),
        "negatives": int((~label).sum()),
        "patients": len(set(patients)),
        "note": too_small(units[0]),
    }
    names = [f"auc_{name}" if name else "auc" for name in scores]
    gained = ["auc_gain"] if len(names) > 1 else []
    try:
        found = [_replicates(of, drawn) for of in units]
    except SecondReaderError as error:
        return without_value([*names, *gained], str(error), **told)
    figures = [
        figure(name, estimate(area), "patient bootstrap", **told)
        for name, area in zip(names, found, strict=True)
    ]
    for name in gained:
        gain = difference(found[1], found[0])
        figures.append(figure(name, gain, gain.method, **told))
    return figures


def _replicates(units: Units, drawn: dict[str, int]) -> np.ndarray:
    area: np.ndarray = replicates(score_statistic(units), units.n_patients, **drawn)[:, 0]
    return area
