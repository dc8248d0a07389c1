"""Work dealt over the processes of a distributed training, and what they found brought together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist

__all__ = ["gathered", "own_share"]

T = TypeVar("T")


def own_share(things: Sequence[T]) -> Sequence[T]:
    """Return what this process takes of a sequence; together the processes take each once."""
    if not (dist.is_available() and dist.is_initialized()):
        return things
    return things[dist.get_rank() :: dist.get_world_size()]


def gathered(found: Sequence[T]) -> list[T]:
    """Return what all processes found of their `own_share`, in the order of the whole sequence.

    Every process must have found one thing for each of its own.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return list(found)
    world = dist.get_world_size()
    all_found: list[Sequence[T]] = [[]] * world
    dist.all_gather_object(all_found, list(found))
    total = sum(len(part) for part in all_found)
    return [all_found[i % world][i // world] for i in range(total)]
