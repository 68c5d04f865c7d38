"""Projected gradient descent, by foolbox, and adversarial training against it."""

import warnings

import torch.nn.functional as F
from torch import Tensor, nn

from hdge.data.images import Labels, Pixels
from hdge.methods.base import Method, Step, View, frozen
from hdge.study.settings import AttackNorm


def pgd(model: nn.Module, images: Pixels, labels: Labels, norm: AttackNorm, radius: float, steps: int) -> Pixels:
    r"""Images at which projected gradient descent has made the loss large.

    .. math:: x \leftarrow \Pi\big(x + \tfrac{2.5 r}{T} \, n(\partial \, {-\log q(y|x)} / \partial x)\big)

    where n gives the gradient's sign (linf) or its direction (l2). Pi projects onto the ball of radius r around the
    image and onto [0, 1]. The T steps begin at a random point of the ball, drawn from PyTorch's own generator. Their
    lengths add up to 2.5 r, enough to cross the ball and turn back.

    Args:
        model: images in [0, 1] to logits, in evaluation mode and without parameter gradients.
        images: x, pixels in [0, 1].
        labels: y.
        norm: "l2" or "linf".
        radius: r, in pixels of [0, 1].
        steps: T.

    Source: Madry et al. 2017.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a SciPy namespace, in an attack that is not used here
        import foolbox

    name = {"l2": "L2", "linf": "Linf"}[norm]
    attack = getattr(foolbox.attacks, f"{name}ProjectedGradientDescentAttack")(rel_stepsize=2.5 / steps, steps=steps)
    target = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    return attack.run(target, images, foolbox.criteria.Misclassification(labels), epsilon=radius).detach()


class Adversarial(Method):
    """Cross-entropy on the worst image that projected gradient descent finds in a ball (Madry et al. 2017).

    The ball is measured in pixels in [0, 1]; see :func:`pgd`.
    """

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits = model(self.attacked(model, view().clamp(0, 1), labels)).float()
        return Step(F.cross_entropy(logits, labels), logits, {})

    def passes(self, images: int) -> tuple[int, int]:
        return ((self.config.attack.steps + 1) * images,) * 2

    def attacked(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        norm: AttackNorm = "l2" if self.config.method == "adversarial_l2" else "linf"
        with frozen(model):
            return pgd(model, images, labels, norm, self.config.attack.radius, self.config.attack.steps)
