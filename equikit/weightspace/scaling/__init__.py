"""Networks on parameters that respect scales and signs of neurons, besides permutations."""
