"""Programs and the programs that they call, read forwards and backwards."""
