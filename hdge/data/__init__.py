"""Image sets, their fixed splits, and augmentation."""
