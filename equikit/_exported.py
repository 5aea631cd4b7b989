"""Pytrees of our own as arguments of exported functions."""

from __future__ import annotations

import ast

import jax.export


def exported(kind: type, name: str) -> None:
    """Let `jax.export` serialize a pytree whose static part can be written as Python literals."""
    jax.export.register_pytree_node_serialization(
        kind,
        serialized_name=f"equikit.{name}",
        serialize_auxdata=lambda static: repr(static).encode(),
        deserialize_auxdata=lambda text: ast.literal_eval(bytes(text).decode()),
    )
