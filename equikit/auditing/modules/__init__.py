"""Find the first module of a model that breaks its symmetry, or that has a wrong derivative."""
