"""Evaluators: arrays of logits and labels in, tidy tables out. None of them trains.

Those of networks that are sampled or attacked (generation, robustness) are imported by name where they are wanted.
"""

from hdge.evaluators import approximation, calibration, classification, intervals, ood, sweeps

__all__ = ["approximation", "calibration", "classification", "intervals", "ood", "sweeps"]
