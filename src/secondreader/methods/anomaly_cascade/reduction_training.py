"""Training the second stage: all that the first proposes, and all calcifications (section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn
from torch.nn import functional

from secondreader.domain import SecondReaderError
from secondreader.learning import augment as moving
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware
from secondreader.learning.initial import initialise
from secondreader.learning.patches import cut_out, names
from secondreader.learning.positions import Positions, of_where
from secondreader.learning.prepared import Prepared
from secondreader.learning.ranking import auc
from secondreader.learning.sampling import balanced, generator
from secondreader.methods.anomaly_cascade.config import HIT_MM, Config
from secondreader.methods.anomaly_cascade.maps import Patches
from secondreader.methods.anomaly_cascade.proposals import Candidates
from secondreader.methods.anomaly_cascade.reduction import PUBLISHED, enlarged, reducer

__all__ = ["Windows", "reducer_cost", "train_reducer", "windows_of"]

_SHIFT = 3  # pixels by which a window may be off: no proposal lies in the very middle
_KINDS = ("calcifications", "false alarms")


@dataclass(frozen=True, eq=False)
class Windows:
    """Where windows are cut: on calcifications, and on what was wrongly proposed."""

    images: Prepared
    positive: Positions
    negative: Positions

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step: ``image`` (n, 1, h, w) and ``label`` (n,) float32."""
        rng = generator(config.seed, step)
        every = len(self.positive) + len(self.negative)
        share = config.reducer_share or len(self.positive) / max(every, 1)
        classes = dict(zip(_KINDS, (self.positive, self.negative), strict=True))
        shares = dict(zip(_KINDS, (share, 1 - share), strict=True))
        where, label = balanced(classes, shares, rng, count)
        where[:, 1:] += rng.integers(-_SHIFT, _SHIFT + 1, (count, 2))
        size = config.crop + moving.margin(config.augment, config.crop)
        return {
            "image": cut_out(self.images, where, size),
            "label": torch.from_numpy(1.0 - label.astype(np.float32)),
            "where": names(self.images, where),
        }


def windows_of(own: Patches, found: Candidates, config: Config) -> Windows:
    """Sort proposals into right and wrong ones, and add every calcification.

    A proposal within 1 mm of a calcification is right; one on what does not count is left out.

    Raises
    ------
    SecondReaderError
        If nothing was proposed wrongly: there is nothing to learn from.
    """
    right: list[np.ndarray] = []
    wrong: list[np.ndarray] = []
    for image, (at, truth, ignored) in enumerate(
        zip(found.positions, own.centres, own.ignored, strict=True)
    ):
        reach = HIT_MM / config.spacing_mm
        near = _within(at, truth, reach)
        right += [_rows(image, truth), _rows(image, at[near])]
        wrong.append(_rows(image, at[~near & ~_within(at, ignored, reach)]))
    positive, negative = of_where(np.concatenate(right)), of_where(np.concatenate(wrong))
    if not len(positive) or not len(negative):
        raise SecondReaderError(
            f"false-positive reduction: got {len(positive)} calcifications and {len(negative)} "
            "false proposals, expected some of both; lower threshold, or give more data"
        )
    return Windows(own.images, positive, negative)


def train_reducer(
    own: Windows, held: Windows, config: Config, run_dir: Path, hardware: Hardware
) -> nn.Module:
    """Train the second stage's network, and return it with its best weights.

    Parameters
    ----------
    own, held
        Windows to learn from, and to stop by.
    config
        The method's settings.
    run_dir
        The run folder; a finished stage is only loaded.
    hardware
        What to use.

    Raises
    ------
    SecondReaderError
        If published weights are wanted and not at hand, or training fails.
    """
    torch.manual_seed(config.seed)
    network = reducer(config).to(memory_format=torch.channels_last)
    published = PUBLISHED if config.reducer == "resnet50" else None
    initialise(network, config.reducer_init, published=published, prefix="reducer.")
    fixed = [held.batch(step, 64, config) for step in range(-(-config.validation_patches // 64))]
    fit(
        network,
        partial(_loss, config=config),
        partial(own.batch, count=config.reducer_fit.batch, config=config),
        partial(_figures, batches=fixed, config=config),
        config.reducer_fit,
        figure="auc",
        run_dir=run_dir,
        stage="reduction",
        seed=config.seed,
        hardware=hardware,
        augment=partial(_augmented, config=config),
    )
    return network


def reducer_cost(config: Config, hardware: Hardware) -> Cost:
    """Return what the stage will cost, timed on a batch of noise."""
    shape = (config.reducer_fit.batch, 1, config.crop, config.crop)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "label": (image[:, 0, 0, 0] > 0.5).float()}
    network = reducer(config).to(memory_format=torch.channels_last)
    loss = partial(_loss, config=config)
    return step_cost("reduction", network, loss, batch, config.reducer_fit.steps, hardware)


def _rows(image: int, at: np.ndarray) -> np.ndarray:
    places = np.rint(at).astype(np.int64).reshape(-1, 2)
    return np.column_stack([np.full(len(places), image), places])


def _within(at: np.ndarray, points: np.ndarray, reach: float) -> np.ndarray:
    if not len(at) or not len(points):
        return np.zeros(len(at), bool)
    near = cKDTree(points).query(at)[0]
    return np.asarray(near <= reach)


def _augmented(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    matrices = moving.affine(config.augment, len(batch["image"]), where)
    image, _ = moving.geometric(batch["image"], matrices, config.crop)
    changed = moving.intensity(image, config.augment, where)
    # The background stays what it is: 0.
    return {**batch, "image": torch.where(image > 0, changed.clamp(1e-3, 1), image)}


def _loss(network: nn.Module, batch: Batch, config: Config) -> torch.Tensor:
    logit = network(enlarged(batch["image"], config))[:, 0]
    return functional.binary_cross_entropy_with_logits(logit.float(), batch["label"])


def _figures(network: nn.Module, batches: list[Batch], config: Config) -> Mapping[str, float]:
    where = next(network.parameters()).device
    scores, labels, losses = [], [], []
    for batch in batches:
        rest = (batch["image"].shape[-1] - config.crop) // 2
        inner = slice(rest, rest + config.crop)
        logit = network(enlarged(batch["image"][..., inner, inner].to(where), config))[:, 0].float()
        label = batch["label"].to(where)
        losses.append(float(functional.binary_cross_entropy_with_logits(logit, label)))
        scores.append(logit.cpu())
        labels.append(batch["label"])
    return {
        "auc": auc(torch.cat(scores), torch.cat(labels)),
        "validation_loss": float(np.mean(losses)),
    }
