"""The command line of figures: evaluate readers, and put a paper's table beside ours."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondreader.cli_words import Device, Quiet, Threads, Version, progress, resumable, say
from secondreader.domain import Part, SecondReaderError

if TYPE_CHECKING:
    from secondreader.evaluation.figures import Metrics
    from secondreader.learning.hardware import Hardware
    from secondreader.studies.study import Recipe

__all__ = ["evaluate", "reproduce"]

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
    as_json: Annotated[bool, typer.Option("--json", help="The metrics on stdout.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Measure readers on data sets: metrics.json, tables, plots, report.html in OUT."""
    from secondreader import pipeline
    from secondreader.evaluation.tables import with_interval

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
            on_read=lambda done, total: show("reading", done, total),
        )
    if as_json:
        typer.echo((out / "metrics.json").read_text(encoding="utf-8"), nl=False)
        return
    if not quiet:
        for figure in metrics.figures:
            if not figure.group:
                rule = f" by {figure.hit_rule}" if figure.hit_rule else ""
                say(f"{figure.reader} {figure.level} {figure.name}{rule}: {with_interval(figure)}")
        say(f"report: {out / 'report.html'}")


def reproduce(
    study: Annotated[str, typer.Argument(metavar="STUDY")],
    table: Annotated[str | None, typer.Argument(metavar="TABLE")] = None,
    data: DataSets = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT", help="Runs and figures.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures", metavar="DIR", help="Of STUDY/ROW.json; OUT/figures if not told."
        ),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="The published tables and what each row runs.")
    ] = False,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME[:FOLD]", help="On other data than the paper's."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="P", help="On other data than the paper's.")
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="The costly rows too.")] = False,
    row: Annotated[list[str] | None, typer.Option("--row", help="Only this row.")] = None,
    resamples: Resamples = None,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Put a paper's table beside what is measured here; goes on where it was stopped."""
    from secondreader import datasets, formats, studies
    from secondreader.learning.hardware import Hardware
    from secondreader.sources import resolved
    from secondreader.studies import run
    from secondreader.studies.show import beside, listing

    known = studies.study(study)
    if list_:
        typer.echo(listing(known, table))
        return
    if not data or out is None:
        raise SecondReaderError("reproduce: got no --data or no -o, expected both (or --list)")
    named = dict(resolved(text) for text in data)
    if not set(named) & set(known.data):
        known = known.on(tuple(sorted(named)), split or "official", preset)
    elif split or preset:
        raise SecondReaderError(
            f"reproduce: got --{'split' if split else 'preset'} with the paper's own data, expected "
            "it only with other data: the study says how its rows are trained"
        )
    prints = sorted(datasets.load(name, root).fingerprint for name, root in named.items())
    home = figures or out / "figures"
    wanted = run.chosen(known, table, row or ("all" if all_rows else "mandatory"))
    rows = [r for r in wanted if r.recipe is None or set(r.recipe.data) <= set(named)]
    hardware = Hardware(device, threads=threads, progress=not quiet)
    measured = _Measured(data, out, resamples, quiet, hardware)
    with resumable():
        for outcome in run.reproduce(
            known,
            rows,
            data=run.Data(tuple(sorted(named)), " ".join(prints)),
            figures=home,
            runs=out / "runs",
            train=_Trained(data, quiet, hardware),
            evaluate=measured,
            write=_write,
            command=f"secondreader {shlex.join(_without_roots(sys.argv[1:]))}",
        ):
            if not quiet:
                say(f"{outcome.row}: {outcome.state}{f' ({outcome.why})' if outcome.why else ''}")
    told = run.stored(home, known)
    for name in [t.name for t in known.tables] if table is None else [table]:
        text = beside(known, name, told)
        typer.echo(text)
        formats.atomic_write(out / f"{known.name}-{name}.md", text)


class _Measured:
    """Evaluates a recipe's models on the recipe's own data sets, a folder a row."""

    def __init__(
        self,
        data: Sequence[str],
        out: Path,
        resamples: int | None,
        quiet: bool,
        hardware: Hardware,
    ) -> None:
        self.data, self.out, self.resamples, self.quiet = data, out, resamples, quiet
        self.hardware = hardware

    def __call__(self, recipe: Recipe, models: Sequence[Path | str], groups: bool) -> Metrics:
        from secondreader import pipeline

        wanted = [text for text in self.data if text.partition("=")[0] in recipe.data]
        # A folder a row, so that what was read for one is not thrown away for the next.
        rows = [model.parent.name for model in models if isinstance(model, Path)]
        name = "-".join([*(rows or [recipe.method]), *recipe.data])
        first, *rivals = models
        read = [first]
        if "flips" in recipe.readers[1:]:
            # The mean over four mirror images is a panel of one.
            read.append(
                pipeline.train(
                    "panel",
                    wanted,
                    self.out / "flips" / rows[0],
                    split=recipe.split or "official",
                    settings=[f"members={json.dumps([str(first)])}", "flips=true"],
                    hardware=self.hardware,
                    on_note=say,
                )
            )
        # What another row's model was read for already is not read again.
        readings = [self._readings(m, recipe) for m in rivals if isinstance(m, Path)]
        there = [file for file in readings if file.is_file()]
        models = [*read, *(rivals if len(there) < len(rivals) else ())]
        with progress("images", self.quiet) as show:
            return pipeline.evaluate(
                [str(model) for model in models],
                wanted,
                self.out / "evaluations" / name,
                split=recipe.split or "all",
                readings=there if len(there) == len(rivals) else (),
                resamples=self.resamples,
                groups=groups,
                on_read=lambda done, total: show(f"reading {name}", done, total),
            )

    def _readings(self, model: Path, recipe: Recipe) -> Path:
        folder = "-".join([model.parent.name, *recipe.data])
        return self.out / "evaluations" / folder / "readings.jsonl"


class _Trained:
    """Trains a recipe's model, on the recipe's own data sets."""

    def __init__(self, data: Sequence[str], quiet: bool, hardware: Hardware) -> None:
        self.data, self.quiet, self.hardware = data, quiet, hardware

    def __call__(self, recipe: Recipe, run_dir: Path, start: Path | None) -> Path:
        from secondreader import pipeline

        with progress("images", self.quiet) as show:
            return pipeline.train(
                recipe.method,
                [text for text in self.data if text.partition("=")[0] in recipe.data],
                run_dir,
                split=recipe.split or "official",
                preset=recipe.preset or None,
                settings=[f"{key}={value}" for key, value in recipe.settings.items()],
                init=None if start is None else str(start),
                hardware=self.hardware,
                on_progress=show,
                on_note=say,
            )


def _write(path: Path, text: str) -> None:
    from secondreader import formats

    path.parent.mkdir(parents=True, exist_ok=True)
    formats.atomic_write(path, text)


def _without_roots(words: Sequence[str]) -> list[str]:
    """Write ROOT for folders: a command that is kept names no machine's paths."""
    from secondreader.datasets import ADAPTERS
    from secondreader.phantom.sets import SETS

    told = []
    for word in words:
        name, sign, root = word.partition("=")
        built_in = name == "phantom" and root.partition(":")[0] in SETS
        if sign and name in ADAPTERS and not built_in:
            told.append(f"{name}=ROOT")
        elif told and told[-1] in ("-o", "--out", "--figures"):
            told.append("OUT" if told[-1] != "--figures" else "figures")
        else:
            told.append(word)
    return told
