"""The symmetry of parameters as a value: labels of axes, and elements that move parameters."""
