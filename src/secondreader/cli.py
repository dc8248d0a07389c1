"""The command line, nothing else: words in, calls of `pipeline`, words out.

Machine output goes to stdout only with ``--json``, progress and messages to stderr. An error is
one line and exit 1; wrong usage exits 2. Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from secondreader.cli_data import data
from secondreader.cli_figures import evaluate
from secondreader.cli_phantom import phantom
from secondreader.cli_reproduce import reproduce
from secondreader.cli_train import train
from secondreader.cli_words import Device, Quiet, Threads, Version, plural, progress, resumable, say
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


app.add_typer(data, name="data")
app.command()(phantom)
app.command()(train)
app.command()(evaluate)
app.command()(reproduce)


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
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            metavar="P",
            help="Share of exams with cancer that probabilities are to hold for, such as 0.006.",
        ),
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
    with resumable(), progress("files", quiet) as show:
        outcome = pipeline.read_to(
            inputs,
            out,
            models=model,
            at=at,
            prevalence=prevalence,
            options=options,
            workers=workers,
            secret=report.secret_from(pseudonymise, out) if pseudonymise else None,
            on_note=say,
            on_found=lambda found: show("looking at files", found, None),
            on_read=lambda done, total: show("reading", done, total),
        )
    if not quiet:
        for reason, times in sorted(outcome.refused.items()):
            say(f"not read ({times} {plural(times, 'image')}): {reason}")
        for reason, times in sorted(outcome.left_out.items()):
            say(f"read in part ({times} {plural(times, 'image')}): {reason}")
        say(
            f"read {outcome.read} of {outcome.images} {plural(outcome.images, 'image')} in "
            f"{outcome.exams} {plural(outcome.exams, 'exam')}: "
            f"{outcome.findings} {plural(outcome.findings, 'finding')}; "
            f"{outcome.skipped} {plural(outcome.skipped, 'file')} skipped"
        )
        say(f"report: {out / 'report.html'}")
    if outcome.read == 0 and outcome.images:
        raise SecondReaderError(f"no image was read by any model; see {out / 'report.html'}")
    if outcome.read == 0:
        why = f" ({outcome.first_skipped})" if outcome.first_skipped else ""
        raise SecondReaderError(f"no image was found{why}; see {out / 'report.html'}")


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


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The whole card of this one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, cards too.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """List the readers at hand, each with its operating points, or show the card of one."""
    from secondreader import pipeline

    known = pipeline.readers_at_hand()
    if name is not None:
        known = [one for one in known if one["name"] == name]
        if not known:
            told = ", ".join(one["name"] for one in pipeline.readers_at_hand())
            raise SecondReaderError(f"models: got {name!r}, expected one of {told}")
    if as_json:
        typer.echo(json.dumps(known, indent=2))
        return
    for one in known:
        reads = " (reads where nobody is named)" if one["reads_by_default"] else ""
        typer.echo(f"{one['name']}: {one['about']}{reads}")
        for point in one["operating_points"]:
            mark = " (default)" if point["name"] == one["default"] else ""
            typer.echo(
                f"  --at {point['name']}{mark}: {point['kind']} scoring {point['threshold']:g} "
                f"or more; {point['rule']}; chosen on {point['chosen_on']}"
            )
        if name is not None and one["card"]:
            typer.echo(f"\n{one['card']}")
        elif one["card"]:
            typer.echo(f"  card: secondreader models {one['name']}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Output folder.")] = Path(
        "demo"
    ),
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Make a phantom exam, read it with the default reader, say where the report is."""
    from secondreader import pipeline

    outcome = pipeline.demo(out)
    say(
        f"a phantom exam lies in {out / 'exam'}; {pipeline.default_models()[0]} read "
        f"{outcome.read} images of it: {outcome.findings} {plural(outcome.findings, 'finding')}"
    )
    say(f"report: {(out / 'reading' / 'report.html').resolve()}")


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
    facts = [
        "format",
        "rows",
        "cols",
        "spacing_mm",
        "laterality",
        "view",
        "intent",
        "vendor",
        "model",
        "bits",
        "lossy",
        "voi",
    ]
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


def main() -> None:
    """Run the command line; an error a user can act on is one line and exit 1."""
    try:
        app(standalone_mode=True)
    except SecondReaderError as error:
        say(f"secondreader: {error}")
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
