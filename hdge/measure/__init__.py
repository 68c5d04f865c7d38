"""All that needs a trained network's weights: outputs, samples, attacks, post-hoc scores."""
