"""Geometric messages and constitutive laws of materials."""
