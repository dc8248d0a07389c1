"""The two-step comparison: regions of the cut heatmap, and a random forest on their features.

References
----------
Shen et al. (2019), section 3.1.4, "The two-step approach": cut at 0.3, 0.5, 0.7 and 0.9; area, major
axis, mean intensity of regions; 500 trees, depth 9, 300 images to split. The list of features is ours
beyond those three that are named.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skimage.measure import label, regionprops
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from secondreader.domain import SecondReaderError
from secondreader.learning.trees import forest_arrays
from secondreader.methods.patch_to_image.architecture import STRIDE
from secondreader.methods.patch_to_image.config import Config
from secondreader.methods.patch_to_image.data import Whole
from secondreader.methods.patch_to_image.network import CLASSES, COLUMNS, PatchClassifier

__all__ = ["PREFIX", "class_map", "of_features", "places", "region_features", "train_forest"]

PREFIX = "forest."


@torch.no_grad()
def class_map(network: PatchClassifier, image: Tensor) -> np.ndarray:
    """Return the softmax heatmap (5, rows, cols) float32 of one prepared image (1, 1, h, w)."""
    return of_features(network, network.features(network.scaled(image.to(network.mean.device))))


def places(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the rows and columns of a heatmap that a prepared image (rows, cols) reaches."""
    rows, cols = (-(-side // STRIDE) for side in shape)
    return rows, cols


def of_features(network: PatchClassifier, features: Tensor) -> np.ndarray:
    """Return the softmax heatmap (5, rows, cols) float32 of features (1, d, rows, cols)."""
    found: np.ndarray = torch.softmax(network.heatmap(features).float(), 1)[0].cpu().numpy()
    return found


def region_features(heat: np.ndarray, cutoffs: tuple[float, ...]) -> np.ndarray:
    """Return what is known of a heatmap's regions.

    Parameters
    ----------
    heat
        (5, rows, cols) of `CLASSES`.
    cutoffs
        Where it is cut.

    Returns
    -------
    numpy.ndarray
        (len(cutoffs) · 4 · 6,) float64: for each cut and each class of lesion the number of regions,
        their area in all, and of the largest its area, major axis, mean and highest intensity; 0
        where there is none.
    """
    told: list[float] = []
    for cut in cutoffs:
        for kind in range(1, len(CLASSES)):
            regions = regionprops(label(heat[kind] >= cut), intensity_image=heat[kind])
            if not regions:
                told += [0.0] * 6
                continue
            largest = max(regions, key=lambda r: r.area)
            told += [
                len(regions),
                sum(r.area for r in regions),
                largest.area,
                largest.axis_major_length,
                largest.intensity_mean,
                largest.intensity_max,
            ]
    return np.array(told, np.float64)


def train_forest(
    network: PatchClassifier,
    own: Whole,
    config: Config,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Tensor]:
    """Fit the forest on the images whose truth is known, and return it as arrays.

    Raises
    ------
    SecondReaderError
        If not both kinds of images are known.
    """
    network.eval()
    column = COLUMNS.index(config.scores)
    known = np.flatnonzero(~np.isnan(own.truth[:, column]))
    yes = int((own.truth[known, column] == 1).sum())
    if yes in (0, len(known)):
        raise SecondReaderError(
            f"training: got {yes} {config.scores} of {len(known)} images that are known, expected some "
            "of each kind"
        )
    features = []
    for done, index in enumerate(known, 1):
        rows, cols = places(own.images.pixels(int(index)).shape)
        heat = class_map(network, own.at(np.array([index]), config)["image"])[:, :rows, :cols]
        features.append(region_features(heat, config.cutoffs))
        progress(done, len(known))
    forest = RandomForestClassifier(
        config.trees,
        max_depth=config.depth,
        min_samples_split=config.least_split,
        random_state=config.seed,
    )
    forest.fit(np.array(features), own.truth[known, column].astype(int))
    return forest_arrays(forest, PREFIX)
