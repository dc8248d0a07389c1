"""The command line of data sets: list, verify, index, split, cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from secondreader.cli_words import Device, Quiet, Threads, Version, progress, say, words
from secondreader.domain import Part

__all__ = ["data"]

data = typer.Typer(
    help="Public data sets: what is there, what is broken, fixed patient-level splits.",
    no_args_is_help=True,
)

Source = Annotated[str, typer.Argument(metavar="NAME=ROOT", show_default=False)]
Sources = Annotated[list[str], typer.Argument(metavar="NAME=ROOT...", show_default=False)]
Choose = Annotated[
    list[str] | None,
    typer.Option("--choose", metavar="NAME.CHOICE=VALUE", help="A labelled choice of a set."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="Instead of the user's cache folder.")
]


@data.command("list")
def list_(as_json: AsJson = False, quiet: Quiet = False, version: Version = False) -> None:
    """List the sets that can be read: what each is good for, its licence, where to ask."""
    from secondreader import datasets
    from secondreader.datasets.splits import named_splits

    sets = {name: datasets.about(name) for name in datasets.ADAPTERS}
    if as_json:
        plain = {
            name: {
                "title": a.title,
                "good_for": a.good_for,
                "licence": a.licence,
                "citation": a.citation,
                "ask": a.ask,
                "layout": a.layout,
                "choices": {c.name: dict(c.values) for c in a.choices},
                "splits": [*a.splits, *(s for s in named_splits() if s.startswith(name))],
            }
            for name, a in sets.items()
        }
        typer.echo(json.dumps(plain, indent=2))
        return
    for name, a in sets.items():
        splits = [*a.splits, *(s for s in named_splits() if s.startswith(name))]
        typer.echo(f"{name}: {a.title}")
        typer.echo(words([("good for", a.good_for), ("licence", a.licence), ("ask", a.ask)]))
        for choice in a.choices:
            values = "; ".join(f"{value}: {told}" for value, told in choice.values.items())
            typer.echo(words([(f"choice {choice.name}", values)]))
        if splits:
            typer.echo(words([("splits", ", ".join(splits))]))


@data.command()
def verify(
    sources: Sources,
    choose: Choose = None,
    as_json: AsJson = False,
    fast: Annotated[bool, typer.Option("--no-pixels", help="Decode nothing.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Check sets: counts, files, masks, copies, sides and views, leaks. Exit 1 if broken."""
    from secondreader import datasets
    from secondreader.datasets.verify import verify as check
    from secondreader.sources import images_of, resolved

    choices = datasets.parse_choices(choose or ())
    found = []
    for source in sources:
        name, root = resolved(source)
        found.append(datasets.scan(name, root, choices.get(name, {})))
    with progress("images", quiet) as show:
        verdict = check(
            found,
            images=None if fast else images_of(found),
            progress=lambda done, total: show("looking at images", done, total),
        )
    if as_json:
        typer.echo(json.dumps(verdict.as_dict(), indent=2))
    else:
        for finding in verdict.findings:
            name, state, what, got, expected, remedy, files = finding.cells()
            typer.echo(f"{state.upper():<6} {name} {what}: got {got}; expected {expected}")
            told = [(k, v) for k, v in (("do", remedy), ("files", files)) if v]
            if told:
                typer.echo(words(told))
        typer.echo("broken" if verdict.broken else "nothing is broken")
    if verdict.broken:
        raise typer.Exit(1)


@data.command()
def index(
    source: Source,
    choose: Choose = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="JSON lines; else stdout.")
    ] = None,
    cache: CacheFolder = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Write the records of a set as JSON lines, a line an image."""
    from secondreader import datasets, formats
    from secondreader.datasets.index import record_line
    from secondreader.sources import resolved

    name, root = resolved(source)
    choices = datasets.parse_choices(choose or ()).get(name, {})
    records = datasets.load(
        name, root, choices, cache=cache, announce=lambda text: None if quiet else say(text)
    )
    lines = (record_line(record) + "\n" for record in records.records)
    if out is None:
        for line in lines:
            typer.echo(line, nl=False)
    else:
        formats.atomic_write(out, lines)
    if not quiet:
        say(f"{name}: {len(records.records)} images, {len(records.problems)} problems")


@data.command()
def split(
    source: Source,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The text to publish.")],
    folds: Annotated[int | None, typer.Option("--folds", help="Folds instead of parts.")] = None,
    fractions: Annotated[
        str, typer.Option("--fractions", help="train:validation:calibration:test")
    ] = "60:15:10:15",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    name: Annotated[str, typer.Option("--name", help="Of the split.")] = "",
    choose: Choose = None,
    cache: CacheFolder = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Make a split by patient, stratified by outcome, lesion kind and density."""
    from secondreader import datasets
    from secondreader.datasets.splits import make_folds, make_parts, save_split
    from secondreader.domain import SecondReaderError
    from secondreader.sources import resolved

    dataset, root = resolved(source)
    choices = datasets.parse_choices(choose or ()).get(dataset, {})
    records = datasets.load(dataset, root, choices, cache=cache).records
    if folds is not None:
        made = make_folds(records, folds, seed, name)
    else:
        try:
            weights = [float(w) for w in fractions.split(":")]
            parts = dict(zip(Part, weights, strict=True))
        except ValueError:
            raise SecondReaderError(
                f"--fractions: got {fractions!r}, expected four numbers such as 60:15:10:15"
            ) from None
        made = make_parts(records, {p: w for p, w in parts.items() if w > 0}, seed, name)
    save_split(made, out)
    if not quiet:
        say(f"{made.name}: {len(made.places)} patients; {made.about}")


@data.command()
def cache(
    folder: CacheFolder = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove what lies there.")] = False,
    as_json: AsJson = False,
    version: Version = False,
) -> None:
    """Tell what lies in the cache of prepared images and indexes; --clear empties it."""
    from dataclasses import asdict

    from secondreader.datasets import cache as store

    held = store.clear(folder) if clear else store.usage(folder)
    if as_json:
        typer.echo(json.dumps(asdict(held)))
        return
    verb = "removed" if clear else "holds"
    typer.echo(
        f"{held.folder} {verb} {held.images} images ({held.image_bytes / 1e6:.1f} MB) and "
        f"{held.indexes} indexes ({held.index_bytes / 1e6:.1f} MB)"
    )
