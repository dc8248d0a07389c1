"""The methods: a name, and the module that exports ``Config``, ``train`` and ``load``."""

from __future__ import annotations

import importlib
from types import ModuleType

from secondreader.domain import SecondReaderError

__all__ = ["METHODS", "WITHOUT_WEIGHTS", "method"]

METHODS = {
    "anomaly_cascade": "secondreader.methods.anomaly_cascade",
    "mined_cnn": "secondreader.methods.mined_cnn",
    "panel": "secondreader.panel",  # several methods as one
    "patch_to_image": "secondreader.methods.patch_to_image",
    "second_look": "secondreader.methods.second_look",
    "spot_filter": "secondreader.methods.spot_filter",
    "tissue_heatmap": "secondreader.methods.tissue_heatmap",
}

WITHOUT_WEIGHTS = ("spot_filter",)
"""Methods that read without training."""


def method(name: str) -> ModuleType:
    """Import a method's package.

    Raises
    ------
    SecondReaderError
        If there is no such method.
    """
    if name not in METHODS:
        raise SecondReaderError(f"method: got {name!r}, expected one of {', '.join(METHODS)}")
    return importlib.import_module(METHODS[name])
