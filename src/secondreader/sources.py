"""What ``--data NAME=ROOT`` means: a data set's root, or a phantom set that is made when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from secondreader import datasets
from secondreader.datasets.cache import Cache, default_folder
from secondreader.datasets.image_set import FileImages, image_set
from secondreader.datasets.records import Records
from secondreader.phantom import recipe
from secondreader.phantom.sets import SETS
from secondreader.phantom.store import lazy_set

__all__ = ["images_of", "load_all", "resolved"]


def resolved(
    text: str, progress: Callable[[str, int, int], None] = lambda what, done, total: None
) -> tuple[str, str]:
    """Return the name and the root of ``NAME=ROOT``; ``phantom=SET[:VENDOR]`` is made if it is not there.

    Parameters
    ----------
    text
        As the command line has it.
    progress
        Called while a phantom set's truth is written: what, exams done, all.

    Raises
    ------
    SecondReaderError
        If it is not of that form, or the name is no data set.
    """
    name, root = datasets.parse_source(text)
    if name == "phantom" and root.partition(":")[0] in SETS and not Path(root).exists():
        # The version is in the path: images of another one are never taken for these.
        home = default_folder() / "phantom" / recipe.SCHEMA.rpartition("/")[2]
        what = f"writing the truth of {root}"
        return name, str(lazy_set(home, root, progress=lambda d, t: progress(what, d, t)))
    return name, root


def load_all(
    data: Sequence[str],
    choices: Iterable[str] = (),
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Records]:
    """Return the records of each ``NAME=ROOT``, under labelled choices ``NAME.CHOICE=VALUE``.

    Raises
    ------
    SecondReaderError
        If one cannot be read.
    """
    wanted: Mapping[str, Mapping[str, str]] = datasets.parse_choices(choices)
    named = [resolved(text, progress) for text in data]
    return [datasets.load(name, root, wanted.get(name, {})) for name, root in named]


def images_of(sources: Sequence[Records], cache: Cache | None = None) -> FileImages:
    """Return the images of data sets; those of phantom sets are made when they are opened."""
    return image_set(sources, cache, recipes=recipe.mammogram)
