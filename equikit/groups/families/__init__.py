"""A file for each family of groups."""
