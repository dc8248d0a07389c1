"""What a network's weights are before training: none, ImageNet's or COCO's, a file's, a model's."""

from __future__ import annotations

import logging
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from secondreader.domain import SecondReaderError
from secondreader.learning.box import in_the_box, model_folder

__all__ = ["initialise", "torchvision_weights"]

_LOG = logging.getLogger("secondreader")


def initialise(
    network: nn.Module,
    init: str,
    *,
    published: Mapping[str, Callable[[], Mapping[str, Tensor]]] | None = None,
    prefix: str = "",
) -> str:
    """Put initial weights into a network, as far as names and shapes agree.

    Parameters
    ----------
    network
        Changed in place.
    init
        ``none``; a key of ``published``; a file (safetensors, or a state dict that torchvision
        wrote); a model folder, or a reader in the box.
    published
        ``imagenet`` or ``coco`` → what downloads them, see `torchvision_weights`.
    prefix
        Of the tensors of a model folder that are this network's.

    Returns
    -------
    str
        What was taken, in a line.

    Raises
    ------
    SecondReaderError
        If there is no such thing, or nothing of it fits.
    """
    if init == "none":
        return "weights drawn at random"
    if published and init in published:
        return _take(network, published[init](), init)
    folder = model_folder(init)
    if folder is not None:
        own = _read(folder / "weights.safetensors")
        named = {n.removeprefix(prefix): v for n, v in own.items() if n.startswith(prefix)}
        return _take(network, named, init)
    path = Path(init)
    if not path.is_file():
        known = ", ".join(["none", *(published or {}), "a file", "a model folder", *in_the_box()])
        raise SecondReaderError(f"--init: got {init!r}, expected {known}")
    return _take(network, _read(path), init)


def torchvision_weights(weights: Any) -> Mapping[str, Tensor]:
    """Download a state dict of torchvision, or take it from its cache.

    Raises
    ------
    SecondReaderError
        If it is not in the cache and cannot be downloaded; names the file and where to put it.
    """
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
        return state
    except (urllib.error.URLError, OSError, RuntimeError):
        name = weights.url.rpartition("/")[2]
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise SecondReaderError(
            f"--init: got no connection to download {name}, expected it there or as {folder / name}; "
            "or use --init none"
        ) from None


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, safetensors.SafetensorError, RuntimeError, EOFError) as error:
        raise SecondReaderError(f"--init: cannot read {path} ({type(error).__name__})") from None
    except Exception as error:  # what weights_only refuses comes as an UnpicklingError
        raise SecondReaderError(
            f"--init: got {path}, which holds more than tensors ({type(error).__name__}), "
            "expected safetensors or a plain state dict"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SecondReaderError(f"--init: got no state dict in {path}, expected name → tensor")
    return state


def _take(network: nn.Module, weights: Mapping[str, Tensor], init: str) -> str:
    own = network.state_dict()
    taken: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name not in own:
            continue
        fitting = _grey(value, own[name])
        if fitting.shape == own[name].shape:
            taken[name] = fitting.to(own[name].dtype)
    if not taken:
        raise SecondReaderError(
            f"--init: got nothing in {init} that fits the network, expected the same architecture"
        )
    network.load_state_dict({**own, **taken})
    line = f"{len(taken)} of {len(own)} tensors from {init}"
    left = sorted(set(own) - set(taken))
    return line if not left else f"{line}; drawn at random: {', '.join(left[:4])}"


def _grey(value: Tensor, wanted: Tensor) -> Tensor:
    """Sum a first convolution over three channels where one is wanted: a grey image has three alike."""
    if value.ndim == wanted.ndim == 4 and value.shape[1] == 3 and wanted.shape[1] == 1:
        return value.sum(dim=1, keepdim=True)
    return value
