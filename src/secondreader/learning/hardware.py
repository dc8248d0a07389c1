"""What to compute on: device, precision, threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from secondreader.domain import SecondReaderError

__all__ = [
    "Hardware", "autocast", "device", "device_name", "first_process", "memory_gb", "peak_megabytes",
    "placed", "precision", "where_read",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a training or a reading may use.

    Parameters
    ----------
    device
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``mps``.
    devices, nodes
        For Lightning (DDP): how many devices on each node, how many nodes.
    precision
        ``auto`` is bf16 where the device computes in it, else fp32; ``bf16`` and ``fp32`` ask for it.
    threads
        Of the processor; ``None`` leaves PyTorch's choice.
    workers
        Processes that load data; 0 loads in the training process.
    progress
        Whether a progress bar is drawn, on stderr.
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "auto"
    threads: int | None = None
    workers: int = 0
    progress: bool = True


def device(hardware: Hardware) -> torch.device:
    """Return the device.

    Raises
    ------
    SecondReaderError
        If it is not there.
    """
    name = hardware.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.partition(":")[0]
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(kind, False):
        known = ", ".join(["auto", *(k for k, ok in there.items() if ok)])
        raise SecondReaderError(f"--device: got {hardware.device!r}, expected one of {known}")
    return torch.device(name)


def where_read(name: str | None = None) -> torch.device:
    """Return the device that readers read on.

    Parameters
    ----------
    name
        As of `Hardware`; ``None`` and ``auto`` are what ``SECONDREADER_DEVICE`` names, which the program's
        ``--device`` sets for its worker processes too, else a GPU if there is one.

    Raises
    ------
    SecondReaderError
        If it is not there.
    """
    told = os.environ.get("SECONDREADER_DEVICE", "auto") if name in (None, "auto") else name
    return device(Hardware(told))


def device_name(where: torch.device) -> str:
    """Return what a device is called: ``NVIDIA H200``, ``cpu``."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else where.type


def placed(reader: object, where: torch.device) -> None:
    """Move the networks that a reader holds, and those of a panel's readers, to a device."""
    if isinstance(reader, nn.Module):
        reader.to(where)
    elif isinstance(reader, Mapping):
        for part in reader.values():
            placed(part, where)
    elif isinstance(reader, list | tuple):
        for part in reader:
            placed(part, where)
    elif hasattr(reader, "read"):
        placed(vars(reader), where)


def precision(hardware: Hardware) -> Literal["bf16-mixed", "32-true"]:
    """Return Lightning's name of the precision.

    Raises
    ------
    SecondReaderError
        If it is none.
    """
    wanted = hardware.precision
    if wanted not in ("auto", "bf16", "fp32"):
        raise SecondReaderError(f"--precision: got {wanted!r}, expected auto, bf16 or fp32")
    if wanted == "auto":
        wanted = "bf16" if _has_bf16(device(hardware)) else "fp32"
    return "bf16-mixed" if wanted == "bf16" else "32-true"


def autocast(where: torch.device, half: bool | None = None) -> torch.autocast:
    """Return the context in which networks read: bfloat16 where the device computes in it.

    Parameters
    ----------
    where
        The device.
    half
        Asks for it, or for single precision; ``None`` takes what the device does best.
    """
    wanted = _has_bf16(where) if half is None else half
    return torch.autocast(where.type, torch.bfloat16, enabled=wanted)


def first_process() -> bool:
    """Say whether this is the first process of a training, which alone writes what is left of it.

    torchrun, SLURM and Lightning's own launcher number their processes in the environment.
    """
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return os.environ[name] == "0"
    return True


def _has_bf16(where: torch.device) -> bool:
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return where.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def memory_gb(where: torch.device) -> float:
    """Return the most GB that were in use: of a GPU, else of this process; 0 where nobody knows."""
    if where.type == "cuda":
        return float(torch.cuda.max_memory_allocated(where)) / 1e9
    return (peak_megabytes() or 0) * 1024**2 / 1e9


def peak_megabytes() -> int | None:
    """Return the most memory that this process has held, mapped files that it touched included.

    ``None`` where the system does not say.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on macOS bytes
    return round(most / (1024**2 if sys.platform == "darwin" else 1024))
