"""The paper's networks by the smoke preset: python benchmarks/whole_image_named.py phantom=tiny --work FOLDER -o FILE.json

Every architecture of `shen2019`, ResNet50 and VGG16 among them, is trained from random weights by the preset
smoke: patches once for each backbone, then each top on them. It shows that all of them run, and what they cost
on processors; nothing else. A second call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from time import process_time

from secondreader import pipeline
from secondreader.learning.hardware import Hardware
from secondreader.learning.run_folder import write_whole
from secondreader.methods.patch_to_image.reader import load
from secondreader.studies.shen2019 import STUDY

FIELDS = ("step", "training_loss", "validation_loss")


def architectures() -> list[str]:
    """Return the networks that the study's rows train, in the order of its tables."""
    recipes = [row.recipe for table in STUDY.tables for row in table.rows if row.recipe]
    named = [
        recipe.settings["architecture"] for recipe in recipes if "architecture" in recipe.settings
    ]
    return list(dict.fromkeys(named))


def trained(asked: argparse.Namespace, name: str, **settings: str) -> tuple[Path, float]:
    """Return the run of some settings, and its processor minutes when it was trained."""
    run = asked.work / re.sub(r"\W+", "-", name)
    cost = run.with_name(f"{run.name}.cost.json")
    begun = process_time()
    init = settings.pop("init", None)
    pipeline.train(
        "patch_to_image",
        [asked.data],
        run,
        preset="smoke",
        settings=[f"{key}={value}" for key, value in settings.items()],
        init=init,
        hardware=Hardware("cpu", threads=asked.threads, progress=False),
        fitted=False,
    )
    if not cost.is_file():
        write_whole(cost, f"{(process_time() - begun) / 60:.2f}\n")
    return run, float(cost.read_text(encoding="utf-8"))


def row(name: str, run: Path, minutes: float) -> list[str]:
    """Return what a README shows of a run's last stage."""
    stages = sorted(run.glob("stages/*/done.json"), key=lambda file: file.stat().st_mtime)
    told = [json.loads(file.read_text(encoding="utf-8"))["history"] for file in stages]
    first, *_, last = (tuple(point[f] for f in FIELDS) for point in told[-1])
    steps = ", ".join(
        f"{file.parent.name} {own[-1]['step']:.0f}" for file, own in zip(stages, told, strict=True)
    )
    count = sum(p.numel() for p in load(run / "model").network.parameters())
    return [
        name, f"{count / 1e6:.1f}", steps, f"{first[1]:.3f}, {last[1]:.3f}", f"{first[2]:.3f}, {last[2]:.3f}",
        f"{minutes:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Train one after the other; what is there is written each time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="phantom=tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="Where runs are kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = [["network", "million parameters", "stages and steps", "training loss, first and last",
             "validation loss, first and last", "processor minutes"]]  # fmt: skip
    for name in architectures():
        backbone = name.partition(" + ")[0]
        alone = f"{backbone} + 256x1 + 128x1"  # a patch classifier has no use for its top
        patches, minutes = trained(asked, backbone, architecture=alone, trains="patch")
        if all(backbone != told[0] for told in rows):
            rows.append(row(backbone, patches, minutes))
        rows.append(
            row(name, *trained(asked, name, architecture=name, trains="top", init=str(patches)))
        )
        told = {
            "command": "python benchmarks/whole_image_named.py phantom=tiny",
            "threads": asked.threads,
            "table": rows,
        }
        write_whole(asked.out, json.dumps(told, indent=1) + "\n")
        print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    main()
