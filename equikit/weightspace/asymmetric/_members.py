"""Combine several networks of one architecture in one module with stacked arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import OptionError

Factory = Callable[[nnx.Rngs], Any]
"""A function of an `nnx.Rngs` that creates a network."""


def stacked(factory: Factory, size: int, rngs: nnx.Rngs) -> Any:
    """Create `size` networks, and return one module with their stacked arrays.

    Raises:
        OptionError: if `size` is less than one, a network is not a module, or their architectures differ.
    """
    _checks.function("factory", factory, example="lambda rngs: nnx.Linear(4, 3, rngs=rngs)")
    _checks.rngs(rngs)
    size = _checks.count("size", size, least=1, most=100_000, example=4)
    made = [_network(factory(nnx.Rngs(rngs.params()))) for _ in range(size)]
    graph, first = made[0]
    for number, (other, state) in enumerate(made):
        same = graph == other and jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, state)
        if not same:
            raise OptionError(
                "the factory makes networks of several architectures",
                got=f"network {number} differs from the first in its structure or its shapes",
                expected="one architecture, with other parameters",
                step="let the factory depend on its rngs alone, in parameters alone",
            )
    return nnx.merge(graph, jax.tree.map(lambda *arrays: jnp.stack(arrays), *(state for _, state in made)))


def _network(made: Any) -> Any:
    """Split a network that a factory made, or raise `OptionError` if it is none."""
    if not (isinstance(made, nnx.Module) and callable(made)):
        raise OptionError(
            "the factory does not make networks",
            got=_checks.shown(made, 60),
            expected="an nnx.Module that can be called",
            step="return a module, such as nnx.Linear(4, 3, rngs=rngs)",
        )
    return nnx.split(made)


def split_parameters(module: Any) -> tuple[Any, Any, Any]:
    """Split a module into structure, parameters and everything else."""
    found: Any = nnx.split(module, nnx.Param, ...)
    graph, params, rest = found
    return graph, params, rest


def outputs(members: Any, *x: Any, **named: Any) -> Any:
    """Return the stacked outputs of the networks for the same inputs, and store changes of their state in `members`."""
    graph, params, rest = split_parameters(members)
    changed: list[int] = []

    def one(params: Any, rest: Any) -> tuple[Any, list[Any]]:
        before, member = jax.tree.leaves(rest), nnx.merge(graph, params, rest)
        found = member(*x, **named)
        after = jax.tree.leaves(split_parameters(member)[2])
        changed[:] = [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] is not pair[1]]
        return found, [after[place] for place in changed]

    found, new = jax.vmap(one)(params, rest)
    if changed:
        leaves, tree = jax.tree.flatten(rest)
        for place, leaf in zip(changed, new, strict=True):
            leaves[place] = leaf
        nnx.update(members, jax.tree.unflatten(tree, leaves))
    return found
