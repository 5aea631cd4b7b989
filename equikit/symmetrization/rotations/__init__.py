"""Frames and learned canonical forms of rotations, translations, Lorentz and unitary groups."""
