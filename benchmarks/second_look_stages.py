"""Pictures of generators in training, one above another: the first patches of each that a run has kept.

python benchmarks/second_look_stages.py RUN/stages/STAGE/pictures/STEP.png... -o FILE.png [--patches N] [--side PIXELS]

Each file is a picture that training left at a validation, of patches side by side; all of one size.
Pictures of phantoms may be kept, of real films never.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

ACROSS = 6  # patches of a row of a stage's picture


def main() -> None:
    """Read pictures, and write the first patches of each as a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--side", type=int, default=128)
    told = parser.parse_args()
    rows = []
    for file in told.pictures:
        picture = Image.open(file).convert("L")
        own = picture.width // ACROSS
        row = picture.crop((0, 0, told.patches * own, own))
        rows.append(
            np.asarray(row.resize((told.patches * told.side, told.side), Image.Resampling.BOX))
        )
    told.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(told.out, optimize=True)


if __name__ == "__main__":
    main()
