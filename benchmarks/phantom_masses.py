"""What masses look like, of films and of the phantom's anatomies.

python benchmarks/phantom_masses.py --data mini_mias=ROOT [--women 80] -o FILE.json

Each mass has its own circle: of mini-MIAS the one of its truth; of a phantom, whose outline is exact where
films' circles lie around their masses, a disc of its area times 1.25 in radius. Grey values are of 0 to 1:

- radius: of the circle;
- contrast: the mean within 0.45 radii less the mean between 1.3 and 1.7;
- texture in its middle, and beside it: the spread, in the same two places, of what a Gaussian of a
  millimetre takes away.

Medians over masses, intervals over women. About three minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from secondreader import geometry
from secondreader.domain import Circle, Kind
from secondreader.evaluation.tables import in_brackets
from secondreader.phantom import Contents
from secondreader.phantom.anatomy import ANATOMIES
from secondreader.phantom.exam import exam_image, exam_truth
from secondreader.sources import images_of, load_all

SEED = 990_004
PITCH = 0.2
AROUND = 1.25
RESAMPLES = 2000
FIGURES = ("radius (mm)", "contrast", "texture in its middle", "texture beside it")
Seen = tuple[object, list[float]]  # whose, and her mass's figures


def told(pixels: np.ndarray, centre: tuple[float, float], radius: float) -> list[float] | None:
    """Return the figures of one mass, radius in pixels; None where too little of it is breast."""
    r, c = np.indices(pixels.shape)
    far = np.hypot(r - centre[0], c - centre[1]) / radius
    middle = (far < 0.45) & (pixels > 0)
    beside = (far > 1.3) & (far < 1.7) & (pixels > 0.05)
    if middle.sum() < 20 or beside.sum() < 50:
        return None
    fine = pixels - ndimage.gaussian_filter(pixels, 1 / PITCH)
    contrast = float(pixels[middle].mean() - pixels[beside].mean())
    return [radius * PITCH, contrast, float(fine[middle].std()), float(fine[beside].std())]


def of_films(data: str) -> Iterator[Seen]:
    """Measure the masses of mini-MIAS."""
    images = images_of(load_all([data]))
    for record in images.records:
        for lesion in record.lesions:
            if lesion.kind is Kind.MASS and isinstance(lesion.region, Circle):
                pixels = images.open(record).pixels.astype(np.float32)
                found = told(pixels, geometry.centre(lesion.region), lesion.region.radius)
                if found:
                    yield record.patient_id, found


def of_phantoms(women: int, anatomy: int) -> Iterator[Seen]:
    """Measure the masses of film phantoms, of half malignant women and half benign."""
    for number in range(women):
        contents = Contents.MALIGNANT if number % 2 else Contents.BENIGN
        exam = exam_truth(SEED, number, vendor="film", contents=contents, anatomy=anatomy)
        for image in exam.images:
            masses = [t for t in image.truth if t.kind is Kind.MASS and t.visible]
            if not masses:
                continue
            pixels = exam_image(
                SEED, number, image.laterality, image.view, vendor="film", contents=contents,
                anatomy=anatomy,
            ) / np.float32(255)  # fmt: skip
            for mass in masses:
                radius = AROUND * mass.diameter_mm / 2 / PITCH
                found = told(pixels, geometry.centre(mass.region), radius)
                if found:
                    yield number, found


def with_intervals(
    seen: list[Seen], statistic: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a statistic of all images' figures (images, figures), and its interval over women."""
    rng = np.random.default_rng(0)
    whose = sorted({str(w) for w, _ in seen})
    own = {w: np.array([v for x, v in seen if str(x) == w]) for w in whose}
    drawn = np.array(
        [
            statistic(np.concatenate([own[whose[i]] for i in rng.integers(len(whose), size=len(whose))]))
            for _ in range(RESAMPLES)
        ]
    )  # fmt: skip
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return statistic(np.array([v for _, v in seen])), low, high


def medians(seen: list[Seen]) -> list[str]:
    """Return each figure's median over masses, with its interval over women."""
    told = with_intervals(seen, lambda values: np.median(values, 0))
    return [in_brackets(*ends) for ends in zip(*told, strict=True)]


def main() -> None:
    """Measure all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--women", type=int, default=80)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    kinds = {"films of mini-MIAS": list(of_films(asked.data))}
    for anatomy in (1, *range(3, ANATOMIES + 1)):
        kinds[f"phantom, anatomy {anatomy}"] = list(of_phantoms(asked.women, anatomy))
    table = [["masses of", "number", *FIGURES]]
    for words, seen in kinds.items():
        table.append([words, str(len(seen)), *medians(seen)])
    command = f"python benchmarks/phantom_masses.py --data mini_mias=ROOT --women {asked.women} -o FILE.json"
    text = json.dumps({"command": command, "table": table}, indent=1, ensure_ascii=False)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
