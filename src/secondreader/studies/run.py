"""Running the rows of a study, one after another, each stored as soon as it is measured.

What trains and evaluates is handed in, so this knows no data, and of methods the settings only. A row
that was stored for the same recipe, settings and data is not run again; a row that others need is run
before them. Where its figures came without its model, and a new row needs that, it is trained again, and
nothing that it was only put against is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from secondreader.domain import SecondReaderError
from secondreader.evaluation.figures import Comparison, Figure, Metrics
from secondreader.learning.box import box, in_the_box
from secondreader.learning.configuration import preset_values, presets, resolve
from secondreader.methods import METHODS, method
from secondreader.studies.spent import device_of, digest_of, hours, most_megabytes
from secondreader.studies.study import Cell, Measure, Recipe, Row, Study

__all__ = ["SCHEMA", "Data", "Evaluate", "Outcome", "Train", "chosen", "reproduce", "stored"]

SCHEMA = "secondreader.study-row/1"
_PLAIN = {f.name: getattr(Recipe(""), f.name) for f in fields(Recipe)}
_COUNTED = ("position", "patch")  # levels that are stored with how many there were


class Train(Protocol):
    """Trains one recipe and returns the model folder; called again, it goes on where it stopped."""

    def __call__(self, recipe: Recipe, run_dir: Path, start: Path | None) -> Path:
        """Train in `run_dir`, from the model folder `start` if there is one."""
        ...


class Evaluate(Protocol):
    """Measures models by a recipe: its readers in order, then the model it is put against."""

    def __call__(self, recipe: Recipe, models: Sequence[Path | str], groups: bool) -> Metrics:
        """Return the metrics, of subgroups too if wanted; `models` is one, or one and its rivals."""
        ...


@dataclass(frozen=True, slots=True)
class Data:
    """The data a study is run on.

    Parameters
    ----------
    names
        The data sets as the user named them (``inbreast``, ``phantom=bench-1:ge``).
    fingerprint
        Of all of them, which decides whether a stored row still holds.
    """

    names: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row: ``run``, ``stored`` (before, nothing to do), ``trained`` or ``left out`` and why.

    One that is ``trained`` only has its figures stored, and its model, which another row needs, was not
    there.
    """

    row: str
    state: str
    why: str = ""
    hours: float = 0.0


def chosen(study: Study, table: str | None, rows: str | Collection[str]) -> tuple[Row, ...]:
    """Return the rows to run: ``"mandatory"``, ``"all"`` or some keys, and first what they need.

    Raises
    ------
    SecondReaderError
        If a key is unknown.
    """
    tables = study.tables if table is None else (study.table(table),)
    every = [row for t in tables for row in t.rows if row.recipe is not None]
    if not isinstance(rows, str):
        wanted = [study.row(key) for key in rows]
    elif rows in ("mandatory", "all"):
        wanted = [row for row in every if rows == "all" or row.mandatory]
    else:
        raise SecondReaderError(f"rows: got {rows!r}, expected 'mandatory', 'all' or rows' names")
    order: dict[str, Row] = {}

    def add(row: Row) -> None:
        for key in row.recipe.needs() if row.recipe else ():
            if key not in order:
                add(study.row(key))
        order.setdefault(row.key, row)

    for row in wanted:
        add(row)
    return tuple(order.values())


