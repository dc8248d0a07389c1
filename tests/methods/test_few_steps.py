"""Every learnt method trains a few steps, stops, goes on, and reads with what it has learnt."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from secondreader.domain import (
    Circle,
    ImageRecord,
    ImageSource,
    Kind,
    Laterality,
    Lesion,
    Mammogram,
    Part,
    Pathology,
    View,
)
from secondreader.learning.configuration import resolve
from secondreader.learning.hardware import Hardware, placed
from secondreader.methods import METHODS, WITHOUT_WEIGHTS, method

QUIET = Hardware("cpu", precision="fp32", threads=1, progress=False)
SHAPE, PITCH = (640, 420), 0.2
STEPS = {
    "anomaly_cascade": {"fit.steps": 4, "fit.validate_every": 2, "reducer_fit.steps": 2,
                        "reducer_fit.validate_every": 1, "reducer": "small", "width": 4},
    "mined_cnn": {"first.steps": 4, "first.validate_every": 2, "second.steps": 2,
                  "second.validate_every": 1, "validation_negatives": 500, "mined": 50},
    "patch_to_image": {"scratch.steps": 2, "scratch.validate_every": 1, "top.steps": 1,
                       "top.validate_every": 1, "whole.steps": 1, "whole.validate_every": 1},
    "second_look": {"regions.steps": 2, "regions.validate_every": 1},
    "tissue_heatmap": {"tissue.steps": 2, "tissue.validate_every": 1, "image.steps": 2,
                       "image.validate_every": 1, "heatmap.steps": 2, "heatmap.validate_every": 1},
}  # fmt: skip


# Other things that a method trains, in stages of their own.
OTHERS = {
    "anomaly_cascade": [
        {"detector": "joint", "joint_fit.steps": 2, "joint_fit.validate_every": 1},
        {"detector": "boxes", "boxes.fit.steps": 2, "boxes.fit.validate_every": 1},
    ],
}


class Films:
    """Six films of breasts in memory: bright dots in a cluster, a disc that is a mass, or nothing."""

    def __init__(self, seed):
        self.seed, self.kept = seed, {}
        self.records = tuple(self.record(i) for i in range(6))

    def record(self, index):
        lesions = ()
        if index % 3:
            rng = np.random.default_rng((self.seed, index, 1))
            row, col = 320 + rng.integers(-60, 60), 140 + rng.integers(-40, 40)
            pathology = Pathology.MALIGNANT if index % 3 == 1 else Pathology.BENIGN
            whole = Circle(float(row), float(col), 20.0)
            dots = [(row + r, col + c) for r, c in rng.integers(-14, 15, (6, 2))]
            lesions = (
                Lesion("cluster", Kind.CALCIFICATION_CLUSTER, whole, pathology=pathology),
                Lesion("mass", Kind.MASS, whole, pathology=pathology),
                *(
                    Lesion(f"dot {i}", Kind.MICROCALCIFICATION, Circle(float(r), float(c), 1.5),
                           part_of="cluster", pathology=pathology, diameter_mm=0.6)
                    for i, (r, c) in enumerate(dots)
                ),
            )  # fmt: skip
        return ImageRecord(
            "films", f"{self.seed}-{index}.png", f"p{index}", f"e{index}", laterality=Laterality.L,
            view=View.CC if index % 2 else View.MLO, malignant=index % 3 == 1,
            lesions=lesions, spacing_mm=(PITCH, PITCH),
        )  # fmt: skip

    def open(self, record):
        index = int(Path(record.path).stem.split("-")[1])
        r, c = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
        inside = np.hypot((r - SHAPE[0] / 2) / 290, c / 330) < 1
        pixels = 0.45 + np.random.default_rng((self.seed, index)).normal(0, 0.02, SHAPE)
        for lesion in record.lesions:
            at, radius = (lesion.region.row, lesion.region.col), lesion.region.radius
            height = 0.35 if lesion.kind is Kind.MICROCALCIFICATION else 0.04
            pixels += height * (np.hypot(r - at[0], c - at[1]) <= radius)
        values = np.where(inside, np.clip(pixels, 0, 1), 0).astype(np.float32)
        source = ImageSource(record.path, bits=8)
        return Mammogram(values, (PITCH, PITCH), record.laterality, record.view, source)

    def prepared(self, record, prepare, key):
        if (record.path, key) not in self.kept:
            self.kept[record.path, key] = prepare(self.open(record))
        return self.kept[record.path, key]


def test_every_learnt_method_is_tried():
    assert set(STEPS) == set(METHODS) - set(WITHOUT_WEIGHTS) - {"panel"}


TRIED = [(name, {}) for name in sorted(STEPS)]
TRIED += [
    pytest.param(name, other, marks=pytest.mark.slow)
    for name, others in OTHERS.items()
    for other in others
]


@pytest.mark.parametrize(("name", "other"), TRIED)
def test_a_few_steps_leave_a_model_that_reads(name, other, tmp_path):
    module = method(name)
    asked = {**STEPS[name], **other}
    settings = [f"{key}={json.dumps(value)}" for key, value in asked.items()]
    config = resolve(module.Config, METHODS[name], "smoke", settings)
    own, held = Films(1), Films(2)
    module.train(config, own, held, tmp_path, hardware=QUIET)
    first = (tmp_path / "model" / "weights.safetensors").read_bytes()
    # A second call finds every stage done.
    module.train(config, own, held, tmp_path, hardware=QUIET)
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == first
    reading = module.load(tmp_path / "model").read(held.open(held.records[1]))
    assert reading.refused is None
    assert reading.score is not None and np.isfinite(reading.score)
    assert list(tmp_path.glob("stages/*/done.json"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("name", "other"), TRIED)
def test_a_gpu_reads_and_measures_what_the_processor_does(name, other, tmp_path):
    module = method(name)
    settings = [f"{key}={json.dumps(value)}" for key, value in {**STEPS[name], **other}.items()]
    config, held = resolve(module.Config, METHODS[name], "smoke", settings), Films(2)
    module.train(config, Films(1), held, tmp_path, hardware=QUIET)
    told, figures = [], []
    for where in ("cpu", "cuda"):
        reader = module.load(tmp_path / "model")
        placed(reader, torch.device(where))
        readings = [reader.read(held.open(record)) for record in held.records[:3]]
        told.append([r.score for r in readings])
        if hasattr(reader, "read_exam"):
            reader.read_exam([held.open(record) for record in held.records[:2]])
        if hasattr(reader, "own_figures"):
            parts = dict.fromkeys(Part, held)
            got, _ = reader.own_figures(parts, Part.TEST, reader=name, resamples=20, seed=0)
            figures.append([f.name for f in got])
        if hasattr(reader, "positions"):
            _, scored = reader.positions(held)
            scored(0)
    assert told[1] == pytest.approx(told[0], abs=0.05)
    assert not figures or figures[0] == figures[1]
