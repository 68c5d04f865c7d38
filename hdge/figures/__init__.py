"""Figures: functions of a table and axes. Saved as a picture (SVG) and the table it was drawn from (CSV)."""

from hdge.figures import approximation, calibration, classification, ood, style, sweeps

__all__ = ["approximation", "calibration", "classification", "ood", "style", "sweeps"]
