"""Training: regions of whole images, windows that vote, generated patches, or the shrunk image."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from secondreader.domain import ImageSet
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fewer import some_patients
from secondreader.learning.hardware import Hardware, first_process
from secondreader.learning.model_folder import save_model
from secondreader.learning.watching import bar
from secondreader.methods.second_look import generators
from secondreader.methods.second_look.config import NAME, Config
from secondreader.methods.second_look.data import ready
from secondreader.methods.second_look.network import CLASSES, classifier, mask_rcnn
from secondreader.methods.second_look.regions_training import region_loss, train_regions
from secondreader.methods.second_look.windows_training import (
    class_loss,
    train_check,
    train_shrunk,
    train_votes,
)

__all__ = ["cost", "train"]


def train(
    config: Config, train: ImageSet, val: ImageSet, run_dir: Path, *, hardware: Hardware
) -> None:
    """Train, and leave the model in RUN/model; a second call goes on where the first was stopped.

    Parameters
    ----------
    config
        The method's settings.
    train, val
        Images to learn from, and to stop by.
    run_dir
        The run folder.
    hardware
        What to use.

    Raises
    ------
    SecondReaderError
        If no region has a pathology, published weights are not at hand, or training fails.
    """
    config = config.sized()
    train = some_patients(train, config.patients, config.seed)
    with bar("preparing images", hardware) as progress:
        own, held = (ready(images, config, progress, hardware.workers) for images in (train, val))
    torch.manual_seed(config.seed)
    made: dict[str, nn.Module]
    if config.trains == "regions":
        made = {"network": train_regions(own, held, config, run_dir, hardware)}
    elif config.trains == "votes":
        made = {"network": train_votes(own, held, config, run_dir, hardware)}
    elif config.trains == "check":
        made = train_check(own, held, config, run_dir, hardware)
    else:
        made = {"network": train_shrunk(own, held, config, run_dir, hardware)}
    weights = {
        f"{part}.{name}": value
        for part, network in made.items()
        for name, value in network.state_dict().items()
    }
    if first_process():
        save_model(run_dir / "model", method=NAME, config=config, weights=weights)


def cost(config: Config, hardware: Hardware) -> tuple[Cost, ...]:
    """Return what the training will cost, stage by stage, timed on batches of noise."""
    config = config.sized()
    noise = torch.Generator().manual_seed(0)
    if config.trains == "regions":
        settings = config.regions
        mask = torch.zeros(1, *config.size, dtype=torch.bool)
        mask[:, 20:60, 20:60] = True
        batch = {
            "image": torch.rand((settings.batch, 1, *config.size), generator=noise),
            "boxes": [torch.tensor([[20.0, 20, 60, 60]])] * settings.batch,
            "labels": [torch.tensor([1])] * settings.batch,
            "masks": [mask] * settings.batch,
        }
        return (
            step_cost("regions", mask_rcnn(config), region_loss, batch, settings.steps, hardware),
        )
    settings = {"votes": config.votes, "shrunk": config.shrunk, "check": config.check}[
        config.trains
    ]
    shape = config.size if config.trains == "shrunk" else (config.window, config.window)
    batch = {
        "image": torch.rand((settings.batch, 1, *shape), generator=noise),
        "label": torch.arange(settings.batch) % len(CLASSES),
    }
    own = step_cost(config.trains, classifier(config), class_loss, batch, settings.steps, hardware)
    drawn = config.trains == "check" and config.generator != "none" and config.init == "none"
    return (*(generators.cost(config, hardware) if drawn else ()), own)
