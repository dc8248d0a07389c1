"""What a training will cost, from a few of its own steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secondreader.learning.fit import Batch
from secondreader.learning.hardware import Hardware, device, memory_gb, precision

__all__ = ["Cost", "step_cost"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a step, how many steps at most, GB at the highest, and parameters in millions."""

    stage: str
    step_seconds: float
    steps: int
    memory_gb: float
    parameters_m: float


def step_cost(
    stage: str,
    network: nn.Module,
    loss: Callable[[nn.Module, Batch], Tensor],
    batch: Batch,
    steps: int,
    hardware: Hardware,
) -> Cost:
    """Time forward and backward on a made-up batch; the network is left as it was, but for gradients."""
    where = device(hardware)
    network = network.to(where).train()
    moved = {k: v.to(where) if isinstance(v, Tensor) else v for k, v in batch.items()}
    half = precision(hardware) == "bf16-mixed"
    times = []
    for _ in range(3):  # the first pays for what is made once
        start = time.perf_counter()
        with torch.autocast(where.type, torch.bfloat16, enabled=half):
            value = loss(network, moved)
        value.backward()
        if where.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        network.zero_grad(set_to_none=True)
    count = sum(p.numel() for p in network.parameters())
    return Cost(stage, min(times[1:]), steps, memory_gb(where), count / 1e6)
