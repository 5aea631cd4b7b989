"""A stack of equal layers, run by one scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from equikit import _checks
from equikit._array_checks import checked_dtype
from equikit._errors import DTypeError, OptionError
from equikit.nn._features import Features
from equikit.nn._layer import Layer
from equikit.nn.initializers import in_numpy, placed
from equikit.nn.networks._residual import (
    applied,
    checked_layers,
    known_groups,
    known_sides,
    refuse_change,
    refuse_mismatch,
)
from equikit.plans import Arrays, Masks
from equikit.signatures import Signature
from equikit.supports import Support


def _stacked(*arrays: jax.Array) -> jax.Array:
    """Stack arrays along a new first axis, in NumPy if possible, which compiles no program for each shape."""
    if jnp.issubdtype(arrays[0].dtype, jax.dtypes.prng_key):
        return jnp.stack(arrays)
    parts = [in_numpy(array) for array in arrays]
    if all(isinstance(part, np.ndarray) for part in parts):
        return placed(np.stack(parts), arrays[0])
    return jnp.stack(arrays)


def _refuse_cast(before: Any, after: Any) -> None:
    """Raise `DTypeError` if a layer changes the dtype of its input, because a scan needs equal dtypes."""
    dtypes = [[array.dtype for array in jax.tree.leaves(x)] for x in (before, after)]
    if dtypes[0] != dtypes[1]:
        raise DTypeError(
            "a layer of a stack changes the dtype of its input",
            got=f"{', '.join(map(str, dtypes[1]))} of {', '.join(map(str, dtypes[0]))}",
            expected="the dtype of the input",
            step=f"cast the input to {dtypes[1][0]}, or make the layers with dtype={dtypes[0][0]}",
        )


class Stack(Layer):
    """A sequence of equal layers, run by one scan: the compiled program contains one layer at any depth.

    Args:
        make: maps random keys to a layer with equal input and output features, `lambda rngs: Residual(...)`.
        depth: the number of layers, at most 1000.
        remat: keep only the input of each layer for the backward pass, and recompute intermediates.
        rngs: random keys; the layers are made in order, with the same initial values as in a list of layers.

    Attributes:
        layers: one layer whose variables have a leading axis `[depth, ...]`.

    Raises:
        OptionError: if `make` is a layer itself, or returns something other than a module, or layers that differ.
        ShapeError: if the input and output features of a layer differ.

    Cost: run time of `depth` layers; compile time of one layer.

    Example:
        >>> import jax.numpy as jnp
        >>> import equikit as ek
        >>> def block(rngs):
        ...     norm, layer = ek.nn.RMSNorm({"p": 4}, p=ek.S), ek.nn.Linear("p -> p", 4, 4, p=ek.S, rngs=rngs)
        ...     return ek.nn.Residual([norm, layer])
        >>> net = Stack(block, 12, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((5, 4))).shape
        (5, 4)
    """

    shows_parts = True

    def __init__(
        self, make: Callable[[nnx.Rngs], nnx.Module], depth: int, *, remat: bool = False, rngs: nnx.Rngs
    ) -> None:
        if isinstance(make, nnx.Module):  # it is a function, too, but of arrays
            raise OptionError(
                "make= is a layer, not a function that makes layers",
                got=_checks.shown(make, 60),
                expected="a function of random keys that returns a new layer",
                step="write make=lambda rngs: ek.nn.Residual(...)",
            )
        make = _checks.function("make", make, example="lambda rngs: ek.nn.Residual(...)")
        self.depth = _checks.count("depth", depth, least=1, most=1000, example=4)
        self.remat = _checks.flag("remat", remat)
        _checks.rngs(rngs)
        made = checked_layers([make(rngs) for _ in range(self.depth)])
        graphs, states = zip(*map(nnx.split, made), strict=True)
        if any(graph != graphs[0] for graph in graphs):
            raise OptionError(
                "the layers of a stack differ in more than their parameters",
                got=f"{made[0]!r}, and then others",
                expected="layers that are made alike",
                step="define functions that layers hold, such as activations, outside of make",
            )
        refuse_mismatch(made[:1])
        self.layers: Any = nnx.merge(graphs[0], jax.tree.map(_stacked, *states))

    @property
    def sides(self) -> tuple[Features, Features] | None:
        """The input and output features of each layer, if they are known."""
        return known_sides(self.layers)

    @property
    def call_signature(self) -> Signature | None:
        """A signature with the groups of each layer."""
        return known_groups(self.layers)

    def _call_arguments(self) -> list[str]:
        return ["make", str(self.depth)]

    def _call_bindings(self) -> list[str]:
        return []  # the layers show them

    def __call__(self, x: Arrays, *, mask: Masks | None = None, support: Support | None = None) -> Arrays:
        """Apply the layers to an array or a dictionary of arrays.

        Args:
            x: input of the first layer.
            mask: for a label, booleans `[*batch, n]`: which entries are present; for every layer.
            support: which entries of the axes of one label are present, as for `Linear`; for every layer.

        Raises:
            ShapeError, DTypeError: if an array does not fit, or a layer changes the shape or dtype.
        """

        whole = self.call_signature or Signature((), (), ())

        # Not `nnx.scan`: it rejects a stack that a function under `jax.grad`, `jax.vmap` or `jax.jit` closes over.
        graph, state = nnx.split(self.layers)
        given, structure = jax.tree.flatten(state)

        def step(x: Any, values: list[jax.Array]) -> tuple[Any, dict[int, jax.Array]]:
            layer = nnx.merge(graph, jax.tree.unflatten(structure, values))
            y = applied(layer, x, mask, support, whole)
            refuse_change(x, y)
            _refuse_cast(x, y)
            after = jax.tree.leaves(nnx.state(layer))
            return y, {i: new for i, (old, new) in enumerate(zip(values, after, strict=True)) if new is not old}

        step = jax.checkpoint(step) if self.remat else step
        start = jax.tree.map(lambda array: checked_dtype("x", array), x)
        result, changed = lax.scan(step, start, given, length=self.depth)
        self._write(changed)
        found: Arrays = result
        return found

    def _write(self, changed: dict[int, jax.Array]) -> None:
        """Write back the variables that the layers changed, by position: running averages and key counts."""
        if changed:
            variables = jax.tree.leaves(nnx.state(self.layers), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
            for place, value in changed.items():
                variables[place].set_value(value)
