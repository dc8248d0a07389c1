"""How fast the anomaly cascade reads: python benchmarks/cascade_speed.py [--run RUN] [-o FILE.json]

Seconds and memory for a view of 3328 x 4096 pixels of 0.07 mm, stage by stage, for a trained run or
for networks as they are drawn; the network layer by layer against what this machine could do: its
measured rate of matrix multiplication and its measured bandwidth of memory (the roofline: a layer
takes at least the larger of its operations over the one and its bytes over the other). Beside it the
plain alternative, the network as it was trained, without folding and in one precision or the other.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from secondreader.domain import ImageSource, Mammogram
from secondreader.learning.folding import folded
from secondreader.methods.anomaly_cascade.config import Config
from secondreader.methods.anomaly_cascade.network import HALO, UNet, first_stage
from secondreader.methods.anomaly_cascade.prepare import network_input, prepare
from secondreader.methods.anomaly_cascade.proposals import looked_at, proposals, suspicion_map
from secondreader.methods.anomaly_cascade.reader import load
from secondreader.methods.anomaly_cascade.reduction import probabilities, reducer
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import VIEWS, exam_image
from secondreader.reading import load_model

SHAPE = (4096, 3328)


def best(work, times: int = 3, clock=time.perf_counter, given=tuple) -> float:
    """Return the shortest of a few calls' seconds, after one that is not counted.

    What ``given`` returns is handed to each call, and the time that it takes not counted.
    """
    work(*given())
    took = []
    for _ in range(times):
        handed = given()
        start = clock()
        work(*handed)
        took.append(clock() - start)
    return min(took)


def anew(view: Mammogram) -> Mammogram:
    """Return a view in a block of its own: what is known of another's pixels is not known of these."""
    return replace(view, pixels=view.pixels.copy())


def rates(clock=time.perf_counter) -> dict[str, float]:
    """Return operations a second of matrix multiplication, and bytes a second of a copy.

    Of two libraries' products, the processor's ordinary one and the one that convolutions are made
    of (a convolution of one pixel), the faster; of a copy between blocks that are there already.
    """
    told = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(2048, 2048).to(kind) for _ in range(2))
        point = nn.Conv2d(512, 512, 1).to(kind).to(memory_format=torch.channels_last)
        image = torch.randn(1, 512, 64, 64).to(kind).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            told[name] = max(
                2 * 2048**3 / best(lambda a=a, b=b: a @ b, 5, clock),
                2 * 512 * 512 * 64 * 64 / best(lambda p=point, i=image: p(i), 5, clock),
            )
    block, other = torch.zeros(2**26), torch.zeros(2**26)
    told["bytes"] = 2 * block.numel() * 4 / best(lambda: other.copy_(block), 5, clock)
    return told


