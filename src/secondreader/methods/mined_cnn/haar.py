"""Haar features: differences of sums in rectangles, from integral images.

References
----------
Viola and Jones, "Rapid object detection using a boosted cascade of simple features" (CVPR 2001).
Bria et al. (2014), section 2.2: these, in a window of about a millimetre.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["drawn_features", "integral", "values_at", "values_of", "votes_everywhere"]

_AT_ONCE = 4096  # positions whose windows a processor's cache holds
_WINDOWS = 4096  # one under another, in one integral image


def drawn_features(window: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw features: edges, lines, and centres in their surround, anywhere in a window.

    Returns
    -------
    numpy.ndarray
        (count, 2, 5) float32: rectangles (row, col, rows, cols, weight). The first is all of the
        feature, the second the part that is weighed against it, so that a flat window gives 0.
    """
    drawn = np.zeros((count, 2, 5), np.float32)
    for feature in drawn:
        rows, cols = (int(v) for v in rng.integers(2, window + 1, 2))
        row, col = int(rng.integers(window - rows + 1)), int(rng.integers(window - cols + 1))
        match int(rng.integers(3)):
            case 0:  # an edge: one half against all
                part = (row, col, max(rows // 2, 1), cols)
                if rng.random() < 0.5:
                    part = (row, col, rows, max(cols // 2, 1))
            case 1:  # a line: the middle third
                third = max(rows // 3, 1)
                part = (row + (rows - third) // 2, col, third, cols)
                if rng.random() < 0.5:
                    third = max(cols // 3, 1)
                    part = (row, col + (cols - third) // 2, rows, third)
            case _:  # a centre in its surround
                high, wide = max(rows // 2, 1), max(cols // 2, 1)
                part = (row + (rows - high) // 2, col + (cols - wide) // 2, high, wide)
        share = part[2] * part[3] / (rows * cols)
        feature[0] = (row, col, rows, cols, -share)
        feature[1] = (*part, 1.0)
        # In units of the part's noise: of n pixels a sum has the spread √n.
        feature[:, 4] /= np.sqrt(part[2] * part[3])
    return drawn


def integral(prepared: np.ndarray, window: int) -> np.ndarray:
    """Return the integral image, padded so that every pixel has its window; 0 beyond the border.

    Parameters
    ----------
    prepared
        (rows, cols).
    window
        Pixels each way; a pixel's window begins ``window // 2`` before it.

    Returns
    -------
    numpy.ndarray
        (rows + window, cols + window) float64.
    """
    before, after = window // 2, window - window // 2 - 1
    padded = np.pad(prepared.astype(np.float64), ((before + 1, after), (before + 1, after)))
    sums: np.ndarray = padded.cumsum(0).cumsum(1)
    return sums


def votes_everywhere(
    sums: np.ndarray,
    features: np.ndarray,
    cuts: np.ndarray,
    votes: np.ndarray,
    shape: tuple[int, int],
) -> np.ndarray:
    """Return the summed votes of stumps at every pixel of a strip, (rows, cols) float32.

    Parameters
    ----------
    sums
        (rows + window, cols + window) float64, see `integral`.
    features
        (k, 2, 5) float32.
    cuts, votes
        (k,) float32: where a feature lies above its cut its vote counts for, else against.
    shape
        (rows, cols).
    """
    first, size = features[..., :2].astype(np.int64), features[..., 2:4].astype(np.int64)
    ends = first + size
    spans, own = np.unique(
        np.stack([first[..., 0], ends[..., 0]], -1).reshape(-1, 2), axis=0, return_inverse=True
    )
    total = np.zeros(shape, np.float32)
    sides = np.stack([first[..., 1], ends[..., 1]], -1)
    weights = np.ascontiguousarray(features[..., 4])
    _vote(sums, spans, own.reshape(-1, 2), sides, weights, cuts, votes, total)
    return total


# Compiled anew by each process that needs it: where no folder can be written a cache would be an error.
@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def _vote(
    sums: np.ndarray,
    spans: np.ndarray,
    own: np.ndarray,
    sides: np.ndarray,
    weights: np.ndarray,
    cuts: np.ndarray,
    votes: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add stumps' votes up, row by row, and write nothing else.

    Rectangles share the rows that they span (78 pairs at most in a window of 12): what lies between
    those rows is summed once, and a rectangle is a difference of two of its columns. Only that is held
    as float32, for speed: it rounds more than what was fitted was rounded by, so that a feature next to
    a cut may fall on its other side. Sums of a whole image would be rounded by far more.
    """
    rows, cols = total.shape
    between = np.empty((len(spans), sums.shape[1]), np.float32)
    for row in range(rows):
        for at in range(len(spans)):
            top, bottom, found = sums[row + spans[at, 0]], sums[row + spans[at, 1]], between[at]
            for col in range(len(found)):
                found[col] = bottom[col] - top[col]
        out = total[row]
        for k in range(len(cuts)):
            a, b = between[own[k, 0], sides[k, 0, 0] :], between[own[k, 0], sides[k, 0, 1] :]
            c, d = between[own[k, 1], sides[k, 1, 0] :], between[own[k, 1], sides[k, 1, 1] :]
            whole, part, cut, vote = weights[k, 0], weights[k, 1], cuts[k], votes[k]
            for col in range(cols):
                value = whole * (b[col] - a[col]) + part * (d[col] - c[col])
                out[col] += vote if value > cut else -vote


def values_at(sums: np.ndarray, features: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return features (k, 2, 5) at positions (n, 2) of (row, col), (n, k) float32.

    A feature is a weighted sum of eight corners of a position's window: all of them are one product of
    matrices, which is faster than looking each corner up.
    """
    out = np.zeros((len(positions), len(features)), np.float32)
    if not out.size:
        return out
    weights, high, wide = _corners(features)
    windows = np.lib.stride_tricks.sliding_window_view(sums, (high, wide))
    for low in range(0, len(positions), _AT_ONCE):
        rows, cols = positions[low : low + _AT_ONCE].T
        own = windows[rows, cols]
        # What rows and columns before the window hold is no matter to any rectangle, and large.
        own = own - own[:, :, :1] - (own[:, :1] - own[:, :1, :1])
        np.matmul(
            own.reshape(len(own), -1).astype(np.float32), weights, out=out[low : low + _AT_ONCE]
        )
    return out


def _corners(features: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Return what features make of the corners (high x wide) of a window, (high * wide, k) float32."""
    first, size = features[..., :2].astype(int), features[..., 2:4].astype(int)
    high, wide = (int(v) + 1 for v in (first + size).max(axis=(0, 1)))
    weights = np.zeros((high, wide, len(features)), np.float32)
    number = np.arange(len(features))[:, None]
    for down, across, sign in ((1, 1, 1), (0, 1, -1), (1, 0, -1), (0, 0, 1)):
        row, col = first[..., 0] + down * size[..., 0], first[..., 1] + across * size[..., 1]
        np.add.at(weights, (row, col, number), sign * features[..., 4])
    return weights.reshape(high * wide, -1), high, wide


def values_of(windows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return features (k, 2, 5) of windows (n, w, w), (n, k) float32."""
    wide = windows.shape[-1]
    out = np.zeros((len(windows), len(features)), np.float32)
    for low in range(0, len(windows), _WINDOWS):
        some = windows[low : low + _WINDOWS].reshape(-1, wide)
        middles = np.arange(wide // 2, len(some), wide)
        at = np.column_stack([middles, np.full_like(middles, wide // 2)])
        out[low : low + _WINDOWS] = values_at(integral(some, wide), features, at)
    return out
