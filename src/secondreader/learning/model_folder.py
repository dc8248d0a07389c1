"""A model folder: what training leaves and reading takes; safetensors, never a pickle."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from secondreader.domain import SecondReaderError
from secondreader.learning.run_folder import write_whole

__all__ = ["SCHEMA", "environment", "load_into", "load_model_folder", "save_model"]

SCHEMA = "secondreader.model/1"
_WEIGHTS = "weights.safetensors"
C = TypeVar("C", bound=BaseModel)


def save_model(
    folder: Path, *, method: str, config: BaseModel, weights: Mapping[str, Tensor]
) -> None:
    """Write a model's configuration and weights; a folder with ``config.json`` is whole.

    Parameters
    ----------
    folder
        Made if missing.
    method
        In `secondreader.methods.METHODS`.
    config
        The method's configuration.
    weights
        Name → tensor.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    content = safetensors.torch.save(plain)
    write_whole(folder / _WEIGHTS, content)
    told = {
        "schema": SCHEMA,
        "method": method,
        "config": config.model_dump(mode="json"),
        "sha256": {_WEIGHTS: hashlib.sha256(content).hexdigest()},
    }
    write_whole(folder / "config.json", json.dumps(told, indent=1) + "\n")


def load_model_folder(
    folder: Path | None, method: str, config_type: type[C]
) -> tuple[C, dict[str, Tensor]]:
    """Read a model's configuration and weights.

    Raises
    ------
    SecondReaderError
        If there is no folder, or it is another method's, of a newer version, half there, or not what
        was written.
    """
    if folder is None:
        raise SecondReaderError(
            f"--model: got {method}, which has no weights of its own, expected a model folder; "
            f"make one with: secondreader train {method}"
        )
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        content = (folder / _WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise SecondReaderError(
            f"model: cannot read {folder} ({error}), expected config.json and {_WEIGHTS}"
        ) from None
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        got = told.get("schema") if isinstance(told, dict) else "no object"
        raise SecondReaderError(f"model: got {got!r}, expected {SCHEMA}: {folder}")
    if told.get("method") != method:
        raise SecondReaderError(
            f"model: got a folder of {told.get('method')!r}, expected one of {method}: {folder}"
        )
    try:
        config = config_type.model_validate(told.get("config"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise SecondReaderError(f"model: config.json: {where}: {first['msg']}: {folder}") from None
    hashes = told.get("sha256")
    wanted = hashes.get(_WEIGHTS) if isinstance(hashes, dict) else None
    if hashlib.sha256(content).hexdigest() != wanted:
        raise SecondReaderError(
            f"model: got weights that are not those of config.json, expected the file that was "
            f"written with it: {folder / _WEIGHTS}"
        )
    try:
        return config, safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise SecondReaderError(f"model: cannot read {folder / _WEIGHTS} ({error})") from None


def load_into(network: nn.Module, weights: Mapping[str, Tensor], prefix: str = "") -> None:
    """Put weights, those named ``prefix…``, into a network; each must fit.

    Raises
    ------
    SecondReaderError
        If one is missing, unknown, or of another shape.
    """
    own = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    there = network.state_dict()
    for name, value in there.items():
        if name not in own or own[name].shape != value.shape:
            got = tuple(own[name].shape) if name in own else "none"
            raise SecondReaderError(
                f"model: got {got} for {prefix}{name}, expected {tuple(value.shape)}"
            )
    if unknown := sorted(set(own) - set(there)):
        raise SecondReaderError(f"model: got {prefix}{unknown[0]}, which the network does not have")
    network.load_state_dict(own)


def environment(seed: int, fingerprints: Mapping[str, str], device: str) -> dict[str, Any]:
    """Return what a training ran with: versions, seed, commit, data; no names of people or machines."""
    packages = ("secondreader", "torch", "torchvision", "lightning", "numpy", "scipy")
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
        "device": device,
        "packages": {name: version(name) for name in packages},
        "commit": _commit(),
        "seed": seed,
        "data": dict(fingerprints),
    }


def _commit() -> str | None:
    """Return the commit of the checkout that this file lies in, ``None`` for an installed package."""
    here = Path(__file__).parent
    try:
        got = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        listed = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", "model_folder.py"],
            capture_output=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return got.stdout.strip() if listed.returncode == 0 else None
