"""The command line that puts a paper's table beside ours."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondreader.cli_figures import DataSets, Resamples
from secondreader.cli_words import Device, Quiet, Threads, Version, progress, resumable, say
from secondreader.domain import SecondReaderError

if TYPE_CHECKING:
    from secondreader.evaluation.figures import Metrics
    from secondreader.learning.hardware import Hardware
    from secondreader.studies.study import Recipe

__all__ = ["reproduce"]

_LOOK = 2.0  # seconds from one look at a run folder that is taken to the next


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
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that prepare and load.")
    ] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Rows at once, a process each.")] = 1,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Throw away trainings of other settings that lie in OUT."),
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Put a paper's table beside what is measured here; goes on where it was stopped."""
    from secondreader import datasets, pipeline, studies
    from secondreader.learning.hardware import Hardware
    from secondreader.sources import resolved
    from secondreader.studies import run
    from secondreader.studies.at_once import at_once
    from secondreader.studies.show import beside, listing

    known = studies.study(study)
    if list_:
        typer.echo(listing(known, table))
        return
    if not data or out is None:
        raise SecondReaderError("reproduce: got no --data or no -o, expected both (or --list)")
    given = _by_name(data)
    named = {name: resolved(text) for name, text in given.items()}
    if not set(named) & set(known.data):
        known = known.on(tuple(sorted(named)), split or "official")
    elif split or (preset and not known.elsewhere):
        raise SecondReaderError(
            f"reproduce: got --{'split' if split else 'preset'} with the paper's own data, expected "
            "it only with other data: the study says how its rows are trained"
        )
    known = known.by(preset) if preset else known
    prints = sorted(datasets.load(*source).fingerprint for source in named.values())
    out = pipeline.output_folder(out)
    home = pipeline.output_folder(figures or out / "figures")
    wanted = run.chosen(known, table, row or ("all" if all_rows else "mandatory"))
    rows = [r for r in wanted if r.recipe is None or set(r.recipe.data) <= set(named)]
    if jobs > 1:
        more = [("--split", split), ("--preset", preset), ("--resamples", resamples),
                ("--workers", workers), ("--threads", threads),
                ("--device", None if device == "auto" else device)]  # fmt: skip
        words = [sys.executable, "-m", "secondreader", "reproduce", study, "-o", str(out),
                 "--figures", str(home), "--quiet", *(["--overwrite"] if overwrite else []),
                 *(word for text in data for word in ("--data", text)),
                 *(word for name, value in more if value is not None for word in (name, str(value)))]  # fmt: skip
        outcomes = at_once(rows, lambda key: [*words, "--row", key], jobs)
    else:
        hardware = Hardware(device, threads=threads, workers=workers, progress=not quiet)
        outcomes = run.reproduce(
            known,
            rows,
            data=run.Data(tuple(sorted(named)), " ".join(prints)),
            figures=home,
            runs=out / "runs",
            train=_Trained(given, quiet, hardware, overwrite),
            evaluate=_Measured(given, out, resamples, quiet, hardware),
            write=_write,
            command=f"secondreader {shlex.join(_without_roots(sys.argv[1:]))}",
        )
    failed: dict[str, str] = {}
    with resumable():
        for outcome in outcomes:
            failed |= {outcome.row: outcome.why} if outcome.state == "failed" else {}
            if not quiet or outcome.state == "failed":
                say(f"{outcome.row}: {outcome.state}{f' ({outcome.why})' if outcome.why else ''}")
    if len(failed) == 1:  # the last line of a process is what its parent tells of it
        raise SecondReaderError(": ".join(*failed.items()))
    if failed:
        raise SecondReaderError(
            f"reproduce: got no figures of {', '.join(failed)}, expected them of every row; what each "
            "said stands above"
        )
    told = run.stored(home, known)
    for name in [t.name for t in known.tables] if table is None else [table]:
        text = beside(known, name, told)
        typer.echo(text)
        _write(out / f"{known.name}-{name}.md", text)


def _by_name(data: Sequence[str]) -> dict[str, str]:
    """Return each ``NAME=ROOT`` by its name; a second set of one name is NAME-2."""
    given: dict[str, str] = {}
    for text in data:
        name = text.partition("=")[0]
        number = 1 + sum(known.partition("=")[0] == name for known in given.values())
        given[name if number == 1 else f"{name}-{number}"] = text
    return given


