"""The paper, usable alone: imports PyTorch and itself, nothing else of this package."""
