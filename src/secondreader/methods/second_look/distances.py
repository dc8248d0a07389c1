"""How far generated patches are from real ones, by a network's features of both.

References
----------
Heusel et al., "GANs trained by a two time-scale update rule …" (NeurIPS 2017): Frechet distance.
Binkowski et al., "Demystifying MMD GANs" (ICLR 2018): kernel distance, without bias by the number of
patches.
"""

from __future__ import annotations

import numpy as np

__all__ = ["alike", "frechet", "kernel", "weighed"]


def frechet(
    a: np.ndarray, b: np.ndarray, of_a: np.ndarray | None = None, of_b: np.ndarray | None = None
) -> float:
    """Return the Frechet distance of two clouds of features, taken for normal distributions.

    Parameters
    ----------
    a, b
        (n, d) and (m, d) float.
    of_a, of_b
        (n,) and (m,): how often each was drawn; once if ``None``.
    """
    (mean_a, spread_a), (mean_b, spread_b) = _moments(a, of_a), _moments(b, of_b)
    # The trace of the product's root is the sum of the roots of its eigenvalues.
    shared = np.linalg.eigvals(spread_a @ spread_b).real.clip(0)
    apart = ((mean_a - mean_b) ** 2).sum()
    return float(apart + np.trace(spread_a) + np.trace(spread_b) - 2 * np.sqrt(shared).sum())


def _moments(x: np.ndarray, of: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.ones(len(x)) if of is None else np.asarray(of, np.float64)
    mean = drawn @ x / drawn.sum()
    gap = (x - mean).astype(np.float64)
    return mean, (gap * drawn[:, None]).T @ gap / (drawn.sum() - 1)


def kernel(
    a: np.ndarray, b: np.ndarray, of_a: np.ndarray | None = None, of_b: np.ndarray | None = None
) -> float:
    """Return the squared maximum mean discrepancy under the kernel (x y / d + 1)^3, without bias.

    Parameters are those of `frechet`; a draw is never compared with itself.
    """
    return weighed(alike(a, b), of_a, of_b)


def alike(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how alike features (n, d) and (m, d) are: (n, n) and (m, m) within, (n, m) across.

    To be weighed many times; a row is not compared with itself.
    """
    within = (_kernel(a, a), _kernel(b, b))
    for square in within:
        np.fill_diagonal(square, 0)
    return (*within, _kernel(a, b))


def weighed(
    of: tuple[np.ndarray, np.ndarray, np.ndarray],
    of_a: np.ndarray | None = None,
    of_b: np.ndarray | None = None,
) -> float:
    """Return `kernel` of what is `alike`, rows counting as often as they were drawn."""
    a, b, across = of
    one = np.ones(len(a)) if of_a is None else np.asarray(of_a, np.float64)
    two = np.ones(len(b)) if of_b is None else np.asarray(of_b, np.float64)
    within = sum(w @ x @ w / (w.sum() ** 2 - (w**2).sum()) for w, x in ((one, a), (two, b)))
    return float(within - 2 * (one @ across @ two) / (one.sum() * two.sum()))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    made: np.ndarray = (a.astype(np.float64) @ b.T.astype(np.float64) / a.shape[1] + 1) ** 3
    return made
