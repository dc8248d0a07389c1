"""The command line, nothing else: words in, calls of `pipeline`, words out.

Machine output goes to stdout only with ``--json``, progress and messages to stderr. An error is
one line and exit 1; wrong usage exits 2. Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from secondreader import __version__
from secondreader.domain import SecondReaderError

__all__ = ["app", "main"]

app = typer.Typer(
    name="secondreader",
    help="An open second reader for screening mammography. Research use only, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"secondreader {__version__}")
        raise typer.Exit


def _threads(value: int | None) -> int | None:
    """Set the thread count before anything numerical is imported."""
    if value is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(value)
    return value


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, callback=_threads, help="Threads of each process."),
]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps, for learnt readers.")
]
Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
]
Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Files, folders, ZIPs.", show_default=False)
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept", metavar="CODE", help="Read what is refused under this code."),
]
SpacingMm = Annotated[
    float | None,
    typer.Option("--spacing-mm", metavar="S", help="Pixel size where the file states none."),
]
Bits = Annotated[
    int | None,
    typer.Option("--bits", metavar="B", help="Bits of raster files (8 to 16), if not the least."),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--table",
        metavar="T.csv",
        help="path, exam_id, patient_id, laterality, view, spacing_mm of files.",
    ),
]


@app.callback()
def _common(version: Version = False) -> None:
    pass


@app.command()
def read(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Output folder.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME_OR_FOLDER", help="A reader; may be repeated."),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="OPERATING_POINT", help="What is a finding.")
    ] = None,
    accept: Accept = None,
    spacing_mm: SpacingMm = None,
    bits: Bits = None,
    table: TableFile = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    pseudonymise: Annotated[
        Path | None,
        typer.Option(
            "--pseudonymise",
            metavar="KEYFILE",
            help="Replace ids and paths by hashes under this key; made if it does not exist.",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Read mammograms: OUT/reading.json, OUT/findings.csv, OUT/report.html."""
    from secondreader import pipeline, report

    options = pipeline.read_options(accept or (), spacing_mm, bits, table)
    with _resumable(), _progress("files", quiet) as show:
        outcome = pipeline.read_to(
            inputs,
            out,
            models=model or pipeline.DEFAULT_MODELS,
            at=at,
            options=options,
            workers=workers,
            secret=report.secret_from(pseudonymise, out) if pseudonymise else None,
            on_found=lambda found: show("looking at files", found, None),
            on_read=lambda done, total: show("reading", done, total),
        )
    if not quiet:
        for reason, times in sorted(outcome.refused.items()):
            _say(f"not read ({times} {_plural(times, 'image')}): {reason}")
        _say(
            f"read {outcome.read} of {outcome.images} {_plural(outcome.images, 'image')} in "
            f"{outcome.exams} {_plural(outcome.exams, 'exam')}: "
            f"{outcome.findings} {_plural(outcome.findings, 'finding')}; "
            f"{outcome.skipped} {_plural(outcome.skipped, 'file')} skipped"
        )
        _say(f"report: {out / 'report.html'}")
    if outcome.read == 0:
        what = "no image was read by any model" if outcome.images else "no image was found"
        raise SecondReaderError(f"{what}; each reason stands in {out / 'report.html'}")


@app.command()
def inspect(
    files: Inputs,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, a list.")] = False,
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="Show patient and exam ids too.")
    ] = False,
    accept: Accept = None,
    spacing_mm: SpacingMm = None,
    bits: Bits = None,
    table: TableFile = None,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Tell every step from stored values to the mammogram, and each reason to refuse."""
    from secondreader import pipeline

    options = pipeline.read_options(accept or (), spacing_mm, bits, table)
    seen = pipeline.inspect(files, options=options, identifiers=identifiers)
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in seen], indent=2))
        return
    for one in seen:
        typer.echo(_inspection_text(_plain(one)))


def _plain(one: Any) -> dict[str, Any]:
    """Return an inspection, or a file that is none, as plain values."""
    if hasattr(one, "as_dict"):
        return dict(one.as_dict())
    refusal = {"code": one.code, "reason": one.reason, "acceptable": False, "accepted": False}
    return {"path": one.path, "read": False, "refusals": [refusal], "steps": []}


def _inspection_text(one: dict[str, Any]) -> str:
    """Lay an inspection out for reading, a line a step with its value range and its origin."""
    lines = [f"{one['path']}: {'read' if one['read'] else 'refused'}"]
    for refusal in one["refusals"]:
        word = "accepted" if refusal["accepted"] else "refused"
        lines.append(f"  {word} as {refusal['code']}: {refusal['reason']}")
    facts = ["format", "rows", "cols", "spacing_mm", "laterality", "view", "intent", "vendor", "model", "bits", "lossy", "voi"]
    known = [(name, one[name]) for name in facts if one.get(name) is not None]
    lines += [f"  {name:<16} {value}" for name, value in known]
    if one.get("breast"):
        breast = one["breast"]
        side = breast["chest_wall"] or "unsure"
        lines.append(
            f"  {'breast':<16} {breast['area_fraction']:.0%} of the image, chest wall: {side}"
        )
    for number, step in enumerate(one["steps"], 1):
        ranges = [step[end] for end in ("before", "after")]
        span = " -> ".join(f"[{r[0]:g}, {r[1]:g}]" for r in ranges if r is not None)
        origin = f" ({step['origin']})" if step["origin"] else ""
        lines.append(f"  {number}. {step['name']}: {step['detail']}{origin} {span}".rstrip())
    for name, value in (one.get("identifiers") or {}).items():
        lines.append(f"  {name:<16} {value}")
    return "\n".join(lines)


@contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C ends cleanly: what was done is kept."""
    try:
        yield
    except KeyboardInterrupt:
        _say("secondreader: stopped; the same command goes on from here")
        raise typer.Exit(130) from None


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _plural(number: int, word: str) -> str:
    return word if number == 1 else word + "s"


@contextmanager
def _progress(unit: str, quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
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


def main() -> None:
    """Run the command line; an error a user can act on is one line and exit 1."""
    try:
        app(standalone_mode=True)
    except SecondReaderError as error:
        _say(f"secondreader: {error}")
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
