import math

import pytest
import torch

from hdge.core.readings import log_q_x
from hdge.methods.flows import Glow, bits_per_dimension
from hdge.study.errors import HdgeError


def small(classes: int = 3, shape: tuple[int, ...] = (1, 4, 4)) -> Glow:
    """A small flow in float64 whose layers have been moved away from the identity they start as."""
    torch.manual_seed(0)
    model = Glow(shape, classes, levels=2, depth=2, width=8).double()
    model.train()(torch.rand(32, *shape, dtype=torch.float64))  # sets the activation norms
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def latents(model: Glow, images: torch.Tensor) -> torch.Tensor:
    parts, _ = model.flow.inverse_and_log_det(images)
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def test_the_flow_is_invertible():
    model = small()
    images = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    parts, log_det = model.flow.inverse_and_log_det(images)
    again, back = model.flow.forward_and_log_det(parts)
    # A dozen well-conditioned layers in float64: hundreds of roundings of 2.2e-16 with their condition numbers.
    torch.testing.assert_close(again, images, rtol=0, atol=1e-11)
    torch.testing.assert_close(back, -log_det, rtol=1e-11, atol=1e-11)


def test_log_density_equals_the_change_of_variables_by_the_dense_jacobian():
    model = small()
    image = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    centred = (255 * image + 0.5) / 256 - 0.5
    jacobian = torch.autograd.functional.jacobian(lambda x: latents(model, x), centred).reshape(16, 16)
    _, log_det = torch.linalg.slogdet(jacobian)
    parts, _ = model.flow.inverse_and_log_det(centred)
    for label in range(3):
        base = sum(q.log_prob(z, torch.tensor([label])) for q, z in zip(model.flow.q0, parts, strict=True))
        expected = base + log_det - 16 * math.log(256) - math.log(3)
        assert model(image)[0, label].item() == pytest.approx(expected.item(), rel=1e-10)


def test_training_lowers_bits_per_dimension():
    torch.manual_seed(0)
    model = Glow((1, 8, 8), 1, levels=2, depth=2, width=8)
    images = torch.rand(64, 1, 1, 1).expand(64, 1, 8, 8).round(decimals=1)  # flat patches: easily predicted
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    bits = []
    for _ in range(60):
        value = bits_per_dimension(log_q_x(model(images)), 64)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        bits.append(value.item())
    assert bits[-1] < bits[0] - 1
    # A uniform density over 256 values a pixel costs 8 bits.
    assert bits_per_dimension(torch.full((2,), -64 * math.log(256)), 64).item() == pytest.approx(8)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(HdgeError, match="flow.levels is 3; images of 12 x 12 cannot be halved so often"):
        Glow((1, 12, 12), 1, levels=3, depth=1, width=4)
