"""The stories that secondreader tells: read images, look at one, train and evaluate readers.

Everything the command line does is here as a function; each is short enough to read at a glance,
and says in its imports where the work is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondreader import __version__, formats, report
from secondreader.archive import Plan, exam_readings, opener, read_exams
from secondreader.catalogue import catalogue
from secondreader.domain import ExamReading, OperatingPoint, Part, SecondReaderError
from secondreader.evaluation.figures import Metrics
from secondreader.evaluation.operating_points import read_points
from secondreader.formats import ReadOptions, Skipped, Table
from secondreader.journal import Journal
from secondreader.learning import box
from secondreader.methods import METHODS, WITHOUT_WEIGHTS, method
from secondreader.outputs import Outcome, finish
from secondreader.reading import load_models, method_of, own_points, prevalence_of
from secondreader.sources import load_all

if TYPE_CHECKING:
    from secondreader.learning.hardware import Hardware
    from secondreader.training import Training

__all__ = [
    "Outcome",
    "default_models",
    "demo",
    "evaluate",
    "inspect",
    "output_folder",
    "own_figures",
    "plan_training",
    "read",
    "read_options",
    "read_to",
    "readers_at_hand",
    "train",
]

DEMO_SEED = 21
_LOG = logging.getLogger("secondreader")
PathLike = str | Path


def read(
    paths: PathLike | Iterable[PathLike],
    *,
    models: Sequence[str] | None = None,
    at: str | None = None,
    prevalence: float | None = None,
    accept: Iterable[str] = (),
    spacing_mm: float | None = None,
    bits: int | None = None,
    table: PathLike | None = None,
    on_skip: Callable[[Skipped], None] | None = None,
) -> Iterator[ExamReading]:
    """Read mammograms, exam by exam.

    Parameters
    ----------
    paths
        Files, folders, ZIPs.
    models
        Names of readers, or model folders; those of `default_models` if ``None``.
    at
        The operating point from which on detections are findings, the surest few of a kind on an image;
        each model's default if ``None``.
    prevalence
        The share of exams with cancer that probabilities are to hold for; that of the patients whom
        they were fitted to if ``None``.
    accept
        Codes under which images are refused otherwise (``"for-processing"``, …).
    spacing_mm
        Pixel size for images that state none.
    bits
        Bits of raster files, where the smallest that holds the file's maximum is wrong.
    table
        A CSV that states exam, patient, laterality, view, spacing of files.
    on_skip
        Called with each file that is not read; they are logged if ``None``.

    Yields
    ------
    ExamReading
        One exam at a time; its pixels are gone by then.

    Raises
    ------
    SecondReaderError
        If a model or an option is wrong. A file that cannot be read is no error.
    """
    options = read_options(accept, spacing_mm, bits, table)
    loaded = load_models(models or default_models(), at, prevalence=prevalence)
    skip = on_skip or (lambda s: _LOG.warning("skipped %s: %s", s.path, s.reason))
    found = catalogue(_inputs(paths), options, Journal())
    for skipped in found.skipped():
        skip(skipped)
    for _, reading, unread, _ in exam_readings(
        found.exams(), loaded, opener(options), options.accept
    ):
        for skipped in unread:
            skip(skipped)
        yield reading


def read_to(
    paths: PathLike | Iterable[PathLike],
    out: PathLike,
    *,
    models: Sequence[str] | None = None,
    at: str | None = None,
    prevalence: float | None = None,
    options: ReadOptions | None = None,
    workers: int = 1,
    secret: bytes | None = None,
    on_note: Callable[[str], None] = _LOG.warning,
    on_found: Callable[[int], None] = lambda found: None,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Read mammograms into a folder: reading.json, readings.jsonl, findings.csv, report.html.

    A second call goes on where the first was stopped, reads unchanged files no second time, and
    ends with the same output.

    Parameters
    ----------
    paths, models, at, prevalence
        As for `read`.
    out
        The output folder; made if missing.
    options
        What was asked of reading files.
    workers
        The number of processes.
    secret
        With a key, patient and exam ids, UIDs and paths are replaced by keyed hashes in
        everything written.
    on_note
        Called with each row of the table that fits no file.
    on_found, on_read
        Called with the number of files found; with the files done, and their total.
    """
    inputs = _inputs(paths)
    options = options or ReadOptions()
    models = tuple(models or default_models())
    out = output_folder(out)
    header = report.ReadingHeader(
        version=__version__,
        inputs=tuple(_shown(path, secret) for path in inputs),
        models=tuple(
            report.ModelIdentity(name=m.name, sha256=m.sha256, prevalence=prevalence_of(m))
            for m in load_models(models, at, prevalence=prevalence)
        ),
    )
    plan = Plan(out, models, at, options, header, secret, prevalence)
    journal = Journal(out / "journal.sqlite")
    try:
        found = catalogue(
            inputs,
            options,
            journal,
            secret=secret or b"",
            rename=(lambda text: report.pseudonym(secret, text)) if secret else str,
            leave_out=out,
            progress=on_found,
        )
        if options.table is not None:
            for note in formats.unmatched(options.table, found.refs()):
                on_note(note)
        done = 0
        total = found.file_count

        def progress(files: int) -> None:
            nonlocal done
            done += files
            on_read(done, total)

        read_exams(plan, found.exams(), journal, workers=workers, progress=progress)
        return finish(plan, found, journal)
    finally:
        journal.close()


