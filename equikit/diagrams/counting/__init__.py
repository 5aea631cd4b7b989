"""Counting and listing of diagrams."""
