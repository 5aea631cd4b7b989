"""Run a plan in JAX, as steps, as a dense matrix, or by the definition."""
