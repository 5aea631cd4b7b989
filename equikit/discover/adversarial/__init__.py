"""Adversarial symmetry discovery: generators of a group that a discriminator cannot tell from the data."""
