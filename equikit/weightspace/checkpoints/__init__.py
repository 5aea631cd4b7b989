"""Checkpoints of other libraries: files, the names of their arrays, and how the arrays are arranged."""
