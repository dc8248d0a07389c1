"""Whole images of real films: python benchmarks/whole_image_films.py mini_mias=ROOT --from RUN --work FOLDER -o FILE.json

Abnormal against normal and malignant against the rest, from the two outputs of one network, over the folds of
mini-MIAS: trained from random weights on the films of the other folds; on phantoms only (RUN, a whole-image
classifier by the preset cpu); on phantoms, then tuned on the films of the other folds with image labels
only; and both of that on the films of so many women only (``--women``). Every film is scored by a network that
saw no film of its woman. The networks of two folds score on two scales, the one of phantoms on one: pooled are
the ranks that scores have among the films of their fold, in all ways. AUC with intervals over women, and paired
differences: from phantoms only, and from random weights on as many women. ``--plot`` draws AUC against the number
of real women. These films were looked at in development. A second call goes on where the first was stopped;
hours are those of all calls.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from secondreader import pipeline
from secondreader.domain import Part
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate, replicates
from secondreader.evaluation.classification import score_statistic
from secondreader.evaluation.tables import in_brackets
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
Way = tuple[str, int | None]  # how it was trained, and on how many real women; None: on all


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


def trained(asked: argparse.Namespace, way: str, women: int | None, fold: int) -> Path:
    """Return the model of a way to train, of so many real women or all, and a fold."""
    start = begun_with(asked)
    if way == PHANTOMS:
        return start
    alike = [f"architecture={settings(start)['architecture']}"]  # one network, whichever way
    tune, few = way == TUNED, "" if women is None else f"-{women}"
    if women is not None:
        alike.append(f"patients={women}")
    run = asked.work / f"{'tuned' if tune else 'scratch'}{few}-{fold}"
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
    parser.add_argument("--women", type=int, nargs="*", default=[15, 30], help="Besides all.")
    parser.add_argument("--preset", default="films")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--work", type=Path, required=True, help="Where runs are kept.")
    parser.add_argument("--plot", type=Path, help="AUC against the number of real women.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    sources = load_all([asked.data])
    # What a way is compared with comes before it.
    numbers = [*sorted(asked.women), None]
    ways: list[Way] = [(PHANTOMS, 0), *((way, n) for n in numbers for way in (SCRATCH, TUNED))]
    found: dict[Way, dict] = {way: {} for way in ways}
    seeds: dict[str, list[int]] = {}
    for way, films in found.items():
        for fold in range(asked.folds):
            chosen = choose(sources, f"{asked.split}:{fold}", Part.TEST)
            model = trained(asked, *way, fold)
            seeds.setdefault(words_of(way), []).append(settings(model)["seed"])
            films |= ranked(scores(model, chosen))
    part = [choose(sources, f"{asked.split}:{f}", Part.TRAIN).images for f in range(asked.folds)]
    all_women = round(np.mean([len({r.patient_id for r in own.records}) for own in part]))
    rows, points = table(found, all_women)
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
        "women": points,
        "table": rows,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if asked.plot:
        draw(points, asked.plot)
    print(json.dumps(told["table"], indent=1, ensure_ascii=False))


def words_of(way: Way) -> str:
    """Return a way in words, of real women as many as were used."""
    name, women = way
    return name if way == (PHANTOMS, 0) else f"{name}, {women or 'all'} women"


def table(found: dict[Way, dict], all_women: int) -> tuple[list[list[str]], list[dict]]:
    """Return what a README shows, and its numbers by how many real women there were."""
    words = {"malignant": "malignant against the rest", "abnormal": "abnormal against normal"}
    heads = [f"less {PHANTOMS}", f"less {SCRATCH} on as many"]
    rows = [[f"films, {LOOKED}", "with / without", "network", "AUC", *heads]]
    points = []
    some = found[PHANTOMS, 0]
    paths = sorted(set.intersection(*(set(films) for films in found.values())))
    for column, name in enumerate(COLUMNS):
        known = [p for p in paths if not np.isnan(some[p][1][column])]
        label = np.array([some[p][1][column] == 1 for p in known])
        who = [some[p][2] for p in known]
        drawn = {}
        for way, films in found.items():
            own = positions(np.array([films[p][0][column] for p in known]), label, who)
            drawn[way] = replicates(score_statistic(own), own.n_patients)[:, 0]
        for way, values in drawn.items():
            got = estimate(values)
            rivals = [(PHANTOMS, 0), (SCRATCH, way[1])] if way[0] == TUNED else [(PHANTOMS, 0)]
            less = ["", ""]
            for place, other in enumerate(rivals if way != (PHANTOMS, 0) else []):
                gap = difference(values, drawn[other])
                less[place] = in_brackets(gap.value, gap.low, gap.high)
            rows.append(
                [words[name], f"{label.sum()} / {(~label).sum()}", words_of(way),
                 in_brackets(got.value, got.low, got.high), *less]
            )  # fmt: skip
            points.append(
                {"of": words[name], "network": way[0], "women": all_women if way[1] is None else way[1],
                 "auc": got.value, "low": got.low, "high": got.high}
            )  # fmt: skip
    return rows, points


def draw(points: list[dict], file: Path) -> None:
    """Draw AUC with its interval against the number of real women; phantoms alone are none."""
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys(point["of"] for point in points))
    _, places = plt.subplots(1, len(kinds), figsize=(4.5 * len(kinds), 3.5), sharey=True)
    for place, kind in zip(np.atleast_1d(places), kinds, strict=True):
        for network, held in ((TUNED, (PHANTOMS, TUNED)), (SCRATCH, (SCRATCH,))):
            own = [p for p in points if p["of"] == kind and p["network"] in held]
            at, auc, low, high = (
                np.array([p[k] for p in own]) for k in ("women", "auc", "low", "high")
            )
            at = at + (network == SCRATCH)  # beside each other, not over
            place.errorbar(at, auc, [auc - low, high - auc], marker="o", capsize=3, label=network)
        place.axhline(0.5, color="grey", linewidth=0.5)
        place.set(title=kind, xlabel="real women in training", ylabel="AUC")
        place.legend()
    plt.tight_layout()
    plt.savefig(file)


if __name__ == "__main__":
    main()
