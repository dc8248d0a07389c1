"""How fast whole images are read: python benchmarks/whole_image_speed.py [--patches RUN --images RUN --data NAME=ROOT] -o FILE.json

Every named patch classifier on 1152 x 896, folded and channels last, in float32 and bfloat16: operations
of direct convolution a second beside those of a matrix product in the same precision on this machine, and
layer by layer beside the roofline. Reading in one pass of convolution beside overlapping tiles, whose
features are equal, and beside the textbook way, patches slid at stride 32, whose borders differ. Images a
second in training; native size, read and trained (two images a step, Adam's state and all) with gradient
checkpointing in a process of its own, so that its peak of memory is its own. With trained runs also the
difference in AUC that slid crops (--patches) and bfloat16 (--images) make on images of a data set. Seconds are
the processor's on one thread, the shortest of a few, so that what else runs on the machine counts little; but
those of "two threads" pass on the wall, and want an idle machine. `--part` measures one part again; the others
stay.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from cascade_speed import best, layers, rates
from torch import Tensor

from secondreader.domain import Part
from secondreader.evaluation.bootstrap import difference, estimate, replicates
from secondreader.evaluation.classification import score_statistic
from secondreader.evaluation.tables import in_brackets
from secondreader.evaluation.units import positions
from secondreader.learning.folding import folded
from secondreader.learning.patches import cut, whole
from secondreader.methods.patch_to_image.architecture import STRIDE, parse
from secondreader.methods.patch_to_image.config import Config
from secondreader.methods.patch_to_image.data import augmented, ready
from secondreader.methods.patch_to_image.forest import places
from secondreader.methods.patch_to_image.network import (
    MALIGNANT,
    ImageClassifier,
    PatchClassifier,
)
from secondreader.methods.patch_to_image.reader import PatchToImage, load
from secondreader.methods.patch_to_image.tiles import by_tiles
from secondreader.methods.patch_to_image.train import _image_loss
from secondreader.scoring import choose
from secondreader.sources import load_all

SIZE, NATIVE, PATCH = (1152, 896), (4096, 3328), 224
NAMED = ("resnet50", "vgg16", "resnet_small")
TOP = " + 256x1 + 128x1"
SHARE = "of the matrix product's rate"


def quick(name: str, window: int = PATCH // STRIDE) -> PatchClassifier:
    """Return a patch classifier as it is read with: folded, channels last."""
    torch.manual_seed(0)
    network = PatchClassifier(name, window).eval()
    network.features = torch.nn.Sequential(*(folded(stage) for stage in network.features))
    return network.to(memory_format=torch.channels_last)


def noise(size: tuple[int, int], count: int = 1) -> Tensor:
    """Return made-up images."""
    made = torch.rand((count, 1, *size), generator=torch.Generator().manual_seed(0))
    return made.contiguous(memory_format=torch.channels_last)


def one_pass(name: str) -> dict:
    """Return seconds of an image, the fraction of a matrix product's rate beside it, and the layers."""
    rate = rates(time.process_time)
    told: dict = {"parameters": sum(p.numel() for p in PatchClassifier(name).parameters())}
    for kind in (torch.float32, torch.bfloat16):
        features = copy.deepcopy(quick(name).features).to(kind)
        image = noise(SIZE).to(kind)
        each = layers(features, image, rate, time.process_time)
        took = best(lambda f=features, i=image: f(i), 2, time.process_time)
        operations = 1e9 * sum(layer["giga-operations"] for layer in each)
        own = rate[str(kind).removeprefix("torch.")]
        lost = sorted(each, key=lambda layer: layer["floor"] - layer["seconds"])
        told[str(kind).removeprefix("torch.")] = {
            "processor seconds": took,
            "giga-operations": operations / 1e9,
            SHARE: operations / took / own,
            "matrix product, GFLOP/s": own / 1e9,
            "roofline, seconds": sum(layer["floor"] for layer in each),
            "convolutions alone, seconds": sum(layer["seconds"] for layer in each),
            "layers that lose most": [
                {k: round(v, 4) if isinstance(v, float) else v for k, v in layer.items()}
                for layer in lost[:8]
            ],
        }
    plain = PatchClassifier(name).eval().features
    took = best(lambda: plain(noise(SIZE).contiguous()), 1, time.process_time)
    told["not folded, channels first, in times of that"] = (
        took / told["float32"]["processor seconds"]
    )
    return told


