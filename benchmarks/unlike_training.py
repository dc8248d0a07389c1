"""Which images a model calls unlike its training: python benchmarks/unlike_training.py MODEL|NAME=ROOT --on NAME=ROOT ...

Of each set: its images, the share beyond the model's threshold, the quartiles of their distance, and the
features that say so most often. In place of a model folder, a data set with parts of its own
(phantom=tiny:hologic) is fitted as training would; `--split` deals the sets of `--on`, of which the part
`--part` is looked at, `all` takes every image. `--files FILE ...` are further images.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from secondreader import formats, scoring
from secondreader.datasets.image_set import FileImages
from secondreader.datasets.parts import divide_sets
from secondreader.domain import Mammogram, Part, Refused, SecondReaderError
from secondreader.evaluation.tables import markdown
from secondreader.formats import ReadOptions
from secondreader.learning import likeness
from secondreader.learning.box import model_folder
from secondreader.phantom.sets import SETS
from secondreader.sources import images_of, load_all
from secondreader.training import LIKENESS_KEY, fitted_likeness, kept_features


def model_of(text: str) -> likeness.Likeness:
    """Return what a model folder says of its training images, or what a data set's would be."""
    if "=" in text:
        sources = load_all([text])
        whole = images_of(sources)
        parts = divide_sets(sources, "official")
        return fitted_likeness({part: whole.part(records) for part, records in parts.items()})
    folder = model_folder(text)
    found = None if folder is None else likeness.loaded(folder)
    if found is None:
        raise SecondReaderError(f"{text}: got no {likeness.FILE}, expected a model folder with one")
    return found


def rows_of(images: FileImages, most: int) -> Iterable[np.ndarray]:
    """Yield the features of a set's images, so many of them, evenly."""
    for record in images.records[:: max(len(images.records) // most, 1)][:most]:
        yield images.prepared(record, kept_features, LIKENESS_KEY)[0][0].astype(float)


def opened(files: Iterable[Path]) -> Iterable[Mammogram]:
    """Yield images of files, whatever they would be refused for."""
    options = ReadOptions(accept=frozenset(formats.ACCEPTABLE))
    for ref in formats.find(list(files)):
        if not isinstance(ref, formats.Skipped):
            with suppress(Refused):  # a licence beside the images
                yield formats.mammogram(ref, options)


def line(label: str, own: likeness.Likeness, rows: Iterable[np.ndarray]) -> list[str]:
    """Return what the model says of images, in a row of a table."""
    got = [found for row in rows if (found := own.distance(row)) is not None]
    distances = np.array([distance for distance, _ in got])
    beyond = distances > own.limit
    says = Counter(names[0] for (_, names), b in zip(got, beyond, strict=True) if b)
    told = ", ".join(f"{name} ({count})" for name, count in says.most_common(3))
    quartiles = " / ".join(f"{q:.3g}" for q in np.quantile(distances, (0.25, 0.5, 0.75)))
    return [label, str(len(got)), f"{beyond.mean():.0%}", quartiles, told]


def main() -> None:
    """Print the table, and write it where asked."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("model")
    asked.add_argument("--on", action="append", default=[])
    asked.add_argument("--split", default="all")
    asked.add_argument("--part", default="test", type=Part)
    asked.add_argument("--files", nargs="*", type=Path, default=[])
    asked.add_argument("--most", type=int, default=1000)
    asked.add_argument("-o", "--out", type=Path)
    words = asked.parse_args()
    own = model_of(words.model)
    head = ["images", "how many", f"beyond {own.limit:.3g}", "quartiles", "most by"]
    rows = [head]
    for text in words.on:
        chosen = scoring.choose(load_all([text]), words.split, words.part)
        name, _, root = text.partition("=")
        label = text if root.partition(":")[0] in SETS else name  # no folder of this machine
        rows.append(line(label, own, rows_of(chosen.images, words.most)))
    if words.files:
        label = " ".join(file.name for file in words.files)
        rows.append(line(label, own, map(likeness.features, opened(words.files))))
    print(markdown(rows))
    if words.out:
        words.out.parent.mkdir(parents=True, exist_ok=True)
        words.out.write_text(json.dumps({"table": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
