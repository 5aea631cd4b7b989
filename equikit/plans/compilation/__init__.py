"""From signatures to plans: reductions, products and expansions, and the passes that optimize them."""
