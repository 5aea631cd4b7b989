"""Compute activations of neurons on probe inputs, as node features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit.groups import S
from equikit.weightspace.graphs._graph import ParameterGraph, checked_graph
from equikit.weightspace.graphs._layout import Block
from equikit.weightspace.specifications._evaluation import Seen, evaluated, labeled
from equikit.weightspace.specifications._leaves import checked_leaves, is_real
from equikit.weightspace.tracing.axes._axes import Axis
from equikit.weightspace.tracing.programs._reading import INPUT, OUTPUT


def _along(seen: Seen, axes: Sequence[Axis]) -> jax.Array | None:
    """Return the mean of an array over all axes except `axes`, flattened; None if one of `axes` is missing."""
    if any(axis.root not in seen.axes for axis in axes):
        return None
    places = [seen.axes.index(axis.root) for axis in axes]
    rest = [place for place in range(seen.array.ndim) if place not in places]
    return jnp.mean(seen.array.transpose([*places, *rest]), axis=tuple(range(len(places), seen.array.ndim))).ravel()


def _neurons(graph: ParameterGraph) -> list[Block]:
    """Return the layers of neurons."""
    return [block for block in graph.layout.nodes if block.neurons]


def activations_of(graph: ParameterGraph, apply: Callable[..., Any], params: Any, inputs: tuple[Any, ...]) -> jax.Array:
    """Return for each node the last array of the program with its label, averaged over all other axes, `[nodes]`."""
    spec = graph.spec
    groups = {axis.label: S(axis.size) for block in _neurons(graph) for axis in block.axes}
    program = labeled(spec.leaves, groups, apply, params, inputs)
    seen: list[Seen] = []
    results = evaluated(program, params, inputs, seen.append)
    seen = [one for one in seen if is_real(one.array)]
    # An axis of size one cannot be identified in the program; a single input or output is averaged over whole arrays.
    ends = {INPUT: jax.tree.leaves(inputs), OUTPUT: results}
    reasons = dict(spec.reasons)
    found = []
    for block in graph.layout.nodes:
        along: list[jax.Array | None] = []
        if block.neurons and block.size > 1:
            along = [_along(value, [program.axes[axis.label] for axis in block.axes]) for value in seen]
        elif block.neurons:
            along = [jnp.mean(array)[None] for array in ends.get(reasons.get(block.name, ""), []) if is_real(array)]
        there = [array for array in along if array is not None]
        found.append(there[-1] if there else jnp.zeros(block.size, jnp.float32))
    dtype = jnp.result_type(*found)
    return jnp.concatenate([array.astype(dtype) for array in found])


class Probes(nnx.Module):
    """Activations of every neuron on a few probe inputs, which may be learned, as features of its node.

    The program is run on each probe. The feature of a neuron is taken from the last array in the program that depends
    on the input and has an axis of the neuron's layer, averaged over all other axes. Layers without such an array, for
    example inside loops, and nodes that are not neurons have zero features. Relabeling neurons relabels the features.

    Args:
        graph: the parameter graph, from `graph`.
        apply: the model that was traced.
        x: stacked inputs: an array `[probes, *shape]`, or several in a tuple, where `shape` is the shape of an input of
            `apply`, including its batch axis.
        learned: whether floating-point inputs are parameters; other inputs, such as token ids, never are.

    Attributes:
        count: the number of probes, which is the number of features.

    Raises:
        ShapeError: if the inputs do not share the size of the first axis.

    Cost: one run of the model for each probe and network.

    Example:
        >>> from equikit.weightspace import graph
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> neurons = graph(apply, params, jnp.ones((1, 3)))
        >>> probes = Probes(neurons, apply, jax.random.normal(jax.random.key(0), (4, 1, 3)))
        >>> probes(params).shape  # 13 neurons, 4 probes
        (13, 4)

    Source:
        Kofinas et al., arXiv:2403.12143.
    """

    def __init__(self, graph: ParameterGraph, apply: Callable[..., Any], x: Any, *, learned: bool = True) -> None:
        inputs = x if isinstance(x, tuple) else (x,)
        leaves, self.structure = jax.tree.flatten(inputs)
        checked_graph(graph)
        _checks.flag("learned", learned)
        step = "stack inputs of the model, with their batch axis: x[None]"
        _checks.some("probes", leaves, got="no arrays", step=step)
        count = (*np.shape(leaves[0]), 0)[0]
        _checks.some("probes", range(count), got="one input, not a stack", step=step)
        for leaf in leaves:
            _checks.shaped("each input of the probes", leaf, (count, "*axes"), step=step)
        _checks.function("apply", apply, arguments=1 + len(inputs), example="apply, the model that was traced")
        self.graph, self.apply = graph, apply
        arrays = [jnp.asarray(leaf) for leaf in leaves]
        self.inputs = nnx.List([nnx.Param(a) if learned and is_real(a) else nnx.Variable(a) for a in arrays])
        self.count = int(arrays[0].shape[0])

    @property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """The labels of the neurons of each layer, by the name of the layer."""
        return {block.name: tuple(axis.label for axis in block.axes) for block in _neurons(self.graph)}

    def by_layer(self, params: Any) -> dict[str, jax.Array]:
        """Return the activations of each layer, `[*batch, *sizes, probes]`, by the name of the layer."""
        found, first = self(params), 0
        result = {}
        for block in self.graph.layout.nodes:
            if block.neurons:
                part = found[..., first : first + block.size, :]
                result[block.name] = part.reshape(*found.shape[:-2], *block.shape, self.count)
            first += block.size
        return result

    def __call__(self, params: Any) -> jax.Array:
        """Return the activations, `[*batch, nodes, probes]`, for parameters `[*batch, *shape]`."""
        checked_leaves(self.graph.spec.leaves, params)
        leaf, first = self.graph.spec.leaves[0], jax.tree.leaves(params)[0]
        batch = first.shape[: first.ndim - len(leaf.axes)]
        flat = jax.tree.map(lambda a: jnp.reshape(a, (math.prod(batch), *a.shape[len(batch) :])), params)
        inputs = jax.tree.unflatten(self.structure, [value[...] for value in self.inputs])

        def one(params: Any, inputs: Any) -> jax.Array:
            return activations_of(self.graph, self.apply, params, inputs)

        found = jax.vmap(jax.vmap(one, (None, 0), -1), (0, None))(flat, inputs)
        return found.reshape(*batch, *found.shape[1:])
