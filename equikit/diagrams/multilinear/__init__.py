"""Maps of several inputs, symmetric in some of their axes."""
