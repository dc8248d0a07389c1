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

from secondreader.domain import ImageSet, Part
from secondreader.evaluation.bootstrap import estimate
from secondreader.evaluation.figures import Curve, Figure, figure, without_value
from secondreader.evaluation.means import mean_figures, mean_replicates
from secondreader.learning.prepared import Prepared
from secondreader.methods.tissue_heatmap.data import Small, ready
from secondreader.methods.tissue_heatmap.held_out import held_out
from secondreader.methods.tissue_heatmap.local import inside
from secondreader.methods.tissue_heatmap.patch_figures import (
    areas,
    of_patches,
    of_split,
    of_two_views,
    told_draws,
    whose,
)
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap
from secondreader.methods.tissue_heatmap.two_views import TwoViews

__all__ = ["heatmap_errors", "own"]

_WOMEN = 40  # of the training part
_SEED = 0  # of the women and images: the same for every model


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
    drawn = held_out(images, config)
    figures, curves = of_patches(model, images, drawn, known)
    if isinstance(model, TwoViews):
        figures += of_two_views(model, images, known)
    elif model.heatmap is None:
        figures += of_split(parts, part, drawn, config, known["reader"])
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
    )


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
    return areas(scores, label, whose(images, np.array(rows, int)), told, told_draws(known))


def _heatmaps(
    model: TissueHeatmap,
    images: Prepared,
    local: list[np.ndarray],
    level: str,
    known: dict[str, Any],
) -> list[Figure]:
    """Return table 3's mean squared error, the mean over images, and in times of a heatmap of zeros."""
    errors, zeros, patients = heatmap_errors(model, images, local)
    told: dict[str, Any] = {
        "level": level, "label_rule": "blurred annotations of malignant findings"
    }  # fmt: skip
    names = ["heatmap_mse", "zero_map_mse", "heatmap_mse_over_zeros"]
    if not len(errors):
        return without_value(names, "no CC view", reader=known["reader"], **told)
    figures = mean_figures(
        dict(zip(names, (errors, zeros), strict=False)), patients, **known, **told
    )
    if len(set(patients)) < 2 or not zeros.any():
        return figures
    drawn = mean_replicates(np.column_stack([errors, zeros]), patients, **told_draws(known))
    told |= {"reader": known["reader"], "patients": len(set(patients))}
    with np.errstate(divide="ignore", invalid="ignore"):  # draws without a finding have no ratio
        ratio = estimate(drawn[:, 0] / drawn[:, 1])
    return [*figures, figure(names[2], ratio, "patient bootstrap", **told)]


@torch.inference_mode()
def heatmap_errors(
    model: TissueHeatmap, images: Prepared, local: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the mean squared errors of heatmaps, half with a target, those of zeros, and whose they are.

    (n,) each, of the same images in the same order.
    """
    assert model.heatmap is not None
    small = Small.of(images, local, model.config)
    women = {record.path: record.patient_id for record in images.records}
    kept = _as_many(small.target.flatten(1).amax(1).numpy() > 0)
    where = next(model.heatmap.parameters()).device
    errors = []
    for i in kept:
        one = (small.image[i : i + 1].to(where), small.local[i : i + 1].to(where))
        errors.append(((model.heatmap(*one).cpu() - small.target[i]) ** 2).mean().item())
    zeros = (small.target[kept] ** 2).mean((1, 2, 3)).double().numpy()
    return np.array(errors), zeros, [women[small.paths[i]] for i in kept]


def _as_many(hot: np.ndarray) -> list[int]:
    """Return the images with a target and as many without, drawn once; all where there is one kind.

    Table 1 holds out 100 and 100: of mostly empty images the error would be that of saying nothing.
    """
    rng = np.random.default_rng(_SEED)
    kinds = [np.flatnonzero(hot), np.flatnonzero(~hot)]
    count = min(map(len, kinds)) or max(map(len, kinds))
    return sorted(i for kind in kinds for i in rng.permutation(kind)[:count].tolist())
