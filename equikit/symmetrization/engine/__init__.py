"""Shared parts of all methods: actions, elements, frames, samples, and the mean of a backbone over a frame."""
