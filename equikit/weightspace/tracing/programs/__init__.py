"""Read programs and the programs that they call, forwards and backwards."""
