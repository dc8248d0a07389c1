"""What drives the residuals of calcifications and of normal tissue apart.

References
----------
Zhang et al. (2019), equations 1 and 6 to 10. Huber, "Robust statistics".
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from secondreader.methods.anomaly_cascade.config import Config

__all__ = ["objective", "residual", "suspicion", "t_test"]


def residual(image: Tensor, redrawn: Tensor, kind: str) -> Tensor:
    """Return how far the network's drawing is from the image, pixel by pixel (equation 1).

    ``l1`` is |I - f(I)|, ``l2`` its square, ``smooth_l1`` half the square below 1 and |·| - 1/2 above.
    """
    match kind:
        case "l2":
            return (image - redrawn) ** 2
        case "smooth_l1":
            return functional.smooth_l1_loss(redrawn, image, reduction="none")
    return (image - redrawn).abs()


def t_test(
    positive: Tensor, negative: Tensor, beta: float, lambda_p: float, lambda_n: float
) -> Tensor:
    """Return the t-test loss, equation 6.

    ``max(β - mean(r_p), 0) + mean(r_n) + λ_p S²(r_p) + λ_n S²(r_n)``

    The second variance is that of the negatives: the paper's print repeats r_p, but its text
    (section 3.1.4) speaks of both. With both λ = 0 it is equation 10.

    Parameters
    ----------
    positive, negative
        (n,) residuals of calcification pixels and of the rest; either may be empty, and then adds
        nothing.
    beta, lambda_p, lambda_n
        β, λ_p, λ_n.
    """
    loss = positive.new_zeros(())
    if positive.numel():
        loss = loss + (beta - positive.mean()).clamp_min(0)
    if negative.numel():
        loss = loss + negative.mean()
    if positive.numel() > 1:
        loss = loss + lambda_p * positive.var()
    if negative.numel() > 1:
        loss = loss + lambda_n * negative.var()
    return loss


def objective(image: Tensor, drawn: Tensor, truth: Tensor, known: Tensor, config: Config) -> Tensor:
    """Return the loss of a batch, by ``config.objective``.

    - ``t_test``: equation 6, see `t_test`; ``equation_10``: ``max(β - mean(r_p), 0) + mean(r_n)``, the
      same without variances.
    - ``mean_squared``: ``mean((I - f(I))²)``, the plain reconstruction of section 4.5.
    - ``huber``: ``mean(ρ_β(I - f(I)))``, equations 7 and 8, with ``ρ_β(x) = x² / 2`` for ``|x| ≤ β`` and
      ``β (|x| - β / 2)`` beyond; a mean where equation 7 has a sum. To minimise it is to solve equation
      9, ``min ½ Σ (I - f(I) - γ)² + β Σ |γ|`` over the network and the outliers γ, one a pixel: γ is 0
      but where ``|x| > β``. It asks for no truth, though patches are still drawn, and the best step
      chosen, by it.
    - ``cross_entropy``: of the calcifications' pixels, the U-Net of section 4.3.

    Means and variances are over the batch's pixels. The margin β is in units of the residual: with
    ``l2`` 0.8 is a difference of 0.89 of the network's input, with ``smooth_l1`` of 1.3.

    Parameters
    ----------
    image
        (n, 1, h, w) float, as the network sees it.
    drawn
        (n, 1, h, w), what the network made of it: a drawing, or a logit for ``cross_entropy``.
    truth
        (n, 1, h, w) bool: calcification.
    known
        (n, 1, h, w) bool: pixels that count.
    config
        Which loss, and its numbers.
    """
    drawn = drawn.float()
    match config.objective:
        case "cross_entropy":
            return functional.binary_cross_entropy_with_logits(
                drawn[known], truth[known].to(drawn.dtype)
            )
        case "mean_squared":
            return functional.mse_loss(drawn[known], image[known])
        case "huber":
            # Equations 7 and 8 over all pixels: the labels are not used.
            return functional.huber_loss(drawn[known], image[known], delta=config.beta)
    apart = residual(image, drawn, config.residual)
    regular = config.objective == "t_test"
    return t_test(
        apart[truth & known],
        apart[~truth & known],
        config.beta,
        config.lambda_positive if regular else 0.0,
        config.lambda_negative if regular else 0.0,
    )


@torch.no_grad()
def suspicion(image: Tensor, drawn: Tensor, config: Config) -> Tensor:
    """Return the map that proposals are made of: the residual, or the baseline's probability."""
    if config.objective == "cross_entropy":
        return torch.sigmoid(drawn.float())
    return residual(image, drawn.float(), config.residual)
