"""Benchmarks: one file each, all run by `python -m benchmarks`."""
