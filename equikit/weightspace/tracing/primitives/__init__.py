"""The table of JAX primitives: how each primitive relates the axes of its operands and results."""
