"""Averages and canonical forms over the elements of a finite group."""
