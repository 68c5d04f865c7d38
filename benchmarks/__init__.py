"""What the contrastive term costs, as ratios to cross-entropy in the same run: ``python -m benchmarks``."""
