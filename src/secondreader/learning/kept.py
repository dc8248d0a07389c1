"""What takes long to make for every image of a set: dealt over processes, kept as soon as it is made."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from secondreader.learning.run_folder import write_whole
from secondreader.learning.sharing import gathered, own_share

__all__ = ["kept_array", "kept_arrays"]


def kept_arrays(
    folder: Path,
    count: int,
    make: Callable[[int], np.ndarray],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[np.ndarray]:
    """Return an array for each image; what lies in the folder is not made again.

    Parameters
    ----------
    folder
        Of a file an image, whole or not there.
    count
        How many images.
    make
        Makes the array of an image from its number. Of several processes each makes its share.
    progress
        Called with the images that this process has done, and all of its own.
    """
    own = own_share(range(count))
    found = []
    for done, index in enumerate(own, 1):
        found.append(kept_array(folder, index, make))
        progress(done, len(own))
    return gathered(found)


def kept_array(folder: Path, index: int, make: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return the array of one image; see `kept_arrays`."""
    file = folder / f"{index:06d}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or cut short: made again
        there: np.ndarray = np.load(file, allow_pickle=False)
        return there
    stream = io.BytesIO()
    np.save(stream, make(index), allow_pickle=False)
    write_whole(file, stream.getvalue())
    made: np.ndarray = np.load(file, allow_pickle=False)
    return made
