"""A method's configuration: its defaults are the paper's, a preset changes some, ``--set`` the rest."""

from __future__ import annotations

import difflib
import importlib.util
import json
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from secondreader.domain import SecondReaderError

__all__ = ["preset_values", "presets", "resolve"]

C = TypeVar("C", bound=BaseModel)


def presets(package: str) -> dict[str, str]:
    """Return the presets beside a method: name → its header, what it is and what to expect of it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return {}  # a module has nothing beside it
    folder = files(package).joinpath("presets")
    if not folder.is_dir():
        return {}
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            lines = file.read_text(encoding="utf-8").splitlines()
            header = [line.lstrip("# ").rstrip() for line in lines if line.startswith("#")]
            found[file.name.removesuffix(".toml")] = "\n".join(header)
    return found


def preset_values(package: str, preset: str) -> dict[str, Any]:
    """Return the settings of one of `presets`.

    Raises
    ------
    SecondReaderError
        If there is none of this name.
    """
    known = presets(package)
    if preset not in known:
        raise SecondReaderError(
            f"--preset: got {preset!r}, expected one of {', '.join(known) or 'none: there is none'}"
        )
    return tomllib.loads(
        files(package).joinpath("presets", f"{preset}.toml").read_text(encoding="utf-8")
    )


def resolve(
    config_type: type[C],
    package: str,
    preset: str | None,
    settings: Sequence[str] = (),
    *,
    init: str | None = None,
    seed: int | None = None,
) -> C:
    """Return a configuration.

    Parameters
    ----------
    config_type
        The method's model.
    package
        The method's package, which has ``presets/NAME.toml``.
    preset
        One of `presets`; ``None`` leaves the defaults.
    settings
        ``key=value``, dotted for a field of a field.
    init, seed
        Its fields of these names, where given.

    Raises
    ------
    SecondReaderError
        For a preset, a key or a value that is none, with what was probably meant.
    """
    values: dict[str, Any] = {} if preset is None else preset_values(package, preset)
    for setting in settings:
        _put(values, config_type, setting)
    if init is not None:
        values["init"] = init
    if seed is not None:
        values["seed"] = seed
    try:
        return config_type.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SecondReaderError(
            f"--set {key}: got {first.get('input')!r}; {_sentence(first['msg'])}"
        ) from None


def _put(values: dict[str, Any], config_type: type[BaseModel], setting: str) -> None:
    key, sign, text = setting.partition("=")
    if not (key and sign):
        raise SecondReaderError(f"--set: got {setting!r}, expected key=value")
    model: Any = config_type
    place = values
    *folders, last = key.split(".")
    for name in folders:
        _check(model, name, key)
        model = model.model_fields[name].annotation
        place = place.setdefault(name, {})
    _check(model, last, key)
    place[last] = _value(text)


def _check(model: Any, name: str, key: str) -> None:
    fields = getattr(model, "model_fields", None)
    if fields is None:
        raise SecondReaderError(f"--set: got {key!r}, expected no dot there: it has no fields")
    if name not in fields:
        near = difflib.get_close_matches(name, fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(fields)}"
        raise SecondReaderError(f"--set: got {key!r}, which is no setting; {hint}")


def _value(text: str) -> Any:
    """Return a number, a list, true, false or null as JSON has them; anything else is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]
