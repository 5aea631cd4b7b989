"""Families of groups, one file each."""
