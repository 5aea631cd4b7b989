"""Plans on many devices."""
