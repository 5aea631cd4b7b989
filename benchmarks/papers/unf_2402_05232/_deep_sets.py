"""Deep Sets between trees of arrays: the weights of an array are a set, and arrays do not see each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit.weightspace import Specification


class DeepSets(nnx.Module):
    """Layers that add a linear map of every weight and of the mean over its array, with ReLU between them.

    Args:
        spec: the symmetry of the parameters, which only says how many arrays there are.
        channels: numbers of channels for each weight: input, hidden layers, output.
        rngs: random keys.
    """

    def __init__(self, spec: Specification, channels: Sequence[int], *, rngs: nnx.Rngs) -> None:
        def layers() -> nnx.List[nnx.Linear]:
            return nnx.List([nnx.Linear(2 * before, after, rngs=rngs) for before, after in pairwise(channels)])

        self.layers = nnx.List([layers() for _ in spec.leaves])

    def __call__(self, params: Any) -> Any:
        """Map arrays `[*shape, channels]` to arrays of the same shape with other channels."""
        arrays, structure = jax.tree.flatten(params)
        return jax.tree.unflatten(structure, map(_through, self.layers, arrays))


def _through(layers: Sequence[nnx.Linear], x: jax.Array) -> jax.Array:
    for number, layer in enumerate(layers):
        mean = jnp.mean(x, axis=tuple(range(x.ndim - 1)), keepdims=True)
        x = layer(jnp.concatenate([x, jnp.broadcast_to(mean, x.shape)], axis=-1))
        x = jax.nn.relu(x) if number + 1 < len(layers) else x
    return x
