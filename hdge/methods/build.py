"""The network and the method that a config names.

The files of the methods are imported where one is built, so that a run loads and depends on the file of its method.
"""

import torch.distributed as dist
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from hdge.data.images import ImageSet
from hdge.methods.base import CrossEntropy, Method
from hdge.methods.networks import ResNet50, WideResNet
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.roster import METHODS


def build_network(config: TrainConfig, num_classes: int, shape: tuple[int, ...]) -> nn.Module:
    """Build the network of a config, from images of a shape (channels, height, width) to logits."""
    logits = 1 if METHODS[config.method].logits == "one" else num_classes
    if METHODS[config.method].module == "flows":
        from hdge.methods.flows import Glow

        return Glow(shape, logits, config.flow.levels, config.flow.depth, config.flow.width)
    if config.network == "resnet50":
        return ResNet50(num_classes, shape[0])
    model = WideResNet(
        config.depth, config.width, logits, shape[0], config.norm, config.dropout, config.initialization,
        config.stem_stride,
    )  # fmt: skip
    if config.method in ("igebm", "igebm_conditional"):
        for module in list(model.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                spectral_norm(module)
    return model


def build_method(
    config: TrainConfig, model: nn.Module, training: ImageSet, group: dist.ProcessGroup | None = None
) -> Method:
    """Build the method of a config, for a network and its training images."""
    match METHODS[config.method].module:
        case "base":
            return CrossEntropy(config)
        case "hdge":
            from hdge.methods.hdge import Hdge, HdgeBatch

            if "queue" not in METHODS[config.method].blocks:
                return HdgeBatch(config, group)
            return Hdge(config, len(training.classes), len(training), group)
        case "energy":
            from hdge.methods.energy import Igebm, Jem, Sampler
            from hdge.methods.hdge import Hdge

            sampler = Sampler(config, training, group)
            if config.method.startswith("igebm"):
                return Igebm(config, sampler)
            own = config.method == "hdge_jem"
            return Jem(config, sampler, Hdge(config, len(training.classes), len(training), group) if own else None)
        case "contrastive":
            from hdge.methods.contrastive import ContrastivePretraining, JointLoss

            return JointLoss(config, model) if config.method == "jointloss" else ContrastivePretraining(config, model)
        case "flows":
            from hdge.methods.flows import Likelihood

            return Likelihood(config)
        case "adversarial":
            from hdge.methods.adversarial import Adversarial

            return Adversarial(config)
    raise HdgeError(f"method {config.method!r} stands in the roster, but build_method does not build it; add its case.")
