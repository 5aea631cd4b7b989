"""Read the symmetry of parameters from the program of a model."""
