"""Note a round of mending the phantom, for the model card's history: python tools/round.py OUT ROW... --found TEXT --changed TEXT

OUT is where `secondreader reproduce default` wrote to, each ROW one that was measured there after the
phantom was changed and the reader trained again (films-masses, masses). FOUND is what the worst misses
and false alarms on real films lacked in the phantom, CHANGED what it has now. Appended to
figures/history.json, which goes into the cards of the readers in the box.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secondreader.domain import SecondReaderError
from secondreader.learning.run_folder import write_whole

HISTORY = Path(__file__).parent.parent / "figures" / "history.json"


def noted(
    before: Sequence[dict[str, Any]], figures: Path, rows: Sequence[str], found: str, changed: str
) -> list[dict[str, Any]]:
    """Return the history with one more round.

    Parameters
    ----------
    before
        The rounds so far.
    figures
        OUT/figures/default.
    rows
        What was measured in this round.
    found, changed
        What the phantom lacked, and what was done about it.

    Raises
    ------
    SecondReaderError
        If a row was not measured, or is the same file as in a round before: nothing was trained again.
    """
    told: dict[str, Any] = {}
    for name in rows:
        file = figures / f"{name}.json"
        if not file.is_file():
            raise SecondReaderError(f"round: got no figures of {name}, expected its row: {file}")
        row = json.loads(file.read_text(encoding="utf-8"))
        cells = {
            words: [cell["value"], cell.get("low"), cell.get("high")]
            for words, cell in row["cells"].items()
            if cell.get("value") is not None
        }
        told[name] = {"of": row["data"], "cells": cells}
        if any(name in round_["rows"] and round_["rows"][name] == told[name] for round_ in before):
            raise SecondReaderError(
                f"round: got the figures of a round before for {name}, expected it trained again: {file}"
            )
    return [*before, {"found": found, "changed": changed, "rows": told}]


def main() -> None:
    """Append a round to the history."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--found", required=True)
    parser.add_argument("--changed", required=True)
    told = parser.parse_args()
    before = json.loads(HISTORY.read_text(encoding="utf-8")) if HISTORY.is_file() else []
    try:
        now = noted(before, told.out / "figures" / "default", told.rows, told.found, told.changed)
    except SecondReaderError as error:
        sys.exit(str(error))
    write_whole(HISTORY, json.dumps(now, indent=1, ensure_ascii=False) + "\n")
    print(f"round {len(now)}: {', '.join(told.rows)}")


if __name__ == "__main__":
    main()
