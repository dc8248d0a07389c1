"""Images that are made when they are opened: a recipe lies where the file would.

A recipe is a small JSON file, ``ROOT/truth/EXAM/L-CC.phantom``. Opening it makes the image and keeps
its stored values losslessly as ``ROOT/pixels/EXAM/L-CC.jls``; opening it again reads that. A recipe of another version
of this program is refused, since its image would come out otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from secondreader.domain import (
    ImageSource,
    Intent,
    Laterality,
    Mammogram,
    Refused,
    Step,
    View,
)
from secondreader.formats import FileRef, atomic_write, jpegls_bytes, jpegls_pixels
from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import PhantomExam, PhantomImage, exam_image
from secondreader.phantom.vendors import name_of, system

__all__ = ["SCHEMA", "SUFFIX", "mammogram", "recipe_text"]

SCHEMA = "secondreader.phantom/1"
"""Its number is that of how images come out; the same stands in the names of sets."""
SUFFIX = ".phantom"


def recipe_text(made: PhantomExam, image: PhantomImage) -> str:
    """Return the recipe of one image of an exam."""
    told = {
        "schema": SCHEMA,
        "seed": made.seed,
        "index": made.index,
        "contents": str(made.contents),
        "vendor": name_of(made.vendor),
        "laterality": str(image.laterality),
        "view": str(image.view),
    }
    if made.anatomy != 1:
        told["anatomy"] = made.anatomy
    return json.dumps(told) + "\n"


def mammogram(ref: FileRef) -> Mammogram:
    """Make the image of a recipe, or read what was made of it before.

    Raises
    ------
    Refused
        If it is no recipe of this version.
    """
    try:
        with ref.open() as stream:
            told = json.loads(stream.read())
        if told["schema"] != SCHEMA:
            raise Refused(
                "other-version", f"phantom recipe: got {told['schema']!r}, expected {SCHEMA}"
            )
        side, view = Laterality(told["laterality"]), View(told["view"])
        vendor, contents = system(told["vendor"]), Contents(told["contents"])
        seed, index = int(told["seed"]), int(told["index"])
        anatomy = int(told.get("anatomy", 1))
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("bad-header", f"phantom recipe: got no {type(error).__name__}") from None
    kept = (Path(ref.root).parent / "pixels" / ref.path).with_suffix(".jls")
    stored = _kept(kept)
    if stored is None:
        stored = exam_image(
            seed, index, side, view, vendor=told["vendor"], contents=contents, anatomy=anatomy
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(kept, jpegls_bytes(stored))
    top = 2**vendor.bits - 1
    pixels = stored.astype(np.float32) / np.float32(top)
    step = Step("phantom", f"value / {top}", "the recipe", None, (0.0, 1.0))
    source = ImageSource(
        ref.path,
        format="phantom",
        vendor=vendor.name,
        model=vendor.model,
        intent=Intent.FOR_PRESENTATION,
        bits=vendor.bits,
        voi=f"value / {top}",
        lossy=False,
        steps=(step,),
    )
    return Mammogram(pixels, (vendor.pitch_mm, vendor.pitch_mm), side, view, source)


def _kept(path: Path) -> np.ndarray | None:
    """Return the stored values that were kept, None where there are none or they are not whole."""
    try:
        return jpegls_pixels(path.read_bytes())
    except (OSError, Refused):
        return None
