"""Networks built from layers: stacks, sets, graphs, vectors and matrices."""
