"""Index sets of axes, and the relations between axes that a program imposes."""
