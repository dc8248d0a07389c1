"""One network, one loss, trained to its best validation figure; killed anywhere, it goes on.

Over Lightning's Trainer. An epoch is the steps between two validations; a checkpoint stands at its
end, and everything random in an epoch follows from the seed and the epoch, so that a training that
was killed and called again ends, on a CPU, with the weights of an unbroken one, bit for bit. On a
GPU sums are taken in an order that is not fixed, and the last digits differ.
"""

from __future__ import annotations

import gc
import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from secondreader.domain import SecondReaderError
from secondreader.learning.hardware import Hardware, device, precision
from secondreader.learning.run_folder import write_whole
from secondreader.learning.steps import Batch, FitSettings, Steps, rows

__all__ = ["Batch", "FitSettings", "Fitted", "fit"]

_LOG = logging.getLogger("secondreader")


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
    module = Steps(
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


def _train(module: Steps, where: Path, hardware: Hardware) -> None:
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


def _halve(module: Steps, error: BaseException, batch: int) -> None:
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


def _loader_rate(batches: Callable[[int], Batch], seconds: float = 1.0) -> float:
    """Return images per second of the loader alone, in one process."""
    batches(0)
    start, images, step = time.perf_counter(), 0, 0
    while time.perf_counter() - start < seconds:
        images += rows(batches(step))
        step += 1
    return images / (time.perf_counter() - start)


def _load_best(network: nn.Module, where: Path) -> None:
    network.load_state_dict(safetensors.torch.load_file(where / "best.safetensors"))
    network.eval()


def _quiet() -> None:
    names: Sequence[str] = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning")
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
