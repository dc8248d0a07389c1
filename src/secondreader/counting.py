"""Scores of every position, for readers that have them: counted once, kept beside the readings.

FOLDER/positions/MODEL-IMAGES holds a file an image, so that counting goes on where it was stopped, and
``images.json``, written last, with the images that the model reads. Whoever measures a reader by its
``readings.jsonl`` finds what was counted beside that file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from secondreader import report
from secondreader.datasets.image_set import FileImages
from secondreader.domain import ImageRecord, SecondReaderError
from secondreader.evaluation.comparisons import with_holm
from secondreader.evaluation.figures import Metrics
from secondreader.evaluation.positions import (
    RULE,
    Counted,
    binned,
    compare_positions,
    counted,
    position_figures,
    replicated,
)
from secondreader.reading import Model

__all__ = ["count_positions", "with_positions"]

_LOG = logging.getLogger("secondreader")

_FOLDER = "positions"
_WHOLE = "images.json"


def count_positions(
    images: FileImages,
    models: Sequence[Model],
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Callable[[Iterable[ImageRecord] | None], None]:
    """Begin to score the positions of images by each model that can.

    Parameters
    ----------
    images
        Whose calcifications are known.
    models
        Those whose reader has ``positions(images, progress)`` are counted: the records that it reads, and a
        function of the number of each to the scores of its positives and of its negatives. A reader
        may remember what it has just read: then nothing is scored twice.
    folder
        Where readings of the same images by these models lie.
    progress
        Called with the images done, and all, as they are prepared, and when all that are left are counted.

    Returns
    -------
    Callable
        Counts images: those of some records, as soon as they are read, or all that are left (``None``),
        after which the count is whole.
    """
    # Only here: readings need no torch.
    from secondreader.learning.kept import kept_array, kept_arrays
    from secondreader.learning.run_folder import write_whole

    begun = []
    silent = [model.name for model in models if not hasattr(model.reader, "positions")]
    told = f"positions: got {', '.join(silent)}, which scores findings and no positions"
    if models and len(silent) == len(models):
        raise SecondReaderError(f"{told}, expected a reader that does")
    if silent:
        _LOG.warning("%s: left out of the figures over positions", told)
    for model in models:
        home = _home(folder, model.sha256, images.records)
        if hasattr(model.reader, "positions") and not (home / _WHOLE).is_file():
            records, scored = model.reader.positions(images, progress)
            begun.append((home, [_name(record) for record in records], _histograms(scored)))

    def count(some: Iterable[ImageRecord] | None) -> None:
        for home, names, histograms in begun:
            if some is None:
                kept_arrays(home, len(names), histograms, progress)
                write_whole(home / _WHOLE, json.dumps(names) + "\n")
                continue
            wanted = {_name(record) for record in some}
            for index in (i for i, name in enumerate(names) if name in wanted):
                kept_array(home, index, histograms)

    return count


def _histograms(
    scored: Callable[[int], tuple[np.ndarray, np.ndarray]],
) -> Callable[[int], np.ndarray]:
    def histograms(index: int) -> np.ndarray:
        return np.stack([binned(scores) for scores in scored(index)]).astype(np.int32)

    return histograms


def with_positions(
    metrics: Metrics, records: Sequence[ImageRecord], files: Sequence[Path]
) -> Metrics:
    """Add the figures of positions, and what readers differ by, to what was measured of readings.

    Parameters
    ----------
    metrics
        Its readers are those of the files, in their order.
    records
        Of the images.
    files
        Of readings, with what was counted in a folder beside each.

    Raises
    ------
    SecondReaderError
        If readers have counted different images.
    """
    names = iter(metrics.readers)
    found: list[Counted] = []
    for file in files:
        for model in _header(file).models:
            name = next(names)
            home = _home(file.parent, model.sha256 or "", records)
            own = _counted(name, records, home)
            found += [] if own is None else [own]
    if not found:
        return metrics
    if any(own.patients != found[0].patients for own in found):
        raise SecondReaderError("positions: got readers of different images, expected the same")
    resamples, seed = (int(metrics.interval[name]) for name in ("resamples", "seed"))
    measured = [replicated(own, resamples=resamples, seed=seed) for own in found]
    figures, curves = list(metrics.figures), list(metrics.curves)
    for groups in measured:
        got = position_figures(groups)
        figures += got[0]
        curves += got[1]
    compared = with_holm(compare_positions(measured))
    return replace(
        metrics,
        rules={**metrics.rules, **{f"label:{name}": words for name, words in RULE.items()}},
        figures=tuple(figures),
        curves=tuple(curves),
        comparisons=(*metrics.comparisons, *compared),
    )


def _header(file: Path) -> report.ReadingHeader:
    if ".jsonl" not in file.suffixes:
        return report.read_reading(file).header()
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        return report.parse_header(stream.readline())


def _counted(name: str, records: Sequence[ImageRecord], home: Path) -> Counted | None:
    """Return what was counted of exactly these images, if anything was."""
    file = home / _WHOLE
    if not file.is_file():
        return None
    by_name = {_name(record): record for record in records}
    own = [by_name[image] for image in json.loads(file.read_text("utf-8"))]
    kept = [np.load(home / f"{i:06d}.npy", allow_pickle=False) for i in range(len(own))]
    return counted(name, own, np.stack(kept)) if kept else None


def _home(folder: Path, sha256: str, records: Sequence[ImageRecord]) -> Path:
    told = [*RULE.values(), *map(_name, records)]  # what was counted by another rule is not this
    names = hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape"))
    return folder / _FOLDER / f"{sha256[:16]}-{names.hexdigest()[:16]}"


def _name(record: ImageRecord) -> str:
    return f"{record.dataset}/{record.path}"
