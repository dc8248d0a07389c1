"""How long a four-view full-field exam takes: python benchmarks/default_speed.py [MODEL ...] [-o FILE.json]

Reads one phantom exam of 0.07 mm (made before the clock starts) with the models, by default those that
read where nobody is named, in a fresh process on two threads, report and all. Aim: under 15 s and 2.5 GB.
Then how often each model's steps run on one image, and what each costs: decoding, breast mask, features
that tell images unlike the training's, resampling; what runs twice on the same pixels is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secondreader import formats, imaging, phantom, pipeline
from secondreader.domain import SecondReaderError
from secondreader.formats import ReadOptions
from secondreader.learning import likeness
from secondreader.reading import load_models, view_reading

THREADS = 2
STEPS = ("breast_mask", "resample", "crop_to_mask")


def read(folder: str, out: str, models: list[str]) -> None:
    """Read in this process, and print seconds and peak memory."""
    begun = time.perf_counter()
    outcome = pipeline.read_to(folder, out, models=models or None)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps({"seconds": seconds, "peak_gb": peak, "images": outcome.read}))


def fresh(folder: Path, out: Path, models: list[str]) -> dict[str, float]:
    """Return what `read` says in a process of its own, with the seconds of the whole process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(THREADS)) | {"SECONDREADER_DEVICE": "cpu"}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--inside", str(folder), str(out), *models],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told | {"whole_process": time.perf_counter() - begun}


def counted(folder: Path, models: list[str]) -> dict[str, Any]:
    """Read one image with every model, counting and timing the steps that models could share."""
    loaded = load_models(models or pipeline.default_models(), device="cpu")
    told: dict[str, Any] = {}
    for ref in formats.find([folder]):
        if isinstance(ref, formats.Skipped):
            continue
        begun = time.perf_counter()
        try:  # beside a phantom's images lies its truth
            mammogram = formats.mammogram(ref, ReadOptions())
        except SecondReaderError:
            continue
        told["decode_s"] = time.perf_counter() - begun
        break
    else:
        raise SecondReaderError(f"got no image that opens, expected one: {folder}")
    asked: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    whole = {name: getattr(imaging, name) for name in STEPS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            since = time.perf_counter()
            try:
                return whole[name](*args, **kwargs)
            finally:
                asked[name] += 1
                spent[name] += time.perf_counter() - since

        return call

    for name in STEPS:
        setattr(imaging, name, watched(name))
    try:
        for model in loaded:
            before = Counter(asked), Counter(spent)
            since = time.perf_counter()
            view_reading([model], mammogram, input=0, accept=frozenset({likeness.CODE}))
            told[model.name] = {
                "seconds": time.perf_counter() - since,
                "asked": dict(asked - before[0]),
                "steps_s": dict(spent - before[1]),
            }
        since = time.perf_counter()
        likeness.features(mammogram)
        told["likeness_s"] = time.perf_counter() - since
    finally:
        for name, function in whole.items():
            setattr(imaging, name, function)
    return told


def main() -> None:
    """Print a table, and write it where asked."""
    if sys.argv[1:2] == ["--inside"]:
        read(sys.argv[2], sys.argv[3], sys.argv[4:])
        return
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("models", nargs="*")
    asked.add_argument("-o", "--out", type=Path)
    asked.add_argument("--vendor", default="hologic")
    words = asked.parse_args()
    names = words.models or list(pipeline.default_models())
    with tempfile.TemporaryDirectory() as held:
        home = Path(held)
        phantom.write_exams(home / "exam", exams=1, seed=pipeline.DEMO_SEED, vendor=words.vendor)
        together = fresh(home / "exam", home / "all", names)
        alone = {
            name: fresh(home / "exam", home / str(number), [name])
            for number, name in enumerate(names)
            if len(names) > 1
        }
        steps = counted(home / "exam", names)
    shown = [Path(name).name for name in names]
    rows = [["models", "s an exam", "s with the start", "GB at most"]]
    for label, told in ((" + ".join(shown), together), *alone.items()):
        numbers = (told[key] for key in ("seconds", "whole_process", "peak_gb"))
        rows.append([Path(label).name, *(f"{number:.2f}" for number in numbers)])
    print("\n".join(" | ".join(row) for row in rows))
    print(json.dumps(steps, indent=1))
    if words.out:
        table = {"table": rows, "vendor": words.vendor, "threads": THREADS, "one_image": steps,
                 "command": f"python benchmarks/default_speed.py {' '.join(shown)}"}  # fmt: skip
        words.out.parent.mkdir(parents=True, exist_ok=True)
        words.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
