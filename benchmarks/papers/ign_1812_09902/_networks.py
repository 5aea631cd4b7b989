"""The networks, and what they read of padded graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek

Apply = Callable[[Any, Mapping[str, Any]], jax.Array]
ATOMS, CLASSES = 7, 2


def graph_network(rngs: nnx.Rngs) -> nnx.Module:
    """A 2-IGN: all 15 maps between matrices in each hidden layer, then both invariants."""
    return ek.nn.GraphNetwork(1, [16, 32, 64], CLASSES, node_channels=ATOMS, rngs=rngs)


def apply_graph_network(module: Any, rows: Mapping[str, jax.Array]) -> jax.Array:
    """From normalized adjacency matrices and the labels of nodes."""
    outputs: jax.Array = module(rows["edges"], rows["nodes"], mask=rows["mask"])
    return outputs


def deep_sets(rngs: nnx.Rngs) -> nnx.Module:
    """Both maps between sets in each hidden layer, then the invariant."""
    return ek.nn.DeepSets(ATOMS + 1, [64, 64], CLASSES, rngs=rngs)


def apply_deep_sets(module: Any, rows: Mapping[str, jax.Array]) -> jax.Array:
    """From the labels and degrees of nodes."""
    nodes = jnp.concatenate([rows["nodes"], rows["degrees"]], axis=-1)
    outputs: jax.Array = module(nodes, mask=rows["mask"])
    return outputs


NETWORKS: dict[str, tuple[Callable[[nnx.Rngs], nnx.Module], Apply]] = {
    "2-IGN": (graph_network, apply_graph_network),
    "Deep Sets of nodes": (deep_sets, apply_deep_sets),
}
