"""Record the calls of the modules of a model, and the equations of its program, with their arrays."""
