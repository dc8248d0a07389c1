"""Losses of training and validation, stage by stage: python benchmarks/whole_image_curves.py RUN... -o FILE.json [--plot FILE.svg]

The paper's figure 2: a top that over-fits has a training loss that falls while its validation loss
jumps. Of each run's stages the curve, and in the table the last training loss, the least and the last
validation loss, and the mean jump from one validation to the next.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

FIELDS = ("step", "training_loss", "validation_loss")


def curves(run: Path) -> dict[str, dict[str, list[float]]]:
    """Return of each finished stage of a run its steps and losses."""
    found = {}
    for file in sorted(run.glob("stages/*/done.json"), key=lambda f: f.stat().st_mtime):
        rows = json.loads(file.read_text(encoding="utf-8"))["history"]
        if all(name in row for row in rows for name in FIELDS):
            found[file.parent.name] = {name: [row[name] for row in rows] for name in FIELDS}
    if not found:
        raise SystemExit(f"curves: got no finished stage with losses, expected a run ({run.name})")
    return found


def row(run: Path, architecture: str, stage: str, curve: dict[str, list[float]]) -> list[str]:
    """Return what a README shows of a stage."""
    held = np.array(curve["validation_loss"])
    jumps = np.abs(np.diff(held))
    return [
        run.name, architecture, stage, f"{curve['step'][-1]:.0f}", f"{curve['training_loss'][-1]:.3f}",
        f"{held.min():.3f} at {curve['step'][int(held.argmin())]:.0f}", f"{held[-1]:.3f}",
        f"{jumps.mean():.3f}" if len(jumps) else "–",
    ]  # fmt: skip


def draw(told: dict[str, dict], file: Path) -> None:
    """Draw the curves of every run's last stage."""
    import matplotlib.pyplot as plt

    _, places = plt.subplots(1, len(told), figsize=(4 * len(told), 3), sharey=True, squeeze=False)
    for place, (name, own) in zip(places[0], told.items(), strict=True):
        curve = list(own["stages"].values())[-1]
        for field, words in (("training_loss", "training"), ("validation_loss", "validation")):
            place.plot(curve["step"], curve[field], label=words)
        place.set(title=f"{name}\n{own['architecture']}", xlabel="step", ylabel="loss")
        place.legend()
    plt.tight_layout()
    plt.savefig(file)


def main() -> None:
    """Collect, tell, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path, help="A picture of each run's last stage.")
    asked = parser.parse_args()
    header = ["run", "network", "stage", "steps", "training loss, last", "validation loss, least",
              "last", "mean jump"]  # fmt: skip
    told, rows = {}, [header]
    for run in asked.runs:
        config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))["config"]
        stages = curves(run)
        told[run.name] = {"architecture": config["architecture"], "stages": stages}
        rows += [row(run, config["architecture"], *of) for of in stages.items()]
    text = json.dumps(
        {"command": f"python benchmarks/whole_image_curves.py {' '.join(told)}", "runs": told, "table": rows},
        indent=1,
    )  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text + "\n", encoding="utf-8")
    if asked.plot:
        draw(told, asked.plot)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
