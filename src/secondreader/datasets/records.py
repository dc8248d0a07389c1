"""What an adapter gives: records, what it could not use, and what it read them from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from secondreader.domain import ImageRecord, SecondReaderError

__all__ = ["About", "Choice", "Expected", "Problem", "Records", "chosen"]


@dataclass(frozen=True, slots=True)
class Expected:
    """How many of something the whole set has, and who says so.

    ``what`` is ``images``, ``patients``, ``lesions``, ``images without a finding`` or a kind;
    ``only`` is the choice under which it holds (``tables=both``), empty for always.
    """

    what: str
    count: int
    source: str
    only: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A labelled choice of how a set's truth is read.

    ``values`` maps each value to what it means; the first is the default.
    """

    name: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class About:
    """What a person needs to know of a data set.

    Parameters
    ----------
    title
        Its full name.
    good_for
        What it is good for, and what not.
    licence
        One sentence.
    citation
        What to cite.
    ask
        Where to ask for it.
    layout
        What lies under its root, for messages.
    expected
        Counts of the whole set, with their source.
    choices
        Labelled choices that its adapter takes.
    splits
        Names of its splits, beyond those that the package lists (`splits.named_splits`).
    """

    title: str
    good_for: str
    licence: str
    citation: str
    ask: str
    layout: str
    expected: tuple[Expected, ...] = ()
    choices: tuple[Choice, ...] = ()
    splits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """A row or a file that is not as it should be.

    Parameters
    ----------
    file
        Relative to the set's root; ``name:12`` is line 12 of a table.
    code
        A short name, stable across versions: ``missing-image``, ``mask-misfit``, …
    got, expected, remedy
        What is there, what should be, what to do.
    broken
        False for an oddity of the owner's own that is dealt with and costs nothing but this note.
    """

    file: str
    code: str
    got: str
    expected: str
    remedy: str
    broken: bool = True


@dataclass(frozen=True, eq=False)
class Records:
    """The records of a data set at one root, and all that they depend on.

    Parameters
    ----------
    dataset
        Name in `secondreader.datasets.ADAPTERS`.
    root
        Absolute path.
    choices
        (name, value) of every labelled choice, defaults included.
    records
        In a fixed order.
    problems
        Every row and file that could not be used, and oddities that were dealt with.
    files
        path → (bytes, mtime_ns) of images and of the files that the truth was read from.
    folders
        path → mtime_ns of the folders under the root.
    fingerprint
        SHA-256 of the records; two figures with one fingerprint saw the same truth.
    """

    dataset: str
    root: str
    choices: tuple[tuple[str, str], ...]
    records: tuple[ImageRecord, ...]
    problems: tuple[Problem, ...]
    files: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    folders: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    fingerprint: str = ""


def chosen(about: About, name: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the value of every labelled choice, the defaults filled in.

    Raises
    ------
    SecondReaderError
        For a choice or a value that the set does not know.
    """
    known = {choice.name: choice for choice in about.choices}
    for key, value in given.items():
        if key not in known:
            there = ", ".join(known) or "none"
            raise SecondReaderError(f"{name}: got choice {key!r}, expected one of: {there}")
        if value not in known[key].values:
            values = ", ".join(known[key].values)
            raise SecondReaderError(f"{name}: {key}: got {value!r}, expected one of: {values}")
    return {key: given.get(key, next(iter(choice.values))) for key, choice in known.items()}
