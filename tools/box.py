"""Put the readers that `secondreader reproduce default` trained into the box: python tools/box.py OUT

OUT is where that command wrote to, FIGURES (OUT/figures if not said) where its rows' figures lie. What is
copied is what reading needs, and the card; a panel's members stand beside it, not in it. Large weights are
rounded to half precision, which halves what is shipped: with --data NAME=ROOT, the data that it was trained
on, some images of the test part are read by the readers as trained and as rounded, and the card says by how
much scores change. More than the box may hold is refused before anything is replaced.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part, SecondReaderError
from secondreader.learning.box import DEFAULT, LARGEST_MB, box
from secondreader.learning.model_card import write_card
from secondreader.reading import load_model
from secondreader.sources import images_of, load_all
from secondreader.studies.default import MEMBERS
from secondreader.studies.spent import digest_of

HISTORY = Path(__file__).parent.parent / "figures" / "history.json"
FILES = ("config.json", "operating_points.json", "calibration.json", "likeness.json", "metrics.json",
         "environment.json")  # fmt: skip
WEIGHTS = "weights.safetensors"
SMALL = 1024  # numbers of a tensor that stays as it is: norms and offsets
COMPARED = 24  # images that are read twice


def packed(runs: Path, target: Path, figures: Path, history: Path) -> float:
    """Copy the models of the rows into an empty box, and return its megabytes.

    Parameters
    ----------
    runs
        OUT/runs/default.
    target
        The box.
    figures
        FIGURES/default: of each row that was measured.
    history
        The rounds that the phantom was mended in (`tools/round.py`), if there were any.

    Raises
    ------
    SecondReaderError
        If a model is missing, the panel is one of other members, or figures are those of another model.
    """
    for name in (*MEMBERS, DEFAULT):
        source, folder = runs / name / "model", target / name
        if not (source / "config.json").is_file():
            raise SecondReaderError(f"box: got no model of {name}, expected one: {source}")
        folder.mkdir(parents=True)
        for file in FILES:
            if (source / file).is_file():
                shutil.copyfile(source / file, folder / file)
        rounded(source, folder)
        told = _json(folder / "environment.json")
        row = _json(figures / f"{name}.json")
        told |= {"command": row.get("command"), "row": name, "rounded": {"images": 0}}
        _write(folder / "environment.json", told)
        rows = (name, f"vendors-{name}", f"films-{name}", *_ADDED.get(name, ()))
        model = digest_of(source)
        _write(folder / "figures.json", [r for row in rows if (r := _row(figures, row, model))])
    config = target / DEFAULT / "config.json"
    told = _json(config)
    if len(told["config"]["members"]) != len(MEMBERS):
        raise SecondReaderError(
            f"box: got a {DEFAULT} of {len(told['config']['members'])} members, expected {len(MEMBERS)}"
        )
    for inside, name in zip(told["config"]["members"], MEMBERS, strict=True):
        held = (runs / DEFAULT / "model" / inside / "config.json").read_bytes()
        if held != (runs / name / "model" / "config.json").read_bytes():
            raise SecondReaderError(f"box: got a {DEFAULT} of another {name}; run its row again")
    told["config"]["members"] = list(MEMBERS)
    _write(config, told)
    for name in (*MEMBERS, DEFAULT):
        if history.is_file():
            shutil.copyfile(history, target / name / "history.json")
        write_card(target / name)
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file()) / 1e6


_ADDED = {DEFAULT: ("added-phantom", "added-mini-mias")}


def rounded(source: Path, folder: Path) -> None:
    """Write a model's weights with large tensors in half precision, and their digest beside them."""
    weights = safetensors.torch.load_file(source / WEIGHTS)
    most = torch.finfo(torch.float16).max
    half = {
        name: value.half()
        if value.dtype == torch.float32 and value.numel() > SMALL and value.abs().max() < most
        else value
        for name, value in weights.items()
    }
    content = safetensors.torch.save(half)
    (folder / WEIGHTS).write_bytes(content)
    told = _json(folder / "config.json")
    told["sha256"][WEIGHTS] = hashlib.sha256(content).hexdigest()
    _write(folder / "config.json", told)


def compared(runs: Path, target: Path, data: Sequence[str]) -> dict[str, Any]:
    """Return how far scores of the panel as rounded lie from those as trained, on some test images."""
    sources = load_all(data)
    records = divide_sets(sources, "official")[Part.TEST]
    images = images_of(sources)
    both = [load_model(str(folder)).reader for folder in (runs / DEFAULT, target / DEFAULT)]
    most = 0.0
    every = max(len(records) // COMPARED, 1)
    chosen = records[:: every + (every % 2 == 0)][:COMPARED]  # odd: no view is passed over
    for record in chosen:
        one, other = (reader.read(images.open(record)).score for reader in both)
        if (one is None) != (other is None):
            raise SecondReaderError("box: got an image that only one of both readers scores")
        most = max(most, abs((one or 0.0) - (other or 0.0)))
    return {"images": len(chosen), "most": most}


def _row(figures: Path, row: str, model: str) -> dict[str, Any] | None:
    told = _json(figures / f"{row}.json")
    if told and told.get("model") != model:
        raise SecondReaderError(
            f"box: got figures of another model, expected those of the one in OUT; run row {row} again: "
            f"{figures / f'{row}.json'}"
        )
    cells = {
        words: [cell["value"], cell.get("low"), cell.get("high")]
        for words, cell in told.get("cells", {}).items()
        if cell.get("value") is not None
    }
    of = "; ".join(
        f"{d['name']}, {told['split']}, {d['images']} images of {d['patients']} patients"
        for d in told.get("data", ())
    )
    return {"row": row, "of": of, "cells": cells} if cells else None


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _write(file: Path, told: object) -> None:
    file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Fill the box of this checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=ROOT")
    told = parser.parse_args()
    runs = told.out / "runs" / "default"
    figures = (told.figures or told.out / "figures") / "default"
    if not (figures / f"{DEFAULT}.json").is_file():
        sys.exit(
            f"box: got no row {DEFAULT}, expected `secondreader reproduce default -o OUT` before: "
            f"{figures / f'{DEFAULT}.json'}"
        )
    with tempfile.TemporaryDirectory() as made:
        target = Path(made)
        try:
            size = packed(runs, target, figures, HISTORY)
            held = (f for f in box().rglob("*") if f.is_file())
            new = {*MEMBERS, DEFAULT}
            size += (
                sum(f.stat().st_size for f in held if f.relative_to(box()).parts[0] not in new)
                / 1e6
            )
            if size > LARGEST_MB:
                sys.exit(f"box: got {size:.1f} MB, expected {LARGEST_MB:g} or less")
            if told.data:
                found = compared(runs, target, told.data)
                for name in (*MEMBERS, DEFAULT):
                    file = target / name / "environment.json"
                    _write(file, {**_json(file), "rounded": found})
                    write_card(target / name)
        except SecondReaderError as error:
            sys.exit(str(error))
        for name in (*MEMBERS, DEFAULT):
            shutil.rmtree(box() / name, ignore_errors=True)
            shutil.copytree(target / name, box() / name)
    print(f"{', '.join((*MEMBERS, DEFAULT))}: {size:.1f} MB in {box()}")


if __name__ == "__main__":
    main()
