"""Reading the symmetry of parameters off the program of a model."""
