"""Signatures: which group acts on which axis, read from texts."""
