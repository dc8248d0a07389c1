"""How fast mined networks and the Haar cascade are: python benchmarks/mined_cnn_speed.py [--run RUN] [--cascade RUN] [-o FILE.json]

Seconds for a view of 3328 x 4096 pixels of 0.07 mm, stage by stage, for trained runs or for networks as
they are drawn (then with a threshold that lets one position in a hundred through); what skipping saves;
reading all positions at once against patch by patch, in batches of 4096 and one at a time (what 200 times
is said against), and how far the two differ; a node of the cascade on 11,711 positives and a million
negatives; the loader against a training step, with ``--files N`` where the process may have so few files
open that most images of a set must be opened anew. Ratios within one run count, not seconds: machines are
noisy. With ``--threads 1`` seconds are those of the processor, which other programs on the machine change
little.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from secondreader.domain import ImageSource, Mammogram, Part
from secondreader.learning.configuration import resolve
from secondreader.methods.mined_cnn.config import CascadeSettings, Config
from secondreader.methods.mined_cnn.data import augmented, data
from secondreader.methods.mined_cnn.dense import (
    everywhere,
    quick,
    score_of,
    somewhere,
    where_wanted,
)
from secondreader.methods.mined_cnn.fitting import fit_node, in_bins
from secondreader.methods.mined_cnn.haar import drawn_features
from secondreader.methods.mined_cnn.network import AROUND, WINDOW, patch_network
from secondreader.methods.mined_cnn.prepare import looked_at, prepare
from secondreader.methods.mined_cnn.reader import MinedCnn, load
from secondreader.methods.mined_cnn.train import network_loss
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import VIEWS, exam_image
from secondreader.sources import images_of, load_all

SHAPE = (4096, 3328)
PACKAGE = "secondreader.methods.mined_cnn"


def now() -> float:
    """Return the time in seconds: the processor's where there is one thread, else the clock's."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def best(work: Callable[[], object], times: int = 2) -> float:
    """Return the shortest of a few calls' seconds, after one that is not counted."""
    work()
    took = []
    for _ in range(times):
        start = now()
        work()
        took.append(now() - start)
    return min(took)


def phantom_view() -> Mammogram:
    """Return a view as large as a large detector."""
    side, kind = VIEWS[0]
    drawn = exam_image(1, 0, side, kind, vendor="hologic", contents=Contents.MALIGNANT)
    drawn = drawn.astype(np.float32) / drawn.max()
    pixels = np.zeros(SHAPE, np.float32)
    pixels[: drawn.shape[0], : drawn.shape[1]] = drawn[: SHAPE[0], : SHAPE[1]]
    return Mammogram(pixels, (0.07, 0.07), None, None, ImageSource("phantom", bits=12))


def networks(run: Path | None, prepared: np.ndarray) -> MinedCnn:
    """Return a trained reader, or one of networks as they are drawn."""
    if run is not None:
        return load(run / "model" if (run / "model").is_dir() else run)
    config = resolve(Config, PACKAGE, "cpu")
    torch.manual_seed(0)
    first, second = (quick(patch_network(width).eval()) for width in config.widths)
    known = everywhere(first, prepared)
    least = float(np.quantile(known[prepared != 0], 0.99))
    return MinedCnn(config.model_copy(update={"threshold": least}), first, second)


def reading(reader: MinedCnn, view: Mammogram, prepared: np.ndarray) -> dict:
    """Return the seconds of each stage of two networks, and what skipping saves."""
    first, second = reader.first, reader.second
    assert first is not None and second is not None
    mask = looked_at(prepared, reader.config)
    known = where_wanted(first, prepared, mask)
    through = mask & (known >= (reader.config.threshold or 0))
    stages = {
        "prepare": best(lambda: prepare(view, reader.config)),
        "first": best(lambda: where_wanted(first, prepared, mask)),
        "second": best(lambda: where_wanted(second, prepared, through)),
        "in all": best(lambda: reader.read(view)),
    }
    whole = best(lambda: where_wanted(second, prepared, mask))
    return {
        "seconds": stages,
        "let through": float(through.sum() / mask.sum()),
        "second everywhere, in times of where wanted": whole / stages["second"],
    }


