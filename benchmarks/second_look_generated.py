"""Generated patches: how far from real ones, what the paper's 5 % can be, whether they help, and a picture.

python benchmarks/second_look_generated.py REAL RUN... --data NAME=ROOT... -o FILE.json --picture FILE.png

REAL is the run of a classifier trained on real patches (the row gan-real): its features measure
distances, and it is what the others are put beside. Each RUN is one whose classifier was trained on
generated patches, alone or beside real ones; of runs that are named alike but for -seed1 or -seed2 the
mean is given. All figures are of the test part's windows.

Distances are Frechet's and the kernel's, of 1,000 generated patches of each class to real ones in any
of their turns, and of real patches of the validation part to the same, which is as near as a generator
can come: the features were learnt on the training part's. Pictures of phantoms may be kept, of real
films never.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from secondreader.datasets.parts import divide_sets
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import difference, draws, estimate, replicates
from secondreader.evaluation.classification import score_statistic
from secondreader.evaluation.units import positions
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.methods.second_look import generators
from secondreader.methods.second_look.config import GENERATED, NAME, Config
from secondreader.methods.second_look.data import ready
from secondreader.methods.second_look.distances import alike, frechet, weighed
from secondreader.methods.second_look.figures import class_replicates
from secondreader.methods.second_look.network import CLASSES, classifier
from secondreader.methods.second_look.windows import TURNS, Windows, windows
from secondreader.sources import images_of, load_all

AT_ONCE = 256
DRAWN = 1000  # generated patches of each class
MOST_REAL = 1500  # of each class, for distances
DRAWS = 200  # of patients, for distances
COLUMNS = 8


def loaded(run: Path) -> tuple[Config, nn.Module, nn.ModuleDict | None]:
    """Return a run's settings, its classifier, and its generators if it has any."""
    folder = run / "model" if (run / "model").is_dir() else run
    config, weights = load_model_folder(folder, NAME, Config)
    network = classifier(config)
    load_into(network, {n: v for n, v in weights.items() if n.startswith("network.")}, "network.")
    if config.generator == "none":
        return config, network.eval(), None
    drawing = generators.built(config)
    generators.take(drawing, folder)
    return config, network.eval(), drawing.eval()


def name_of(run: Path) -> str:
    """Return what a run's folder is called."""
    run = run.resolve()
    return run.parent.name if run.name == "model" else run.name


def through(network: nn.Module, images: np.ndarray, change=lambda x: x) -> np.ndarray:
    """Return what a network makes of images (n, w, w) in [0, 1]."""
    with torch.inference_mode():
        made = [
            network(change(torch.from_numpy(images[i : i + AT_ONCE].astype(np.float32)))[:, None])
            for i in range(0, len(images), AT_ONCE)
        ]
    return torch.cat(made).float().numpy()


def features(network: nn.Module) -> nn.Module:
    """Return a classifier without its last layer."""
    if isinstance(network, nn.Sequential):
        return network[:-1]
    network.fc = nn.Identity()
    return network


def of_women(own: Windows) -> np.ndarray:
    """Return whose each window is, (n,)."""
    return np.array([own.images.records[i].patient_id for i in own.where[:, 0]])


def pixels(own: Windows, numbers: np.ndarray, config: Config) -> np.ndarray:
    """Return patches by their numbers, (n, w, w) float16 in [0, 1]."""
    parts = [
        own.patches(numbers[i : i + AT_ONCE], config)["image"][:, 0].half().numpy()
        for i in range(0, len(numbers), AT_ONCE)
    ]
    return np.concatenate(parts)


def shown(values: np.ndarray, digits: int = 3) -> str:
    """Return a figure of replicates with its interval."""
    got = estimate(values)
    if got.value is None or got.low is None:
        return "–"
    return f"{got.value:.{digits}f} [{got.low:.{digits}f}, {got.high:.{digits}f}]"


def far(
    other: np.ndarray, real: np.ndarray, others: np.ndarray, women: np.ndarray
) -> dict[str, str]:
    """Return both distances to real patches, women of both drawn again; a generated patch is its own."""
    names, index = np.unique(women, return_inverse=True)
    own_names, own_index = np.unique(others, return_inverse=True)
    rng = np.random.default_rng(0)
    pairs = alike(other, real)
    found = [(frechet(other, real), weighed(pairs))]
    for counts in draws(names.size, DRAWS):
        for column in counts.T:
            again = rng.integers(own_names.size, size=own_names.size)
            own = np.bincount(again, minlength=own_names.size)
            drawn = (own[own_index], column[index])
            found.append((frechet(other, real, *drawn), weighed(pairs, *drawn)))
    told = {}
    for (name, digits), values in zip(
        (("Frechet", 2), ("kernel", 4)), np.array(found).T, strict=True
    ):
        # Drawn again, patches repeat, which makes two clouds look further apart than they are.
        low, high = np.quantile(values[1:] - values[1:].mean() + values[0], [0.025, 0.975])
        told[name] = f"{values[0]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return told


