"""Invariant tensors of groups without diagrams, as null spaces."""
