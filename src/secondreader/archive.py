"""Reading an archive of any size into a folder: exam by exam, resumable, with worker processes.

Every exam is read by one process, which writes its page and pictures; the parent keeps the journal
and writes ``readings.jsonl``, ``reading.json``, ``findings.csv`` and ``report.html`` at the end.
Memory holds a few exams' readings at a time, whatever the number of files.
"""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from secondreader import formats, report
from secondreader.catalogue import ExamFiles, digest
from secondreader.domain import (
    ExamReading,
    ImageReading,
    Mammogram,
    Refused,
    SecondReaderError,
    ViewReading,
)
from secondreader.formats import FileRef, ReadOptions, Skipped
from secondreader.journal import Entry, Journal
from secondreader.reading import (
    Model,
    exam_reading,
    load_models,
    read_together,
    reads_exams,
    view_reading,
)

__all__ = [
    "Plan",
    "entry_key",
    "exam_readings",
    "fingerprint",
    "opener",
    "page_path",
    "read_exams",
]

T = TypeVar("T")
ReadExam = tuple[ExamFiles, ExamReading, list[Skipped], list[Any]]
Decoded = tuple[ExamFiles, FileRef, Mammogram | Refused]


@dataclass(frozen=True, slots=True)
class Plan:
    """What every exam is read with; picklable, so that a worker process can take it.

    ``secret`` is the key of pseudonyms, ``None`` where ids are written as they are.
    """

    out: Path
    models: tuple[str, ...]
    at: str | None
    options: ReadOptions
    header: report.ReadingHeader
    secret: bytes | None = None
    prevalence: float | None = None


def exam_readings(
    exams: Iterable[ExamFiles],
    models: Sequence[Model],
    open_image: Callable[[FileRef], Mammogram],
    accept: frozenset[str] = frozenset(),
    keep: Callable[[Mammogram, ViewReading, int], Any] = lambda mammogram, view, images: None,
) -> Iterator[ReadExam]:
    """Read exams one after the other; the next image is decoded while one is read.

    All images of an exam are decoded first where a model reads whole exams.

    Parameters
    ----------
    exams
        Taken one at a time.
    models
        Who reads.
    open_image
        Decodes a file, or raises `Refused`.
    accept
        Codes under which models read what they refuse otherwise.
    keep
        Called with each image, its reading, and the number of images of its exam.

    Yields
    ------
    tuple
        The exam's files, its reading, the files that could not be read, and what ``keep`` made of
        each image (its pixels are gone by then).
    """
    decoded = _ahead(_decoded(exams, open_image))
    for _, images in itertools.groupby(decoded, key=lambda image: image[0].key):
        views: list[ViewReading] = []
        skipped: list[Skipped] = []
        kept: list[Any] = []
        for found, ref, image, known in _with_exam_readings(images, models, accept):
            exam = found
            if isinstance(image, Refused):
                skipped.append(Skipped(ref.input, ref.path, image.code, image.reason))
                continue
            view = view_reading(models, image, input=ref.input, accept=accept, known=known)
            views.append(view)
            kept.append(keep(image, view, len(exam.files)))
        yield exam, exam_reading(exam.exam_id, exam.patient_id, views, models), skipped, kept


def fingerprint(plan: Plan, exam: ExamFiles) -> str:
    """Return what an exam's reading depends on: its files, the models, the options."""
    files = [(f.input, f.path, f.size, f.mtime_ns) for f in exam.files]
    ids = (exam.exam_id, exam.patient_id)
    models = [(model.name, model.sha256) for model in plan.header.models]
    stated = () if plan.prevalence is None else (plan.prevalence,)
    return digest(
        plan.secret or b"", plan.header.version, models, plan.at, plan.options, ids, files, *stated
    )


def read_exams(
    plan: Plan,
    exams: Iterable[ExamFiles],
    journal: Journal,
    *,
    workers: int,
    progress: Callable[[int], None],
) -> None:
    """Read the exams that the journal does not hold yet, and note each as soon as it is done.

    Parameters
    ----------
    plan
        What to read with.
    exams
        All exams; those read before from the same files are passed over.
    journal
        Takes each exam as it is finished.
    workers
        The number of processes; 1 reads in this one.
    progress
        Called with the number of files of each exam done.

    Raises
    ------
    SecondReaderError
        If the output cannot be written, or a worker process dies.
    """
    missing = _missing(plan, exams, journal, progress)
    if workers == 1:
        models = _models(plan.models, plan.at, plan.prevalence)
        for exam, reading, skipped, kept in exam_readings(
            missing, models, opener(plan.options), plan.options.accept, report.view_pixels
        ):
            entry = _write_exam(plan, exam, reading, skipped, kept)
            journal.note_exam(entry_key(plan, exam), fingerprint(plan, exam), entry)
            progress(len(exam.files))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_ctrl_c) as pool:
        running: dict[Future[Entry], ExamFiles] = {}
        try:
            for exam in missing:
                running[pool.submit(_read_one, plan, exam)] = exam
                if len(running) >= 2 * workers:
                    _collect(plan, running, journal, progress)
            while running:
                _collect(plan, running, journal, progress)
        except BrokenProcessPool:
            raise SecondReaderError(
                "a worker process died (out of memory?); the exams done so far are kept: "
                "run the same command again, with fewer --workers"
            ) from None
        finally:
            for future in running:
                future.cancel()


