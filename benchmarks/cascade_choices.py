"""What validation images said of first stages: python benchmarks/cascade_choices.py RUN... -o FILE.json

Choices are made by these figures, not by those of test women: of each run that trained a first stage
the step that was kept and the last, and the threshold and smallest component that were chosen with the
mean of table 3's recalls that they reached on all validation images. They only choose, so they have no interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def row(run: Path) -> list[str]:
    """Return what a README shows of a run."""
    told = json.loads((run / "cut.json").read_text(encoding="utf-8"))
    done = json.loads((run / "stages" / "proposals" / "done.json").read_text(encoding="utf-8"))
    best = max(tried["mean_recall"] for tried in told["tried"])
    last = int(done["history"][-1]["step"])
    return [run.name, f"{best:.3f}", f"{told['threshold']:.3g}", str(told["least_pixels"]),
            f"{done['step']} of {last}"]  # fmt: skip


def main() -> None:
    """Collect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    head = [
        "row",
        "mean recall on validation images",
        "threshold",
        "smallest component, pixels",
        "step kept",
    ]
    rows = [head, *(row(run) for run in asked.runs)]
    told = {"command": "python benchmarks/cascade_choices.py RUN...", "table": rows}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
