"""Is the phantom as hard as film? python benchmarks/phantom_difficulty.py --data mini_mias=ROOT -o OUT

Two finders that learn nothing read real films and film phantoms: `spot_filter` finds clusters on CALC
and NORM films, and a plain difference-of-Gaussians mass finder (below) finds CIRC, SPIC and MISC masses
among NORM films. Their FROC curves on phantoms (women of another seed than any named set's) should
agree with those on films; ``--scale`` multiplies the conspicuity of all lesions, which shows on which
side of the truth the phantom lies. Several, ``--scale 0.5 0.7 1 1.4 2``, say at which median the two
would agree. Writes difficulty.json and difficulty.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import ndimage

from secondreader import detections, geometry, imaging, phantom
from secondreader.domain import (
    Circle,
    Detection,
    ImageReading,
    ImageSource,
    Kind,
    Lesion,
    Mammogram,
)
from secondreader.evaluation.bootstrap import replicates
from secondreader.evaluation.froc import find, froc, recalls_at
from secondreader.evaluation.matching import hit_rule
from secondreader.evaluation.scored import ScoredImage
from secondreader.methods import spot_filter
from secondreader.phantom.lesions import CONSPICUITY
from secondreader.sources import images_of, load_all

mpl.use("Agg")
import matplotlib.pyplot as plt

RATES = np.array([0.125, 0.25, 0.5, 1, 2, 4, 8])
SEED = 990_001


def masses(mammogram: Mammogram) -> ImageReading:
    """Find blobs of 4 to 16 mm: peaks of a difference of Gaussians in local contrast, at 0.8 mm."""
    assert mammogram.spacing_mm is not None
    breast = imaging.breast_mask(mammogram.pixels, mammogram.spacing_mm)
    shape = (mammogram.pixels.shape[0], mammogram.pixels.shape[1])
    frame = geometry.identity(shape)
    small, moved = imaging.to_spacing(mammogram.pixels, frame, mammogram.spacing_mm, 0.8)
    inside, _ = imaging.to_spacing(breast.astype(np.float32), frame, mammogram.spacing_mm, 0.8)
    mask = ndimage.binary_erosion(np.pad(inside > 0.5, 6, mode="edge"), iterations=6)[6:-6, 6:-6]
    if mask.sum() < 100:
        return ImageReading(mammogram.source, 0.0)
    best, size = np.zeros(small.shape, np.float32), np.zeros(small.shape, np.float32)
    for sigma_mm in (2.0, 2.8, 4.0, 5.6):
        sigma = sigma_mm / 0.8
        response = _inside(small, mask, sigma) - _inside(small, mask, 2 * sigma)
        noise = np.sqrt(np.maximum(_inside(response**2, mask, 25), 1e-10))
        response = np.where(mask, response / noise, 0)
        size[response > best] = sigma_mm
        np.maximum(best, response, out=best)
    positions, scores = detections.peaks(best, threshold=0.3, min_distance=10, mask=mask, most=30)
    source = geometry.to_source(moved, positions)
    found = []
    for (r, c), (row, col), score in zip(positions, source, scores, strict=True):
        radius = 1.4 * float(size[round(r), round(c)]) / mammogram.spacing_mm[0]
        found.append(Detection(Kind.MASS, Circle(float(row), float(col), radius), float(score)))
    return ImageReading(mammogram.source, 0.0, None, tuple(found))


def _inside(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth within the mask only, so that the skin is no edge."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    return ndimage.gaussian_filter(np.where(mask, values, 0), sigma) / np.maximum(weight, 1e-3)


Films = Iterable[tuple[str, str, Mammogram, tuple[Lesion, ...]]]


def real_films(data: str) -> Films:
    """Yield (image, patient, mammogram, lesions) of mini-MIAS."""
    images = images_of(load_all([data]))
    for record in images.records:
        yield record.path, record.patient_id, images.open(record), record.lesions


def phantom_films(women: int, scale: float) -> Films:
    """Yield the oblique views of film phantoms, as mini-MIAS has them; a third each as in bench-1."""
    for index in range(women):
        contents = list(phantom.Contents)[index % 3]
        made = phantom.exam(SEED, index, vendor="film", contents=contents, conspicuity_scale=scale)
        for image in made.images[2:]:
            pixels = image.stored.astype(np.float32) / 255
            source = ImageSource("phantom", bits=8)
            mammogram = Mammogram(pixels, (0.2, 0.2), image.laterality, image.view, source)
            lesions = tuple(
                Lesion(t.lesion_id, t.kind, t.region, t.part_of, t.visible, t.pathology)
                for t in image.truth
                if t.pathology != "benign_without_callback"
            )
            yield f"{index}-{image.laterality}", str(index), mammogram, lesions


def read(films: Films) -> dict[str, list[ScoredImage]]:
    """Read films with both finders; keep those that hold what a finder looks for, and the normal ones."""
    spots = spot_filter.load(None)
    out: dict[str, list[ScoredImage]] = {"cluster": [], "mass": []}
    for name, patient, mammogram, lesions in films:
        kinds = {s.kind for s in lesions if s.part_of is None}
        image = ScoredImage(
            name, patient, patient, mammogram.laterality, mammogram.view, mammogram.spacing_mm
        )
        for what, kind, finder in (
            ("cluster", Kind.CALCIFICATION_CLUSTER, spots.read),
            ("mass", Kind.MASS, masses),
        ):
            if kinds and kind not in kinds:
                continue
            own = tuple(s for s in lesions if s.kind is kind and s.region is not None)
            found = tuple(d for d in finder(mammogram).detections if d.kind is kind)
            # Known to hold nothing: a normal film.
            known = None if kinds else False
            out[what].append(
                replace(image, lesions=own, malignant=known, score=0.0, detections=found)
            )
    return out


def curve(images: list[ScoredImage], rule: str, resamples: int) -> dict[str, object]:
    """Return sensitivity at each rate of false positives on normal films, with intervals."""
    found = find(images, hit_rule(rule))
    patients = len({image.patient_id for image in images})

    def statistic(counts: np.ndarray) -> np.ndarray:
        return recalls_at(froc(found, counts, "normal"), RATES).T

    drawn = replicates(statistic, patients, seed=0, resamples=resamples)
    value = statistic(np.ones((patients, 1)))[0]
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return {
        "images": len(images),
        "lesions": int(found.lesion_scores.size),
        "fpi": RATES.tolist(),
        "sensitivity": np.round(value, 4).tolist(),
        "low": np.round(low, 4).tolist(),
        "high": np.round(high, 4).tolist(),
    }


def agreeing(scales: list[float], gaps: list[float]) -> float | None:
    """Return the scale at which the mean difference is 0, between those tried; None if it is not."""
    rising = np.maximum.accumulate(gaps)  # more conspicuous is easier, but for chance
    if not rising[0] < 0 < rising[-1]:
        return None
    return float(np.exp(np.interp(0, rising, np.log(scales))))


def measure(data: str, women: int, scales: list[float], resamples: int) -> dict[str, object]:
    """Read films once and phantoms at each scale; say how far apart their curves lie."""
    rules = {"cluster": "cluster", "mass": "centre_in_region"}
    films = read(real_films(data))
    real = {what: curve(films[what], rule, resamples) for what, rule in rules.items()}
    told: dict[str, object] = {
        "conspicuity": {str(k): v for k, v in CONSPICUITY.items()},
        "women": women,
        "film": real,
    }
    gaps: dict[str, list[float]] = {what: [] for what in rules}
    for scale in scales:
        made = read(phantom_films(women, scale))
        for what, rule in rules.items():
            got = curve(made[what], rule, resamples)
            told[f"phantom x {scale:g} {what}"] = got
            gap = np.subtract(got["sensitivity"], real[what]["sensitivity"])
            gaps[what].append(float(gap.mean()))
            print(f"scale {scale:g} {what}: film {real[what]['sensitivity']}")
            print(f"  phantom {got['sensitivity']}")
            print(f"  mean difference {gap.mean():+.3f}, mean absolute {np.abs(gap).mean():.3f}")
    for what, kind in (("cluster", Kind.CALCIFICATION_CLUSTER), ("mass", Kind.MASS)):
        at = agreeing(scales, gaps[what])
        if at is not None:
            median = CONSPICUITY[kind][0] * at
            print(f"{what}: the curves agree on average at scale {at:.2f}, median {median:.2f}")
    return told


def main() -> None:
    """Read both, draw both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="mini_mias=ROOT; without it, only draw OUT/difficulty.json")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--women", type=int, default=120)
    parser.add_argument("--scale", type=float, nargs="*", default=[1.0])
    parser.add_argument("--resamples", type=int, default=1000)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "difficulty.json"
    if asked.data is None:
        told = json.loads(kept.read_text())
    else:
        told = measure(asked.data, asked.women, sorted(asked.scale), asked.resamples)
        kept.write_text(json.dumps(told, indent=1) + "\n")
    draw(told, asked.out)


def draw(told: dict[str, Any], out: Path) -> None:
    """Draw what `difficulty.json` holds."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for axis, what in zip(axes, ("cluster", "mass"), strict=True):
        film = told["film"][what]
        axis.plot(RATES, film["sensitivity"], "k-o", label=f"mini-MIAS (n = {film['lesions']})")
        axis.fill_between(RATES, film["low"], film["high"], color="k", alpha=0.12)
        for name in (key for key in told if key.startswith("phantom") and key.endswith(what)):
            got = {key: np.array(value) for key, value in told[name].items()}
            reach = [got["sensitivity"] - got["low"], got["high"] - got["sensitivity"]]
            label = f"film {name} (n = {told[name]['lesions']})"
            axis.errorbar(RATES, got["sensitivity"], np.abs(reach), label=label, capsize=2)
        axis.set(xscale="log", ylim=(0, 1), title=what, xlabel="false positives per normal film")
        axis.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
        axis.minorticks_off()
        axis.set_ylabel("sensitivity")
        axis.legend(fontsize=8)
    figure.savefig(out / "difficulty.png", dpi=110)


if __name__ == "__main__":
    main()
