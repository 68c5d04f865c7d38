"""Evaluators: arrays of logits and labels in, tidy tables out. None of them trains, samples or reads weights."""

from hdge.evaluators import calibration, classification, intervals, ood

__all__ = ["calibration", "classification", "intervals", "ood"]
