"""One network, one loss, trained to its best validation figure; killed anywhere, it goes on.

Over Lightning's Trainer. An epoch is the steps between two validations; a checkpoint stands at its
end, and everything random in an epoch follows from the seed and the epoch, so that a training that
was killed and called again ends, on a CPU, with the weights of an unbroken one, bit for bit. On a
GPU sums are taken in an order that is not fixed, and the last digits differ.
"""

from __future__ import annotations

import gc
import io
import itertools
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from secondreader.domain import SecondReaderError
from secondreader.learning.hardware import Hardware, device, memory_gb, precision
from secondreader.learning.run_folder import write_whole

__all__ = ["Batch", "FitSettings", "Fitted", "fit"]

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


@dataclass(frozen=True, slots=True)
class Fitted:
    """What came of a stage: the best figure and its step, all figures, and images per second.

    ``figure`` is nan if validation never gave a number; the weights are then the newest.
    ``history`` has a row for each validation: ``step``, ``training_loss``, the mean since the one
    before, and what was validated.

    ``loader`` is what the loader gives alone, ``training`` what training took.
    """

    figure: float
    step: int
    history: tuple[dict[str, float], ...]
    loader: float
    training: float


def fit(
    network: nn.Module,
    loss: Callable[[nn.Module, Batch], Tensor],
    batches: Callable[[int], Batch],
    validate: Callable[[nn.Module], Mapping[str, float]],
    settings: FitSettings,
    *,
    figure: str,
    run_dir: Path,
    stage: str,
    seed: int,
    hardware: Hardware,
    augment: Callable[[Batch, torch.Generator], Batch] | None = None,
    groups: Callable[[nn.Module], list[dict[str, Any]]] | None = None,
    pictures: Callable[[nn.Module], np.ndarray] | None = None,
) -> Fitted:
    """Train a network and leave its best weights in it.

    Parameters
    ----------
    network
        Trained in place.
    loss
        The mean loss of a batch.
    batches
        Makes the batch of a step; a function of the step and nothing else. Called in the loader's
        processes.
    validate
        Returns figures of the network, in evaluation mode; on every process of several the same
        (see `secondreader.learning.sharing`).
    settings
        Optimiser, steps, and when to stop.
    figure
        The name of the figure that is to be largest.
    run_dir, stage
        Where checkpoints and logs go: RUN/stages/STAGE. A finished stage is only loaded.
    seed
        Of everything random.
    hardware
        What to use.
    augment
        Applied to each batch on the device, with a generator that follows from seed and step.
    groups
        Parameters with their own settings; all alike if ``None``. What is left out stays as it is.
    pictures
        Draws (rows, cols) or (rows, cols, 3) uint8 at every validation: patches, truth, predictions.

    Raises
    ------
    SecondReaderError
        If the loss is not finite, memory does not suffice for one image, or the disk is full.
    """
    where = run_dir / "stages" / stage
    done = where / "done.json"
    if done.is_file():
        _load_best(network, where)
        told = json.loads(done.read_text(encoding="utf-8"))
        return Fitted(**{**told, "history": tuple(told["history"])})
    if hardware.threads is not None:
        torch.set_num_threads(hardware.threads)
    _quiet()
    module = _Module(
        network, loss, batches, validate, settings, figure, where, seed, augment, groups, pictures
    )
    module.workers = hardware.workers
    while True:
        try:
            _train(module, where, hardware)
            break
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            _halve(module, error, settings.batch)
        except SystemExit:  # Lightning's way out of Ctrl-C
            raise KeyboardInterrupt from None
        except OSError as error:
            raise SecondReaderError(
                f"training {stage}: {error.strerror or error}; the run so far is kept: {where}"
            ) from None
    _load_best(network, where)
    fitted = Fitted(
        module.best, module.best_step, tuple(module.history), _loader_rate(batches), module.rate
    )
    write_whole(done, json.dumps(asdict(fitted), indent=1) + "\n")
    # Lightning's trainer and the module hold each other, and by the batches all that is learnt from.
    del module
    gc.collect()
    return fitted


class _Steps(Dataset[Batch]):
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


