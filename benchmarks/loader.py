"""Does training wait for its data? python benchmarks/loader.py [--data phantom=tiny] [-o FILE.json]

For the cascade's U-Net of width 16 on patches of 112 x 112, in one process: the loader alone, the
loader with an empty step, and a training step; the share of a step's processor time that loading
takes, and how many times faster a device may be before it waits. The floor is stated beside it: the
bytes that a batch holds, at the memory bandwidth measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from secondreader.domain import Part
from secondreader.learning import augment
from secondreader.methods.anomaly_cascade import Config
from secondreader.methods.anomaly_cascade.maps import augmented, maps_loss, patches
from secondreader.methods.anomaly_cascade.network import first_stage
from secondreader.sources import images_of, load_all


def timed(work, seconds: float) -> tuple[float, float]:
    """Return wall and processor seconds a call."""
    work(0)
    wall, processor, calls = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        calls += 1
        work(calls)
    return (time.perf_counter() - wall) / calls, (time.process_time() - processor) / calls


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="phantom=tiny")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    sources = load_all([asked.data])
    images = images_of(sources)
    own = images.part(r for r in images.records if r.part is Part.TRAIN)
    config = Config(spacing_mm=0.2)
    data = patches(own, config)
    network = first_stage(config).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters())

    def load(step: int) -> dict:
        return data.batch(step, asked.batch, config)

    held = load(0)

    def train(step: int) -> None:
        generator = torch.Generator().manual_seed(step)
        batch = augmented(held, generator, config)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            maps_loss(network, batch, config).backward()
        optimizer.step()

    loader_wall, loader_cpu = timed(load, asked.seconds)
    empty_wall, _ = timed(lambda step: load(step)["image"].sum(), asked.seconds)
    step_wall, step_cpu = timed(train, asked.seconds)
    block = np.ones(2**26, np.uint8)
    copy_wall, _ = timed(lambda step: block.copy(), 1.0)
    size = config.patch + augment.margin(config.augment, config.patch)
    moved = asked.batch * size * size * (2 + 4 + 1 + 1)  # float16 read; float32, two masks written
    told = {
        "patches": [asked.batch, size],
        "patches a second, loader alone": round(asked.batch / loader_wall, 1),
        "patches a second, loader and an empty step": round(asked.batch / empty_wall, 1),
        "patches a second, training step alone": round(asked.batch / step_wall, 1),
        "loading in processor time of a step": round(loader_cpu / step_cpu, 4),
        "how many times faster a device may be": round(step_wall / empty_wall, 1),
        "loading in times of its bytes' copy": round(
            loader_wall / (moved / (2**26 / copy_wall)), 1
        ),
        "positions": {"calcifications": len(data.positive), "normal tissue": len(data.negative)},
    }
    print(json.dumps(told, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
