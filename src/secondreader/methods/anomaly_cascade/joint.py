"""End to end, the last sentence of the paper: both stages trained on as one network.

The first stage's map is drawn for a patch; the places that it likes best are picked, a hard choice
that no gradient passes; what passes is the suspicion summed round each place, as a proposal's score
is, which multiplies what the second stage says of the window there: the score that is read. It is
brought into [0, 1] by 1 - exp(-score / β) and trained on the label of the place, beside the first
stage's own loss.

References
----------
Zhang et al. (2019), section 5. The way is ours: the paper only wishes for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware
from secondreader.learning.ranking import auc_of
from secondreader.methods.anomaly_cascade.config import HIT_MM, Config
from secondreader.methods.anomaly_cascade.losses import objective, residual
from secondreader.methods.anomaly_cascade.maps import Patches, augmented, middle
from secondreader.methods.anomaly_cascade.network import UNet, first_stage
from secondreader.methods.anomaly_cascade.prepare import network_input
from secondreader.methods.anomaly_cascade.reduction import enlarged, reducer

__all__ = ["Joint", "joint_cost", "joint_loss", "picked", "products", "train_joint"]

_LOG = logging.getLogger("secondreader")

_SUMMED = 5  # pixels each way whose suspicion is a place's, as a component's sum is a proposal's
_HAIR = 1e-6


class Joint(nn.Module):
    """Both stages; parts of it are the networks that are handed in."""

    def __init__(self, unet: UNet, second: nn.Module) -> None:
        super().__init__()
        self.unet, self.reducer = unet, second


def train_joint(
    unet: UNet,
    second: nn.Module,
    own: Patches,
    held: Patches,
    config: Config,
    run_dir: Path,
    hardware: Hardware,
) -> None:
    """Train both stages on, in place.

    Parameters
    ----------
    unet, second
        Both stages, trained one after the other.
    own, held
        Patches to learn from, and to stop by.
    config
        The method's settings.
    run_dir
        The run folder; a finished stage is only loaded.
    hardware
        What to use.
    """
    fixed = [held.batch(step, 32, config) for step in range(-(-config.validation_patches // 32))]
    both = Joint(unet, second)
    # The two as they come are a candidate too.
    start = {name: value.clone() for name, value in both.state_dict().items()}
    before = _auc(both, fixed, config)
    fitted = fit(
        both,
        partial(joint_loss, config=config),
        partial(own.batch, count=config.joint_fit.batch, config=config),
        partial(_figures, batches=fixed, config=config),
        config.joint_fit,
        figure="auc",
        run_dir=run_dir,
        stage="joint",
        seed=config.seed,
        hardware=hardware,
        augment=partial(augmented, config=config),
    )
    if before > fitted.figure:
        _LOG.warning(
            "joint: no step reached the AUC of the two stages as they came (%.4f against %.4f): they stay",
            fitted.figure, before,
        )  # fmt: skip
        both.load_state_dict(start)


def joint_cost(config: Config, hardware: Hardware) -> Cost:
    """Return what the stage will cost, timed on a batch of noise."""
    shape = (config.joint_fit.batch, 1, config.patch, config.patch)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "truth": image > 0.99, "known": image > 0.01}
    network = Joint(first_stage(config), reducer(config)).to(memory_format=torch.channels_last)
    loss = partial(joint_loss, config=config)
    return step_cost("joint", network, loss, batch, config.joint_fit.steps, hardware)


def joint_loss(network: nn.Module, batch: Batch, config: Config) -> Tensor:
    """Return the first stage's loss and that of the products."""
    first, product, label, _ = products(network, batch, config)
    if not len(product):
        return first
    return first + functional.binary_cross_entropy(product, label)