def patch_by_patch(network: nn.Sequential | None, prepared: np.ndarray) -> dict:
    """Return microseconds a position, all at once and by patches, and the largest difference."""
    assert network is not None
    inside = np.argwhere(prepared != 0)
    some = inside[:: max(len(inside) // 8192, 1)]
    few = some[:: max(len(some) // 200, 1)]
    dense = everywhere(network, prepared)
    by_patch = somewhere(network, prepared, some)

    # Padding the image is no part of a patch's cost: only cutting it out, and what the network does.
    padded = np.pad(prepared.astype(np.float32), AROUND)

    @torch.inference_mode()
    def each() -> None:
        for row, col in few:
            patch = torch.from_numpy(padded[row : row + WINDOW, col : col + WINDOW])[None, None]
            score_of(network(patch.contiguous(memory_format=torch.channels_last)))

    alone = best(each, 3)
    told = {
        "all at once": best(lambda: everywhere(network, prepared)) / len(inside),
        "batches of 4096": best(lambda: somewhere(network, prepared, some)) / len(some),
        "one at a time": alone / len(few),
    }
    return {
        "microseconds a position": {name: took * 1e6 for name, took in told.items()},
        "times slower": {name: took / told["all at once"] for name, took in told.items()},
        "largest difference of scores": float(np.abs(dense[some[:, 0], some[:, 1]] - by_patch).max()),
    }  # fmt: skip


def node(prepared: np.ndarray) -> dict:
    """Return seconds and memory for one node on as many positions as the paper has positives."""
    settings = CascadeSettings()
    rng = np.random.default_rng(0)
    features = drawn_features(settings.window, settings.features, rng)
    inside = np.argwhere(prepared != 0)
    negative = inside[rng.integers(len(inside), size=1_000_000)]
    positive = inside[rng.integers(len(inside), size=11_711)]
    # Faint dots at the positives' middles, two noises high: a node takes many of its stumps.
    dotted = prepared.astype(np.float32)
    dotted[positive[:, 0], positive[:, 1]] += 0.25
    before, wide = settings.window // 2, settings.window
    views = np.lib.stride_tricks.sliding_window_view(np.pad(dotted, wide), (wide, wide))
    where = np.concatenate([positive, negative]) + wide - before
    begun = now()
    windows = views[where[:, 0], where[:, 1]].astype(np.float16)
    cut = now() - begun
    truth = np.arange(len(windows)) < len(positive)
    bins = in_bins(windows, truth, features)
    del windows  # as a cascade does
    fitted = fit_node(bins, truth, features, settings)
    return {
        "positives": len(positive), "negatives": len(negative), "features": len(features),
        "seconds of windows": cut, "seconds in all": now() - begun,
        "stumps": len(fitted.node.cuts), "negatives let through": fitted.through, "peak megabytes": peak(),
    }  # fmt: skip


def loading(text: str, files: int | None, seconds: float = 2.0) -> dict:
    """Return what the loader gives alone, and what a training step of each network takes.

    ``files`` is how many the process may have open: fewer images than that stay open.
    """
    if files is not None:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
    images = images_of(load_all([text]))
    config = resolve(
        Config, PACKAGE, "cpu", ["spacing_mm=0.2"] if "film" in text or "tiny" in text else []
    )
    own = data(images.part(r for r in images.records if r.part is Part.TRAIN), config)
    count = config.first.batch

    def rate(work: Callable[[int], object]) -> tuple[float, float]:
        work(0)
        begun, used, calls = now(), time.process_time(), 0
        while now() - begun < seconds:
            calls += 1
            work(calls)
        return count * calls / (now() - begun), (time.process_time() - used) / calls

    alone, loader = rate(lambda step: own.batch(step, count, config))
    held = own.batch(0, count, config)
    told = {"positions a second, loader alone": alone, "batch": count, "images": len(own.images),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "positions": {"calcifications": len(own.positive), "others": len(own.negative)}}  # fmt: skip
    for name, width in zip(("first", "second"), config.widths, strict=True):
        network = patch_network(width).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.Adam(network.parameters())

        def step(number: int, network=network, optimizer=optimizer) -> None:
            batch = augmented(held, torch.Generator().manual_seed(number), config)
            optimizer.zero_grad()
            network_loss(network, batch).backward()
            optimizer.step()

        trained, used = rate(step)
        told[name] = {"positions a second, training alone": trained,
                      "loading in processor time of a step": loader / used}  # fmt: skip
    return told


def peak() -> int:
    """Return the most megabytes that this process has held."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Time everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="Two trained networks; else as they are drawn.")
    parser.add_argument("--cascade", type=Path, help="A trained cascade; else none is timed.")
    parser.add_argument("--data", default="phantom=tiny", help="What the loader is timed on.")
    parser.add_argument("--files", type=int, help="That the loader may have open.")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    view = phantom_view()
    made = prepare(view, resolve(Config, PACKAGE, "cpu"))
    assert made is not None
    prepared = made[0]
    reader = networks(asked.run, prepared)
    told: dict = {
        "threads": torch.get_num_threads(),
        "trained": asked.run is not None,
        "breast pixels": int((prepared != 0).sum()),
        "widths": reader.config.widths,
        "two networks": reading(reader, view, prepared),
        "peak megabytes of reading": peak(),
        "first network": patch_by_patch(reader.first, prepared),
        "second network": patch_by_patch(reader.second, prepared),
        "loader": loading(asked.data, asked.files),
    }
    if asked.cascade:
        haar = networks(asked.cascade, prepared)
        told["cascade"] = {"seconds": best(lambda: haar.read(view)), "nodes": len(haar.nodes or []),
                           "stumps": sum(len(n.cuts) for n in haar.nodes or [])}  # fmt: skip
    told["node"] = node(prepared)
    told["table"] = table(told)
    text = json.dumps(told, indent=1, ensure_ascii=False)
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n", encoding="utf-8")


def table(told: dict) -> list[list[str]]:
    """Return what a README shows."""
    two, loader, fitted = told["two networks"], told["loader"], told["node"]
    many = told["threads"] > 1
    clock = f"on {told['threads']} threads" if many else "processor seconds of one thread"
    stages = ", ".join(f"{k} {v:.2f}" for k, v in two["seconds"].items() if k != "in all")
    rows = [
        ["what", "measured"],
        [f"a view of {SHAPE[1]} x {SHAPE[0]}, {told['breast pixels'] / 1e6:.2f} million positions, two "
         f"networks of widths {told['widths'][0]} and {told['widths'][1]}, {clock}"
         + ("" if told["trained"] else ", as they are drawn"),
         f"{two['seconds']['in all']:.2f} s: {stages}; peak {told['peak megabytes of reading']} MB"],
        ["the second network everywhere, in times of where the first lets through",
         f"{two['second everywhere, in times of where wanted']:.1f} x (it lets {two['let through']:.2%} through)"],
    ]  # fmt: skip
    if "cascade" in told:
        own = told["cascade"]
        rows.append([f"the same view, Haar cascade of {own['nodes']} nodes and {own['stumps']} stumps",
                     f"{own['seconds']:.2f} s"])  # fmt: skip
    for name in ("first", "second"):
        own = told[f"{name} network"]
        slower, each = own["times slower"], own["microseconds a position"]
        rows.append(
            [f"the {name} network at every position, all at once; in batches of 4096 patches; one at a time",
             f"{each['all at once']:.2f} µs a position; {slower['batches of 4096']:.0f} x; "
             f"{slower['one at a time']:.0f} x; largest difference of scores "
             f"{own['largest difference of scores']:.1e}"]
        )  # fmt: skip
    rows.append(
        [f"the loader alone, one process, {loader['images']} images and at most {loader['files']} files; "
         "training alone, first and second network",
         f"{loader['positions a second, loader alone']:,.0f} positions/s; "
         + " and ".join(f"{loader[n]['positions a second, training alone']:,.0f}" for n in ("first", "second"))
         + "; loading takes "
         + " and ".join(f"{loader[n]['loading in processor time of a step']:.0%}" for n in ("first", "second"))
         + " of a step's processor time"]
    )  # fmt: skip
    rows.append(
        [f"a node on {fitted['positives']:,} positives and {fitted['negatives']:,} negatives, "
         f"{fitted['features']} features, {fitted['stumps']} stumps",
         f"{fitted['seconds in all']:.0f} s, peak {fitted['peak megabytes']} MB"]
    )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
