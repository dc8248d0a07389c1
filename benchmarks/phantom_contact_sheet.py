"""Real and phantom side by side: python benchmarks/phantom_contact_sheet.py [--data mini_mias=ROOT] -o FILE.png

Without --data phantoms alone: four views of a woman through every system, then lesions close up; that
sheet may be shown. With --data, rows of real films beside rows of film phantoms at one scale: look at
it, and do not commit it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from secondreader import geometry, phantom
from secondreader.domain import Laterality, View
from secondreader.phantom.exam import exam_image
from secondreader.phantom.vendors import VENDORS
from secondreader.sources import images_of, load_all

SEED, TILE = 990_003, 220


def tile(
    pixels: np.ndarray, text: str = "", mm: float | None = None, pitch: float = 1.0
) -> np.ndarray:
    """Return a picture of TILE pixels each way; with ``mm`` so many millimetres high."""
    grey = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    scale = TILE / max(grey.size) if mm is None else TILE * pitch / mm
    size = max(round(grey.width * scale), 1), max(round(grey.height * scale), 1)
    out = Image.new("L", (TILE, TILE))
    out.paste(grey.resize(size, Image.Resampling.BOX), (0, 0))
    ImageDraw.Draw(out).text((4, TILE - 14), text, fill=255)
    return np.asarray(out)


def phantoms() -> list[list[np.ndarray]]:
    """Return rows: every system's four views, then lesions close up."""
    rows = []
    for number, vendor in enumerate(VENDORS):
        made = phantom.exam(SEED, number, vendor=vendor, contents=phantom.Contents.MALIGNANT)
        top = 2**made.vendor.bits - 1
        rows.append(
            [
                tile(i.stored / top, f"{vendor} {i.laterality} {i.view} density {made.density}")
                for i in made.images
            ]
        )
    close = []
    for index in range(40):
        made = phantom.exam_truth(SEED, 100 + index, contents=phantom.Contents.MALIGNANT)
        image = made.images[index % 4]
        own = [t for t in image.truth if t.part_of is None and t.visible]
        names = {n for _, n in close}
        fresh = [t for t in own if t.descriptor.partition("/")[0] not in names]
        if not fresh or len(close) == 16:
            continue
        stored = exam_image(
            SEED,
            100 + index,
            image.laterality,
            image.view,
            vendor="hologic",
            contents=made.contents,
        )
        row, col = (round(v) for v in geometry.centre(fresh[0].region))
        reach = int(13 / made.vendor.pitch_mm)
        cut = stored[max(row - reach, 0) : row + reach, max(col - reach, 0) : col + reach]
        name = fresh[0].descriptor
        close.append((tile(cut / 4095, name), name.partition("/")[0]))
    tiles = [picture for picture, _ in close]
    return rows + [tiles[i : i + 4] for i in range(0, len(tiles) - 3, 4)]


def beside(data: str) -> list[list[np.ndarray]]:
    """Return rows of real films and of film phantoms, turn about."""
    images = images_of(load_all([data]))
    normal = [record for record in images.records if not record.lesions]
    rng = np.random.default_rng(SEED)
    films = [images.open(normal[i]) for i in sorted(rng.choice(len(normal), 15, replace=False))]
    rows = []
    for start in range(0, 15, 5):
        few = films[start : start + 5]
        rows.append(
            [
                tile(
                    f.pixels[:, ::-1] if f.laterality is Laterality.R else f.pixels,
                    "film",
                    205,
                    0.2,
                )
                for f in few
            ]
        )
        made = [
            exam_image(
                SEED,
                50 + start + i,
                Laterality.L,
                View.MLO,
                vendor="film",
                contents=phantom.Contents.NORMAL,
            )
            for i in range(5)
        ]
        rows.append([tile(stored / 255, "phantom", 205, 0.2) for stored in made])
    return rows


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="mini_mias=ROOT")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = beside(asked.data) if asked.data else phantoms()
    wide = max(len(row) for row in rows)
    blank = np.zeros((TILE, TILE), np.uint8)
    sheet = np.vstack([np.hstack(row + [blank] * (wide - len(row))) for row in rows])
    Image.fromarray(sheet).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