def picked(found: Tensor, truth: Tensor, known: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Pick the places of a patch that both stages judge.

    Parameters
    ----------
    found
        (n, 1, h, w), the first stage's map.
    truth, known
        (n, 1, h, w) bool: calcification, and what counts.
    config
        How many places, and the window that must fit round each.

    Returns
    -------
    places, label
        (k, 3) int64 of (patch, row, col), and (k,) float32, whether a calcification is near: of each
        patch the highest maxima of the map, and half as many of its calcifications' pixels. Near
        what does not count nothing is picked.
    """
    inner = torch.zeros_like(truth)
    rest = config.crop // 2
    inner[..., rest : found.shape[-2] - rest, rest : found.shape[-1] - rest] = True
    reach = 2 * round(HIT_MM / config.spacing_mm) + 1

    def around(mask: Tensor) -> Tensor:
        return functional.max_pool2d(mask.float(), reach, 1, reach // 2)

    near = around(truth & known)
    inner &= (around(~known) == 0) | (near > 0)
    # A flat stretch has no maximum: else its pixels would be picked side by side.
    top = (functional.max_pool2d(found, 9, 1, 4) == found) & (
        -functional.max_pool2d(-found, 9, 1, 4) < found
    )
    places = []
    for wanted, most in (
        (top & inner, config.joint_most),
        (truth & known & inner, -(-config.joint_most // 2)),
    ):
        flat = found.masked_fill(~wanted, -1).flatten(1)
        values, at = flat.topk(min(most, flat.shape[1]), dim=1)
        patch = torch.arange(len(flat), device=flat.device)[:, None].expand_as(at)
        rows = torch.stack([patch, at // found.shape[-1], at % found.shape[-1]], -1)
        places.append(rows[values >= 0])
    where = torch.unique(torch.cat(places), dim=0)
    return where, near[where[:, 0], 0, where[:, 1], where[:, 2]]


def products(
    network: nn.Module, batch: Batch, config: Config
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what both stages say of the places of a batch.

    Returns
    -------
    first, product, label, patch
        The first stage's loss; of each place the score in [0, 1], (k,); whether it is right, (k,)
        float32; the patch it lies in, (k,) int64.
    """
    assert isinstance(network, Joint)
    image = network_input(batch["image"], config).contiguous(memory_format=torch.channels_last)
    drawn = network.unet(image)
    first = objective(image, drawn, batch["truth"], batch["known"], config)
    found = _found(image, drawn.float(), config)
    where, label = picked(found.detach(), batch["truth"], batch["known"], config)
    if not len(where):
        none = found.new_zeros(0)
        return first, none, none, where[:, 0]
    summed = _SUMMED**2 * functional.avg_pool2d(found, _SUMMED, 1, _SUMMED // 2)
    score = summed[where[:, 0], 0, where[:, 1], where[:, 2]]
    steps = torch.arange(config.crop, device=where.device) - config.crop // 2
    windows = batch["image"][
        where[:, 0, None, None],
        0,
        where[:, 1, None, None] + steps[:, None],
        where[:, 2, None, None] + steps,
    ][:, None]
    sure = torch.sigmoid(network.reducer(enlarged(windows, config))[:, 0].float())
    product = 1 - torch.exp(-score * sure / config.cut)
    return first, product.clamp(_HAIR, 1 - _HAIR), label, where[:, 0]


def _found(image: Tensor, drawn: Tensor, config: Config) -> Tensor:
    """Return the map that proposals are made of, with its gradient.

    Reading sums what lies above the cut; here half of it is enough, so that what is nearly proposed
    learns too.
    """
    if config.objective == "cross_entropy":
        found = torch.sigmoid(drawn)
    else:
        found = residual(image, drawn, config.residual)
    return torch.where(found > config.cut / 2, found, 0.0)


def _figures(network: nn.Module, batches: list[Batch], config: Config) -> Mapping[str, float]:
    """Return how often a calcification's product lies above all of a patch without any."""
    where = next(network.parameters()).device
    found, empty, losses = [], [], []
    for whole in batches:
        batch = {name: value.to(where) for name, value in middle(whole, config).items()}
        first, product, label, patches = products(network, batch, config)
        losses.append(float(first))
        with_one = batch["truth"].flatten(1).any(1)
        found += product[label > 0.5].tolist()
        for patch in torch.nonzero(~with_one)[:, 0]:
            own = product[patches == patch]
            empty.append(float(own.max()) if len(own) else 0.0)
    return {"auc": auc_of(found, empty), "first_loss": sum(losses) / len(losses)}


def _auc(network: nn.Module, batches: list[Batch], config: Config) -> float:
    network.eval()
    with torch.no_grad():
        return _figures(network, batches, config)["auc"]
