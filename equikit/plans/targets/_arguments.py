"""The arguments of a function that is compiled and not called: abstract arrays, and where they lie."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P, SingleDeviceSharding

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError

Axis = int | None


@dataclass(frozen=True)
class Arguments:
    """The arguments of a function as a flat list of abstract arrays.

    Attributes:
        arrays: shapes and dtypes.
        axes: for each the axis that is spread over devices.
        moves: for each whether the gradient is taken with respect to it.
        build: returns the arguments from such a list of arrays.
    """

    arrays: list[Any]
    axes: list[Axis]
    moves: list[bool]
    build: Callable[[Sequence[Any]], list[Any]]

    def split(self, arrays: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Return the arrays with and without a gradient."""
        chosen: tuple[list[Any], list[Any]] = ([], [])
        for array, moves in zip(arrays, self.moves, strict=True):
            chosen[not moves].append(array)
        return chosen

    def called(
        self, function: Callable[..., Any], moving: Sequence[Any], fixed: Sequence[Any]
    ) -> tuple[Any, list[Any]]:
        """Call a function with the arguments, from both lists that `split` returns.

        Returns:
            The result, and what the function has changed in modules: XLA would leave out a training step whose new
            parameters are no results.
        """
        first, second = iter(moving), iter(fixed)
        flat = [next(first if moves else second) for moves in self.moves]
        built = self.build(flat)
        result = jax.tree.map(_result, function(*built))
        modules = [value for value in jax.tree.leaves(built, is_leaf=_is_module) if _is_module(value)]
        after = [leaf for module in modules for leaf in jax.tree.leaves(nnx.state(module))]
        before = {id(leaf) for leaf in flat}
        return result, [leaf for leaf in after if id(leaf) not in before]


def arguments(inputs: Sequence[Any], axes: Sequence[Axis]) -> Arguments:
    """Return the arrays of all inputs; gradients are taken of parameters of modules and of floating-point inputs."""
    arrays: list[Any] = []
    spread: list[Axis] = []
    moves: list[bool] = []
    builders: list[tuple[int, Callable[[Sequence[Any]], Any]]] = []
    trees = [jax.tree.flatten(value, is_leaf=_is_module) for value in inputs]
    for value, axis in [(leaf, axis) for (leaves, _), axis in zip(trees, axes, strict=True) for leaf in leaves]:
        graph, parameters, tree = None, 0, value
        if _is_module(value):  # its arrays are parameters, which every device has
            graph, *tree = nnx.split(value, nnx.Param, ...)
            parameters = len(jax.tree.leaves(tree[0]))
        leaves, structure = jax.tree.flatten(tree)
        found = [_abstract(leaf) for leaf in leaves]
        arrays += found
        spread += [axis if graph is None else None] * len(found)
        moves += [
            (graph is None or i < parameters) and jnp.issubdtype(each.dtype, jnp.inexact)
            for i, each in enumerate(found)
        ]
        builders.append((len(leaves), functools.partial(_built, graph, structure)))

    def build(flat: Sequence[Any]) -> list[Any]:
        rest = iter(flat)
        values = iter([builder([next(rest) for _ in range(count)]) for count, builder in builders])
        return [jax.tree.unflatten(structure, [next(values) for _ in leaves]) for leaves, structure in trees]

    return Arguments(arrays, spread, moves, build)


def _is_module(value: object) -> bool:
    return isinstance(value, nnx.Pytree)


def _built(graph: Any, structure: Any, leaves: Sequence[Any]) -> Any:
    tree = jax.tree.unflatten(structure, leaves)
    return tree if graph is None else nnx.merge(graph, *tree)


def _abstract(leaf: Any) -> Any:
    """Return the shape and dtype of an argument, or raise an error if it has none."""
    try:
        known: Any = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
        found = jax.ShapeDtypeStruct(known.shape, known.dtype, weak_type=known.weak_type)
    except (TypeError, AttributeError):
        raise OptionError(
            "an input is not an array",
            got=_checks.shown(leaf),
            expected="arrays, jax.ShapeDtypeStruct, NNX modules, or pytrees of them",
            step="pass lambda layer, x: layer(x, name=value) as the function, and the layer as the first input",
        ) from None
    if isinstance(found.dtype, np.dtype) and jax.dtypes.canonicalize_dtype(found.dtype) != found.dtype:
        raise DTypeError(
            f"an input cannot be {found.dtype} while jax_enable_x64 is off",
            got=f"dtype {found.dtype}",
            expected=f"{jax.dtypes.canonicalize_dtype(found.dtype)}, or x64 switched on",
            step='call jax.config.update("jax_enable_x64", True) first',
        )
    symbols = [size for size in found.shape if not isinstance(size, int)]
    if symbols:
        raise ShapeError(
            "a program is compiled for sizes that are numbers",
            got=f"the symbolic size {symbols[0]}",
            expected="whole numbers",
            step="pass jax.ShapeDtypeStruct(shape, dtype) with the sizes that you want to know about",
        )
    return found


def _result(leaf: Any) -> Any:
    """Return a result as an array, also a number of Python, or raise an error if it is neither."""
    try:
        jax.typeof(leaf)
    except TypeError:
        raise OptionError(
            "a result is not an array",
            got=_checks.shown(leaf),
            expected="arrays, numbers, or pytrees of them",
            step="pass a function that returns arrays only",
        ) from None
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)


def axes_of(axis: object, count: int) -> tuple[Axis, ...]:
    """Return an axis for each input."""
    given = (axis,) * count if axis is None or _checks.integer(axis) is not None else axis
    if not isinstance(given, tuple | list) or len(given) != count:
        raise OptionError(
            "axis= must be one axis, or one for each input",
            got=_checks.shown(axis),
            expected=f"a number, None, or a tuple of {count} of them",
            step="write axis=0",
        )
    return tuple(None if one is None else _checks.count("axis", one) for one in given)


def placed(array: Any, axis: Axis, mesh: Mesh | None, device: Any) -> Any:
    """Return an abstract array on one device, or with one of its axes spread over a mesh."""
    if mesh is None:
        return array.update(sharding=SingleDeviceSharding(device))
    if axis is not None and (axis >= array.ndim or array.shape[axis] % mesh.size):
        raise ShapeError(
            f"axis {axis} of an input cannot be divided over {mesh.size} devices",
            got=f"shape {[*array.shape]}",
            expected=f"a multiple of {mesh.size} there, or axis=None for inputs that all devices have",
            step=f"pass inputs with a batch of {mesh.size} or a multiple of it",
        )
    return array.update(sharding=NamedSharding(mesh, P() if axis is None else P(*[None] * axis, "batch")))


def refuse_double(target: str, platform: str, what: str, arrays: Sequence[Any]) -> None:
    """Raise `DTypeError` for double precision on a TPU: XLA computes it in software there."""
    double = [array for array in arrays if array.dtype in (jnp.float64, jnp.complex128)]
    if double and platform == "tpu":
        raise DTypeError(
            f'target="{target}" has no double precision',
            got=f"{what} of dtype {double[0].dtype}",
            expected="float32, bfloat16 or complex64",
            step="pass arrays and parameters of dtype float32",
        )
