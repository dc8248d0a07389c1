"""Put the readers that `secondreader reproduce default` trained into the box: python tools/box.py OUT

OUT is where that command wrote to. What is copied is what reading needs, and the card; a panel's members
stand beside it, not in it. Says what it all weighs, and refuses more than the box may hold.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from secondreader.domain import SecondReaderError
from secondreader.learning.box import DEFAULT, LARGEST_MB, box
from secondreader.learning.model_card import write_card
from secondreader.studies.default import MEMBERS

HISTORY = Path(__file__).parent.parent / "figures" / "history.json"
FILES = ("config.json", "weights.safetensors", "operating_points.json", "calibration.json",
         "likeness.json", "metrics.json", "environment.json")  # fmt: skip


def packed(runs: Path, target: Path, command: str, history: Path) -> float:
    """Copy the models of the rows into a box, and return its megabytes.

    Parameters
    ----------
    runs
        OUT/runs/default.
    target
        The box.
    command
        What made them.
    history
        The rounds that the phantom was mended in (`tools/round.py`), if there were any.
    """
    for name in (*MEMBERS, DEFAULT):
        source, folder = runs / name / "model", target / name
        if not (source / "config.json").is_file():
            raise SecondReaderError(f"box: got no model of {name}, expected one: {source}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in FILES:
            if (source / file).is_file():
                shutil.copyfile(source / file, folder / file)
        told = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        text = json.dumps({**told, "command": command, "row": name}, indent=1) + "\n"
        (folder / "environment.json").write_text(text, encoding="utf-8")
    config = target / DEFAULT / "config.json"
    told = json.loads(config.read_text(encoding="utf-8"))
    for inside, name in zip(told["config"]["members"], MEMBERS, strict=True):
        held = (runs / DEFAULT / "model" / inside / "config.json").read_bytes()
        if held != (target / name / "config.json").read_bytes():
            raise SecondReaderError(f"box: got a {DEFAULT} of another {name}; run its row again")
    told["config"]["members"] = list(MEMBERS)
    config.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name in (*MEMBERS, DEFAULT):
        if history.is_file():
            shutil.copyfile(history, target / name / "history.json")
        write_card(target / name)
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file()) / 1e6


def main() -> None:
    """Fill the box of this checkout."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/box.py OUT")
    out = Path(sys.argv[1])
    file = out / "figures" / "default" / f"{DEFAULT}.json"
    if not file.is_file():
        sys.exit(
            f"box: got no row {DEFAULT}, expected `secondreader reproduce default -o OUT` before: {file}"
        )
    row = json.loads(file.read_text(encoding="utf-8"))
    try:
        size = packed(out / "runs" / "default", box(), row["command"], HISTORY)
    except SecondReaderError as error:
        sys.exit(f"box: {error}")
    print(f"{', '.join((*MEMBERS, DEFAULT))}: {size:.1f} MB in {box()}")
    if size > LARGEST_MB:
        sys.exit(f"box: got {size:.1f} MB, expected {LARGEST_MB:g} or less")


if __name__ == "__main__":
    main()
