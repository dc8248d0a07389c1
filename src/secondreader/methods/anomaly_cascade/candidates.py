"""What the first stage proposes on a set's images: for choosing its threshold, and to train the second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from secondreader.learning.folding import folded
from secondreader.learning.hardware import Hardware, device
from secondreader.learning.kept import kept_arrays
from secondreader.learning.sharing import gathered, own_share
from secondreader.methods.anomaly_cascade.config import Config
from secondreader.methods.anomaly_cascade.maps import Patches
from secondreader.methods.anomaly_cascade.proposals import (
    Candidates,
    components,
    highest,
    looked_at,
    proposals,
    recalls,
    suspicion_map,
)

__all__ = ["best_cut", "candidates"]

_LEAST = (1, 2, 3, 5)  # pixels of a component that are tried
_LEVELS = 8  # thresholds that are tried
_Sparse = tuple[tuple[int, int], np.ndarray, np.ndarray]
_FEWEST, _HELD = 20, 40_000  # pixels an image above the highest threshold, and that are held


def candidates(
    network: nn.Module,
    own: Patches,
    config: Config,
    folder: Path,
    hardware: Hardware,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Candidates:
    """Propose on every image of a set, each kept in a file as soon as it is read.

    Parameters
    ----------
    network
        The first stage.
    own
        The set.
    config
        With its threshold and smallest component.
    folder
        Of the files; what lies there is not made again.
    hardware
        What to use.
    progress
        Called with the images done, and all.
    """
    where = device(hardware)
    network = folded(network).to(where)

    def proposed(index: int) -> np.ndarray:
        pixels = own.images.pixels(index)
        suspicious = suspicion_map(network, pixels, config, where)
        at, score = proposals(suspicious, looked_at(pixels, config), config)
        return np.column_stack([at, score])

    rows = kept_arrays(folder, len(own.images), proposed, progress)
    return Candidates(tuple(r[:, :2] for r in rows), tuple(r[:, 2] for r in rows))


def best_cut(
    network: nn.Module,
    held: Patches,
    config: Config,
    hardware: Hardware,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, int, list[dict[str, float]]]:
    """Choose the threshold and the smallest component by the mean of table 3's recalls.

    The thresholds tried are those that 20 to 20,000 pixels of an image lie above, and the paper's hint.

    Returns
    -------
    tuple
        Threshold, least pixels, and what was tried: threshold, least pixels, mean recall.
    """
    where = device(hardware)
    network = folded(network).to(where)
    found: list[_Sparse] = []
    shares = own_share(range(len(held.images)))
    for done, index in enumerate(shares, 1):
        pixels = held.images.pixels(index)
        suspicious = suspicion_map(network, pixels, config, where)
        suspicious[~looked_at(pixels, config)] = 0
        flat = suspicious.ravel()
        # Only what may ever lie above a threshold is held, a few hundred kilobytes an image.
        at = np.argpartition(flat, -_HELD)[-_HELD:] if flat.size > _HELD else np.arange(flat.size)
        found.append(((suspicious.shape[0], suspicious.shape[1]), at.astype(np.int32), flat[at]))
        progress(done, len(shares))
    kept = gathered(found)
    every = np.sort(np.concatenate([values for _, _, values in kept]))[::-1]
    ranks = (np.geomspace(_FEWEST, _HELD / 2, _LEVELS) * len(kept)).astype(int)
    levels = {float(v) for v in every[np.minimum(ranks, len(every) - 1)] if v > 0} | {config.cut}
    tried = [t for level in sorted(levels) for t in _tried(kept, level, held, config)]
    best = max(tried, key=lambda t: t["mean_recall"])
    return best["threshold"], int(best["least_pixels"]), tried


def _tried(
    kept: Sequence[_Sparse],
    level: float,
    held: Patches,
    config: Config,
) -> list[dict[str, float]]:
    """Return the mean recall at one threshold, for each smallest component."""
    found = []
    for shape, at, values in kept:
        suspicious = np.zeros(shape, np.float32)
        suspicious.ravel()[at] = values
        found.append(components(suspicious, suspicious > 0, level, config))
    tried = []
    for least in _LEAST:
        pairs = [highest(*parts, least, config.most) for parts in found]
        got = recalls(
            Candidates(tuple(p for p, _ in pairs), tuple(s for _, s in pairs)),
            held.centres,
            held.ignored,
            config.spacing_mm,
        )
        tried.append({"threshold": level, "least_pixels": least, "mean_recall": float(got.mean())})
    return tried
