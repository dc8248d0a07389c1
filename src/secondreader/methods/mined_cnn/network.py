"""A small network for a position, and the same network for every position of an image at once.

Nothing is padded, so that a patch sees only itself; the dense form dilates what follows the pooling
instead of striding, and is equal to the patch-by-patch result at every pixel, to rounding.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["AROUND", "WINDOW", "densely", "patch_network"]

WINDOW = 20
"""Pixels that a position is judged by, each way."""
AROUND = (WINDOW // 2, WINDOW - WINDOW // 2 - 1)
"""Of these before it, and after it."""


def patch_network(width: int) -> nn.Sequential:
    """Return a network from (n, 1, 20, 20) to one logit (n, 1, 1, 1)."""
    layers: list[nn.Module] = []
    # 20 → 18 → 16, pooled 8 → 6 → 4 → 1.
    plan = ((1, width, 3), (width, width, 3), (0, 0, 2), (width, 2 * width, 3),
            (2 * width, 2 * width, 3), (2 * width, 4 * width, 4))  # fmt: skip
    for inputs, outputs, size in plan:
        if not inputs:
            layers.append(nn.MaxPool2d(size))
            continue
        layers += [
            nn.Conv2d(inputs, outputs, size, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    network = nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 1))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


def densely(patches: nn.Sequential, image: Tensor) -> Tensor:
    """Return the logits of every window that lies wholly in an image, all at once.

    Parameters
    ----------
    patches
        A network of convolutions without padding, pointwise layers and pooling whose stride is its
        size, such as `patch_network` makes.
    image
        (n, 1, h + 19, w + 19).

    Returns
    -------
    torch.Tensor
        (n, 1, h, w); the first is that of the window whose middle is the image's pixel (10, 10).
    """
    step = 1
    for layer in patches:
        if isinstance(layer, nn.Conv2d):
            image = functional.conv2d(image, layer.weight, layer.bias, dilation=step)
        elif isinstance(layer, nn.MaxPool2d):
            size = layer.kernel_size
            assert isinstance(size, int)
            image = functional.max_pool2d(image, size, stride=1, dilation=step)
            step *= size
        else:
            image = layer(image)
    return image