def layers(
    network: nn.Module, image: torch.Tensor, rate: dict[str, float], clock=time.perf_counter
) -> list[dict]:
    """Return each convolution's seconds beside the least that it could take, in the image's precision."""
    kind = str(image.dtype).removeprefix("torch.")
    seen: list[tuple[str, nn.Module, tuple[torch.Tensor, ...]]] = []
    hooks = [
        module.register_forward_hook(
            lambda module, given, out, name=name: seen.append((name, module, given))
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    network(image)
    for hook in hooks:
        hook.remove()
    told = []
    for name, module, given in seen:
        out = module(*given)
        kernel = module.kernel_size[0] * module.kernel_size[1]
        # Each output of a convolution, each input of a transposed one, is touched by every weight.
        places = (given[0] if isinstance(module, nn.ConvTranspose2d) else out)[0, 0].numel()
        operations = 2 * kernel * module.in_channels * module.out_channels * places
        moved = image.element_size() * sum(t.numel() for t in (*given, out, module.weight))
        floor = max(operations / rate[kind], moved / rate["bytes"])
        took = best(lambda module=module, given=given: module(*given), clock=clock)
        told.append(
            {"layer": name, "giga-operations": operations / 1e9, "megabytes": moved / 1e6,
             "seconds": took, "floor": floor, "ratio": took / floor}
        )  # fmt: skip
    return told


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="A trained run; else networks as they are drawn.")
    parser.add_argument("--widths", type=int, nargs="*", default=[4, 8, 12, 16])
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    if asked.run:
        reader = load(asked.run / "model" if (asked.run / "model").is_dir() else asked.run)
        config, unet = reader.config, reader.networks["unet"]
        second = reader.networks.get("reducer")
    else:
        config = Config(threshold=0.8, reducer="small", reducer_init="none", crop=40, crop_to=40)
        unet, second = folded(first_stage(config)), folded(reducer(config))
    view = exam_view()
    with torch.inference_mode():
        told = measured(view, config, unet, second, asked.widths)
        told["by default"] = by_default(view)
    told["command"] = "python benchmarks/cascade_speed.py" + (" --run RUN" if asked.run else "")
    if asked.run:
        told["model"] = load_model(str(asked.run)).sha256
        told["fresh process"] = fresh(asked.run, view)
    told["table"] = table(told)
    text = json.dumps(told, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")


def exam_view() -> Mammogram:
    """Return a view of a phantom exam on a detector of 4096 x 3328 pixels of 0.07 mm."""
    side, kind = VIEWS[0]
    drawn = exam_image(1, 0, side, kind, vendor="hologic", contents=Contents.MALIGNANT)
    drawn = drawn.astype(np.float32) / drawn.max()
    pixels = np.zeros(SHAPE, np.float32)
    pixels[: drawn.shape[0], : drawn.shape[1]] = drawn[: SHAPE[0], : SHAPE[1]]
    return Mammogram(pixels, (0.07, 0.07), None, None, ImageSource("phantom", bits=12))


_READS = """
import resource, sys, time
import numpy as np
from pathlib import Path
from secondreader.domain import ImageSource, Mammogram
from secondreader.methods.anomaly_cascade.reader import load
reader = load(Path(sys.argv[1]))
def view():
    pixels = np.load(sys.argv[2])
    return Mammogram(pixels, (0.07, 0.07), None, None, ImageSource("phantom", bits=12))
reader.read(view())
own = view()
begun = time.perf_counter()
reader.read(own)
took = time.perf_counter() - begun
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def fresh(run: Path, view: Mammogram) -> dict[str, float]:
    """Return seconds and megabytes of a process that does nothing but read the view, twice."""
    model = run / "model" if (run / "model").is_dir() else run
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "view.npy"
        np.save(file, view.pixels)
        done = subprocess.run(
            [sys.executable, "-c", _READS, str(model), str(file)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    seconds, megabytes = done.stdout.split()
    return {"seconds": float(seconds), "peak megabytes": round(float(megabytes))}


def measured(view: Mammogram, config: Config, unet, second, widths: list[int]) -> dict:
    """Return all figures."""
    rate = rates()
    made = prepare(view, config)
    assert made is not None
    prepared = made[0]
    suspicious = suspicion_map(unet, prepared, config)
    mask = looked_at(prepared, config)
    positions, _ = proposals(suspicious, mask, config)
    parts = {
        "prepare": best(lambda own: prepare(own, config), given=lambda: (anew(view),)),
        "map": best(lambda: suspicion_map(unet, prepared, config)),
        "proposals": best(lambda: proposals(suspicious, looked_at(prepared, config), config)),
    }
    if second is not None:
        parts["reduction"] = best(lambda: probabilities(second, prepared, positions, config))
    full = {
        f"{pitch:g} mm": best(
            lambda image: suspicion_map(unet, image, config),
            given=lambda pitch=pitch: (filled(prepared, pitch),),
        )
        for pitch in (config.spacing_mm, 0.07)
    }
    single = best(lambda: suspicion_map(unet, prepared, config, half=False))
    # As reading takes them: `tile` rows and what lies round them.
    strip = np.resize(prepared, (config.tile + 2 * HALO, 1024)).astype(np.float32)
    image = network_input(torch.from_numpy(strip)[None, None], config).contiguous(
        memory_format=torch.channels_last
    )
    return {
        "machine": {
            "GFLOP/s float32": rate["float32"] / 1e9,
            "GFLOP/s bfloat16": rate["bfloat16"] / 1e9,
            "GB/s": rate["bytes"] / 1e9,
            "threads": torch.get_num_threads(),
        },
        "view": {"pixels": list(SHAPE), "breast pixels": int((prepared > 0).sum()),
                 "pitch": config.spacing_mm, "width": config.width, "proposals": len(positions)},
        "seconds": parts | {"in all": sum(parts.values())},
        "map of a view that is breast all over, seconds by pixel": full,
        "map in single precision, in times of that": single / parts["map"],
        "network on a strip of 672 x 1024": {
            str(kind).removeprefix("torch."): on_tile(again(unet, kind), image.to(kind), rate)
            for kind in (torch.float32, torch.bfloat16)
        },
        "laid side by side and pooled as libraries do, in times of that, bfloat16": plainly(
            again(unet, torch.bfloat16), image.bfloat16()
        ),
        "widths, on that strip": {
            str(w): on_tile(folded(UNet(w)).bfloat16(), image.bfloat16(), rate) for w in widths
        },
    }  # fmt: skip


def by_default(view: Mammogram) -> dict[str, float]:
    """Return the seconds of a view by the settings' defaults, the paper's pixel and both its networks.

    As they are drawn: what is proposed tells nothing, so as many places as are kept at most are looked at.
    """
    config = Config(threshold=0.8, least_pixels=1, reducer_init="none")
    unet, second = folded(first_stage(config)), folded(reducer(config))
    made = prepare(view, config)
    assert made is not None
    prepared = made[0]
    inside = np.argwhere(looked_at(prepared, config))
    places = inside[np.linspace(0, len(inside) - 1, config.most).astype(int)].astype(float)
    return {
        "prepare": best(lambda own: prepare(own, config), given=lambda: (anew(view),)),
        "map": best(lambda: suspicion_map(unet, prepared, config)),
        "reduction": best(lambda: probabilities(second, prepared, places, config), 2),
    }


def again(network: nn.Module, kind: torch.dtype) -> nn.Module:
    """Return a copy of a network in some precision; a copy of weights forgets that channels are last."""
    return copy.deepcopy(network).to(kind).to(memory_format=torch.channels_last)


def filled(prepared: np.ndarray, pitch: float) -> np.ndarray:
    """Return the view's breast over and over, up to all edges of the detector, on some pixel."""
    rows, cols = (round(side * 0.07 / pitch) for side in SHAPE)
    return np.resize(prepared[prepared > 0], (rows, cols))


def plainly(network: Any, image: torch.Tensor) -> float:
    """Return the seconds of the network written as in text books, in times of its own."""

    def plain() -> torch.Tensor:
        x, kept = image, []
        for stage in network.down:
            x = stage(x)
            kept.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = network.bottom(x)
        for lift, stage, skip in zip(network.lift, network.up, kept[::-1], strict=True):
            first, x = stage[0], torch.cat([lift(x), skip], dim=1)
            x = nn.functional.conv2d(x, first.weight, first.bias, padding=first.padding)
            for layer in list(stage)[1:]:
                x = layer(x)
        return image + network.out(x) if network.onto else network.out(x)

    own, other = [], []
    for _ in range(5):  # by turns: this machine's pace changes
        own.append(best(lambda: network(image), 1))
        other.append(best(plain, 1))
    return min(other) / min(own)


def on_tile(network: nn.Module, image: torch.Tensor, rate: dict[str, float]) -> dict:
    """Return the network's seconds on an image beside the sum of its layers' floors, and each layer."""
    each = layers(network, image, rate)
    whole = best(lambda: network(image))
    floor = sum(layer["floor"] for layer in each)
    rounded = [
        {k: v if isinstance(v, str) else round(v, 5) for k, v in layer.items()} for layer in each
    ]
    return {"seconds": whole, "floor": floor, "ratio": whole / floor, "layers": rounded}


def table(told: dict) -> list[list[str]]:
    """Return what a README shows."""
    machine, view, parts = told["machine"], told["view"], told["seconds"]
    whole = told["network on a strip of 672 x 1024"]
    rows = [["what", "measured"]]
    rows.append(
        ["this machine, on " + f"{machine['threads']} threads",
         f"{machine['GFLOP/s float32']:.0f} GFLOP/s in float32, {machine['GFLOP/s bfloat16']:.0f} in "
         f"bfloat16, {machine['GB/s']:.1f} GB/s"]
    )  # fmt: skip
    each = ", ".join(f"{name} {took:.2f}" for name, took in parts.items() if name != "in all")
    rows.append(
        [f"a view of {view['pixels'][1]} x {view['pixels'][0]}, read at {view['pitch']:g} mm, "
         f"{view['breast pixels'] / 1e6:.2f} million pixels of breast", f"{parts['in all']:.2f} s: {each}"]
    )  # fmt: skip
    if own := told.get("fresh process"):
        rows.append(
            ["the same view in a process that only reads, clusters and heatmap with it",
             f"{own['seconds']:.2f} s, peak {own['peak megabytes']} MB"]
        )  # fmt: skip
    whole_paper = told["by default"]
    each = ", ".join(f"{name} {took:.2f}" for name, took in whole_paper.items())
    rows.append(
        ["the same view by the defaults, networks as drawn: width 16 at 0.07 mm, a ResNet50 on 300 places",
         f"{sum(whole_paper.values()):.2f} s: {each}"]
    )  # fmt: skip
    full = told["map of a view that is breast all over, seconds by pixel"]
    rows.append(
        ["the map of a view that is breast all over",
         ", ".join(f"read at {pitch} {took:.2f} s" for pitch, took in full.items())]
    )  # fmt: skip
    rows.append(
        ["the map in single precision",
         f"{told['map in single precision, in times of that']:.2f} x its time"]
    )  # fmt: skip
    for kind, got in whole.items():
        worst = max(got["layers"], key=lambda layer: layer["seconds"] - layer["floor"])
        rows.append(
            [f"the network of width {view['width']} on 672 x 1024, {kind}",
             f"{got['seconds']:.3f} s, {got['ratio']:.2f} x the roofline; most is lost by "
             f"{worst['layer']}, {worst['seconds']:.3f} s, {worst['ratio']:.1f} x its floor"]
        )  # fmt: skip
    plain = told["laid side by side and pooled as libraries do, in times of that, bfloat16"]
    rows.append(
        [
            "the same, channels laid side by side and pooled as libraries do",
            f"{plain:.2f} x its time",
        ]
    )
    widths = told["widths, on that strip"]
    rows.append(
        ["widths " + ", ".join(widths) + ", bfloat16",
         ", ".join(f"{of['seconds']:.2f} s, {of['ratio']:.2f} x the roofline" for of in widths.values())]
    )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
