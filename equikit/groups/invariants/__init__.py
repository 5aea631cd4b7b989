"""Invariant tensors of groups without diagrams, computed as null spaces."""
