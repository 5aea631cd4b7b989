"""Frames and learned canonical forms of permutations: sorted numbers and scores."""
