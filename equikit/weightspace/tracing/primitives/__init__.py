"""The table of JAX primitives: how each relates the axes of its inputs and outputs."""
