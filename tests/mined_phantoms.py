"""Images and networks that tests of the mined networks and of their cascade share."""

import numpy as np
import torch

from secondreader.domain import Circle, ImageRecord, ImageSource, Kind, Lesion, Mammogram
from secondreader.learning.model_folder import save_model
from secondreader.methods.mined_cnn import load
from secondreader.methods.mined_cnn.network import WINDOW, patch_network


def trained_once(width=4, seed=0):
    """A network whose batch normalisation has seen something, so that it is not the identity."""
    torch.manual_seed(seed)
    network = patch_network(width).train()
    for _ in range(3):
        network(torch.randn(8, 1, WINDOW, WINDOW))
    return network.eval()


class Phantoms:
    """Images of noise, each with a calcification, of two makers or more."""

    def __init__(self, vendors=("Hologic, Inc.", "GE")):
        self.records = tuple(
            ImageRecord(
                "x", f"{n}", f"p{n}", f"e{n}", vendor=vendor, spacing_mm=(0.1, 0.1),
                lesions=(Lesion("a", Kind.MICROCALCIFICATION, Circle(250.0, 100.0 + 20 * n, 2.0)),),
            )
            for n, vendor in enumerate(vendors)
        )  # fmt: skip

    def open(self, record):
        return mammogram(breast())

    def prepared(self, record, prepare, key):
        return prepare(self.open(record))


def breast(rows=500, cols=320):
    r, c = np.mgrid[0:rows, 0:cols]
    inside = np.hypot((r - rows / 2) / (0.45 * rows), c / (0.8 * cols)) < 1
    grain = np.random.default_rng(0).normal(0, 0.01, (rows, cols))
    return np.where(inside, 0.45 + grain, 0).astype(np.float32)


def mammogram(pixels, spacing=0.1, bits=12):
    return Mammogram(
        pixels, spacing and (spacing, spacing), None, None, ImageSource("x", bits=bits)
    )


def folder(tmp_path, config, weights):
    save_model(tmp_path, method="mined_cnn", config=config, weights=weights)
    return load(tmp_path)
