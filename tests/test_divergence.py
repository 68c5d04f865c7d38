"""Runs that diverge: rolled back by rule, recorded, and ended if they diverge too often."""

import json
import math
from dataclasses import replace

import pytest
import torch

from hdge.methods import energy
from hdge.study.runs import RunFolder
from hdge.training import loop as training
from hdge.training.loop import Guard
from hdge.training.trainer import DivergedError, Trainer
from tests.test_methods import BLOCKS, CPU, config


def explode(run: Trainer, monkeypatch, steps: set[int]) -> None:
    """Blow up the energies at some steps, once each, as a chain that has run away would."""
    forward = run.method.forward

    def blown_up(model, view, labels):
        step = forward(model, view, labels)
        if run.step in steps:
            steps.discard(run.step)
            return step._replace(terms={**step.terms, "energy_gap": step.terms["energy_gap"] + 1e9})
        return step

    monkeypatch.setattr(run.method, "forward", blown_up)


def test_a_divergence_is_rolled_back_recorded_and_survived(splits, monkeypatch):
    # At this rate the network stands all but still: the one divergence is the one below, on every machine.
    run = Trainer(config("jem", epochs=25, learning_rate=1e-8), splits, CPU)
    explode(run, monkeypatch, {103})
    guard, said = Guard(run), []
    while run.step < run.total_steps and not guard.gave_up:
        said.append(guard.step())
    assert run.step == run.total_steps
    assert run.rollbacks == [{"step": 103, "back_to": 50}]
    [sentence] = [text for text in said if text]
    assert "step 103: the loss is" in sentence
    assert "Back to step 50, with other chains." in sentence
    assert len(run.history) == 25


def test_a_run_that_diverges_too_often_ends_as_diverged(splits, tmp_path, monkeypatch):
    def never(self, model, view, labels):
        step = forward(self, model, view, labels)
        return step._replace(loss=step.loss * math.nan)

    forward = energy.Jem.forward
    monkeypatch.setattr(energy.Jem, "forward", never)
    folder = training.train(
        config("jem", sgld=replace(BLOCKS["sgld"], restarts=2)),
        RunFolder(tmp_path / "run"),
        tmp_path,
        CPU,
        progress=False,
    )
    record = json.loads((folder.path / "record.json").read_text())
    assert record["outcome"] == "diverged"
    assert record["rollbacks"] == [{"step": 0, "back_to": 0}] * 2
    assert all(tensor.isfinite().all() for tensor in folder.weights().values())
    assert not (folder.path / "outputs").exists()
    assert folder.history().empty  # and yet a table, for whoever reads it
    assert "loss" in folder.history()


def test_other_methods_stop_where_their_logits_are_no_longer_finite(splits):
    run = Trainer(config("hdge"), splits, CPU)
    with torch.no_grad():
        run.model.head.bias.fill_(math.inf)
    with pytest.raises(DivergedError, match="step 0: logits hold .* they must be finite"):
        Guard(run).step()
