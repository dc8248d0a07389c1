"""What Lightning drives in a training: the batches of an epoch, and what is done with one.

Steps are taken by hand, so that a batch may be taken in pieces where memory is short.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from secondreader.domain import SecondReaderError
from secondreader.learning.hardware import memory_gb
from secondreader.learning.run_folder import write_whole

__all__ = ["Batch", "FitSettings", "Steps", "rows", "share"]

_LOG = logging.getLogger("secondreader")
Batch = dict[str, Any]
"""Tensors with one row an image or patch, and under ``where`` a list that names each."""


class FitSettings(BaseModel):
    """How one stage is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of SGD, and of Adam's mean gradient
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    steps: int = Field(default=1000, gt=0)
    batch: int = Field(default=32, gt=0)
    validate_every: int = Field(default=100, gt=0)  # steps
    patience: int | None = Field(default=None, gt=0)  # validations without a better figure
    clip: float | None = Field(default=None, gt=0)  # norm of the gradient


class _Batches(Dataset[Batch]):
    """The batches of some steps."""

    def __init__(self, batches: Callable[[int], Batch], first: int, count: int) -> None:
        self.batches, self.first, self.count = batches, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        if index >= self.count:
            raise IndexError(index)
        try:
            return {"step": self.first + index, **self.batches(self.first + index)}
        except (SecondReaderError, OSError) as error:
            # Raised in another process it would reach the user as that process's traceback.
            return {"step": self.first + index, "failed": str(error)}


