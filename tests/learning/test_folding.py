"""A folded network says the same."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from secondreader.learning.folding import folded


class ByChannel(nn.Conv2d):
    """A convolution in a way of its own, which a trace would take apart."""

    def forward(self, image):
        each = [
            nn.functional.conv2d(image[:, k : k + 1], self.weight[:, k : k + 1]) for k in range(3)
        ]
        return sum(each) + (0 if self.bias is None else self.bias[:, None, None])


RELU = nn.ReLU()


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1)),
        nn.Sequential(
            ByChannel(3, 6, 3, bias=False), nn.BatchNorm2d(6), RELU, nn.Conv2d(6, 2, 1), RELU
        ),
        resnet18(num_classes=3),
    ],
    ids=["sequential", "a way of its own", "resnet"],
)
def test_a_folded_network_is_the_same_function_without_batch_normalisation(network):
    torch.manual_seed(1)
    network.train()
    for _ in range(3):
        network(torch.randn(4, 3, 64, 64))
    network.eval()
    quick = folded(network)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(quick(image), network(image), rtol=1e-3, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