def _leave_ctrl_c() -> None:
    """Let the parent alone answer Ctrl-C: workers finish the exam in hand, and it is kept or not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _missing(
    plan: Plan, exams: Iterable[ExamFiles], journal: Journal, progress: Callable[[int], None]
) -> Iterator[ExamFiles]:
    for exam in exams:
        page = plan.out / page_path(plan, exam)
        if page.is_file() and journal.exam(entry_key(plan, exam), fingerprint(plan, exam)):
            progress(len(exam.files))
        else:
            yield exam


def _collect(
    plan: Plan,
    running: dict[Future[Entry], ExamFiles],
    journal: Journal,
    progress: Callable[[int], None],
) -> None:
    """Note the exams that are done, waiting for at least one."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        exam = running.pop(future)
        journal.note_exam(entry_key(plan, exam), fingerprint(plan, exam), future.result())
        progress(len(exam.files))


def _read_one(plan: Plan, exam: ExamFiles) -> Entry:
    """Read one exam in a worker process."""
    models = _models(plan.models, plan.at, plan.prevalence)
    (read,) = exam_readings(
        [exam], models, opener(plan.options), plan.options.accept, report.view_pixels
    )
    return _write_exam(plan, *read)


@lru_cache(maxsize=1)
def _models(names: tuple[str, ...], at: str | None, prevalence: float | None) -> tuple[Model, ...]:
    """Load the models once a process."""
    return load_models(names, at, prevalence=prevalence)


def page_path(plan: Plan, exam: ExamFiles) -> str:
    """Return where an exam's page lies, relative to OUT."""
    return f"exams/{report.page_name(exam.exam_id, entry_key(plan, exam))}"


def entry_key(plan: Plan, exam: ExamFiles) -> str:
    """Return the journal's key of an exam."""
    return digest(plan.secret or b"", exam.key, exam.exam_id)


def _write_exam(
    plan: Plan,
    exam: ExamFiles,
    reading: ExamReading,
    skipped: list[Skipped],
    pixels: list[report.ViewPixels],
) -> Entry:
    """Write an exam's pictures and page; what the journal keeps of it comes back."""
    named = reading if plan.secret is None else _renamed(reading, plan.secret)
    left_out = [
        s if plan.secret is None else replace(s, path=report.pseudonym_path(plan.secret, s.path))
        for s in skipped
    ]
    stem = page_path(plan, exam).removeprefix("exams/").removesuffix(".html")
    files = report.write_heatmaps(plan.out, stem, named)
    form = report.exam_form(named, files)
    notes = [report.SkippedInput(**_plain(s)) for s in left_out]
    page = report.exam_page(form, pixels, header=plan.header, skipped=notes)
    (plan.out / "exams").mkdir(exist_ok=True)
    formats.atomic_write(plan.out / page_path(plan, exam), page)
    return Entry(form.model_dump(mode="json", by_alias=True), [_plain(s) for s in left_out])


def _renamed(reading: ExamReading, secret: bytes) -> ExamReading:
    """Replace paths and UIDs; exam and patient ids were replaced when the files were listed."""
    return replace(
        reading,
        images=tuple(
            replace(
                view,
                source=replace(
                    view.source,
                    path=report.pseudonym_path(secret, view.source.path),
                    sop_uid=view.source.sop_uid and report.pseudonym(secret, view.source.sop_uid),
                ),
            )
            for view in reading.images
        ),
    )


def _plain(skipped: Skipped) -> dict[str, Any]:
    return {
        "input": skipped.input,
        "path": skipped.path,
        "code": skipped.code,
        "reason": skipped.reason,
    }


# ------------------------------------------------------------------------------------ decoding


def opener(options: ReadOptions) -> Callable[[FileRef], Mammogram]:
    """Return what decodes a file as the user asked."""
    return lambda ref: formats.mammogram(ref, options)


def _decoded(
    exams: Iterable[ExamFiles], open_image: Callable[[FileRef], Mammogram]
) -> Iterator[Decoded]:
    for exam in exams:
        for ref in exam.files:
            yield exam, ref, _open(ref, open_image)


def _with_exam_readings(
    images: Iterable[Decoded], models: Sequence[Model], accept: frozenset[str]
) -> Iterator[tuple[ExamFiles, FileRef, Mammogram | Refused, dict[str, ImageReading]]]:
    """Yield the images of an exam with what was read of all of them together, if any model does so."""
    if not any(reads_exams(model) for model in models):
        yield from ((*image, {}) for image in images)
        return
    every = list(images)
    read = [image for _, _, image in every if not isinstance(image, Refused)]
    known = iter(read_together(models, read, accept))
    for exam, ref, image in every:
        yield exam, ref, image, {} if isinstance(image, Refused) else next(known)


def _open(ref: FileRef, open_image: Callable[[FileRef], Mammogram]) -> Mammogram | Refused:
    try:
        return open_image(ref)
    except Refused as refused:
        return refused
    except MemoryError:
        return Refused("too-large", "the image does not fit into memory")
    except Exception as error:  # a decoder's own surprise must not end the whole reading
        return Refused("unreadable", f"decoding failed with {type(error).__name__}")


def _ahead(things: Iterator[T]) -> Iterator[T]:
    """Run an iterator one step ahead in a thread: decoders release the interpreter's lock."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(message: tuple[str, Any]) -> bool:
        while not stop.is_set():
            try:
                ready.put(message, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for thing in things:
                if not put(("thing", thing)):
                    return
            put(("end", None))
        except BaseException as error:
            put(("error", error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            what, value = ready.get()
            if what == "end":
                return
            if what == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()
