"""How fast are phantoms made? python benchmarks/phantom_speed.py [-o FILE.json]

Seconds for a view of each system on one core, and for its truth alone, beside the plain alternative of
one power-law texture of the same size by FFT; the gain of a second process; the highest memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from secondreader import phantom
from secondreader.phantom.texture import power_law
from secondreader.phantom.vendors import VENDORS

SEED, WOMEN = 990_004, 4


def one(index: int) -> float:
    """Make one woman; return her megapixels."""
    made = phantom.exam(SEED, index)
    return sum(image.stored.size for image in made.images) / 1e6


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    told: dict[str, object] = {}
    for vendor in VENDORS:
        views = pixels = plain = 0.0
        start = time.perf_counter()
        for index in range(WOMEN):
            made = phantom.exam(SEED, index, vendor=vendor)
            views += len(made.images)
            pixels += sum(image.stored.size for image in made.images) / 1e6
        whole = time.perf_counter() - start
        start = time.perf_counter()
        power_law(np.random.default_rng(0), made.images[2].shape, 0.1, 3.0, 40.0)
        plain = time.perf_counter() - start
        start = time.perf_counter()
        for index in range(WOMEN):
            phantom.exam_truth(SEED, index, vendor=vendor)
        truth = (time.perf_counter() - start) / WOMEN
        told[vendor] = {
            "seconds a view": round(whole / views, 3),
            "megapixels a view": round(pixels / views, 2),
            "megapixels a second": round(pixels / whole, 1),
            "in FFT textures of that size": round(whole / views / plain, 2),
            "seconds for the truth of an exam": round(truth, 3),
        }
        print(vendor, told[vendor])
    times = []
    for processes in (1, 2):
        with get_context("spawn").Pool(processes) as pool:
            pool.map(one, range(processes))  # they are started, and have imported everything
            start = time.perf_counter()
            pool.map(one, range(8), chunksize=1)
            times.append(time.perf_counter() - start)
    told["a second process gains"] = round(times[0] / times[1], 2)
    told["highest memory in MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(told["a second process gains"], told["highest memory in MB"])
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
