"""What Mask R-CNN costs: python benchmarks/second_look_speed.py [-o FILE.json] [--preset cpu --preset paper]

Reads a phantom view of 4096 x 3328 pixels with networks as they are drawn at random, a process a
preset so that each has its own peak of memory: preparing, the network, and the rest (masks back to the
source, heatmap); a training step of one view, forward and backward; and what the classifier of windows
takes of the same view. Beside it stands what the machine multiplies, as a yardstick; and a training step and a
reading of a batch of windows with PyTorch's group normalisation over the same with ours, in turn (`--preset cpu`). Processor seconds
are of all threads together. Run it on a machine that does nothing else: beside another training both
the clock and the processor seconds are several times too long.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from secondreader.domain import ImageSource, Mammogram
from secondreader.learning.configuration import resolve
from secondreader.learning.folding import folded
from secondreader.learning.hardware import autocast
from secondreader.methods import METHODS
from secondreader.methods.second_look.config import Config
from secondreader.methods.second_look.data import prepare
from secondreader.methods.second_look.network import CLASSES, classifier, mask_rcnn
from secondreader.methods.second_look.reader import SecondLook
from secondreader.methods.second_look.regions_training import region_loss
from secondreader.methods.second_look.windows import window_places
from secondreader.methods.second_look.windows_training import class_loss
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import VIEWS, exam_image

SHAPE = (4096, 3328)
TURNS = 9


def best(work, times: int = 2) -> dict[str, float]:
    """Return the shortest of a few calls' seconds, by the clock and of the processor."""
    took = []
    for _ in range(times):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        took.append((time.perf_counter() - clock, time.process_time() - processor))
    return {
        "seconds": round(min(t[0] for t in took), 3),
        "processor seconds": round(min(t[1] for t in took), 3),
    }


def peak() -> int:
    """Return the megabytes that this process had at most."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def view() -> Mammogram:
    """Return a phantom's view, as large as a digital one."""
    side, kind = VIEWS[0]
    drawn = exam_image(1, 0, side, kind, vendor="hologic", contents=Contents.MALIGNANT)
    drawn = drawn.astype(np.float32) / drawn.max()
    pixels = np.zeros(SHAPE, np.float32)
    rows, cols = (min(a, b) for a, b in zip(drawn.shape, SHAPE, strict=True))
    pixels[:rows, :cols] = drawn[:rows, :cols]
    return Mammogram(pixels, (0.07, 0.07), None, None, ImageSource("phantom", bits=12))


def step(config: Config):
    """Return a function that takes one training step of one view."""
    network = mask_rcnn(config).train()
    mask = torch.zeros(1, *config.size, dtype=torch.bool)
    mask[:, 100:180, 100:180] = True
    batch = {
        "image": torch.rand((1, 1, *config.size)),
        "boxes": [torch.tensor([[100.0, 100, 180, 180]])],
        "labels": [torch.tensor([1])],
        "masks": [mask],
    }

    def once() -> None:
        network.zero_grad(set_to_none=True)
        with autocast(torch.device("cpu")):  # as training does
            loss = region_loss(network, batch)
        loss.backward()

    return once


def normalisation(config: Config) -> dict:
    """Return how many times as long windows take with PyTorch's own group normalisation, step by step in turn."""
    config = config.model_copy(update={"trains": "votes"}).sized()
    batch = {"image": torch.rand((config.votes.batch, 1, config.window, config.window)),
             "label": torch.arange(config.votes.batch) % len(CLASSES)}  # fmt: skip
    took: dict[str, list[list[float]]] = {}
    networks = {"ours": classifier(config), "PyTorch's": classifier(config)}
    for module in networks["PyTorch's"].modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = nn.GroupNorm
    for network in networks.values():
        network.to(memory_format=torch.channels_last)
    for _ in range(TURNS):
        for name, network in networks.items():
            begun = time.process_time()
            with autocast(torch.device("cpu")):
                loss = class_loss(network, batch)
            loss.backward()
            between = time.process_time()
            with torch.inference_mode(), autocast(torch.device("cpu")):
                class_loss(network, batch)
            ends = [between - begun, time.process_time() - between]
            took.setdefault(name, []).append(ends)
    plain, ours = (np.median(took[name][1:], axis=0) for name in ("PyTorch's", "ours"))
    step, reading = (plain / ours).round(2).tolist()
    return {"windows": config.votes.batch, "training": step, "reading": reading, "of": TURNS - 1}


