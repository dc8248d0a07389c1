"""Public data sets as they lie on disk → records; splits, checks, and the cache of prepared images.

`ADAPTERS` is the table of data sets; each is one module with its name, what is known of it, and
``scan``. `load` reads a root, or its index where nothing has changed since.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from secondreader.datasets.index import load_index, record_line, write_index
from secondreader.datasets.records import About, Choice, Expected, Problem, Records, chosen
from secondreader.datasets.tree import Tree
from secondreader.domain import ImageRecord, SecondReaderError

__all__ = [
    "ADAPTERS",
    "About",
    "Choice",
    "Expected",
    "Problem",
    "Records",
    "about",
    "load",
    "parse_choices",
    "parse_source",
    "scan",
]

ADAPTERS = {
    "cbis_ddsm": "secondreader.datasets.cbis_ddsm",
    "cmmd": "secondreader.datasets.cmmd",
    "ddsm": "secondreader.datasets.ddsm",
    "inbreast": "secondreader.datasets.inbreast",
    "mini_mias": "secondreader.datasets.mini_mias",
    "phantom": "secondreader.datasets.phantom",
    "rsna_2022": "secondreader.datasets.rsna_2022",
    "table": "secondreader.datasets.table",
    "vindr_mammo": "secondreader.datasets.vindr_mammo",
}
"""Name → module of every data set."""


class _Adapter(Protocol):
    NAME: str
    ABOUT: About

    def scan(
        self, tree: Tree, choices: Mapping[str, str]
    ) -> tuple[Sequence[ImageRecord], Sequence[Problem]]: ...


def about(name: str) -> About:
    """Return what is known of a data set.

    Raises
    ------
    SecondReaderError
        For a name that is no data set.
    """
    return _adapter(name).ABOUT


def scan(name: str, root: str | Path, choices: Mapping[str, str] | None = None) -> Records:
    """Read the records of a data set from its files.

    Parameters
    ----------
    name
        In `ADAPTERS`.
    root
        The folder that holds the set.
    choices
        Labelled choices; what is not given has its default.

    Raises
    ------
    SecondReaderError
        If the root is not that data set, half a download, or a table is not as expected.
    """
    adapter = _adapter(name)
    values = chosen(adapter.ABOUT, name, choices or {})
    tree = Tree.of(root)
    records, problems = adapter.scan(tree, values)
    ordered = tuple(sorted(records, key=lambda record: record.path))
    kept = tree.kept(record.path for record in ordered if record.path in tree.files)
    digest = hashlib.sha256()
    for record in ordered:
        digest.update(record_line(record).encode())
    return Records(
        dataset=name,
        root=str(tree.root),
        choices=tuple(sorted(values.items())),
        records=ordered,
        problems=tuple(problems),
        files=kept,
        folders=tree.folders,
        fingerprint=digest.hexdigest(),
    )


def load(
    name: str,
    root: str | Path,
    choices: Mapping[str, str] | None = None,
    *,
    cache: Path | None = None,
    announce: Callable[[str], None] = lambda message: None,
) -> Records:
    """Return a data set's records from its index; where there is none, or files changed, make it.

    Parameters
    ----------
    name, root, choices
        As for `scan`.
    cache
        Folder of indexes; ``None`` is the user's cache folder.
    announce
        Told once before a slow scan.

    Raises
    ------
    SecondReaderError
        As for `scan`.
    """
    values = chosen(about(name), name, choices or {})
    known = load_index(name, root, values, cache)
    if known is not None:
        return known
    announce(f"{name}: indexing {root}")
    records = scan(name, root, values)
    write_index(records, cache)
    return records


def parse_source(text: str) -> tuple[str, str]:
    """Return the name and the root of ``NAME=ROOT``.

    Raises
    ------
    SecondReaderError
        If it is not of that form or the name is no data set.
    """
    name, sign, root = text.partition("=")
    if not (name and sign and root):
        names = ", ".join(ADAPTERS)
        raise SecondReaderError(f"--data: got {text!r}, expected NAME=ROOT with NAME of {names}")
    about(name)
    return name, root


def parse_choices(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return data set → choice → value of texts such as ``inbreast.birads=shen``.

    Raises
    ------
    SecondReaderError
        If one is not of that form, or the set knows no such choice or value.
    """
    choices: dict[str, dict[str, str]] = {}
    for text in texts:
        name, dot, rest = text.partition(".")
        key, sign, value = rest.partition("=")
        if not (dot and sign):
            raise SecondReaderError(f"--choose: got {text!r}, expected NAME.CHOICE=VALUE")
        chosen(about(name), name, {key: value})
        choices.setdefault(name, {})[key] = value
    return choices


def _adapter(name: str) -> _Adapter:
    if name not in ADAPTERS:
        raise SecondReaderError(f"got data set {name!r}, expected one of: {', '.join(ADAPTERS)}")
    return cast(_Adapter, importlib.import_module(ADAPTERS[name]))
