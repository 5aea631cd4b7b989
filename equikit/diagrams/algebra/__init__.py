"""Products, sums and factorizations of diagrams."""
