import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hdge import WideResNet


def test_size_of_the_papers_network():
    with torch.device("meta"):
        model = WideResNet(depth=28, width=10, num_classes=10, norm="none")
    assert sum(p.numel() for p in model.parameters()) == 36_471_338


@pytest.mark.parametrize(("channels", "side"), [(1, 16), (3, 32), (3, 28)])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_any_image_size_gives_one_row_of_logits_an_image(channels, side, norm):
    model = WideResNet(10, 1, num_classes=7, in_channels=channels, norm=norm)
    images = torch.rand(2, channels, side, side)
    assert model(images).shape == (2, 7)
    assert model.features(images).shape == (2, 64)


def test_input_scaling_lives_in_the_model():
    """The stem sees [-1, 1]: a mid-grey image is zero there, and leaves its bias alone."""
    model = WideResNet(10, 1)
    seen = []
    model.stem.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.5), torch.ones(3, 8, 8)]))
    assert [image.unique().item() for image in seen[0]] == [-1, 0, 1]


def test_zero_residual_starts_as_shortcuts_with_a_head_away_from_zero():
    model = WideResNet(16, 1, initialization="zero_residual")
    images = torch.rand(2, 3, 16, 16)
    # The library's head is uniform within 1 / sqrt(64), of standard deviation 1 / sqrt(3 * 64).
    assert float(model.head.weight.detach().std()) == pytest.approx(192**-0.5, rel=0.1)
    hidden = model.stem(2 * images - 1)
    for block in model.blocks:
        torch.testing.assert_close(block(hidden), block.shortcut(hidden))
        hidden = block(hidden)


def test_a_stem_of_stride_two_takes_a_quarter_of_the_arithmetic():
    def operations(stride: int) -> int:
        with FlopCounterMode(display=False) as counter:
            WideResNet(10, 1, stem_stride=stride)(torch.rand(1, 3, 16, 16))
        return counter.get_total_flops()

    assert operations(1) / operations(2) == pytest.approx(4, rel=1e-3)  # but for the head


@pytest.mark.parametrize("depth", [9, 12, 4])
def test_depths_that_no_three_stages_have_are_refused(depth):
    with pytest.raises(ValueError, match=f"depth is {depth}"):
        WideResNet(depth=depth)
