"""From data sets to figures: read once, score as often as wanted.

Images are read exam by exam into ``readings.jsonl`` (resumable, by the journal beside it); figures
come from that file alone, so that readings of other programs are measured by the same ruler.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from secondreader import __version__, formats, report
from secondreader.archive import exam_readings
from secondreader.catalogue import ExamFiles
from secondreader.datasets.image_set import FileImages
from secondreader.datasets.parts import divide_sets
from secondreader.datasets.records import Records
from secondreader.domain import (
    ExamReading,
    ImageRecord,
    Kind,
    Mammogram,
    OperatingPoint,
    Part,
    SecondReaderError,
)
from secondreader.evaluation.calibration import Calibration
from secondreader.evaluation.figures import Metrics, to_json
from secondreader.evaluation.measure import Settings, measure, worst
from secondreader.evaluation.plots import plots
from secondreader.evaluation.ratings import read_ratings
from secondreader.evaluation.scored import Readings, join, nothing_read
from secondreader.evaluation.tables import tables
from secondreader.evaluation.units import LEVELS, Level
from secondreader.formats import FileRef
from secondreader.journal import Entry, Journal
from secondreader.learning import likeness
from secondreader.reading import Model
from secondreader.remembering import JOURNAL, Known, exam_fingerprint, remembering_panel
from secondreader.sources import images_of
from secondreader.worst_images import figures_page

__all__ = [
    "Chosen",
    "choose",
    "exams_of",
    "measure_readings",
    "measured",
    "own_figures",
    "read_records",
    "scored",
    "unread",
    "write_figures",
]


@dataclass(frozen=True, eq=False, slots=True)
class Chosen:
    """The images that figures are of: one part of a split, and how to open them."""

    images: FileImages
    datasets: tuple[str, ...]
    split: str

    @property
    def records(self) -> Sequence[ImageRecord]:
        """Their records."""
        return self.images.records


def choose(sources: Sequence[Records], split: str, part: Part = Part.TEST) -> Chosen:
    """Take one part of a split of data sets; ``all`` is every image.

    Raises
    ------
    SecondReaderError
        If the split is none of these sets', a patient is in two parts, or the part is empty.
    """
    if split == "all":
        records: tuple[ImageRecord, ...] = tuple(r for s in sources for r in s.records)
        words = "all images"
    else:
        records = divide_sets(sources, split)[part]
        words = f"{split}, {part} part"
    if not records:
        raise SecondReaderError(f"--split: got no image in {words}, expected at least one")
    names = tuple(source.dataset for source in sources)
    return Chosen(images_of(sources).part(records), names, words)


def read_records(
    chosen: Chosen,
    loaded: Sequence[Model],
    out: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    on_exam: Callable[[Sequence[ImageRecord]], None] | None = None,
    known: Known = (),
) -> Path:
    """Read every image with every model into OUT/readings.jsonl; what was read before is kept.

    Parameters
    ----------
    chosen
        The images.
    loaded
        Who reads.
    out
        The output folder.
    progress
        Called with images read, and all.
    on_exam
        Called with the images of each exam as soon as they are read.
    known
        Where to find what members of a panel said before (`remembering`).

    Raises
    ------
    SecondReaderError
        If the output cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecondReaderError(f"output: {error.strerror}: {out}") from None
    header = report.ReadingHeader(
        version=__version__,
        inputs=chosen.datasets,
        models=tuple(report.ModelIdentity(name=m.name, sha256=m.sha256) for m in loaded),
    )
    exams = list(exams_of(chosen))
    with ExitStack() as stack:
        journal = Journal(out / JOURNAL)
        stack.callback(journal.close)
        done = 0
        who = [(model.name, model.sha256, model.at) for model in loaded]
        missing = []
        for exam in exams:
            if journal.exam(exam.key, exam_fingerprint(exam, who)) is None:
                missing.append(exam)
            else:
                done += len(exam.files)
        records = {_place(chosen, r): r for r in chosen.records}

        def open_image(ref: FileRef) -> Mammogram:
            return chosen.images.open(records[ref.input, ref.path])

        # Who chose the images wants a figure of all of them, those unlike a model's training too.
        accept = frozenset({likeness.CODE})
        readers = [remembering_panel(model, missing, known) for model in loaded]
        for exam, reading, skipped, _ in exam_readings(missing, readers, open_image, accept):
            plain = replace(reading, images=tuple(replace(v, heatmaps=()) for v in reading.images))
            form = report.exam_form(plain, {})
            entry = Entry(form.model_dump(mode="json"), [asdict(s) for s in skipped])
            journal.note_exam(exam.key, exam_fingerprint(exam, who), entry)
            if on_exam is not None:
                on_exam([records[ref.input, ref.path] for ref in exam.files])
            done += len(exam.files)
            progress(done, len(chosen.records))

        def lines() -> Iterator[report.Exam]:
            for exam in exams:
                entry = journal.exam(exam.key, exam_fingerprint(exam, who))
                if entry is not None:
                    yield report.parse_exam(json.dumps(entry.exam))

        path = out / "readings.jsonl"
        formats.atomic_write(path, report.readings_lines(header, lines()))
    return path