class _Module(LightningModule):
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
        first = self.current_epoch * self.settings.validate_every
        count = min(self.settings.validate_every, self.settings.steps - first)
        return DataLoader(
            _Steps(self.batches, first, max(count, 0)),
            batch_size=None,
            shuffle=False,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            pin_memory=self.device.type == "cuda",
        )

    def on_train_epoch_start(self) -> None:
        self.network.train()
        self.shown = (0, time.perf_counter())
        self.losses = []

    def training_step(self, batch: Batch, index: int) -> None:
        step = int(batch.pop("step"))
        if "failed" in batch:
            raise SecondReaderError(batch["failed"])
        batch = _share(batch, self.global_rank, self.trainer.world_size)
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
        rows = _rows(batch)
        total = 0.0
        for piece in _pieces(batch, self.pieces):
            value = self.loss(self.network, piece)
            if not bool(torch.isfinite(value)):
                named = ", ".join(map(str, piece.get("where", [])[:3])) or "unnamed images"
                raise SecondReaderError(
                    f"training {self.where.name}: got a loss of {value.item()} at step {step} "
                    f"({named}), expected a number; lower the learning rate"
                )
            self.manual_backward(value * (_rows(piece) / rows))
            total += float(value.detach()) * _rows(piece) / rows
        if self.settings.clip is not None:
            self.clip_gradients(optimizer, self.settings.clip, "norm")
        optimizer.step()
        schedule: Any = self.lr_schedulers()
        if self.settings.schedule == "cosine":
            schedule.step()
        self.shown = (self.shown[0] + rows * self.trainer.world_size, self.shown[1])
        seconds = max(time.perf_counter() - self.shown[1], 1e-9)
        self.losses.append(total)
        figures = {"loss": total, "images/s": self.shown[0] / seconds, "GB": memory_gb(self.device)}
        self.log_dict(figures, prog_bar=True, on_step=True, rank_zero_only=True)

    def on_train_epoch_end(self) -> None:
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
        checkpoint["ours"] = {
            "best": self.best,
            "best_step": self.best_step,
            "since_best": self.since_best,
            "history": self.history,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        ours = checkpoint["ours"]
        self.best, self.best_step = ours["best"], ours["best_step"]
        self.since_best, self.history = ours["since_best"], list(ours["history"])


def _train(module: _Module, where: Path, hardware: Hardware) -> None:
    last = where / "last.ckpt"
    epochs = -(-module.settings.steps // module.settings.validate_every)
    resumed = last if last.is_file() else None
    # What was logged before stays: a folder for each time it goes on.
    step = torch.load(last, map_location="cpu", weights_only=True)["global_step"] if resumed else 0
    begun = f"from-{step:07d}"
    which = device(hardware)
    several = hardware.devices * hardware.nodes > 1
    callbacks: list[Callback] = [
        ModelCheckpoint(
            where,
            "last",
            save_top_k=1,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    ]
    if hardware.progress:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(which.type, which.type),
        devices=[which.index] if which.index is not None else hardware.devices,
        num_nodes=hardware.nodes,
        strategy="ddp" if several else "auto",
        precision=precision(hardware),
        max_epochs=epochs,
        logger=[
            CSVLogger(where, "logs", begun),
            TensorBoardLogger(where, "tensorboard", begun),
        ],
        callbacks=callbacks,
        enable_progress_bar=hardware.progress,
        enable_model_summary=False,
        enable_autolog_hparams=False,
        limit_val_batches=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,  # every process takes its rows of the same batch
        deterministic=which.type == "cpu",
        default_root_dir=where,
        log_every_n_steps=10,
    )
    with warnings.catch_warnings():
        # Lightning's advice is for its own loops; the loader is measured and reported below.
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=r".*lr_scheduler\.step.*")
        trainer.fit(module, ckpt_path=resumed, weights_only=True)


def _halve(module: _Module, error: BaseException, batch: int) -> None:
    """Take batches in twice as many pieces, where memory was short; else raise again."""
    text = str(error).lower()
    short = isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in text or "out of memory" in text
    )
    if not short:
        raise error
    if module.pieces >= batch:
        raise SecondReaderError(
            "training: got too little memory for one image at a time, expected more memory or "
            "smaller patches; the run so far is kept"
        ) from None
    module.pieces *= 2
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _LOG.warning(
        "out of memory: each batch of %d is taken in %d pieces; its loss is the mean of theirs",
        batch,
        module.pieces,
    )


def _share(batch: Batch, rank: int, world: int) -> Batch:
    """Return the rows of a batch that this process takes; together they are all, each once."""
    if world == 1:
        return batch
    return {name: values[rank::world] for name, values in batch.items()}


def _pieces(batch: Batch, count: int) -> list[Batch]:
    rows = _rows(batch)
    ends = np.linspace(0, rows, min(count, rows) + 1).astype(int)
    return [
        {name: values[low:high] for name, values in batch.items()}
        for low, high in itertools.pairwise(ends)
    ]


def _rows(batch: Batch) -> int:
    return next(len(values) for values in batch.values())


def _loader_rate(batches: Callable[[int], Batch], seconds: float = 1.0) -> float:
    """Return images per second of the loader alone, in one process."""
    batches(0)
    start, images, step = time.perf_counter(), 0, 0
    while time.perf_counter() - start < seconds:
        images += _rows(batches(step))
        step += 1
    return images / (time.perf_counter() - start)


def _load_best(network: nn.Module, where: Path) -> None:
    network.load_state_dict(safetensors.torch.load_file(where / "best.safetensors"))
    network.eval()


def _quiet() -> None:
    names: Sequence[str] = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning")
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
