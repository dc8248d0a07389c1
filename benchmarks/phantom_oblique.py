"""Oblique views of films and of the phantom's anatomies: the pectoral muscle, and where bright tissue lies.

python benchmarks/phantom_oblique.py --data mini_mias=ROOT [--women 60] -o FILE.json

On pixels of 0.4 mm, grey values of the breast from its 1st to its 99.5th percentile as 0 to 1:

- muscle: of the 16 mm square at the upper chest corner, where all of it is breast, the mean, the spread of
  what lies between Gaussians of 0.8 and 1.6 mm, and by how much it falls across, away from the chest;
- bright tissue: of the brightest 15 % of the breast without the muscle's triangle (from the upper chest corner
  to the nipple's level, 0.65 depths wide) and without 3 mm at the skin, how far in front of the chest side its
  middle lies, and how far below the nipple's level, in depths of the breast.

The median over images and how far apart their 10th and 90th percentiles are, intervals over women. About five
minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from phantom_masses import Seen, with_intervals  # beside this file
from scipy import ndimage

from secondreader import imaging
from secondreader.domain import View
from secondreader.evaluation.tables import in_brackets
from secondreader.phantom import Contents
from secondreader.phantom.anatomy import ANATOMIES
from secondreader.phantom.exam import exam_image, exam_truth
from secondreader.sources import images_of, load_all

SEED = 990_005
PITCH, COARSE = 0.2, 0.4
SQUARE = 40  # pixels of COARSE
FIGURES = (
    "muscle: grey value", "muscle: texture", "muscle: falls across",
    "bright tissue: in front of the chest side", "bright tissue: below the nipple",
)  # fmt: skip


def told(pixels: np.ndarray) -> list[float] | None:
    """Return the figures of one oblique view of 0.2 mm; None where the chest side is not plain."""
    mask = imaging.breast_mask(pixels)
    side = imaging.chest_wall(mask)
    if side is None:
        return None
    if side == "right":
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    own = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    grey = ndimage.zoom(pixels[own].astype(np.float32), PITCH / COARSE, order=1)
    inside = ndimage.zoom(mask[own].astype(np.uint8), PITCH / COARSE, order=0) > 0
    low, high = np.percentile(grey[inside], (1, 99.5))
    grey = (grey - low) / max(high - low, 1e-6)
    return [*_muscle(grey, inside), *_bright(grey, inside)]


def _muscle(grey: np.ndarray, inside: np.ndarray) -> list[float]:
    square = np.s_[3 : 3 + SQUARE, 3 : 3 + SQUARE]
    own = grey[square]
    if own.shape != (SQUARE, SQUARE) or inside[square].mean() < 0.95:
        return [np.nan] * 3
    fine = ndimage.gaussian_filter(own, 2) - ndimage.gaussian_filter(own, 4)
    third = SQUARE // 3
    return [
        float(own.mean()),
        float(fine[4:-4, 4:-4].std()),
        float(own[:, :third].mean() - own[:, -third:].mean()),
    ]


def _bright(grey: np.ndarray, inside: np.ndarray) -> list[float]:
    r, c = np.indices(grey.shape)
    high = len(grey)
    reach = np.where(inside, c, 0).max(1)
    smooth = ndimage.gaussian_filter1d(reach[high // 4 : 9 * high // 10].astype(float), 10)
    nipple = high // 4 + int(smooth.argmax())
    depth = max(float(reach[nipple]), 1.0)
    muscle = c / (0.65 * depth) + r / max(nipple, 1) < 1
    deep = imaging.away_from_skin(inside, 3 / COARSE) & ~muscle
    if deep.sum() < 500:
        return [np.nan] * 2
    bright = deep & (grey > np.percentile(grey[deep], 85))
    if not bright.any():
        return [np.nan] * 2
    return [float(c[bright].mean() / depth), float((r[bright].mean() - nipple) / depth)]


def of_films(data: str) -> Iterator[Seen]:
    """Measure the films of mini-MIAS without an abnormality."""
    images = images_of(load_all([data]))
    for record in images.records:
        found = None if record.lesions else told(images.open(record).pixels)
        if found:
            yield record.patient_id, found


def of_phantoms(women: int, anatomy: int) -> Iterator[Seen]:
    """Measure film phantoms of women who have nothing."""
    normal = Contents.NORMAL
    for number in range(women):
        exam = exam_truth(SEED, number, vendor="film", contents=normal, anatomy=anatomy)
        for image in exam.images:
            if image.view is View.MLO:
                found = told(
                    exam_image(SEED, number, image.laterality, View.MLO, vendor="film",
                               contents=normal, anatomy=anatomy)
                )  # fmt: skip
                if found:
                    yield number, found


def summed(seen: list[Seen]) -> list[list[str]]:
    """Return of each figure its median and its spread, with their intervals over women."""

    def both(values: np.ndarray) -> np.ndarray:
        low, middle, high = np.nanquantile(values, (0.1, 0.5, 0.9), axis=0)
        return np.stack([middle, high - low])

    told = with_intervals(seen, both)
    return [
        [in_brackets(*ends) for ends in zip(*of, strict=True)] for of in zip(*told, strict=True)
    ]


def main() -> None:
    """Measure all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--women", type=int, default=60)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    kinds = {"films of mini-MIAS": list(of_films(asked.data))}
    for anatomy in (1, *range(4, ANATOMIES + 1)):
        kinds[f"phantom, anatomy {anatomy}"] = list(of_phantoms(asked.women, anatomy))
    table = [["figure", "of images", *(f"{words} ({len(seen)})" for words, seen in kinds.items())]]
    every = [summed(seen) for seen in kinds.values()]
    for number, figure in enumerate(FIGURES):
        for place, words in enumerate(("median", "10 to 90 %")):
            table.append([figure, words, *(of[place][number] for of in every)])
    command = f"python benchmarks/phantom_oblique.py --data mini_mias=ROOT --women {asked.women} -o FILE.json"
    text = json.dumps({"command": command, "table": table}, indent=1, ensure_ascii=False)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