def evaluate(
    models: Sequence[str],
    data: Sequence[str],
    out: PathLike,
    *,
    split: str = "all",
    part: Part = Part.TEST,
    at: str | None = None,
    choices: Iterable[str] = (),
    readings: Sequence[PathLike] = (),
    ratings: Sequence[PathLike] = (),
    resamples: int | None = None,
    groups: bool = True,
    rates: Sequence[float] = (),
    positions: bool = False,
    known: Sequence[tuple[str, PathLike]] = (),
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> Metrics:
    """Measure readers on data sets, each figure with its 95 % interval.

    Parameters
    ----------
    models
        Names of readers, or model folders; their images are read once into OUT/readings.jsonl.
    data
        ``NAME=ROOT`` of each data set.
    out
        The output folder: readings, metrics.json, tables, plots, report.html.
    split, part
        ``NAME[:FOLD]`` and which part of it; ``all`` is every image.
    at
        The operating point of the models.
    choices
        Labelled choices, ``NAME.CHOICE=VALUE``.
    readings, ratings
        Readings of other programs in the form of reading.json; tables of human readers.
    resamples
        Of the bootstrap over patients.
    groups
        Whether to give subgroups.
    rates
        Further specificities to give sensitivities at, and the other way round.
    positions
        Whether readers that score every position are measured by that too.
    known
        Model folders, and the ``out`` each was measured into: a panel of these models does not ask them
        again what they said of the same files.
    on_read
        Called with images read, and all.

    Raises
    ------
    SecondReaderError
        If data, split, models and readings do not fit together, or no figure can be made of them.
    """
    # It draws: matplotlib is slow to import, and `read` waits.
    from secondreader import counting, scoring

    sources = load_all(data, choices)
    chosen = scoring.choose(sources, split, part)
    folder = output_folder(out)
    files = [Path(file) for file in readings]
    loaded = load_models(models, at) if models else ()
    count = None
    if positions:
        count = counting.count_positions(chosen.images, loaded, folder, on_read)
    if loaded:
        file = scoring.read_records(
            chosen, loaded, folder, progress=on_read, on_exam=count,
            known=[(name, Path(before)) for name, before in known],
        )  # fmt: skip
        files.insert(0, file)
    metrics, readers = scoring.measure_readings(
        chosen,
        files,
        ratings=[Path(table) for table in ratings],
        models=loaded,
        resamples=resamples,
        groups=groups,
        rates=rates,
    )
    metrics = scoring.own_figures(metrics, sources, split, part, loaded)
    if count is not None:
        count(None)
        metrics = counting.with_positions(metrics, chosen.records, files)
    scoring.write_figures(folder, chosen, metrics, readers)
    return metrics


def own_figures(
    models: Sequence[str],
    data: Sequence[str],
    *,
    split: str = "all",
    part: Part = Part.TEST,
    choices: Iterable[str] = (),
    resamples: int | None = None,
) -> Metrics:
    """Measure what readers measure of themselves, such as of patches; no image is read for it.

    Parameters and errors are those of `evaluate`, which gives these figures beside its own.
    """
    from secondreader import scoring

    sources = load_all(data, choices)
    loaded = load_models(models)
    metrics = scoring.unread(scoring.choose(sources, split, part), loaded, resamples)
    return scoring.own_figures(metrics, sources, split, part, loaded)


def train(
    name: str,
    data: Sequence[str],
    run_dir: PathLike,
    *,
    split: str = "official",
    preset: str | None = None,
    settings: Sequence[str] = (),
    init: str | None = None,
    seed: int | None = None,
    hardware: Hardware | None = None,
    choices: Iterable[str] = (),
    overwrite: bool = False,
    fitted: bool = True,
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_note: Callable[[str], None] = _LOG.warning,
) -> Path:
    """Train a method, and leave a model folder that `read` takes.

    Parameters
    ----------
    name
        A method.
    data
        ``NAME=ROOT`` of each data set.
    run_dir
        The run folder; the same call goes on where it was stopped.
    split
        ``NAME[:FOLD]``.
    preset, settings, init, seed
        What to change of the method's configuration: a preset, ``key=value`` each, its initial
        weights, its seed.
    hardware
        What to use.
    choices
        Labelled choices of data sets, ``NAME.CHOICE=VALUE``.
    overwrite
        Throw away another training that lies in ``run_dir``.
    fitted
        Whether operating points and calibration are fitted to the model.
    on_progress, on_note
        Called with what is being done; with what could not be fitted.

    Returns
    -------
    Path
        RUN/model.

    Raises
    ------
    SecondReaderError
        If configuration, data and split do not fit together, or training fails.
    """
    from secondreader import training  # torch and Lightning are slow to import, and `read` waits

    planned = plan_training(
        name, data, split=split, preset=preset, settings=settings, init=init, seed=seed,
        hardware=hardware, choices=choices,
    )  # fmt: skip
    return training.run(
        planned,
        Path(run_dir),
        overwrite=overwrite,
        fitted=fitted,
        progress=on_progress,
        on_note=on_note,
    )


def plan_training(
    name: str,
    data: Sequence[str],
    *,
    split: str = "official",
    preset: str | None = None,
    settings: Sequence[str] = (),
    init: str | None = None,
    seed: int | None = None,
    hardware: Hardware | None = None,
    choices: Iterable[str] = (),
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Training:
    """Check all that `train` is told, and return what it would do; parameters are those of `train`."""
    from secondreader import training
    from secondreader.learning import configuration
    from secondreader.learning import hardware as machines

    module = method(name)
    if not hasattr(module, "train"):
        raise SecondReaderError(f"train: got {name}, which has nothing to learn")
    if init in box.in_the_box() and not Path(init).exists():
        init = str(box.box() / init)
    config = configuration.resolve(
        module.Config, METHODS[name], preset, settings, init=init, seed=seed
    )
    sources = load_all(data, choices, on_progress)
    return training.plan(name, config, sources, split, hardware or machines.Hardware())


def inspect(
    paths: PathLike | Iterable[PathLike],
    *,
    options: ReadOptions | None = None,
    identifiers: bool = False,
) -> Iterator[formats.Inspection | Skipped]:
    """Tell every step from stored values to the mammogram that a method sees, file by file.

    Parameters
    ----------
    paths
        Files, folders, ZIPs.
    options
        What was asked of reading.
    identifiers
        Show patient and exam ids too.
    """
    for ref in formats.find(_inputs(paths)):
        if isinstance(ref, Skipped):
            yield ref
        else:
            yield formats.inspect(ref, options or ReadOptions(), identifiers=identifiers)


def demo(out: PathLike) -> Outcome:
    """Make a phantom exam in OUT/exam and read it into OUT/reading."""
    from secondreader import phantom  # only the demo needs it, and `read` waits

    folder = output_folder(out)
    phantom.write_exams(folder / "exam", exams=1, seed=DEMO_SEED)
    return read_to(folder / "exam", folder / "reading")


def default_models() -> tuple[str, ...]:
    """Return who reads where nobody is named: the box's default, else the one that needs no weights."""
    return (box.DEFAULT,) if box.DEFAULT in box.in_the_box() else WITHOUT_WEIGHTS


def readers_at_hand() -> list[dict[str, Any]]:
    """Return the readers that go by a name: what each is, its operating points, its card if it has one."""
    known = []
    for name in WITHOUT_WEIGHTS:
        about = (method(name).__doc__ or "").strip().splitlines()[0]
        points, default = own_points(name)
        known.append(_told(name, about, points, default, None))
    for name in box.in_the_box():
        folder = box.box() / name
        card = folder / "model-card.md"
        points, default = read_points(folder / "operating_points.json")
        about = f"{method_of(folder)}, in the box"
        text = card.read_text(encoding="utf-8") if card.is_file() else None
        known.append(_told(name, about, points, default, text))
    return known


def _told(
    name: str, about: str, points: Sequence[OperatingPoint], default: str | None, card: str | None
) -> dict[str, Any]:
    listed = [asdict(point) for point in points]
    first = name == default_models()[0]
    return {"name": name, "about": about, "reads_by_default": first, "default": default,
            "operating_points": listed, "card": card}  # fmt: skip


def read_options(
    accept: Iterable[str] = (),
    spacing_mm: float | None = None,
    bits: int | None = None,
    table: PathLike | None = None,
) -> ReadOptions:
    """Check what was asked of reading.

    Raises
    ------
    SecondReaderError
        If a code, the spacing, the bits or the table make no sense.
    """
    codes = frozenset(accept)
    if unknown := codes - formats.ACCEPTABLE:
        raise SecondReaderError(
            f"--accept: got {min(unknown)!r}, expected one of {', '.join(sorted(formats.ACCEPTABLE))}"
        )
    loaded: Table | None = formats.read_table(Path(table)) if table is not None else None
    return ReadOptions(codes, spacing_mm, bits, loaded)


def _inputs(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _shown(path: Path, secret: bytes | None) -> str:
    return str(path) if secret is None else report.pseudonym_path(secret, str(path))


def output_folder(out: PathLike) -> Path:
    """Make a folder for output if it is not there, and return it.

    Raises
    ------
    SecondReaderError
        If it cannot be made.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecondReaderError(
            f"output: {error.strerror}, expected a folder that can be written: {folder}"
        ) from None
    return folder
