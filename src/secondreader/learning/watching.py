"""A bar on stderr for what a method does before and between its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from secondreader.learning.hardware import Hardware

__all__ = ["bar"]


@contextmanager
def bar(what: str, hardware: Hardware) -> Iterator[Callable[[int, int], None]]:
    """Show how much of something is done; yields what is called with the done and all."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=Console(stderr=True), disable=not hardware.progress)
    with shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