class _Measured:
    """Evaluates a recipe's models on the recipe's own data sets, a folder a row."""

    def __init__(
        self,
        data: Mapping[str, str],
        out: Path,
        resamples: int | None,
        quiet: bool,
        hardware: Hardware,
    ) -> None:
        self.data, self.out, self.resamples, self.quiet = data, out, resamples, quiet
        self.hardware = hardware

    def __call__(self, recipe: Recipe, models: Sequence[Path | str], groups: bool) -> Metrics:
        from secondreader import pipeline

        first, *rivals = models
        if not recipe.reads:
            return pipeline.own_figures(
                [str(first)],
                self._data(recipe),
                split=recipe.split or "all",
                choices=recipe.choices,
                resamples=self.resamples,
            )
        read = [first]
        if "flips" in recipe.readers[1:]:
            # The mean over four mirror images is a panel of one.
            read.append(
                pipeline.train(
                    "panel",
                    self._data(recipe),
                    self.out / "flips" / self._name(first, recipe),
                    split=recipe.split or "official",
                    settings=[f"members={json.dumps([str(first)])}", "flips=true"],
                    fitted=False,
                    choices=recipe.choices,
                    hardware=self.hardware,
                    on_note=say,
                )
            )
        # A folder a model: what was read for another row is not read again, unless by another model.
        readings = [self._folder(rival, recipe) / "readings.jsonl" for rival in rivals]
        for rival, file in zip(rivals, readings, strict=True):
            if not _read_by(rival, file):
                self._evaluated([rival], recipe, ())
        return self._evaluated(read, recipe, readings, groups)

    def _evaluated(
        self,
        models: Sequence[Path | str],
        recipe: Recipe,
        readings: Sequence[Path],
        groups: bool = False,
    ) -> Metrics:
        from secondreader import pipeline

        folder = self._folder(models[0], recipe)
        if len(models) > 1:
            folder = folder.with_name(f"{folder.name}-flips")
        with progress("images", self.quiet) as show:
            return pipeline.evaluate(
                [str(model) for model in models],
                self._data(recipe),
                folder,
                split=recipe.split or "all",
                readings=readings,
                resamples=self.resamples,
                groups=groups,
                rates=recipe.rates,
                positions=recipe.positions,
                choices=recipe.choices,
                known=self._known(models[0], recipe),
                on_read=lambda done, total: show(f"reading {folder.name}", done, total),
            )

    def _data(self, recipe: Recipe) -> list[str]:
        return [text for name, text in self.data.items() if name in recipe.data]

    def _name(self, model: Path | str, recipe: Recipe) -> str:
        own = model.parent.name if isinstance(model, Path) else model
        return "-".join([own, *recipe.data])

    def _known(self, model: Path | str, recipe: Recipe) -> list[tuple[str, Path]]:
        """Return the models of the rows beside a row's, and where they were measured on the same data."""
        if not isinstance(model, Path):
            return []
        data = "-".join(["", *recipe.data])
        folders = sorted((self.out / "evaluations").glob(f"*{data}"))
        runs = model.parent.parent
        return [(str(runs / f.name.removesuffix(data) / "model"), f) for f in folders]

    def _folder(self, model: Path | str, recipe: Recipe) -> Path:
        return self.out / "evaluations" / self._name(model, recipe)


def _read_by(model: Path | str, file: Path) -> bool:
    """Return whether there are readings, and by the model as it is now: it may have been trained again."""
    from secondreader import report
    from secondreader.reading import load_models

    if not file.is_file():
        return False
    with file.open("rb") as lines:
        header = report.parse_header(lines.readline())
    return [own.sha256 for own in header.models] == [load_models([str(model)])[0].sha256]


class _Trained:
    """Trains a recipe's model, on the recipe's own data sets."""

    def __init__(
        self, data: Mapping[str, str], quiet: bool, hardware: Hardware, overwrite: bool = False
    ) -> None:
        self.data, self.quiet, self.hardware, self.overwrite = data, quiet, hardware, overwrite

    def __call__(self, recipe: Recipe, run_dir: Path, start: Path | None) -> Path:
        from secondreader.learning.run_folder import BusyError

        # Two rows may need a third one's model at once: one trains it, and the other waits for it.
        told = False
        while True:
            try:
                return self._once(recipe, run_dir, start)
            except BusyError:
                if not told:
                    say(f"{run_dir.name}: waiting for another process that trains it")
                told = True
                time.sleep(_LOOK)

    def _once(self, recipe: Recipe, run_dir: Path, start: Path | None) -> Path:
        from secondreader import pipeline

        with progress("images", self.quiet) as show:
            return pipeline.train(
                recipe.method,
                [text for name, text in self.data.items() if name in recipe.data],
                run_dir,
                split=recipe.split or "official",
                preset=recipe.preset or None,
                settings=[f"{key}={value}" for key, value in recipe.settings.items()],
                init=None if start is None else str(start),
                hardware=self.hardware,
                fitted=recipe.fitted,
                choices=recipe.choices,
                overwrite=self.overwrite,
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
