"""Merge, interpolate and transfer aligned networks."""
