"""AUC against the number of real women: python benchmarks/women_plot.py FILE.json -o FILE.svg

Of what folds.py measured, its ways called "phantoms only", "phantoms, then tuned, N women" and "random
weights, N women".
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from whole_image_films import PHANTOMS, draw  # beside this file

from secondreader.domain import SecondReaderError

ROWS = {
    "auc, by image": "malignant against the rest",
    "auc, by image, abnormal": "abnormal against normal",
}
WAY = re.compile(r"(.+), (\d+) women")
CELL = re.compile(r"(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]")


def points(table: list[list[str]]) -> list[dict]:
    """Return each way's area with its interval, and of how many real women it is.

    Raises
    ------
    SecondReaderError
        If a way's words do not say how many.
    """
    head, *rows = table
    readers = [name for name in head[1:] if ", less " not in name]
    found = []
    for row in rows:
        for reader, cell in zip(readers, row[1:], strict=False):
            told = (reader, "0") if reader == PHANTOMS else WAY.fullmatch(reader)
            if not told:
                raise SecondReaderError(
                    f'way: got {reader!r}, expected "{PHANTOMS}" or "WORDS, N women"'
                )
            network, women = told if isinstance(told, tuple) else told.groups()
            numbers = CELL.fullmatch(cell)
            if row[0] in ROWS and numbers:
                auc, low, high = map(float, numbers.groups())
                found.append({"of": ROWS[row[0]], "network": network, "women": int(women),
                              "auc": auc, "low": low, "high": high})  # fmt: skip
    return sorted(found, key=lambda point: (point["of"], point["women"]))


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    told = json.loads(asked.figures.read_text(encoding="utf-8"))
    draw(points(told["table"]), asked.out)


if __name__ == "__main__":
    main()
