"""Plans outside of JAX: one walk over the steps, with the array operations of NumPy or PyTorch."""
