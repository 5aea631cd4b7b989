"""From signatures to plans: reductions, products and expansions, and passes that lead to the fewest."""
