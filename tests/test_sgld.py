import io
import math

import pytest
import torch

from hdge.methods.base import frozen
from hdge.methods.networks import WideResNet
from hdge.methods.sgld import Chains, class_gaussians, sgld_step


@pytest.mark.parametrize(("variance", "step_size", "noise"), [(1.0, 0.1, 0.3), (4.0, 1.0, 0.5), (0.5, 0.6, 0.2)])
def test_chains_of_a_gaussian_have_their_stationary_law(variance, step_size, noise):
    r"""On N(mu, v) the step is x' - mu = (1 - eta/v)(x - mu) + sigma xi, whose stationary law is N(mu, s^2) with
    s^2 = sigma^2 / (1 - (1 - eta/v)^2)."""
    mean, chains, steps = 2.0, 2000, 60
    factor = 1 - step_size / variance
    law = noise**2 / (1 - factor**2)
    generator = torch.Generator().manual_seed(0)
    samples = torch.zeros(chains, 1, dtype=torch.float64)
    for _ in range(int(math.log(1e-9) / math.log(abs(factor))) + 1):  # the start, 2 away, is forgotten to 2e-9
        samples = sgld_step(samples, lambda x: -((x - mean) ** 2).sum(1) / (2 * variance), step_size, noise, generator)
    drawn = []
    for _ in range(steps):
        samples = sgld_step(samples, lambda x: -((x - mean) ** 2).sum(1) / (2 * variance), step_size, noise, generator)
        drawn.append(samples)
    drawn = torch.cat(drawn).flatten()
    # A chain's steps are correlated by factor^k, its squares by factor^2k: so many are worth one independent draw.
    worth, worth_of_squares = (1 + abs(factor)) / (1 - abs(factor)), (1 + factor**2) / (1 - factor**2)
    assert drawn.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(law * worth / len(drawn)))
    error = law * math.sqrt(2 * worth_of_squares / len(drawn))
    assert ((drawn - mean) ** 2).mean().item() == pytest.approx(law, abs=4 * error)


def test_a_step_without_noise_climbs_the_density():
    start = torch.tensor([[3.0, -1.0]])
    end = sgld_step(start, lambda x: -(x**2).sum(1), 0.1, 0.0, torch.Generator())
    torch.testing.assert_close(end, start - 0.1 * 2 * start)
    assert not end.requires_grad


def test_freezing_spares_parameter_gradients_and_restores_everything():
    model = WideResNet(10, 1, num_classes=3, in_channels=1).train()
    model.head.requires_grad_(False)
    images = torch.rand(2, 1, 8, 8, requires_grad=True)
    with frozen(model):
        assert not model.training
        model(images).sum().backward()
        assert images.grad is not None
        assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert model.stem.weight.requires_grad
    assert not model.head.weight.requires_grad


def up(x: torch.Tensor) -> torch.Tensor:
    return x.sum(dim=(1, 2, 3))


def test_chains_go_on_from_the_buffer_and_go_back_to_it():
    chains = Chains((1, 2, 2), size=4, restart=0.0, step_size=0.5, noise=0.0, seed=0)
    assert chains.buffer.abs().max() <= 1
    before = chains.buffer.clone()
    samples = chains.sample(up, count=3, steps=2)
    moved = (chains.buffer != before).flatten(1).any(1)
    assert 1 <= moved.sum() <= 3
    torch.testing.assert_close(chains.buffer[moved], before[moved] + 1.0)
    assert all(any(row.equal(kept) for kept in chains.buffer) for row in samples)


def test_restarted_chains_forget_the_buffer():
    chains = Chains((1, 2, 2), size=4, restart=1.0, step_size=0.5, noise=0.0, seed=0)
    chains.buffer.fill_(100.0)
    assert chains.sample(up, count=8, steps=0).abs().max() <= 1


def test_chains_kept_by_class_stay_in_their_class():
    chains = Chains((1, 1, 1), size=10, restart=0.0, step_size=0.0, noise=0.0, seed=0, num_classes=5)
    chains.buffer.copy_(torch.arange(5.0).repeat_interleave(2).view(10, 1, 1, 1))
    labels = torch.tensor([4, 0, 2, 2])
    assert chains.sample(up, 4, 1, labels).flatten().tolist() == [4, 0, 2, 2]


def test_chains_go_on_alike_after_saving():
    chains = Chains((1, 2, 2), 6, 0.3, 0.1, 0.1, seed=1)
    chains.sample(up, 4, 3)
    buffer = io.BytesIO()
    torch.save(chains.state_dict(), buffer)
    buffer.seek(0)
    copy = Chains((1, 2, 2), 6, 0.3, 0.1, 0.1, seed=2)
    copy.load_state_dict(torch.load(buffer, weights_only=True))
    assert copy.sample(up, 4, 3).equal(chains.sample(up, 4, 3))
    assert copy.buffer.equal(chains.buffer)


def test_a_buffer_without_room_for_every_class_is_refused():
    with pytest.raises(ValueError, match="holds 3 chains; it must hold at least 5"):
        Chains((1, 2, 2), 3, 0.0, 1.0, 0.1, seed=0, num_classes=5)


def test_starts_of_a_class_have_the_mean_and_covariance_of_its_images():
    """Of M draws, a mean has the standard error s/sqrt(M), and an entry of the covariance at most s^2 sqrt(2/M)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(300, 1, 2, 2, generator=generator) * torch.tensor([0.05, 0.1, 0.15, 0.2]).view(1, 1, 2, 2)
    images[:, :, 0, 1] += images[:, :, 0, 0]
    labels = torch.arange(300) % 3
    images += 0.2 * labels.view(-1, 1, 1, 1) - 0.2
    draws = 40_000
    drawn = class_gaussians(images, labels, torch.tensor([2, 0]).repeat_interleave(draws), generator)
    for part, label in zip(drawn.split(draws), (2, 0), strict=True):
        own, part = images[labels == label].flatten(1), part.flatten(1)
        spread = own.std(dim=0, correction=0)
        assert ((part.mean(0) - own.mean(0)).abs() <= 5 * spread / draws**0.5).all()
        bound = 5 * spread[:, None] * spread * (2 / draws) ** 0.5
        assert ((torch.cov(part.T) - torch.cov(own.T, correction=0)).abs() <= bound).all()


def test_chains_start_and_restart_where_they_are_told_to():
    chains = Chains((1, 1, 1), size=10, restart=1.0, step_size=0.5, noise=0.0, seed=0, num_classes=5)
    chains.start_from(torch.arange(5.0).repeat_interleave(2).view(10, 1, 1, 1))
    labels = torch.tensor([4, 0, 2, 2])
    assert chains.sample(up, 4, steps=2, labels=labels).flatten().tolist() == [5, 1, 3, 3]
    assert chains.sample(up, 4, steps=2, labels=labels).flatten().tolist() == [5, 1, 3, 3]
    assert "starts" not in chains.state_dict()
