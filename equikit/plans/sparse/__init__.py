"""Run plans on sparse supports: the axes of one label are the rows of its levels."""