def slid(network: PatchClassifier, image: Tensor, size: int, at_once: int = 32) -> Tensor:
    """Return the classes' logits (5, rows, cols) of patches slid over (1, 1, h, w) at stride 32."""
    pixels = image[0, 0].numpy()
    rows, cols = (side // STRIDE for side in pixels.shape)
    # The patch that the window of a place covers.
    first = size // 2 - (network.window - 1) // 2 * STRIDE
    middles = [(first + STRIDE * r, first + STRIDE * c) for r in range(rows) for c in range(cols)]
    found = []
    for low in range(0, len(middles), at_once):
        crops = np.stack([cut(pixels, r, c, size) for r, c in middles[low : low + at_once]])
        found.append(network(torch.from_numpy(crops)[:, None]))
    return torch.cat(found).T.reshape(-1, rows, cols)


def beside_sliding(name: str, size: tuple[int, int], patch: int) -> dict:
    """Return how much faster one pass is than tiles and than slid patches, and how they agree."""
    network = quick(name, patch // STRIDE)
    image = noise(size)
    scaled = network.scaled(image)
    features = network.features(scaled)
    tiled = by_tiles(network.features, scaled, 736 if min(size) > 736 else 544)
    begun = time.process_time()
    crops = slid(network, image, patch)
    took = time.process_time() - begun
    quickly = best(
        lambda: network.heatmap(network.features(network.scaled(image))), 3, time.process_time
    )
    dense = network.heatmap(features)[0]
    return {
        "image": list(size), "patch": patch, "places": features[0, 0].numel(),
        "one pass, processor seconds": quickly, "slid, processor seconds": took, "slid, in times of one pass": took / quickly,
        "tiles, largest difference": float((features - tiled).abs().max()),
        "of features as large as": float(features.abs().max()),
        "slid, correlation of logits": float(np.corrcoef(dense.flatten(), crops.flatten())[0, 1]),
    }  # fmt: skip


def training(name: str, size: tuple[int, int], batch: int) -> dict:
    """Return images a second of forward and backward, float32 and bfloat16 autocast."""
    torch.manual_seed(0)
    network = image_network(name, size).train()
    given = {
        "image": noise(size, batch),
        "label": (torch.arange(2 * batch).reshape(-1, 2) % 2).float(),
    }

    def step(half: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = _image_loss(network, given)
        loss.backward()
        network.zero_grad(set_to_none=True)

    with torch.enable_grad():
        return {
            "image": list(size), "batch": batch,
            "float32, images/s": batch / best(lambda: step(False), 1, time.process_time),
            "bfloat16, images/s": batch / best(lambda: step(True), 1, time.process_time),
        }  # fmt: skip


def image_network(name: str, size: tuple[int, int], saving: bool = False) -> ImageClassifier:
    """Return a whole-image classifier as it is drawn."""
    rows, cols = (side // STRIDE for side in size)
    made = ImageClassifier(PatchClassifier(name, saving=saving), parse(name + TOP), (rows, cols))
    return made.to(memory_format=torch.channels_last)


def native_read() -> dict:
    """Return processor seconds and the peak of memory of reading ResNet50's features at native size."""
    network = quick("resnet50")
    scaled = network.scaled(noise(NATIVE))
    told: dict = {"image": list(NATIVE), "idle, megabytes": peak()}
    with torch.inference_mode():
        for way, tile in (("in tiles", 1024), ("at once", max(NATIVE))):  # a peak never falls
            begun = time.process_time()
            by_tiles(network.features, scaled, tile)
            told[f"{way}, processor seconds"] = time.process_time() - begun
            told[f"{way}, peak megabytes"] = peak()
    return told


def native_train() -> dict:
    """Return processor seconds and the peak of memory of a native training step, and of validation.

    A step is augmentation, both passes in bfloat16, and Adam's; an image is validated in float32.
    """
    network = image_network("resnet50", NATIVE, saving=True).train()
    settings = Config().whole
    count = settings.batch
    given = {
        "image": noise(NATIVE, count),
        "label": (torch.arange(2 * count).reshape(-1, 2) % 2).float(),
    }
    adam = torch.optim.Adam(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    told: dict = {"image": list(NATIVE), "batch": count, "idle, megabytes": peak()}
    begun = time.process_time()
    seen = augmented(given, torch.Generator().manual_seed(0), Config(), None)
    with torch.autocast("cpu", torch.bfloat16):
        loss = _image_loss(network, seen)
    loss.backward()
    adam.step()
    told["processor seconds"] = time.process_time() - begun
    told["peak megabytes"] = peak()
    del loss, seen, given
    adam.zero_grad()
    begun = time.process_time()
    with torch.no_grad():
        network.eval()(noise(NATIVE))
    told["validated, processor seconds an image"] = time.process_time() - begun
    told["peak megabytes with validation"] = peak()
    return told


def peak() -> int:
    """Return the most megabytes that this process has held."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def two_threads() -> dict:
    """Return wall-clock seconds of reading one image on two threads, in both precisions; a native one."""
    torch.set_num_threads(2)
    told: dict = {"image": list(SIZE), "threads": 2}
    for kind in (torch.float32, torch.bfloat16):
        features = quick("resnet50").features.to(kind)
        image = noise(SIZE).to(kind)
        told[str(kind).removeprefix("torch.")] = best(
            lambda f=features, i=image: f(i), 3, time.perf_counter
        )
    network = quick("resnet50")
    scaled = network.scaled(noise(NATIVE))
    begun = time.perf_counter()
    by_tiles(network.features, scaled, 1024)
    told["native, in tiles"] = time.perf_counter() - begun
    begun = time.perf_counter()
    network.features(scaled)
    told["native, at once"] = time.perf_counter() - begun
    torch.set_num_threads(1)
    return told


def areas(name: str, scores: dict[str, list[float]], truth: list[bool], who: list[str]) -> dict:
    """Return the AUC of each way to score, and the paired difference to the first."""
    ways = {
        way: replicates(
            score_statistic(positions(np.array(own), np.array(truth), who)), len(set(who))
        )[:, 0]
        for way, own in scores.items()
    }
    first, *others = ways
    told: dict = {"scores": name, "images": len(truth), "malignant": sum(truth)}
    for way, values in ways.items():
        got = estimate(values)
        told[f"AUC, {way}"] = [got.value, got.low, got.high]
    for way in others:
        got = difference(ways[way], ways[first])
        told[f"AUC, {way} less {first}"] = [got.value, got.low, got.high]
        told[f"correlation, {way} with {first}"] = float(
            np.corrcoef(scores[way], scores[first])[0, 1]
        )
    return told


def read_images(asked: argparse.Namespace, reader: PatchToImage):
    """Yield test images of a data set as a reader takes them, how far they reach, truth, and whose they are."""
    chosen = choose(load_all([asked.data]), asked.split, Part.TEST)
    own = ready(chosen.images, reader.config)
    known = [i for i, r in enumerate(own.records) if r.malignant is not None][: asked.count]
    for index in known:
        record = own.records[index]
        image = whole(own, np.array([index]), reader.config.size)
        yield image, places(own.pixels(index).shape), record.malignant, record.patient_id


def by_crops(asked: argparse.Namespace) -> dict:
    """Return the AUC of the most malignant place by one pass of convolution and by slid crops."""
    reader = load(folder(asked.patches))
    network, patch = reader.patches, reader.config.patch
    scores: dict[str, list[float]] = {"one pass": [], "slid": []}
    truth, who = [], []
    for image, (rows, cols), malignant, patient in read_images(asked, reader):
        ways = {
            "one pass": network.heatmap(network.features(network.scaled(image)))[0],
            "slid": slid(network, image, patch),
        }
        for way, logits in ways.items():
            worst = torch.softmax(logits, 0)[list(MALIGNANT), :rows, :cols].sum(0).max()
            scores[way].append(float(worst))
        truth.append(bool(malignant))
        who.append(patient)
    return areas("most malignant place of a patch classifier", scores, truth, who)


def by_halves(asked: argparse.Namespace) -> dict:
    """Return the AUC of a whole-image classifier in float32 and in bfloat16."""
    reader = load(folder(asked.images))
    half = copy.deepcopy(reader.network).bfloat16()
    scores: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    truth, who = [], []
    for image, _, malignant, patient in read_images(asked, reader):
        scores["float32"].append(float(reader.network(image)[0, 0]))
        scores["bfloat16"].append(float(half(image.bfloat16())[0, 0]))
        truth.append(bool(malignant))
        who.append(patient)
    return areas("whole-image classifier", scores, truth, who)


def folder(run: Path) -> Path:
    """Return the model folder of a run."""
    return run / "model" if (run / "model").is_dir() else run


def machine() -> dict:
    """Return what one core of this machine does."""
    rate = rates(time.process_time)
    return {
        "GFLOP/s float32": rate["float32"] / 1e9,
        "GFLOP/s bfloat16": rate["bfloat16"] / 1e9,
        "GB/s": rate["bytes"] / 1e9,
    }


def alone(part: str, *words: str) -> dict:
    """Return what a part tells in a process of its own, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--alone", part, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Time what is asked; each part is written as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", help="Of the parts; all if not told.")
    parser.add_argument("--patches", type=Path, help="A trained run of a patch classifier.")
    parser.add_argument("--images", type=Path, help="A trained run of a whole-image classifier.")
    parser.add_argument("--data", help="NAME=ROOT, for runs.")
    parser.add_argument("--split", default="official")
    parser.add_argument("--count", type=int, default=100, help="Test images at most.")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--out", type=Path, required="--alone" not in sys.argv)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.alone:
        print(json.dumps({"read": native_read, "train": native_train}[asked.alone]()))
        return
    parts = {
        "machine": machine,
        **{name: lambda n=name: one_pass(n) for name in NAMED},
        "two threads": two_threads,
        "slid, resnet50": lambda: beside_sliding("resnet50", SIZE, PATCH),
        "slid, resnet_small": lambda: beside_sliding("resnet_small", (576, 448), 128),
        "training, resnet50": lambda: training("resnet50", SIZE, 2),
        "training, resnet_small": lambda: training("resnet_small", (576, 448), 8),
        "native, read": lambda: alone("read"),
        "native, trained": lambda: alone("train"),
        **({"auc, slid": lambda: by_crops(asked)} if asked.patches else {}),
        **({"auc, bfloat16": lambda: by_halves(asked)} if asked.images else {}),
    }
    if unknown := set(asked.part or ()) - set(parts):
        parser.error(f"--part: got {min(unknown)!r}, expected one of {', '.join(parts)}")
    told: dict = {}
    if asked.out.is_file():
        told = json.loads(asked.out.read_text(encoding="utf-8"))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for name in asked.part or parts:
        with torch.inference_mode(not name.startswith("training")):
            told[name] = parts[name]()
        told["table"] = table(told)
        asked.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        print(json.dumps({name: told[name]}, indent=1), flush=True)


def table(told: dict) -> list[list[str]]:
    """Return what a README shows of the parts that are measured."""
    rows = [["what, in processor seconds of one core", "measured"]]
    if own := told.get("machine"):
        rows.append(
            ["this machine",
             f"{own['GFLOP/s float32']:.0f} GFLOP/s in float32, {own['GFLOP/s bfloat16']:.0f} in bfloat16 "
             f"(2048 x 2048 matrix product, or a convolution of one pixel), {own['GB/s']:.1f} GB/s"]
        )  # fmt: skip
    for name in NAMED:
        if own := told.get(name):
            one, half = own["float32"], own["bfloat16"]
            worst, other = (kind["layers that lose most"][0] for kind in (one, half))
            rows.append(
                [f"{name}, {own['parameters'] / 1e6:.1f} million parameters, {SIZE[0]} x {SIZE[1]}, "
                 f"{one['giga-operations']:.0f} GFLOP",
                 f"{one['processor seconds']:.2f} s, {one[SHARE]:.0%} of the matrix product's rate; bfloat16 "
                 f"{half['processor seconds']:.2f} s, {half[SHARE]:.0%}; most is lost in {worst['layer']}, "
                 f"{worst['ratio']:.1f} x its floor, in bfloat16 in {other['layer']}, {other['ratio']:.1f} x; not folded {own['not folded, channels first, in times of that']:.1f} x"]
            )  # fmt: skip
    if own := told.get("two threads"):
        rows.append(
            [f"resnet50, {SIZE[0]} x {SIZE[1]}, on two threads, seconds on the wall",
             f"{own['float32']:.2f} s in float32, {own['bfloat16']:.2f} in bfloat16; native size, float32: at once "
             f"{own['native, at once']:.1f} s, in tiles of 1024 {own['native, in tiles']:.1f}"]
        )  # fmt: skip
    for name in ("resnet50", "resnet_small"):
        if own := told.get(f"slid, {name}"):
            rows.append(
                [f"{name}, one pass beside patches of {own['patch']} slid at 32 over {own['image'][0]} x "
                 f"{own['image'][1]}, weights as drawn",
                 f"{own['slid, in times of one pass']:.0f} x faster; correlation of logits "
                 f"{own['slid, correlation of logits']:.2f}; overlapping tiles differ by at most "
                 f"{own['tiles, largest difference']:.1g} where features reach {own['of features as large as']:.2g}"]
            )  # fmt: skip
        if own := told.get(f"training, {name}"):
            rows.append(
                [f"{name}{TOP}, training, batch {own['batch']}, {own['image'][0]} x {own['image'][1]}",
                 f"{own['float32, images/s']:.2f} images/s in float32, {own['bfloat16, images/s']:.2f} in bfloat16"]
            )  # fmt: skip
    if own := told.get("native, read"):
        rows.append(
            [f"resnet50's features at native size, {NATIVE[0]} x {NATIVE[1]}",
             f"at once {own['at once, processor seconds']:.0f} s, peak {own['at once, peak megabytes']} MB; in "
             f"tiles of 1024 {own['in tiles, processor seconds']:.0f} s, {own['in tiles, peak megabytes']} MB"]
        )  # fmt: skip
    if own := told.get("native, trained"):
        rows.append(
            [f"a training step of {own['batch']} images there with augmentation and Adam, checkpointed, bfloat16",
             f"{own['processor seconds']:.0f} s, peak {own['peak megabytes']} MB; with an image validated in "
             f"float32 {own['peak megabytes with validation']} MB"]
        )  # fmt: skip
    for part, ways in (
        ("auc, slid", ("one pass", "slid")),
        ("auc, bfloat16", ("float32", "bfloat16")),
    ):
        if own := told.get(part):
            rows.append(
                [f"AUC of {own['images']} images, {own['scores']}",
                 "; ".join(f"{way} {in_brackets(*own[f'AUC, {way}'])}" for way in ways)
                 + f"; difference {in_brackets(*own[f'AUC, {ways[1]} less {ways[0]}'])}, correlation "
                 f"{own[f'correlation, {ways[1]} with {ways[0]}']:.3f}"]
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
