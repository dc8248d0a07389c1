"""Does calibration fitted on one maker's images hold on another's?

python benchmarks/calibration_vendors.py MODEL... --data phantom=SET:VENDOR... -o FILE.json

Each model, of whatever method, reads the calibration and the test part of each data set. Each way to
make probabilities that suits its scores is fitted on the calibration part of each maker and applied to
the test part of each: those of its own on the diagonal, and off it what a hospital meets that buys
another scanner. Log loss, expected calibration error (bins of equal mass) and the slope of
recalibration, intervals over patients, and the paired difference in log loss to what is fitted at
home. `uncalibrated` is the score as it is, where that can be a probability.

Every way acts on the score of the --level, a breast's unless told: the mean of its views' scores, not on
each view's. Intervals draw the women of the test part again, and not those that calibration was fitted
on: they say how sure a figure of these maps is, not how much another fit would differ. Which images a
model was trained on stands in its folder, and in the file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from secondreader import scoring
from secondreader.domain import Part, SecondReaderError
from secondreader.evaluation import calibration, reliability
from secondreader.evaluation.bootstrap import RESAMPLES, difference, estimate, replicates
from secondreader.evaluation.tables import in_brackets
from secondreader.evaluation.units import Level, Units, units
from secondreader.reading import Model, load_models
from secondreader.sources import load_all

NAMES = ("log loss", "calibration error", "slope")


def read(
    models: list[Model], data: str, split: str, part: Part, level: Level, work: Path
) -> list[Units]:
    """Return the units of one part of one data set, for each model."""
    chosen = scoring.choose(load_all([data]), split, part)
    place = "".join(c if c.isalnum() else "-" for c in f"{data} {part}")
    file = scoring.read_records(chosen, models, work / place)
    return [
        units(readings.images, level, given=readings.given)
        for readings in scoring.scored(chosen, file)
    ]


def figures(p: np.ndarray, of: Units, resamples: int) -> np.ndarray:
    """Return replicates (1 + resamples, 3) of `NAMES`."""
    loss = np.bincount(of.patients, reliability.log_loss(p, of.labels), of.n_patients)
    number = np.bincount(of.patients, minlength=of.n_patients)
    table = reliability.bins(p, of.labels, of.patients, of.n_patients, equal="mass")
    slope = reliability.recalibration(p, of.labels, of.patients)

    def statistic(counts: np.ndarray) -> np.ndarray:
        error = reliability.expected_error(table, counts)
        return np.stack([(loss @ counts) / (number @ counts), error, slope(counts)[:, 0]], axis=1)

    return replicates(statistic, of.n_patients, resamples=resamples)


def ways(held: Units, told: list[str]) -> dict[str, calibration.Calibration]:
    """Return every way that suits the scores, fitted."""
    own, others = calibration.suited(held.scores)
    made: dict[str, calibration.Calibration] = {}
    for way in (own, *others):
        try:
            made[way] = calibration.fit(way, held.scores, held.labels, held.patients)
        except SecondReaderError as error:
            told.append(f"{way}: {error}")
    return made


def rows_of(
    name: str, fitted: dict[str, Units], tested: dict[str, Units], resamples: int, notes: list[str]
) -> list[list[str]]:
    """Return a model's rows: each way, each maker it is fitted on, each it is used on."""
    rows = []
    made = {maker: ways(held, notes) for maker, held in fitted.items()}
    for used, of in tested.items():
        kinds = sorted({way for fits in made.values() for way in fits})
        plain = calibration.beside(of.scores, {})
        for way in [*plain, *kinds]:
            # At home first, as the others are put beside it.
            makers = ["–"] if way in plain else [used, *(m for m in made if m != used)]
            home = None
            for maker in makers:
                if way not in plain and way not in made[maker]:
                    continue
                p = plain[way] if way in plain else calibration.apply(made[maker][way], of.scores)
                got = figures(p, of, resamples)
                cells = [in_brackets(e.value, e.low, e.high) for e in map(estimate, got.T)]
                apart = ""
                if maker == used:
                    home = got
                elif home is not None:
                    gap = difference(got[:, 0], home[:, 0])
                    apart = in_brackets(gap.value, gap.low, gap.high)
                rows.append([name, way, maker, used, *cells, apart])
    return rows


def told_of(model: str, prints: dict[str, str]) -> dict[str, object]:
    """Return which run a model is of, and what it was trained on; by fingerprint where that is not here."""
    folder = Path(model)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    if not (folder / "environment.json").is_file():
        return {"model": model}
    told = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    data = [prints.get(of, f"{name}, {of}") for name, of in told.get("data", {}).items()]
    run = "/".join(folder.resolve().parent.parts[-2:])
    return {"model": run, "trained on": data, "split": told.get("split")}


def main() -> None:
    """Fit everywhere, measure everywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--split", default="official")
    parser.add_argument("--level", default="breast", choices=["image", "breast", "exam"])
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--work", type=Path, required=True, help="Where readings are kept.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    models = list(load_models(asked.models))
    found = {
        data: [
            read(models, data, asked.split, part, asked.level, asked.work)
            for part in (Part.CALIBRATION, Part.TEST)
        ]
        for data in asked.data
    }
    prints = {source.fingerprint: data for data in asked.data for source in load_all([data])}
    notes: list[str] = []
    rows = [["reader", "way", "fitted on", "used on", *NAMES, "log loss, less fitted at home"]]
    for index, model in enumerate(models):
        fitted, tested = (
            {data.partition("=")[2]: parts[which][index] for data, parts in found.items()}
            for which in (0, 1)
        )
        rows += rows_of(model.name, fitted, tested, asked.resamples, notes)
    told = {
        "command": "python benchmarks/calibration_vendors.py MODEL... --data "
        f"{' --data '.join(asked.data)} --split {asked.split} --level {asked.level} "
        f"--resamples {asked.resamples} --work FOLDER -o FILE",
        "models": [told_of(model, prints) for model in asked.models],
        "data": asked.data, "split": asked.split, "level": asked.level, "resamples": asked.resamples,
        "not fitted": notes, "table": rows,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
