"""Words that every command shares: options, messages on stderr, the progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from secondreader import __version__
from secondreader.domain import SecondReaderError

__all__ = [
    "Device",
    "Quiet",
    "Threads",
    "Version",
    "plural",
    "progress",
    "resumable",
    "say",
    "words",
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"secondreader {__version__}")
        raise typer.Exit


_DEVICE = "SECONDREADER_DEVICE"
_DEVICES = ("auto", "cpu", "cuda", "mps")


def _threads(value: int | None) -> int | None:
    """Set the thread count before anything numerical is imported."""
    if value is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(value)
    return value


def _device(context: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """Say where readers read, to this process until the command ends and to those that it starts.

    What is not asked for leaves the environment's word. Whether it is there is seen when something is
    put on it: readers without networks need none.
    """
    if value.partition(":")[0] not in _DEVICES:
        raise SecondReaderError(f"--device: got {value!r}, expected one of {', '.join(_DEVICES)}")
    source = context.get_parameter_source(param.name or "device")
    if source is None or source.name != "DEFAULT":
        before = os.environ.get(_DEVICE)
        os.environ[_DEVICE] = value
        context.call_on_close(lambda: _restore(before))
    return value


def _restore(before: str | None) -> None:
    os.environ.pop(_DEVICE, None)
    if before is not None:
        os.environ[_DEVICE] = before


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, callback=_threads, help="Threads of each process."),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", callback=_device, help="auto, cpu, cuda, cuda:N or mps, for learnt readers."
    ),
]
Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
]


def say(text: str) -> None:
    """Say something to a person, on stderr."""
    typer.echo(text, err=True)


def plural(number: int, word: str) -> str:
    """Return a word as its number wants it."""
    return word if number == 1 else word + "s"


def words(pairs: Iterable[tuple[str, object]]) -> str:
    """Lay (name, value) pairs out a line each, indented."""
    return "\n".join(f"  {name:<16} {value}" for name, value in pairs)


@contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C ends cleanly: what was done is kept."""
    try:
        yield
    except KeyboardInterrupt:
        say("secondreader: stopped; the same command goes on from here")
        raise typer.Exit(130) from None


@contextmanager
def progress(unit: str, quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar on stderr once something has taken two seconds."""
    from time import monotonic

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet,
    )
    start = monotonic()
    tasks: dict[str, tuple[Any, float]] = {}

    def show(what: str, done: int, total: int | None) -> None:
        now = monotonic()
        if what not in tasks:
            tasks[what] = (bar.add_task(what, total=total, rate=""), now)
        task, since = tasks[what]
        rate = f"{done / (now - since):.1f} {unit}/s" if now - since > 0.5 else ""
        bar.update(task, completed=done, total=total, rate=rate)
        if now - start > 2 and not bar.live.is_started:
            bar.start()

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
