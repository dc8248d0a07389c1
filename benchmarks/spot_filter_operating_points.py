"""Choose spot_filter's operating points: python benchmarks/spot_filter_operating_points.py mini_mias=ROOT

Writes `operating_points.json` into the method's package: the cluster scores that leave 0.25, 0.5 and
1 cluster per normal film of mini-MIAS (NORM; all looked at in development). Figures on the same films
are therefore no test, and every figure of this reader on mini-MIAS says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from secondreader import datasets
from secondreader.datasets.image_set import image_set
from secondreader.domain import Kind
from secondreader.methods import spot_filter

RATES = (0.25, 0.5, 1.0)


def main() -> None:
    """Read every normal film, and take the scores at the wanted rates."""
    name, root = datasets.parse_source(sys.argv[1])
    images = image_set([datasets.load(name, root)])
    normal = [record for record in images.records if not record.lesions and not record.malignant]
    reader = spot_filter.load(None)
    scores = []
    for record in normal:
        found = reader.read(images.open(record)).detections
        scores += [d.score for d in found if d.kind is Kind.CALCIFICATION_CLUSTER]
    ranked = np.sort(np.array(scores))[::-1]
    points = []
    for rate in RATES:
        rank = min(int(rate * len(normal)), len(ranked) - 1)
        points.append(
            {
                "name": f"fpi-{rate:g}",
                "kind": str(Kind.CALCIFICATION_CLUSTER),
                "threshold": round(float(ranked[rank]) + 1e-6, 6),
                "rule": f"at most {rate:g} clusters per image without calcifications",
                "chosen_on": f"{len(normal)} NORM films of mini-MIAS, looked at in development",
            }
        )
        print(f"{rate:g} clusters per image: threshold {points[-1]['threshold']}")
    target = Path(spot_filter.__file__).parent / "operating_points.json"
    target.write_text(json.dumps({"default": "fpi-0.5", "points": points}, indent=1) + "\n")


if __name__ == "__main__":
    main()
