"""A program and the programs that it calls, read forwards and backwards."""