def measure_readings(
    chosen: Chosen,
    files: Sequence[Path],
    *,
    ratings: Sequence[Path] = (),
    models: Sequence[Model] = (),
    points: Sequence[OperatingPoint] = (),
    resamples: int | None = None,
    groups: bool = True,
    rates: Sequence[float] = (),
) -> tuple[Metrics, tuple[Readings, ...]]:
    """Score readings against the truth, and measure.

    Parameters
    ----------
    chosen
        The images and their truth.
    files
        ``readings.jsonl`` (or ``.gz``) or ``reading.json``, of this program or another.
    ratings
        CSV tables of human readers.
    models
        Loaded models, for their operating points and for other ways to make probabilities.
    points
        Operating points of every reader, where no model is given.
    resamples
        Of the bootstrap.
    groups
        Whether to give subgroups.
    rates
        Further specificities to give sensitivities at, and the other way round.

    Raises
    ------
    SecondReaderError
        If readings and data do not belong together, or no figure can be made of them.
    """
    readers: list[Readings] = []
    for file in files:
        readers += _told_apart(scored(chosen, file), readers, file)
    for table in ratings:
        try:
            lines = table.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SecondReaderError(f"--ratings: cannot read {table} ({error})") from None
        if not readers:
            raise SecondReaderError("--ratings: got no model's readings, expected one beside them")
        readers += read_ratings(lines, readers[0].images, name=table.name)
    metrics = measured(
        chosen.split,
        readers,
        models=models,
        points=points,
        resamples=resamples,
        groups=groups,
        rates=rates,
    )
    return metrics, tuple(readers)


def measured(
    split: str,
    readers: Sequence[Readings],
    *,
    models: Sequence[Model] = (),
    points: Sequence[OperatingPoint] = (),
    resamples: int | None = None,
    groups: bool = True,
    rates: Sequence[float] = (),
) -> Metrics:
    """Measure readings that stand beside the truth already.

    Parameters
    ----------
    split
        What they are of, in words.
    readers
        One for each reader.
    models, points, resamples, groups, rates
        As for `measure_readings`.

    Raises
    ------
    SecondReaderError
        If no figure can be made of them.
    """
    of = {reader.reader: list(points) for reader in readers}
    of |= {m.name: [p for p in m.points if p.name == m.at] for m in models}
    settings = Settings(split, hit_rules=_hit_rules(readers), points=of, groups=groups)
    settings = replace(settings, rates=(*settings.rates, *rates), others=_other_ways(models))
    if resamples is not None:
        settings = replace(settings, resamples=resamples)
    return measure(readers, settings, version=__version__)


def scored(chosen: Chosen, file: Path) -> list[Readings]:
    """Put the readings of a file beside the truth, one for each of its readers.

    Raises
    ------
    SecondReaderError
        If readings and data do not belong together.
    """
    header, exams = _readings(file)
    inputs = chosen.datasets if header.inputs == chosen.datasets else None
    return [join(chosen.records, exams, model.name, inputs=inputs) for model in header.models]


def _told_apart(own: Sequence[Readings], before: Sequence[Readings], file: Path) -> list[Readings]:
    """Name readers after the folder of their file where another file's have the same names."""
    taken = {reader.reader for reader in before}
    return [
        replace(r, reader=f"{r.reader}:{file.parent.name}") if r.reader in taken else r for r in own
    ]


