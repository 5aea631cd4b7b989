"""The symmetry of parameters as a value: labels for axes, and elements that move parameters."""
