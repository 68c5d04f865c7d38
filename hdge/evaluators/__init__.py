"""Evaluators: arrays of logits and labels in, tidy tables out. None of them trains, samples or reads weights."""

from hdge.evaluators import approximation, calibration, classification, intervals, ood

__all__ = ["approximation", "calibration", "classification", "intervals", "ood"]
