"""Attention over a set, with scores from invariant products of tensors."""
