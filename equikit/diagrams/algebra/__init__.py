"""Products of diagrams, sums of diagrams, and factors of them."""
