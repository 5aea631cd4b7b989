"""Index sets of axes, and the relation between axes that a program imposes."""
