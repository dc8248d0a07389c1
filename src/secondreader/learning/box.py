"""The readers that come in the box, and which folder the name of a model stands for; no torch here."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEFAULT", "LARGEST_MB", "box", "in_the_box", "member_folder", "model_folder"]

DEFAULT = "default"
"""Who reads where nobody is named, if it is in the box."""
LARGEST_MB = 30.0
"""All readers in the box together."""


def box() -> Path:
    """Return the folder of the readers in the box: a model folder each, under its name."""
    return Path(__file__).parent.parent / "models"


def in_the_box() -> tuple[str, ...]:
    """Return the names of the readers in the box, in order."""
    return tuple(sorted(path.parent.name for path in box().glob("*/config.json")))


def model_folder(name: str) -> Path | None:
    """Return the model folder that a name stands for, ``None`` where it stands for none.

    Parameters
    ----------
    name
        A run folder with a model in it, a model folder, or the name of a reader in the box; what lies
        in the working folder comes first.
    """
    own = Path(name)
    folders = [own / "model", own]
    if name in in_the_box():
        folders.append(box() / name)
    for folder in folders:
        if (folder / "config.json").is_file():
            return folder
    return None


def member_folder(panel: Path, name: str) -> Path | None:
    """Return the folder of a panel's member: inside the panel's own, beside it, or by its name.

    In the box a panel and its members lie side by side, so that no weights are there twice.

    Parameters
    ----------
    panel
        The panel's model folder.
    name
        As its configuration has it.
    """
    for folder in (panel / name, panel.parent / name):
        if (folder / "config.json").is_file():
            return folder
    return model_folder(name)
