"""End to end, the last sentence of the paper: both stages trained on as one network.

The first stage's map is drawn for a patch; the places that it likes best are picked, a hard choice
that no gradient passes; what passes is the map's value at each place, which multiplies what the
second stage says of the window round it. The product is trained on the label of the place, beside the
first stage's own loss.

References
----------
Zhang et al. (2019), section 5. The way is ours: the paper only wishes for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import binary_auroc

from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware
from secondreader.methods.anomaly_cascade.config import Config
from secondreader.methods.anomaly_cascade.losses import objective, residual
from secondreader.methods.anomaly_cascade.maps import Patches, augmented, middle
from secondreader.methods.anomaly_cascade.network import UNet
from secondreader.methods.anomaly_cascade.prepare import network_input
from secondreader.methods.anomaly_cascade.reduction import enlarged, reducer

__all__ = ["Joint", "joint_cost", "joint_loss", "picked", "train_joint"]

_HIT_MM = 1.0  # section 4.4: so near to a calcification a place is one
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
    fit(
        Joint(unet, second),
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


def joint_cost(config: Config, hardware: Hardware) -> Cost:
    """Return what the stage will cost, timed on a batch of noise."""
    shape = (config.joint_fit.batch, 1, config.patch, config.patch)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "truth": image > 0.99, "known": image > 0.01}
    network = Joint(UNet(config.width), reducer(config)).to(memory_format=torch.channels_last)
    loss = partial(joint_loss, config=config)
    return step_cost("joint", network, loss, batch, config.joint_fit.steps, hardware)


def joint_loss(network: nn.Module, batch: Batch, config: Config) -> Tensor:
    """Return the first stage's loss and that of the products."""
    first, product, label = _products(network, batch, config)
    if not len(product):
        return first
    return first + functional.binary_cross_entropy(product, label)


def picked(found: Tensor, truth: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Pick the places of a patch that both stages judge.

    Parameters
    ----------
    found
        (n, 1, h, w), the first stage's map.
    truth
        (n, 1, h, w) bool.
    config
        How many places, and the window that must fit round each.

    Returns
    -------
    places, label
        (k, 3) int64 of (patch, row, col), and (k,) float32, whether a calcification is near: of each
        patch the highest maxima of the map, and half as many of its calcifications' pixels.
    """
    inner = torch.zeros_like(truth)
    rest = config.crop // 2
    inner[..., rest : found.shape[-2] - rest, rest : found.shape[-1] - rest] = True
    top = functional.max_pool2d(found, 9, 1, 4) == found
    reach = 2 * round(_HIT_MM / config.spacing_mm) + 1
    near = functional.max_pool2d(truth.float(), reach, 1, reach // 2)
    places = []
    for wanted, most in (
        (top & inner, config.joint_most),
        (truth & inner, -(-config.joint_most // 2)),
    ):
        flat = found.masked_fill(~wanted, -1).flatten(1)
        values, at = flat.topk(min(most, flat.shape[1]), dim=1)
        patch = torch.arange(len(flat), device=flat.device)[:, None].expand_as(at)
        rows = torch.stack([patch, at // found.shape[-1], at % found.shape[-1]], -1)
        places.append(rows[values >= 0])
    where = torch.unique(torch.cat(places), dim=0)
    return where, near[where[:, 0], 0, where[:, 1], where[:, 2]]


def _products(network: nn.Module, batch: Batch, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first stage's loss, the products at the places that were picked, and their labels."""
    assert isinstance(network, Joint)
    image = network_input(batch["image"], config).contiguous(memory_format=torch.channels_last)
    drawn = network.unet(image)
    first = objective(image, drawn, batch["truth"], batch["known"], config)
    found = _found(image, drawn.float(), config)
    where, label = picked(found.detach(), batch["truth"], config)
    if not len(where):
        return first, found.new_zeros(0), found.new_zeros(0)
    summed = functional.avg_pool2d(found, _SUMMED, 1, _SUMMED // 2)
    sure = summed[where[:, 0], 0, where[:, 1], where[:, 2]].clamp(0, 1)
    steps = torch.arange(config.crop, device=where.device) - config.crop // 2
    windows = batch["image"][
        where[:, 0, None, None],
        0,
        where[:, 1, None, None] + steps[:, None],
        where[:, 2, None, None] + steps,
    ][:, None]
    logit = network.reducer(enlarged(windows, config))[:, 0].float()
    return first, (sure * torch.sigmoid(logit)).clamp(_HAIR, 1 - _HAIR), label


def _found(image: Tensor, drawn: Tensor, config: Config) -> Tensor:
    """Return the map between 0 and 1, with its gradient: residuals saturate beyond the margin."""
    if config.objective == "cross_entropy":
        return torch.sigmoid(drawn)
    return 1 - torch.exp(-residual(image, drawn, config.residual) / config.beta)


def _figures(network: nn.Module, batches: list[Batch], config: Config) -> Mapping[str, float]:
    """Return how often a calcification's product lies above all of a patch without any."""
    where = next(network.parameters()).device
    found, empty, losses = [], [], []
    for whole in batches:
        batch = {name: value.to(where) for name, value in middle(whole, config).items()}
        first, product, label = _products(network, batch, config)
        losses.append(float(first))
        assert isinstance(network, Joint)
        image = network_input(batch["image"], config)
        rows, _ = picked(_found(image, network.unet(image).float(), config), batch["truth"], config)
        with_one = batch["truth"].flatten(1).any(1)
        found += product[label > 0.5].tolist()
        for patch in torch.nonzero(~with_one)[:, 0]:
            own = product[rows[:, 0] == patch]
            empty.append(float(own.max()) if len(own) else 0.0)
    labels = torch.arange(len(found) + len(empty)) < len(found)
    auc = float(binary_auroc(torch.tensor(found + empty), labels.long()))
    return {"auc": auc, "first_loss": sum(losses) / len(losses)}
