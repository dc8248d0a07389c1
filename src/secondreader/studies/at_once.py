"""The rows of a study in several processes, each as soon as those that it needs are done."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import IO

from secondreader.methods import METHODS
from secondreader.studies.run import Outcome
from secondreader.studies.study import Row

__all__ = ["at_once"]

_LOOK = 0.2  # seconds from one look at the processes to the next


def at_once(
    rows: Sequence[Row],
    command: Callable[[str], Sequence[str]],
    jobs: int,
    *,
    built: Collection[str] = tuple(METHODS),
) -> Iterator[Outcome]:
    """Run rows in processes of their own, and yield what became of each as it ends.

    Rows that measure one model wait for each other: they share what it read.

    Parameters
    ----------
    rows
        What to run, those that a row needs before it (`run.chosen`).
    command
        Gives the command line that runs one row, by its key; what is stored it leaves alone.
    jobs
        Processes at once.
    built
        The methods that exist: rows of others are left out.

    Yields
    ------
    Outcome
        ``run``, ``left out`` and why, or ``failed`` and the last thing that its process said.
    """
    left = {row.key: row for row in rows}
    running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes], float]] = {}
    lost: set[str] = set()
    try:
        while left or running:
            for key, (process, said, begun) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[key]
                with said:
                    why = "" if process.returncode == 0 else _last_line(said)
                if why:
                    lost.add(key)
                hours = (time.monotonic() - begun) / 3600
                yield Outcome(key, "failed" if why else "run", why, hours)
            busy = {_model(row) for row in rows if row.key in running}
            for key, row in list(left.items()):
                needs = set(row.recipe.needs()) if row.recipe else set()
                why = _why_not(row, needs & lost, built)
                if why:
                    del left[key]
                    lost.add(key)
                    yield Outcome(key, "left out", why)
                elif (
                    len(running) < jobs
                    and _model(row) not in busy
                    and not needs & {*left, *running}
                ):
                    del left[key]
                    busy.add(_model(row))
                    said = tempfile.TemporaryFile()  # noqa: SIM115, closed when the process ended
                    process = subprocess.Popen(command(key), stdout=subprocess.DEVNULL, stderr=said)
                    running[key] = process, said, time.monotonic()
            time.sleep(_LOOK)
    finally:  # Ctrl-C reaches them as it does this one: they end by themselves, and keep what they have
        for process, said, _ in running.values():
            process.wait()
            said.close()


def _model(row: Row) -> str:
    """Return whose model a row measures: its own, another's, or a method's that has no weights."""
    recipe = row.recipe
    return row.key if recipe is None or recipe.trains else recipe.start or recipe.method


def _why_not(row: Row, lacking: Collection[str], built: Collection[str]) -> str:
    if row.recipe is None:
        return "nothing to run"
    return row.recipe.why_not(built) or (
        f"needs {min(lacking)}, which was left out" if lacking else ""
    )


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return (lines[-1] if lines else "its process died").removeprefix("secondreader: ")