def stored(figures: Path, study: Study) -> dict[str, dict[str, Any]]:
    """Return what is stored for the rows of a study, by key.

    Raises
    ------
    SecondReaderError
        If a file is not of this schema.
    """
    got = {}
    for path in sorted((figures / study.name).glob("*.json")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SecondReaderError(
                f"figures: got no JSON, expected a row (file: {path.name})"
            ) from error
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise SecondReaderError(
                f"figures: got another schema than {SCHEMA} (file: {path.name})"
            )
        got[str(value["row"])] = value
    return got


def reproduce(
    study: Study,
    rows: Sequence[Row],
    *,
    data: Data,
    figures: Path,
    runs: Path,
    train: Train,
    evaluate: Evaluate,
    write: Callable[[Path, str], None],
    built: Collection[str] = tuple(METHODS),
    command: str = "",
    seed: int = 0,
) -> Iterator[Outcome]:
    """Run rows, and yield what became of each.

    Parameters
    ----------
    study, rows
        What to run (`chosen`).
    data
        What it is run on.
    figures
        Folder of ``STUDY/ROW.json``.
    runs
        Folder of run folders, ``STUDY/ROW``.
    train, evaluate, write
        What trains, what measures, and what writes a file whole or not at all.
    built
        The methods that exist: rows of others are left out.
    command, seed
        Written into each row's file.
    """
    models: dict[str, Path | str] = {}
    identities, settings = _identities(rows, data), _settings(rows, built)
    before = stored(figures, study)
    done, lost = _done(rows, before, identities, settings, runs / study.name, built)
    for row in rows:
        recipe = row.recipe
        if recipe is None:
            yield Outcome(row.key, "left out", "nothing to run")
            continue
        lacking = [key for key in recipe.needs() if key not in models]
        why = recipe.why_not(built) or (
            f"needs {lacking[0]}, which was left out" if lacking else ""
        )
        if why:
            yield Outcome(row.key, "left out", why)
            continue
        home = runs / study.name / row.key
        if row.key in done:
            models[row.key] = home / "model" if recipe.trains else _untrained(recipe, models)
            yield Outcome(row.key, "stored")
            continue
        try:
            if row.key in lost:
                models[row.key] = _trained(recipe, home, models, train)
                yield Outcome(row.key, "trained", "its figures are stored, its model was not there")
                continue
            # Subgroups take minutes, and few tables have any; positions and patches have theirs in any case.
            groups = any(
                c.measure is not None and c.measure.group and c.measure.level not in _COUNTED
                for c in row.cells.values()
            )
            identity = identities[row.key]
            # Beside the run folder, which takes nothing that is not its training's.
            with hours(home.with_name(f"{row.key}.hours.json"), identity, write) as so_far:
                models[row.key] = _trained(recipe, home, models, train)
                metrics = evaluate(recipe, _models(row.key, recipe, models), groups)
                spent = so_far()
                value = _value(study, row, metrics, data) | {
                    "identity": identity,
                    "settings": settings[row.key],
                    "command": command,
                    "model": digest_of(models[row.key]),
                    "seed": int(recipe.settings.get("seed", seed)),
                    "device": device_of(models[row.key] if recipe.trains else ""),
                    "hours": round(spent, 4),
                    "peak_megabytes": most_megabytes(models[row.key] if recipe.trains else ""),
                }
                write(
                    figures / study.name / f"{row.key}.json",
                    json.dumps(value, indent=1, ensure_ascii=False) + "\n",
                )
            yield Outcome(row.key, "run", hours=spent)
        except SecondReaderError as error:  # the others go on, but those that need this one
            models.pop(row.key, None)
            yield Outcome(row.key, "failed", str(error))


def _identities(rows: Sequence[Row], data: Data) -> dict[str, str]:
    """Return what the figures of each row depend on, as a digest by key.

    Its recipe, the settings of its preset, the data, and the same of the rows that it needs. A field
    of the recipe that is as by default says nothing: it may be younger than rows that are stored. Nor
    does it matter whether images were read for figures that need no reading.
    """
    found: dict[str, str] = {}
    for row in rows:  # those that a row needs come before it
        recipe = row.recipe
        if recipe is None:
            continue
        told = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
        told = {n: value for n, value in told.items() if value != _PLAIN[n] and n != "reads"}
        package = METHODS.get(recipe.method, "")
        if recipe.trains and package and recipe.preset in presets(package):
            told["of the preset"] = preset_values(package, recipe.preset)
        told["needs"] = {key: found.get(key, "") for key in recipe.needs()}
        known = {*recipe.boxed, recipe.settings.get("init", "")} & {*in_the_box()}
        if known:
            told["of the box"] = {name: digest_of(box() / name) for name in sorted(known)}
        text = json.dumps([told, data.fingerprint, sorted(data.names)], sort_keys=True)
        found[row.key] = hashlib.sha256(text.encode()).hexdigest()[:24]
    return found


def _done(
    rows: Sequence[Row],
    before: Mapping[str, Mapping[str, Any]],
    identities: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]],
    homes: Path,
    built: Collection[str],
) -> tuple[set[str], set[str]]:
    """Return the rows with nothing to do, and those that are to be trained again only.

    Both are stored; of the first the model is there, or no other row needs it.
    """
    done: set[str] = set()
    lost: set[str] = set()
    needed: set[str] = set()
    # A method's defaults may have changed since; a setting that is younger than the row says nothing.
    changed: set[str] = set()
    for row in rows:  # those that a row needs come before it
        told = before.get(row.key, {}).get("settings", {})
        if row.recipe is not None and (
            changed & set(row.recipe.needs()) or _other(told, settings.get(row.key, {}))
        ):
            changed.add(row.key)
    for row in reversed(rows):  # those that need a row come after it
        recipe = row.recipe
        if recipe is None or recipe.why_not(built):
            continue
        held = before.get(row.key, {}).get("identity") == identities[row.key]
        held = held and row.key not in changed
        if row.key in needed and not recipe.trains:
            needed.update(recipe.begins())  # its model is another row's
        there = not recipe.trains or (homes / row.key / "model").is_dir()
        if held and (there or row.key not in needed):
            done.add(row.key)
        elif held:
            lost.add(row.key)
            needed.update(recipe.begins())
        else:
            needed.update(recipe.needs())
    return done, lost


