"""Geometric messages and laws of materials."""
