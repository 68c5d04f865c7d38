"""Compiled training beside eager training, in a process of its own: the tests' shape checks cannot be compiled."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from hdge.data.splits import load_splits
from hdge.training.trainer import Trainer
from tests.test_methods import CPU, config


def main(method: str) -> None:
    graphs = []

    def count(module, inputs):
        graphs.append(module)
        return module

    whole = nn.Module.compile
    nn.Module.compile = lambda self, **options: whole(self, backend=count, **options)
    warnings.simplefilter("ignore")
    splits = load_splits("digits", Path())
    plain = Trainer(config(method), splits, CPU)
    compiled = Trainer(replace(config(method), compile=True), splits, CPU)
    for _ in range(3):
        plain.update()
        compiled.update()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value)
    print(f"{len(graphs)} graph")


if __name__ == "__main__":
    main(sys.argv[1])
