"""Whole images of real films: python benchmarks/whole_image_films.py mini_mias=ROOT --from RUN --work FOLDER -o FILE.json

Abnormal against normal and malignant against the rest, from the two outputs of one network, over the folds of
mini-MIAS: trained from random weights on the films of the other folds; on phantoms only (RUN, a whole-image
classifier by the preset cpu); on phantoms, then tuned on the films of the other folds with image labels
only. Every film is scored by a network that saw no film of its woman. The networks of two folds score on two
scales, the one of phantoms on one: pooled are the ranks that scores have among the films of their fold, in all
three ways. AUC with intervals over women, and the paired differences of all three. These films were looked at in
development. A second call goes on where the first was stopped; hours are those of all calls.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from beside_spot_filter import shown
from scipy.stats import rankdata

from secondreader import pipeline
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate, replicates
from secondreader.evaluation.classification import score_statistic
from secondreader.evaluation.units import positions
from secondreader.learning.hardware import Hardware
from secondreader.learning.patches import whole
from secondreader.learning.run_folder import write_whole
from secondreader.methods.patch_to_image.data import ready, truth
from secondreader.methods.patch_to_image.network import COLUMNS, ImageClassifier
from secondreader.methods.patch_to_image.reader import load
from secondreader.reading import load_model
from secondreader.scoring import Chosen, choose
from secondreader.sources import load_all
from secondreader.studies.spent import hours

SCRATCH, PHANTOMS, TUNED = "random weights", "phantoms only", "phantoms, then tuned"
LOOKED = "looked at in development"


@torch.inference_mode()
def scores(model: Path, chosen: Chosen) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Return of each film the two scores, what is true of it (nan: unknown), and whose it is."""
    reader = load(model)
    assert isinstance(reader.network, ImageClassifier)
    own = ready(chosen.images, reader.config)
    found = {}
    for index, record in enumerate(own.records):
        logits = reader.network(whole(own, np.array([index]), reader.config.size))[0].double()
        known = np.array(truth(record))
        found[record.path] = (torch.sigmoid(logits).numpy(), known, record.patient_id)
    return found


def ranked(
    films: dict[str, tuple[np.ndarray, np.ndarray, str]],
) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Return the ranks, 0 to 1, of each of the two scores among some films, in their place."""
    every = np.array([own[0] for own in films.values()])
    ranks = (rankdata(every, axis=0) - 0.5) / len(every)
    return {path: (rank, *own[1:]) for (path, own), rank in zip(films.items(), ranks, strict=True)}


def trained(asked: argparse.Namespace, way: str, fold: int) -> Path:
    """Return the model of a way to train and a fold."""
    start = begun_with(asked)
    if way == PHANTOMS:
        return start
    alike = [f"architecture={settings(start)['architecture']}"]  # one network, three ways
    tune = way == TUNED
    run = asked.work / f"{'tuned' if tune else 'scratch'}-{fold}"
    with hours(run.with_name(f"{run.name}.hours.json"), run.name, write_whole) as so_far:
        model = pipeline.train(
            "patch_to_image",
            [asked.data],
            run,
            split=f"{asked.split}:{fold}",
            preset=asked.preset,
            settings=[*alike, "trains=tune"] if tune else alike,
            init=asked.start if tune else None,
            hardware=Hardware(threads=asked.threads, progress=not asked.quiet),
            fitted=False,
        )
        cost = run.with_name(f"{run.name}.cost.json")
        if not cost.is_file():  # else it was trained by a call before
            write_whole(cost, json.dumps(round(so_far(), 4)) + "\n")
    return model


def begun_with(asked: argparse.Namespace) -> Path:
    """Return the model folder of the run on phantoms."""
    run = Path(asked.start)
    return run / "model" if (run / "model").is_dir() else run


def settings(model: Path) -> dict:
    """Return what a model was trained with."""
    return json.loads((model / "config.json").read_text(encoding="utf-8"))["config"]


def main() -> None:
    """Train, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="mini_mias=ROOT")
    parser.add_argument("--split", default="mini_mias-5fold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--from", dest="start", required=True, metavar="RUN")
    parser.add_argument("--preset", default="films")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--work", type=Path, required=True, help="Where runs are kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    sources = load_all([asked.data])
    found: dict[str, dict] = {way: {} for way in (SCRATCH, PHANTOMS, TUNED)}
    seeds: dict[str, list[int]] = {way: [] for way in found}
    for way, films in found.items():
        for fold in range(asked.folds):
            chosen = choose(sources, f"{asked.split}:{fold}", Part.TEST)
            model = trained(asked, way, fold)
            seeds[way].append(settings(model)["seed"])
            films |= ranked(scores(model, chosen))
    phantoms = begun_with(asked)
    costs = {
        file.name.removesuffix(".cost.json"): json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(asked.work.glob("*.cost.json"))
    }
    told = {
        "command": f"python benchmarks/whole_image_films.py mini_mias=ROOT --from RUN --preset {asked.preset}",
        "split": f"{asked.split}, {asked.folds} folds, each film by a network of the others, ranked among its fold's",
        "data": [{"name": s.dataset, "fingerprint": s.fingerprint} for s in sources],
        "films": LOOKED,
        "phantoms only": {
            "sha256": load_model(str(phantoms)).sha256,
            **{name: settings(phantoms)[name] for name in ("architecture", "seed")},
        },
        "seeds": seeds,
        "hours": {"all": round(sum(costs.values()), 4), **costs},
        "interval": {"method": "patient bootstrap", "resamples": RESAMPLES},
        "table": table(found),
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told["table"], indent=1, ensure_ascii=False))


def table(found: dict[str, dict]) -> list[list[str]]:
    """Return what a README shows."""
    words = {"malignant": "malignant against the rest", "abnormal": "abnormal against normal"}
    apart = [SCRATCH, PHANTOMS]
    heads = [f"less {way}" for way in apart]
    rows = [[f"films, {LOOKED}", "with / without", "network", "AUC", *heads]]
    paths = sorted(set.intersection(*(set(films) for films in found.values())))
    for column, name in enumerate(COLUMNS):
        known = [p for p in paths if not np.isnan(found[SCRATCH][p][1][column])]
        label = np.array([found[SCRATCH][p][1][column] == 1 for p in known])
        who = [found[SCRATCH][p][2] for p in known]
        drawn = {}
        for way, films in found.items():
            own = positions(np.array([films[p][0][column] for p in known]), label, who)
            drawn[way] = replicates(score_statistic(own), own.n_patients)[:, 0]
        for way, values in drawn.items():
            got = estimate(values)
            less = ["", ""]  # each pair once: of ways that come before
            for place, other in enumerate(apart[: list(drawn).index(way)]):
                gap = difference(values, drawn[other])
                less[place] = shown(gap.value, gap.low, gap.high)
            rows.append(
                [words[name], f"{label.sum()} / {(~label).sum()}", way,
                 shown(got.value, got.low, got.high), *less]
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
