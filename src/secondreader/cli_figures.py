"""The command line that measures readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondreader.cli_words import Device, Quiet, Threads, Version, progress, resumable, say
from secondreader.domain import Part, SecondReaderError

__all__ = ["DataSets", "Resamples", "evaluate"]

DataSets = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=ROOT", help="A data set; may be repeated."),
]
Choose = Annotated[
    list[str] | None,
    typer.Option("--choose", metavar="NAME.CHOICE=VALUE", help="A labelled choice of a set."),
]
Resamples = Annotated[
    int | None, typer.Option("--resamples", min=100, help="Of the bootstrap over patients.")
]


def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Output folder.")] = Path(
        "evaluation"
    ),
    data: DataSets = None,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME[:FOLD]", help="all is every image.")
    ] = "all",
    part: Annotated[Part, typer.Option("--part", help="Of the split.")] = Part.TEST,
    at: Annotated[str | None, typer.Option("--at", metavar="OPERATING_POINT")] = None,
    readings: Annotated[
        list[Path] | None,
        typer.Option("--readings", metavar="FILE", help="Another program's reading.json(l)."),
    ] = None,
    ratings: Annotated[
        list[Path] | None,
        typer.Option("--ratings", metavar="FILE.csv", help="reader,exam_id,laterality,rating"),
    ] = None,
    choose: Choose = None,
    resamples: Resamples = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="No subgroups.")] = False,
    positions: Annotated[
        bool,
        typer.Option("--positions", help="Scores of every position too, where a reader has them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The metrics on stdout.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Measure readers on data sets: metrics.json, tables, plots, report.html in OUT."""
    from secondreader import pipeline
    from secondreader.evaluation.tables import headlines, told_apart, with_interval

    if not data:
        raise SecondReaderError("--data: got none, expected NAME=ROOT")
    if not (models or readings):
        raise SecondReaderError(
            "MODEL: got none, expected a reader's name, a folder, or --readings"
        )
    with resumable(), progress("images", quiet) as show:
        metrics = pipeline.evaluate(
            models or (),
            data,
            out,
            split=split,
            part=part,
            at=at,
            choices=choose or (),
            readings=readings or (),
            ratings=ratings or (),
            resamples=resamples,
            groups=not no_groups,
            positions=positions,
            on_read=lambda done, total: show("reading", done, total),
        )
    if as_json:
        typer.echo((out / "metrics.json").read_text(encoding="utf-8"), nl=False)
        return
    if not quiet:
        shown = headlines(metrics.figures)
        for figure in shown:
            _, name, rule, _ = told_apart(figure)
            by = f" ({rule.replace('_', ' ')})" if rule else ""
            say(f"{figure.reader} {figure.level} {name}{by}: {with_interval(figure)}")
        say(f"all {len(metrics.figures)} figures: {out / 'report.html'}, figures.csv beside it")
