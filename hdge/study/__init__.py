"""A run, a plan of runs, and the study as its notebooks see it."""