def mistakes(logits: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Return what is answered, what one answer always would give, and the worst order of classes."""
    kinds = sorted(set(labels.tolist()))
    answers = logits.argmax(1)
    table = {
        CLASSES[k]: {CLASSES[a]: int(((labels == k) & (answers == a)).sum()) for a in range(4)}
        for k in kinds
    }
    return {
        "answers by truth": table,
        "accuracy": float((answers == labels).mean()),
        "classes in the worst order": min(
            float((np.array(order)[answers] == labels).mean())
            for order in itertools.permutations(range(len(CLASSES)))
            if all(order[k] == k for k in range(len(CLASSES)) if k not in kinds)
        ),
        "always one class": {CLASSES[k]: float((labels == k).mean()) for k in kinds},
    }


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    config, real_network, _ = loaded(asked.real)
    sources = load_all(asked.data)
    divided = divide_sets(sources, asked.split)
    held, test = (
        windows(ready(images_of(sources).part(divided[p]), config), config,
                reading=p is Part.TEST, patches=None if p is Part.TEST else config.gan_patches)
        for p in (Part.VALIDATION, Part.TEST)
    )  # fmt: skip
    every = pixels(test, np.arange(len(test.label)) * TURNS, config)
    women = of_women(test)
    runs = {name_of(run): loaded(run) for run in asked.runs}
    drawn = {
        name: {k: generators.drawn(made, k, DRAWN, 10**6 + k, own) for k in GENERATED}
        for name, (own, _, made) in runs.items()
        if made is not None and own.generated_share == 1
    }
    real = {name_of(asked.real): (config, real_network, None)}
    scores = {name: through(network, every) for name, (_, network, _) in {**real, **runs}.items()}
    data = [
        s if s.startswith("phantom=") and "/" not in s else s.partition("=")[0] + "=ROOT"
        for s in asked.data
    ]
    told = {
        "command": "python benchmarks/second_look_generated.py "
        + " ".join(name_of(run) for run in (asked.real, *asked.runs))
        + f" --data {' --data '.join(data)} --split {asked.split} --resamples {asked.resamples} -o FILE",
        "data": data,
        "split": asked.split,
        "windows": {CLASSES[k]: int((test.label == k).sum()) for k in GENERATED},
        "women": len(set(women.tolist())),
        "patches": drawn_from(asked.real),
        "checks": checked(scores, test.label, women, asked.resamples),
        "explained": explained({**real, **runs}, scores, every, test.label),
    }  # fmt: skip
    if asked.picture:
        picture(every, test.label, drawn).save(asked.picture, optimize=True)
    told["distances"] = distances(features(real_network), held, test, women, drawn, config)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for name in ("checks", "distances"):
        file = asked.out.with_name(f"{asked.out.stem}-{name}.json")
        one = {k: v for k, v in told.items() if k not in ("checks", "distances")}
        one = {**one, "table": told[name]} if name == "checks" else {
            "command": told["command"], "data": told["data"], "split": asked.split, "table": told[name]}  # fmt: skip
        file.write_text(json.dumps(one, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


def drawn_from(run: Path) -> dict[str, object]:
    """Return how many patches a run's classifier learnt from, and of how many windows they are turns."""
    home = run.parent if run.name == "model" else run
    told: dict[str, object] = json.loads((home / "patches.json").read_text(encoding="utf-8"))
    return told


def checked(
    runs: dict[str, np.ndarray], labels: np.ndarray, women: np.ndarray, resamples: int,
    *, before: bool = False,
) -> list[list[str]]:  # fmt: skip
    """Return accuracies and area of each run's logits (n, 4) of the test part's windows, and a paired difference.

    The difference is to the first run, or to the one before. Runs that are named alike but for their
    seed are one, of the mean of their figures.
    """
    other = "the one before" if before else "the first"
    rows = [["trained on", "accuracy, classes alike", "as windows come", "AUC, malignant",
             f"classes alike, less {other}", f"AUC, less {other}"]]  # fmt: skip
    found: dict[str, list[np.ndarray]] = {}
    for name, scores in runs.items():
        sure = np.exp(scores[:, 1] - np.log(np.exp(scores).sum(1)))
        units = positions(sure, labels == 1, women.tolist(), level="patch")
        area = replicates(score_statistic(units), units.n_patients, resamples=resamples)[:, 0]
        _, values = class_replicates(scores, labels, women.tolist(), resamples=resamples, seed=0)
        own = np.column_stack([values[:, 1], values[:, 0], area])
        found.setdefault(name.partition("-seed")[0], []).append(own)
    beside: np.ndarray | None = None
    for name, trainings in found.items():
        values = np.mean(trainings, 0)
        words = f"{name}, {len(trainings)} trainings" if len(trainings) > 1 else name
        apart = ["", ""]
        if beside is not None:
            both = [difference(values[:, i], beside[:, i]) for i in (0, 2)]
            apart = [
                "–" if d.low is None else f"{d.value:.3f} [{d.low:.3f}, {d.high:.3f}]" for d in both
            ]
        rows.append([words, *(shown(of) for of in values.T), *apart])
        beside = values if beside is None or before else beside
    return rows


def explained(
    runs: dict, scores: dict[str, np.ndarray], every: np.ndarray, labels: np.ndarray
) -> dict[str, object]:
    """Return of each run its answers, and its accuracy where the scale of grey values is mistaken."""
    told: dict[str, object] = {}
    for name, (_, network, _) in runs.items():
        # What x is to a network that learnt values from -1 to 1, (x + 1) / 2 is to this one, which
        # learnt them from 0 to 1; but for the zeros around an image.
        wrong = {
            "learnt 0 to 1, validated on -1 to 1": lambda x: x * 2 - 1,
            "learnt 0 to 1, validated on 0 to 255": lambda x: x * 255,
            "learnt -1 to 1, validated on 0 to 1": lambda x: (x + 1) / 2,
            "learnt -1 to 1, validated on 0 to 255": lambda x: (255 * x + 1) / 2,
        }
        told[name] = {
            **mistakes(scores[name], labels),
            **{
                words: float((through(network, every, change).argmax(1) == labels).mean())
                for words, change in wrong.items()
            },
        }
    return told


def distances(
    network: nn.Module, held: Windows, test: Windows, women: np.ndarray, drawn: dict, config: Config
) -> list[list[str]]:
    """Return both distances of each generator's classes, beside those of real patches of other women."""
    rows = [["patches", "class", "Frechet", "kernel"]]
    rng = np.random.default_rng(0)
    for kind in GENERATED:
        own = rng.permutation(np.flatnonzero(test.label == kind))[:MOST_REAL]
        if kind not in held.drawn or len(own) < 2:
            continue
        turned = own * TURNS + rng.integers(TURNS, size=len(own))
        real = through(network, pixels(test, turned, config))
        chosen = rng.permutation(held.drawn[kind])[:DRAWN]
        clouds = {
            "real, of the validation part": (
                pixels(held, chosen, config),
                of_women(held)[chosen // TURNS],
            )
        }
        clouds |= {
            name: (images[kind].astype(np.float32) / 255, np.arange(len(images[kind])))
            for name, images in drawn.items()
        }  # fmt: skip
        for name, (images, others) in clouds.items():
            got = far(through(network, images), real, others, women[own])
            rows.append([name, CLASSES[kind], got["Frechet"], got["kernel"]])
    return rows


def picture(every: np.ndarray, labels: np.ndarray, drawn: dict) -> Image.Image:
    """Return real patches of each class, a row, and below them what each generator draws of it."""
    rows = []
    rng = np.random.default_rng(1)
    for kind in GENERATED:
        own = rng.permutation(np.flatnonzero(labels == kind))[:COLUMNS]
        real = np.zeros((COLUMNS, *every.shape[1:]), np.float32)
        real[: len(own)] = every[own]
        for images in (real, *(made[kind][:COLUMNS] / 255 for made in drawn.values())):
            rows.append(np.concatenate([np.pad(i, 1, constant_values=1) for i in images], 1))
        rows.append(np.ones((6, rows[-1].shape[1])))
    grey = np.concatenate(rows[:-1], 0)
    return Image.fromarray((grey.clip(0, 1) * 255).round().astype(np.uint8))


if __name__ == "__main__":
    main()