class Steps(LightningModule):
    """What Lightning drives: steps by hand, so that a batch may be taken in pieces."""

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[nn.Module, Batch], Tensor],
        batches: Callable[[int], Batch],
        validate: Callable[[nn.Module], Mapping[str, float]],
        settings: FitSettings,
        figure: str,
        where: Path,
        seed: int,
        augment: Callable[[Batch, torch.Generator], Batch] | None,
        groups: Callable[[nn.Module], list[dict[str, Any]]] | None,
        pictures: Callable[[nn.Module], np.ndarray] | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.loss, self.batches = network, loss, batches
        self.validate, self.settings, self.figure = validate, settings, figure
        self.where, self.seed = where, seed
        self.augment, self.groups, self.pictures = augment, groups, pictures
        self.workers, self.pieces = 0, 1
        self.best, self.best_step = -math.inf, 0
        self.history: list[dict[str, float]] = []
        self.since_best, self.rate = 0, 0.0
        self.shown = (0, 0.0)  # images, and seconds they took
        self.losses: list[float] = []  # of each batch since the last validation

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and with it the schedule of its rate."""
        of = self.settings
        groups = self.groups(self.network) if self.groups else list(self.network.parameters())
        common: dict[str, Any] = {"lr": of.learning_rate, "weight_decay": of.weight_decay}
        betas = (of.momentum, 0.999)
        match of.optimizer:
            case "sgd":
                made: Any = torch.optim.SGD(groups, momentum=of.momentum, **common)
            case "adamw":
                made = torch.optim.AdamW(groups, betas=betas, **common)
            case _:
                made = torch.optim.Adam(groups, betas=betas, **common)
        match of.schedule:
            case "cosine":
                return [made], [torch.optim.lr_scheduler.CosineAnnealingLR(made, of.steps)]
            case "plateau":
                # After a third of the patience, ten times less.
                wait = max((of.patience or 9) // 3, 1)
                plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(made, "max", 0.1, wait)
                return [made], [plateau]
        return made

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of this epoch: of the steps to the next validation."""
        first = self.current_epoch * self.settings.validate_every
        count = min(self.settings.validate_every, self.settings.steps - first)
        return DataLoader(
            _Batches(self.batches, first, max(count, 0)),
            batch_size=None,
            shuffle=False,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            pin_memory=self.device.type == "cuda",
        )

    def on_train_epoch_start(self) -> None:
        """Begin to count images, seconds and losses."""
        self.network.train()
        self.shown = (0, time.perf_counter())
        self.losses = []

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one step; everything random in it follows from the seed and its number."""
        step = int(batch.pop("step"))
        if "failed" in batch:
            raise SecondReaderError(batch["failed"])
        batch = share(batch, self.global_rank, self.trainer.world_size)
        # Dropout, and whatever else draws from the global generator, repeats after a restart.
        drawn = hash((self.seed, step, self.global_rank)) % 2**63
        torch.manual_seed(drawn)
        if self.augment is not None:
            generator = torch.Generator(self.device)
            generator.manual_seed(drawn)
            with torch.autocast(self.device.type, enabled=False):
                batch = self.augment(batch, generator)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        count = rows(batch)
        total = 0.0
        for piece in _pieces(batch, self.pieces):
            value = self.loss(self.network, piece)
            if not bool(torch.isfinite(value)):
                named = ", ".join(map(str, piece.get("where", [])[:3])) or "unnamed images"
                raise SecondReaderError(
                    f"training {self.where.name}: got a loss of {value.item()} at step {step} "
                    f"({named}), expected a number; lower the learning rate"
                )
            self.manual_backward(value * (rows(piece) / count))
            total += float(value.detach()) * rows(piece) / count
        if self.settings.clip is not None:
            self.clip_gradients(optimizer, self.settings.clip, "norm")
        optimizer.step()
        schedule: Any = self.lr_schedulers()
        if self.settings.schedule == "cosine":
            schedule.step()
        self.shown = (self.shown[0] + count * self.trainer.world_size, self.shown[1])
        seconds = max(time.perf_counter() - self.shown[1], 1e-9)
        self.losses.append(total)
        figures = {"loss": total, "images/s": self.shown[0] / seconds, "GB": memory_gb(self.device)}
        self.log_dict(figures, prog_bar=True, on_step=True, rank_zero_only=True)

    def on_train_epoch_end(self) -> None:
        """Validate, keep the weights if they are the best, and say whether to stop."""
        seconds = max(time.perf_counter() - self.shown[1], 1e-9)
        self.rate = self.shown[0] / seconds
        self.network.eval()
        with torch.no_grad():
            figures = {name: float(value) for name, value in self.validate(self.network).items()}
        step = min((self.current_epoch + 1) * self.settings.validate_every, self.settings.steps)
        value = figures[self.figure]
        # What is learnt of the training part beside what is of the validation part: over-fitting.
        mean = sum(self.losses) / max(len(self.losses), 1)
        self.history.append({"step": float(step), "training_loss": mean, **figures})
        self.log_dict(figures, prog_bar=True, rank_zero_only=True)
        # No number, as where validation holds one class only, tells nothing: until there is one the
        # newest weights are kept, and afterwards those of the best.
        none_yet = not self.best_step or math.isnan(self.best)
        if math.isnan(value):
            _LOG.warning(
                "training %s: %s is no number at step %d: validation may hold one class only%s",
                self.where.name, self.figure, step, "; the newest weights are kept" if none_yet else "",
            )  # fmt: skip
        if value > self.best or none_yet:
            self.best, self.best_step, self.since_best = value, step, 0
            if self.trainer.is_global_zero:
                plain = {k: v.detach().contiguous() for k, v in self.network.state_dict().items()}
                write_whole(self.where / "best.safetensors", safetensors.torch.save(plain))
        else:
            self.since_best += 1
        if self.settings.schedule == "plateau":
            schedule: Any = self.lr_schedulers()
            schedule.step(value)
        if self.pictures is not None and self.trainer.is_global_zero:
            with torch.no_grad():
                self._show(self.pictures(self.network), step)
        waited = self.settings.patience is not None and self.since_best >= self.settings.patience
        if waited or step >= self.settings.steps:
            self.trainer.should_stop = True

    def _show(self, picture: np.ndarray, step: int) -> None:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        write_whole(self.where / "pictures" / f"{step:07d}.png", stream.getvalue())
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                form = "HW" if picture.ndim == 2 else "HWC"
                logger.experiment.add_image("validation", picture, step, dataformats=form)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was best and when, beside what Lightning keeps."""
        checkpoint["ours"] = {
            "best": self.best,
            "best_step": self.best_step,
            "since_best": self.since_best,
            "history": self.history,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        ours = checkpoint["ours"]
        self.best, self.best_step = ours["best"], ours["best_step"]
        self.since_best, self.history = ours["since_best"], list(ours["history"])


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Return the rows of a batch that this process takes; together they are all, each once."""
    if world == 1:
        return batch
    return {name: values[rank::world] for name, values in batch.items()}


def _pieces(batch: Batch, count: int) -> list[Batch]:
    whole = rows(batch)
    ends = np.linspace(0, whole, min(count, whole) + 1).astype(int)
    return [
        {name: values[low:high] for name, values in batch.items()}
        for low, high in itertools.pairwise(ends)
    ]


def rows(batch: Batch) -> int:
    """Return how many rows a batch has."""
    return next(len(values) for values in batch.values())
