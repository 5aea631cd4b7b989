"""How many diagrams there are, and how they are listed."""
