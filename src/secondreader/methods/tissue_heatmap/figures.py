"""What the method measures of itself: patches (table 2, figure 3), heatmaps (table 3), two views.

References
----------
An et al. (2018), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secondreader.domain import ImageSet, Part, SecondReaderError
from secondreader.evaluation.bootstrap import difference, estimate, replicates
from secondreader.evaluation.classification import score_figures, score_statistic
from secondreader.evaluation.figures import Curve, Figure, figure, without_value
from secondreader.evaluation.means import mean_figures
from secondreader.evaluation.units import Units, positions
from secondreader.learning.patches import cut_out
from secondreader.learning.positions import Positions
from secondreader.learning.prepared import Prepared
from secondreader.methods.tissue_heatmap.config import Config
from secondreader.methods.tissue_heatmap.data import Small, patches, ready
from secondreader.methods.tissue_heatmap.local import inside
from secondreader.methods.tissue_heatmap.network import Pair
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap
from secondreader.methods.tissue_heatmap.two_views import TwoViews
from secondreader.methods.tissue_heatmap.views import pairs

__all__ = ["heatmap_errors", "held_out", "own"]

_EACH = 256  # table 1: held-out patches with a finding, and without
_CALLED = 0.5  # of a softmax of two
_AT_ONCE = 64
_WOMEN = 40  # of the training part
_SEED = 0  # of the patches: the same for every model
_RULE = {"label_rule": "finding in the patch"}


def own(
    model: TissueHeatmap,
    parts: Mapping[Part, ImageSet],
    part: Part,
    **known: Any,
) -> tuple[list[Figure], list[Curve]]:
    """Return the figures of patches, of heatmaps and of the image score's two ways.

    Parameters
    ----------
    model
        The reader.
    parts
        The images of each part of the split, where there is one.
    part
        The one that is measured; table 3 has the error on training images too.
    **known
        reader, resamples, seed.
    """
    config = model.config
    images = ready(parts[part], config)
    figures, curves = _patches(model, images, known)
    if isinstance(model, TwoViews):
        figures += _two_views(model, images, known)
    if model.heatmap is None:
        return figures, curves
    local = model.local(images)
    figures += _images(model, images, local, known)
    figures += _heatmaps(model, images, local, "held_out_image", known)
    if part is not Part.TRAIN and Part.TRAIN in parts and parts[Part.TRAIN].records:
        trained = _some(ready(parts[Part.TRAIN], config))
        figures += _heatmaps(model, trained, model.local(trained), "training_image", known)
    return figures, curves


def _some(images: Prepared) -> Prepared:
    """Return the images of some women, drawn once: of hundreds more would not say more."""
    women = sorted({record.patient_id for record in images.records})
    drawn = {women[i] for i in np.random.default_rng(_SEED).permutation(len(women))[:_WOMEN]}
    kept = [i for i, record in enumerate(images.records) if record.patient_id in drawn]
    return replace(
        images,
        records=tuple(images.records[i] for i in kept),
        frames=tuple(images.frames[i] for i in kept),
        lesions=tuple(images.lesions[i] for i in kept),
        _open={},
    )


def held_out(positive: Positions, negative: Positions) -> tuple[np.ndarray, np.ndarray]:
    """Return the patches that are measured, (n, 3) int, and which hold a finding, (n,) bool.

    Up to 256 with a finding and as many without, as table 1 reserves; drawn once, by a seed.
    """
    rng = np.random.default_rng(_SEED)
    count = min(_EACH, len(positive), len(negative))
    where = [
        of.at(rng.choice(len(of), count, replace=False)) for of in (positive, negative) if count
    ]
    return np.concatenate([np.zeros((0, 3), np.int64), *where]), np.repeat([True, False], count)


def _patients(images: Prepared, numbers: np.ndarray) -> list[str]:
    return [images.records[i].patient_id for i in numbers.tolist()]


def _patches(
    model: TissueHeatmap, images: Prepared, known: dict[str, Any]
) -> tuple[list[Figure], list[Curve]]:
    """Return table 2's shares of all patches at a probability of a half, and figure 3's curve."""
    of = patches(images, model.config)
    where, label = held_out(of.positive, of.negative)
    told = known | _RULE
    if not len(where):
        return without_value(
            ["auc", "error"],
            "no patch with a finding",
            reader=known["reader"],
            level="patch",
            **_RULE,
        ), []
    scores = _alone(model, images, where)
    called, patients = scores >= _CALLED, _patients(images, where[:, 0])
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
    return figures + more, curves


@torch.inference_mode()
def _alone(model: TissueHeatmap, images: Prepared, where: np.ndarray) -> np.ndarray:
    """Return what one view says of patches, (n,) float64, crop by crop."""
    found = [model.tissue(crop) for crop in _crops(images, where, model.config)]
    return torch.sigmoid(torch.cat(found)).double().numpy()


def _crops(images: Prepared, where: np.ndarray, config: Config) -> list[Tensor]:
    return [
        cut_out(images, where[low : low + _AT_ONCE], config.patch)
        for low in range(0, len(where), _AT_ONCE)
    ]


# ------------------------------------------------------------------------------------- two views


def _two_views(model: TwoViews, images: Prepared, known: dict[str, Any]) -> list[Figure]:
    """Return the areas of one view and of two, over places seen in either, and what the second adds.

    ``auc_two_views`` finds the other view's place as a reader does, ``auc_two_views_by_ids`` that of
    a finding by its id; ``hidden_…`` are findings that this view is known not to show.
    """
    config = model.config
    one = TissueHeatmap(config, model.tissue).local(images)
    breast = [inside(np.asarray(images.pixels(i)), config, a.shape) for i, a in enumerate(one)]
    of = pairs(patches(images, config), one, breast, config)
    told = {"reader": known["reader"], "level": "patch", **_RULE}
    if not len(of.positive) or not len(of.negative):
        return without_value(["auc_two_views", "auc_gain"], "no breast in two views", **told)
    numbers = np.random.default_rng(_SEED).permutation(len(of.negative))[: len(of.positive)]
    negative = of.negative.at(np.sort(numbers))
    where = np.concatenate([of.positive, negative])
    label = np.repeat([True, False], [len(of.positive), len(negative)])
    rule = of.partner(where, config)
    ids = rule.copy()
    exact = np.flatnonzero(of.by_ids[:, 0] >= 0)
    ids[exact] = of.by_ids[exact]
    scores = {
        "one_view": _alone(model, images, where),
        "two_views": _beside(model.pair, images, where, rule, config),
        "two_views_by_ids": _beside(model.pair, images, where, ids, config),
    }
    patients = _patients(images, where[:, 0])
    hidden = np.concatenate([of.hidden, np.ones(len(negative), bool)])
    drawn = {name: known[name] for name in ("resamples", "seed")}
    figures = _areas(scores, label, patients, "", told, drawn)
    kept = np.flatnonzero(hidden)
    some = {name: values[kept] for name, values in scores.items()}
    return figures + _areas(some, label[kept], [patients[i] for i in kept], "hidden_", told, drawn)


@torch.inference_mode()
def _beside(
    network: Pair, images: Prepared, where: np.ndarray, other: np.ndarray, config: Config
) -> np.ndarray:
    """Return what two views say of patches, (n,) float64; one view where there is no other."""
    there = other[:, 0] >= 0
    second = np.where(there[:, None], other, where)
    crops = (_crops(images, at, config) for at in (where, second))
    found = [torch.stack([network(a, b), network.tissue(a)]) for a, b in zip(*crops, strict=True)]
    both, alone = torch.sigmoid(torch.cat(found, 1)).double().numpy()
    answered: np.ndarray = np.where(there, both, alone)
    return answered


def _areas(
    scores: Mapping[str, np.ndarray],
    label: np.ndarray,
    patients: list[str],
    prefix: str,
    told: dict[str, Any],
    drawn: dict[str, int],
) -> list[Figure]:
    """Return the area of each way to score the same units, and of the second less the first."""
    counts = {
        "positives": int(label.sum()),
        "negatives": int((~label).sum()),
        "patients": len(set(patients)),
    }
    told = told | counts
    names = [f"{prefix}auc_{name}" for name in scores]
    try:
        drawn_areas = [
            _replicates(positions(values, label, patients, "patch"), drawn)
            for values in scores.values()
        ]
    except SecondReaderError as error:
        return without_value([*names, f"{prefix}auc_gain"], str(error), **told)
    figures = [
        figure(name, estimate(area), "patient bootstrap", **told)
        for name, area in zip(names, drawn_areas, strict=True)
    ]
    gain = difference(drawn_areas[1], drawn_areas[0])
    return [*figures, figure(f"{prefix}auc_gain", gain, gain.method, **told)]


def _replicates(units: Units, drawn: dict[str, int]) -> np.ndarray:
    area: np.ndarray = replicates(score_statistic(units), units.n_patients, **drawn)[:, 0]
    return area


# ------------------------------------------------------------------------------------- images


def _images(
    model: TissueHeatmap, images: Prepared, local: list[np.ndarray], known: dict[str, Any]
) -> list[Figure]:
    """Return the areas of the plain maximum and of the network of (answer, place), and what it adds."""
    rows = [i for i, record in enumerate(images.records) if record.malignant is not None]
    breast = [inside(np.asarray(images.pixels(i)), model.config, local[i].shape) for i in rows]
    scores = {
        "maximum": np.array([local[i][b].max() for i, b in zip(rows, breast, strict=True)]),
        "network": np.array([model.score(local[i], b) for i, b in zip(rows, breast, strict=True)]),
    }
    label = np.array([bool(images.records[i].malignant) for i in rows], bool)
    told = {"reader": known["reader"], "level": "image", "label_rule": "all"}
    drawn = {name: known[name] for name in ("resamples", "seed")}
    return _areas(scores, label, _patients(images, np.array(rows, int)), "", told, drawn)


def _heatmaps(
    model: TissueHeatmap,
    images: Prepared,
    local: list[np.ndarray],
    level: str,
    known: dict[str, Any],
) -> list[Figure]:
    """Return table 3's mean squared error, the mean over images."""
    errors, patients = heatmap_errors(model, images, local)
    told: dict[str, Any] = {
        "level": level, "label_rule": "blurred annotations of malignant findings"
    }  # fmt: skip
    if not len(errors):
        return without_value(["heatmap_mse"], "no CC view", reader=known["reader"], **told)
    return mean_figures({"heatmap_mse": errors}, patients, **known, **told)


@torch.inference_mode()
def heatmap_errors(
    model: TissueHeatmap, images: Prepared, local: list[np.ndarray]
) -> tuple[np.ndarray, list[str]]:
    """Return the mean squared error of images' heatmaps, (n,), half with a target, and whose they are."""
    assert model.heatmap is not None
    small = Small.of(images, local, model.config)
    women = {record.path: record.patient_id for record in images.records}
    kept = _as_many(small.target.flatten(1).amax(1).numpy() > 0)
    errors = [
        ((model.heatmap(small.image[i : i + 1], small.local[i : i + 1]) - small.target[i]) ** 2)
        .mean()
        .item()
        for i in kept
    ]
    return np.array(errors), [women[small.paths[i]] for i in kept]


def _as_many(hot: np.ndarray) -> list[int]:
    """Return the images with a target and as many without, drawn once; all where there is one kind.

    Table 1 holds out 100 and 100: of mostly empty images the error would be that of saying nothing.
    """
    rng = np.random.default_rng(_SEED)
    kinds = [np.flatnonzero(hot), np.flatnonzero(~hot)]
    count = min(map(len, kinds)) or max(map(len, kinds))
    return sorted(i for kind in kinds for i in rng.permutation(kind)[:count].tolist())