def _settings(rows: Sequence[Row], built: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return for each row all settings that it and the rows that it needs are trained by, row by row.

    With those that are as by default; of a row that trains nothing those of the others alone.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:  # those that a row needs come before it
        recipe = row.recipe
        if recipe is None or recipe.why_not(built):
            continue
        found[row.key] = {k: v for key in recipe.needs() for k, v in found.get(key, {}).items()}
        if recipe.trains:
            told = [f"{name}={value}" for name, value in recipe.settings.items()]
            if recipe.members:
                told.append(f"members={json.dumps([*recipe.boxed, *recipe.members])}")
            config, package = method(recipe.method).Config, METHODS[recipe.method]
            made = resolve(config, package, recipe.preset or None, told)
            found[row.key][row.key] = made.model_dump(mode="json")
    return found


def _other(before: Any, now: Any) -> bool:
    """Return whether settings that both have differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        return any(_other(before[name], now[name]) for name in before.keys() & now.keys())
    return bool(before != now)


def _trained(
    recipe: Recipe, home: Path, models: Mapping[str, Path | str], train: Train
) -> Path | str:
    if not recipe.trains:
        return _untrained(recipe, models)
    if recipe.members:
        members = json.dumps([*recipe.boxed, *(str(models[m]) for m in recipe.members)])
        recipe = replace(recipe, settings={**recipe.settings, "members": members})
    start = models.get(recipe.start)
    return train(recipe, home, Path(start) if start is not None else None)


def _untrained(recipe: Recipe, models: Mapping[str, Path | str]) -> Path | str:
    """Return the model of the row it starts from as it is, or a method that has no weights."""
    return models[recipe.start] if recipe.start else recipe.method


def _models(key: str, recipe: Recipe, models: Mapping[str, Path | str]) -> list[Path | str]:
    return [models[key], *(models[rival] for rival in recipe.rivals)]


def _value(study: Study, row: Row, metrics: Metrics, data: Data) -> dict[str, Any]:
    recipe = row.recipe
    assert recipe is not None
    return {
        "schema": SCHEMA,
        "study": study.name,
        "row": row.key,
        "version": metrics.version,
        "recipe": recipe.words(),
        "split": metrics.split,
        "data": [dict(d) for d in metrics.data],
        "rules": dict(metrics.rules),
        "interval": dict(metrics.interval),
        "differs": _differs(study, recipe, metrics, data),
        "cells": {name: _cell(cell, recipe, metrics) for name, cell in row.cells.items()},
    }


def _differs(study: Study, recipe: Recipe, metrics: Metrics, data: Data) -> list[str]:
    """Say how the data differ from the paper's."""
    told = []
    if not set(recipe.data) <= set(data.names):
        told.append(
            f"data: the paper's row is of {', '.join(recipe.data)}, here {', '.join(data.names)}"
        )
    for given in metrics.data:
        size = f"{given['images']} images of {given['patients']} patients"
        paper = study.data.get(str(given["name"]))
        told.append(f"measured on {size} of {given['name']}, {metrics.split}"
                    + (f"; the paper: {paper}" if paper and not study.elsewhere else ""))  # fmt: skip
    return told


def _cell(cell: Cell, recipe: Recipe, metrics: Metrics) -> dict[str, Any]:
    """Return the figure that stands beside a number, empty where there is none."""
    wanted = cell.measure
    if wanted is None:
        return {}
    ways = [*recipe.readers, *recipe.rivals]
    readers = dict(zip(ways, metrics.readers, strict=False))
    if recipe.rivals and recipe.rivals[0] in readers:
        readers["rival"] = readers[recipe.rivals[0]]
    lacking = [w for w in (wanted.reader, wanted.minus) if w and w not in readers]
    if lacking:
        return {"note": f"no reader {lacking[0]}"}
    reader = readers[wanted.reader]
    if wanted.minus:
        return _difference(wanted, reader, readers[wanted.minus], metrics)
    for f in metrics.figures:
        same = f.reader == reader and fnmatchcase(f.name, wanted.figure) and _grouped(f, wanted)
        placed = wanted.level in ("", f.level) and wanted.hit_rule in ("", f.hit_rule)
        if same and placed and wanted.label_rule in ("", f.label_rule):
            told = ("positives", "negatives") if f.level in _COUNTED else ()
            return {k: getattr(f, k) for k in ("value", "low", "high", "method", "note", *told)}
    return {"note": f"no figure {wanted.figure}"}


def _grouped(got: Figure | Comparison, wanted: Measure) -> bool:
    return fnmatchcase(got.group.lower(), wanted.group)


def _difference(wanted: Measure, reader: str, rival: str, metrics: Metrics) -> dict[str, Any]:
    for c in metrics.comparisons:
        same = c.name == wanted.figure and _grouped(c, wanted)
        if same and wanted.level in ("", c.level) and wanted.hit_rule in ("", c.hit_rule):
            told = {"method": c.method, "p": c.p, "note": c.note}
            if (c.a, c.b) == (reader, rival):
                return {"value": c.value, "low": c.low, "high": c.high, **told}
            if (c.b, c.a) == (reader, rival) and c.value is not None:
                low, high = c.low or 0.0, c.high or 0.0
                return {"value": -c.value, "low": -high, "high": -low, **told}
    return {"note": f"no comparison of {wanted.figure}"}
