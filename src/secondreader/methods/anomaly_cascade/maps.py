"""Training the first stage: patches half with calcifications and half without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from secondreader.domain import ImageSet
from secondreader.learning import augment as moving
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware
from secondreader.learning.initial import initialise
from secondreader.learning.patches import balanced, cut_out, generator, names
from secondreader.learning.positions import Positions, of_masks, of_points
from secondreader.learning.prepared import Prepared, prepared_by
from secondreader.learning.ranking import auc_of
from secondreader.methods.anomaly_cascade.config import NAME, Config
from secondreader.methods.anomaly_cascade.losses import objective, suspicion
from secondreader.methods.anomaly_cascade.network import UNet, first_stage
from secondreader.methods.anomaly_cascade.prepare import network_input, prepare
from secondreader.methods.anomaly_cascade.proposals import (
    Candidates,
    looked_at,
    proposals,
    recalls,
    suspicion_map,
)

__all__ = ["Patches", "augmented", "maps_cost", "maps_loss", "middle", "patches", "train_maps"]

_AWAY_MM = 1.0  # normal tissue begins so far from a calcification
_NEAR_MM = 0.5  # a mark so close to a calcification is one of it
_PIXELS = (100, 300, 1000, 3000, 10_000)  # of an image, above the thresholds that are tried


def train_maps(
    own: Patches, held: Patches, config: Config, run_dir: Path, hardware: Hardware
) -> UNet:
    """Train the network that redraws, and return it with its best weights.

    Parameters
    ----------
    own, held
        Patches to learn from, and to stop by.
    config
        The method's settings.
    run_dir
        The run folder; a finished stage is only loaded.
    hardware
        What to use.
    """
    torch.manual_seed(config.seed)
    network = first_stage(config)
    initialise(network, config.init, prefix="unet.")
    network = network.to(memory_format=torch.channels_last)
    fixed = [held.batch(step, 32, config) for step in range(-(-config.validation_patches // 32))]
    fit(
        network,
        partial(maps_loss, config=config),
        partial(own.batch, count=config.fit.batch, config=config),
        partial(_figures, batches=fixed, held=held, config=config),
        config.fit,
        figure="mean_recall",
        run_dir=run_dir,
        stage="proposals",
        seed=config.seed,
        hardware=hardware,
        augment=partial(augmented, config=config),
        pictures=partial(_picture, batch=fixed[0], config=config),
    )
    return network


def maps_cost(config: Config, hardware: Hardware) -> Cost:
    """Return what the stage will cost, timed on a batch of noise."""
    shape = (config.fit.batch, 1, config.patch, config.patch)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "truth": image > 0.99, "known": image > 0.01}
    network = first_stage(config).to(memory_format=torch.channels_last)
    loss = partial(maps_loss, config=config)
    return step_cost("proposals", network, loss, batch, config.fit.steps, hardware)


@dataclass(frozen=True, eq=False)
class Patches:
    """Where patches of a set may be cut, and what is known of their pixels.

    ``centres`` are the middles of each image's calcifications, ``truth`` and ``ignored`` hold pixels,
    all (n, 2) int32; ``boxes`` are (n, 4) as `secondreader.domain.Box` has them; ``negative`` is all of the breast that is away from them.
    """

    images: Prepared
    positive: Positions
    negative: Positions
    centres: tuple[np.ndarray, ...]
    boxes: tuple[np.ndarray, ...]
    truth: tuple[np.ndarray, ...]
    ignored: tuple[np.ndarray, ...]

    def batch(self, step: int, count: int, config: Config) -> Batch:
        """Return the batch of a step: ``image``, ``truth`` and ``known``, each (n, 1, h, w)."""
        size = config.patch + moving.margin(config.augment, config.patch)
        where = self.places(step, count, config.patch, config)
        return {
            "image": cut_out(self.images, where, size),
            "truth": _painted(self.truth, where, size),
            # The background is known to hold nothing: a network that never saw it calls it anything.
            "known": ~_painted(self.ignored, where, size),
            "where": names(self.images, where),
        }

    def places(self, step: int, count: int, size: int, config: Config) -> np.ndarray:
        """Return where a step's patches of ``size`` pixels are cut, (count, 3) of (image, row, col)."""
        rng = generator(config.seed, step)
        shares = {
            "calcifications": config.positive_share,
            "normal tissue": 1 - config.positive_share,
        }
        classes = {"calcifications": self.positive, "normal tissue": self.negative}
        where, _ = balanced(classes, shares, rng, count)
        # A calcification need not lie in the middle of its patch.
        where[:, 1:] += rng.integers(-size // 4, size // 4 + 1, (count, 2))
        return where

    def holds_ignored(self, where: np.ndarray, size: int) -> np.ndarray:
        """Say of each patch whether it holds a pixel that counts for nothing, (n,) bool.

        Where all do, of none: a batch must hold something.
        """
        held = _painted(self.ignored, where, size).flatten(1).any(1).numpy()
        return held & ~held.all()


def patches(
    images: ImageSet,
    config: Config,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
) -> Patches:
    """Prepare a set's images in so many processes, and say where patches may be cut."""
    ready = prepared_by(
        images, prepare, config, name=f"{NAME}/1",
        depends=("spacing_mm", "coarsest_mm", "depth"), progress=progress, workers=workers,
    )  # fmt: skip
    centres, boxes, truth, ignored, free = [], [], [], [], []
    for index in range(len(ready)):
        pixels = ready.pixels(index)
        middles, each, other = config.truth(ready.lesions[index], pixels)
        own = np.concatenate([np.zeros((0, 2), np.int32), *each])
        centres.append(middles)
        boxes.append(np.array([[*p.min(axis=0), *p.max(axis=0)] for p in each]).reshape(-1, 4))
        truth.append(own)
        ignored.append(other)
        free.append(_away_from(np.asarray(pixels) > 0, np.concatenate([own, other]), config))
    return Patches(
        ready, of_points(centres), of_masks(free),
        tuple(centres), tuple(boxes), tuple(truth), tuple(ignored),
    )  # fmt: skip


def _away_from(breast: np.ndarray, marked: np.ndarray, config: Config) -> np.ndarray:
    """Return the breast without what lies close to a calcification."""
    free = breast.copy()
    if len(marked):
        near = np.zeros(breast.shape, bool)
        near[marked[:, 0], marked[:, 1]] = True
        steps = max(round(_AWAY_MM / config.spacing_mm), 1)
        free &= ~ndimage.maximum_filter(near, 2 * steps + 1)
    return free


def _painted(marked: tuple[np.ndarray, ...], where: np.ndarray, size: int) -> torch.Tensor:
    """Return (n, 1, size, size) bool: the marked pixels of each patch."""
    out = torch.zeros(len(where), 1, size, size, dtype=torch.bool)
    for i, (image, row, col) in enumerate(where.tolist()):
        inside = marked[image] - (row - size // 2, col - size // 2)
        inside = inside[((inside >= 0) & (inside < size)).all(axis=1)]
        out[i, 0, inside[:, 0], inside[:, 1]] = True
    return out


def augmented(batch: Batch, where: torch.Generator, config: Config) -> Batch:
    """Turn, stretch and shade a batch, and cut it to the patch's own size."""
    matrices = moving.affine(config.augment, len(batch["image"]), where)
    masks = torch.cat([batch["truth"], batch["known"]], 1)
    image, turned = moving.geometric(
        batch["image"], matrices, config.patch, masks, elastic=config.augment.elastic, where=where
    )
    assert turned is not None
    changed = moving.intensity(image, config.augment, where)
    # The background stays what it is: 0.
    image = torch.where(image > 0, changed.clamp(1e-3, 1), image)
    return {**batch, "image": image, "truth": turned[:, :1], "known": turned[:, 1:]}


def maps_loss(network: nn.Module, batch: Batch, config: Config) -> torch.Tensor:
    """Return the loss of a batch."""
    image = network_input(batch["image"], config).contiguous(memory_format=torch.channels_last)
    return objective(image, network(image), batch["truth"], batch["known"], config)


def middle(batch: Batch, config: Config) -> dict[str, Any]:
    """Cut a batch to the patch's own size, as augmentation does."""
    rest = (batch["image"].shape[-1] - config.patch) // 2
    inner = slice(rest, rest + config.patch)
    return {name: batch[name][..., inner, inner] for name in ("image", "truth", "known")}


def _figures(
    network: nn.Module, batches: list[Batch], held: Patches, config: Config
) -> Mapping[str, float]:
    """Return the mean of table 3's recalls on whole images, which the best step is chosen by.

    Beside it, for the log, the loss of patches, and how often the strongest pixel within half a
    millimetre of a calcification lies above the strongest of a normal patch. The best step is chosen
    by neither: the loss goes on falling while more and more of the image is drawn to the margin, and
    the area is that of patches, which do not say how many false alarms an image has.
    """
    found, empty, losses = [], [], []
    where = next(network.parameters()).device
    reach = 2 * round(_NEAR_MM / config.spacing_mm) + 1
    for whole in batches:
        batch = {name: value.to(where) for name, value in middle(whole, config).items()}
        image = network_input(batch["image"], config).contiguous(memory_format=torch.channels_last)
        drawn = network(image)
        marked = suspicion(image, drawn, config).masked_fill(~batch["known"], 0)
        truth = batch["truth"] & batch["known"]
        near = nn.functional.max_pool2d(marked, reach, 1, reach // 2)
        # Each calcification alike, however large.
        for one, at in zip(near[:, 0], truth[:, 0], strict=True):
            labels, count = ndimage.label(at.cpu().numpy(), np.ones((3, 3)))
            if count:
                found.extend(ndimage.maximum(one.cpu().numpy(), labels, range(1, count + 1)))
        normal = ~truth.flatten(1).any(1)
        empty.append(marked[normal].amax(dim=(1, 2, 3)).cpu())
        losses.append(
            float(objective(image, drawn, batch["truth"], batch["known"], config).detach())
        )
    loss = float(np.mean(losses))
    area = auc_of(found, torch.cat(empty).numpy())
    recall = _mean_recall(network, held, config)
    return {"mean_recall": recall, "validation_loss": loss, "auc": area}


def _mean_recall(network: nn.Module, held: Patches, config: Config) -> float:
    """Return the mean recall of proposals on some validation images, at a threshold as yet unchosen.

    Half of them hold most of the calcifications, half none. The threshold is the paper's own; that
    of a loss without a margin is the best of a few.
    """
    many = np.argsort([-len(own) for own in held.centres], kind="stable")
    half = config.validation_images // 2
    chosen = dict.fromkeys([*many[:half].tolist(), *many[len(many) - half :].tolist()])
    maps = []
    for index in chosen:
        pixels = held.images.pixels(index)
        maps.append(suspicion_map(network, pixels, config) * looked_at(pixels, config))
    truth, ignored = ([of[i] for i in chosen] for of in (held.centres, held.ignored))
    best = 0.0
    for cut in _cuts(maps, config):
        at = config.model_copy(update={"threshold": cut})
        points, scores = zip(*(proposals(of, of > 0, at) for of in maps), strict=True)
        got = recalls(Candidates(points, scores), truth, ignored, config.spacing_mm)
        best = max(best, float(got.mean()))
    return best


def _cuts(maps: list[np.ndarray], config: Config) -> list[float]:
    """Return the margin, or without one the values that so many pixels of an image lie above."""
    if config.objective not in ("mean_squared", "huber"):
        return [config.cut]
    least = min(of.size for of in maps)
    ranks = [min(rank, least - 1) for rank in _PIXELS]
    highest = [-np.partition(-of.ravel(), ranks)[ranks] for of in maps]
    return [float(value) for value in np.median(highest, axis=0)]


def _picture(network: nn.Module, batch: Batch, config: Config) -> np.ndarray:
    """Return patches with what is true and what is suspected in them, one under the other."""
    where = next(network.parameters()).device
    few = {name: value[::4][:8].to(where) for name, value in middle(batch, config).items()}
    image = network_input(few["image"], config)
    found = (suspicion(image, network(image), config) / (2 * config.cut)).clamp(0, 1)
    rows = [few["image"], few["truth"].float(), found]
    strips = [np.hstack(list(row[:, 0].float().cpu().numpy())) for row in rows]
    return np.asarray(np.vstack(strips) * 255).astype(np.uint8)
