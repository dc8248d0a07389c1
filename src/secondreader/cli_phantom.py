"""The command line of phantoms: exams, named sets, lesions in real images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from secondreader.cli_words import (
    Device,
    Quiet,
    Threads,
    Version,
    plural,
    progress,
    resumable,
    say,
)
from secondreader.domain import Intent, SecondReaderError

__all__ = ["phantom"]


def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder.")],
    exams: Annotated[
        int | None, typer.Option("--exams", metavar="N", help="How many women.")
    ] = None,
    set_: Annotated[
        str | None,
        typer.Option("--set", metavar="NAME[:VENDOR]", help="A named set: tiny, bench-1, …"),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="NAME=ROOT", help="Lesions in real normal images."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Another seed, others.")] = 0,
    vendor: Annotated[
        str | None, typer.Option("--vendor", help="hologic, ge, siemens, film or film50.")
    ] = None,
    intent: Annotated[
        Intent, typer.Option("--intent", help="What the values are meant for.")
    ] = Intent.FOR_PRESENTATION,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what another run left there.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Make synthetic exams as DICOM, with truth.json beside them."""
    from secondreader import phantom as made

    if sum(choice is not None for choice in (exams, set_, into)) != 1:
        raise typer.BadParameter("expected one of --exams N, --set NAME and --into NAME=ROOT")
    if vendor is not None and exams is None:
        raise SecondReaderError("--vendor: expected with --exams; a set has it as NAME:VENDOR")
    if seed and set_ is not None:
        raise SecondReaderError("--seed: expected none with --set; a named set has its own")
    with resumable(), progress("exams", quiet) as show:
        common: dict[str, Any] = {
            "overwrite": overwrite,
            "workers": workers,
            "progress": lambda done, total: show("making exams", done, total),
        }
        if set_ is not None:
            folders = made.write_set(out, set_, intent=intent, **common)
        elif into is not None:
            from secondreader.sources import images_of, load_all

            folders = made.write_inserted(out, images_of(load_all([into])), seed=seed, **common)
        else:
            assert exams is not None
            folders = made.write_exams(
                out, exams=exams, seed=seed, vendor=vendor or "hologic", intent=intent, **common
            )
    if not quiet:
        say(f"{len(folders)} {plural(len(folders), 'exam')} in {out}")
