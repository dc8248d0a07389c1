"""secondreader: an open second reader for screening mammography. Research use only."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secondreader.pipeline import evaluate, inspect, read

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "inspect", "read"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import the public functions when they are first used: they bring numpy and more."""
        if name in ("read", "inspect", "evaluate"):
            return getattr(importlib.import_module("secondreader.pipeline"), name)
        raise AttributeError(f"module 'secondreader' has no attribute {name!r}")