def own_figures(
    metrics: Metrics,
    sources: Sequence[Records],
    split: str,
    part: Part,
    models: Sequence[Model],
) -> Metrics:
    """Add what readers measure of themselves that no reading tells, such as of patches.

    Parameters
    ----------
    metrics
        What was measured of their readings.
    sources, split, part
        The data, as `choose` was told; a reader may ask for the other parts too.
    models
        Those whose reader has ``own_figures`` add to it.
    """
    telling = [m for m in models if hasattr(m.reader, "own_figures")]
    if not telling:
        return metrics
    whole = images_of(sources)
    divided = {part: whole.records} if split == "all" else divide_sets(sources, split)
    parts = {name: whole.part(records) for name, records in divided.items()}
    drawn = {name: int(metrics.interval[name]) for name in ("resamples", "seed")}
    figures, curves = list(metrics.figures), list(metrics.curves)
    for model in telling:
        got = model.reader.own_figures(parts, part, reader=model.name, **drawn)  # type: ignore[attr-defined]
        figures += got[0]
        curves += got[1]
    return replace(metrics, figures=tuple(figures), curves=tuple(curves))


def unread(chosen: Chosen, models: Sequence[Model], resamples: int | None = None) -> Metrics:
    """Return metrics without a figure, of images that nobody read: for `own_figures` to add to."""
    readings = [nothing_read(chosen.records, m.name) for m in models]
    settings = Settings(chosen.split, levels=(), hit_rules=(), groups=False)
    if resamples is not None:
        settings = replace(settings, resamples=resamples)
    return measure(readings, settings, version=__version__)


def write_figures(out: Path, chosen: Chosen, metrics: Metrics, readers: Sequence[Readings]) -> None:
    """Write metrics.json, tables, plots and report.html with the worst misses and false alarms."""
    out.mkdir(parents=True, exist_ok=True)
    formats.atomic_write(out / "metrics.json", json.dumps(to_json(metrics), indent=1) + "\n")
    texts = tables(metrics)
    for name, text in texts.items():
        formats.atomic_write(out / name, text)
    pictures = dict(plots(metrics))
    for name, content in pictures.items():
        formats.atomic_write(out / name, content)
    shown = [(reader.reader, *worst(reader)) for reader in readers]
    formats.atomic_write(out / "report.html", figures_page(metrics, pictures, shown, chosen.images))


def _other_ways(
    models: Sequence[Model],
) -> dict[tuple[str, Level], dict[str, Calibration]]:
    """Return for each model and level the other ways to make probabilities that its folder holds."""
    others: dict[tuple[str, Level], dict[str, Calibration]] = {}
    for model in models:
        for level in LEVELS:
            ways = {
                key.partition("/")[2]: made
                for key, made in model.calibrations.items()
                if key.startswith(f"{level}/")
            }
            if ways:
                others[model.name, level] = ways
    return others


def _hit_rules(readers: Sequence[Readings]) -> tuple[str, ...]:
    """Return the rules for lesions that are there and that a reader looks for.

    A reader that never reports a mass is not measured on masses: 0 would say that it tried.
    """
    found = {d.kind for reader in readers for image in reader.images for d in image.detections}
    there = {s.kind for image in readers[0].images for s in image.lesions} if readers else set()
    rules: list[str] = []
    if Kind.MICROCALCIFICATION in found & there:
        rules += ["zhang2019", "one_to_one"]
    if Kind.CALCIFICATION_CLUSTER in found & there:
        rules.append("cluster")
    calcifications = {Kind.MICROCALCIFICATION, Kind.CALCIFICATION_CLUSTER, None}
    if (found - calcifications) and (there - calcifications):
        rules += ["centre_in_region", "iou"]
    return tuple(rules)


def exams_of(chosen: Chosen) -> Iterator[ExamFiles]:
    """Yield the exams of chosen images, and where their files lie."""
    grouped: dict[tuple[str, str], list[ImageRecord]] = {}
    for record in chosen.records:
        grouped.setdefault((record.dataset, record.exam_id), []).append(record)
    for (dataset, exam_id), records in grouped.items():
        refs = tuple(
            replace(chosen.images.ref(r), input=chosen.datasets.index(r.dataset)) for r in records
        )
        yield ExamFiles(f"{dataset}/{exam_id}", exam_id, records[0].patient_id, refs)


def _place(chosen: Chosen, record: ImageRecord) -> tuple[int, str]:
    return chosen.datasets.index(record.dataset), record.path


def _readings(file: Path) -> tuple[report.ReadingHeader, list[ExamReading]]:
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise SecondReaderError(f"--readings: cannot read {file} ({error})") from None
    if file.name.removesuffix(".gz").endswith(".jsonl"):
        lines: Iterable[bytes] = content.splitlines()
        first, *rest = lines if content else [b""]
        forms = [report.parse_exam(line) for line in rest if line.strip()]
        return report.parse_header(first), [report.exam_values(form) for form in forms]
    whole = report.read_reading(file)
    return whole.header(), [report.exam_values(form) for form in whole.exams]