def measured(preset: str, part: str) -> dict:
    """Return the figures of one part of one preset; a part has a process of its own."""
    config = resolve(Config, METHODS["second_look"], preset, [])
    torch.manual_seed(0)
    times = 2 if config.backbone == "small" else 1  # a large network's second call is as long
    told: dict[str, Any]
    if part == "normalisation":
        return normalisation(config)
    if part == "training":
        told = {"step": best(step(config), times)}
    else:
        trains = "votes" if part == "windows" else "regions"
        config = config.model_copy(update={"trains": trains}).sized()
        mammogram = view()
        prepared, _ = prepare(mammogram, config)
        network = folded(classifier(config)) if trains == "votes" else mask_rcnn(config)
        reader = SecondLook(config, network)
        told = {
            "size": list(config.size),
            "parameters, millions": round(sum(p.numel() for p in network.parameters()) / 1e6, 1),
            "prepare": best(lambda: prepare(mammogram, config)),
            "whole view": best(lambda: reader.read(mammogram), times),
        }
        if trains == "votes":
            places = window_places(prepared, config)
            told["windows"] = len(places)
            # All but preparing is the network.
            told["network"] = {
                name: round(took - told["prepare"][name], 3)
                for name, took in told["whole view"].items()
            }
        else:
            with torch.inference_mode():
                told["network"] = best(lambda: reader._detected(prepared), times)
    return {**told, "peak megabytes": peak()}


def matrix() -> float:
    """Return the operations a processor second of multiplying matrices in float32."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / best(lambda: a @ b, 5)["processor seconds"]


def table(told: dict) -> list[list[str]]:
    """Return what a README shows."""
    rows = [["network", "size", "parameters", "reading, a view", "of it the network", "training, a view",
             "peak, reading and training"]]  # fmt: skip

    def both(of: dict) -> str:
        return f"{of['processor seconds']:.2f} s ({of['seconds']:.2f})"

    for preset, parts in told["presets"].items():
        own, train, votes = parts["regions"], parts["training"], parts["windows"]
        rows.append([
            f"Mask R-CNN, {preset}", "{} x {}".format(*own["size"]),
            f"{own['parameters, millions']} million", both(own["whole view"]), both(own["network"]),
            both(train["step"]), f"{own['peak megabytes']} MB, {train['peak megabytes']} MB",
        ])  # fmt: skip
        rows.append([
            f"{votes['windows']} windows, {preset}", "{} x {}".format(*votes["size"]),
            f"{votes['parameters, millions']} million", both(votes["whole view"]),
            both(votes["network"]), "", f"{votes['peak megabytes']} MB",
        ])  # fmt: skip
        if "normalisation" in parts:
            got = parts["normalisation"]
            rows.append([f"{got['windows']} windows, {preset}, PyTorch's normalisation over ours", "", "", "",
                         f"{got['reading']:.2f} x", f"{got['training']:.2f} x", ""])  # fmt: skip
    return rows


def main() -> None:
    """Measure every preset, each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", action="append", help="cpu and paper if not told.")
    parser.add_argument("--part", help="Of one preset, for the process that measures it.")
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    presets = asked.preset or ["cpu", "paper"]
    if asked.part:
        print(json.dumps(measured(presets[0], asked.part)))
        return
    told: dict = {
        "command": "python benchmarks/second_look_speed.py",
        "machine": {"threads": torch.get_num_threads(), "GFLOP a processor second": round(matrix() / 1e9)},
        "presets": {},
    }  # fmt: skip
    for preset in presets:
        told["presets"][preset] = {}
        small = resolve(Config, METHODS["second_look"], preset, []).backbone == "small"
        for part in ("regions", "training", "windows", *(["normalisation"] if small else [])):
            ran = subprocess.run(
                [sys.executable, __file__, "--preset", preset, "--part", part],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            told["presets"][preset][part] = json.loads(ran.stdout.splitlines()[-1])
    told["table"] = table(told)
    text = json.dumps(told, indent=1)
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
