"""Run a plan with kernels that are made from it: one reduces a term in a pass, one writes an output once."""
