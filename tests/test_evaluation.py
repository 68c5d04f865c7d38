import torch
from torch import nn

from hdge.measure.network import gradient_norms


class Linear(nn.Module):
    """Logits W x + b of images, whose log q(x) has the gradient W^T softmax(W x + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1))


def test_gradient_norms_of_a_linear_network_are_the_closed_form():
    torch.manual_seed(0)
    model, images = Linear().train(), torch.randint(256, (7, 3, 2, 2), dtype=torch.uint8)
    norms = gradient_norms(model, images, noise=0.0)
    weights = torch.softmax(model(images.float() / 255), dim=1) @ model.layer.weight
    torch.testing.assert_close(norms, weights.norm(dim=1).detach())
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
