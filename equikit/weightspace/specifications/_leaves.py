"""The arrays of a tree of parameters, by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError
from equikit.weightspace.specifications._terms import Indexed, Leaf

HELD = ("value", "raw_value")
"""The attributes in which Flax stores the array of a variable; names of parameters omit them."""


def key_name(key: Any) -> str:
    """Return the name of one entry of a path in a tree."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def named_leaves(params: Any) -> dict[str, Any]:
    """Return arrays by name, in the order of the tree.

    Raises:
        OptionError: if two arrays have the same name, or the tree is empty.
        DTypeError: if a leaf is not an array of numbers or booleans.
    """
    found: dict[str, Any] = {}
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    for path, leaf in leaves:
        keys = [key_name(key) for key in path]
        # Omit the attribute only: a dictionary key "value" is a name that the user chose, as in attention.
        if keys and keys[-1] in HELD and hasattr(path[-1], "name"):
            keys = keys[:-1]
        name = "/".join(keys) or "parameters"
        leaf = np.asarray(leaf) if isinstance(leaf, np.generic) else leaf  # NumPy returns these for arrays of no axes
        is_array = isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)
        if not is_array or not any(jnp.issubdtype(leaf.dtype, kind) for kind in (jnp.number, jnp.bool_)):
            raise DTypeError(
                f"the parameter {name!r} is not an array of numbers",
                got=f"dtype {leaf.dtype}" if is_array else type(leaf).__name__,
                expected="a tree of arrays: floating-point, complex, integer or boolean",
                step="leave functions and static fields out: params, static = eqx.partition(net, eqx.is_array), and "
                "eqx.combine(params, static) in the function"
                if any(kind.__module__.startswith("equinox") for kind in type(params).__mro__)
                else "leave keys and static fields out: nnx.split(model, nnx.Param, ...), params alone",
            )
        if name in found:
            raise OptionError(
                "two parameters have one name",
                got=f"{name!r} twice",
                expected="paths that differ",
                step="rename the keys of the tree",
            )
        found[name] = leaf
    _checks.some("parameters", found, got="an empty tree", step="pass the parameters")
    return found


def is_real(array: Any) -> bool:
    """Whether an array is real floating-point."""
    return bool(jnp.issubdtype(jnp.result_type(array), jnp.floating))


def is_inexact(array: Any) -> bool:
    """Whether an array is floating-point, real or complex: other arrays are counters and masks, not weights."""
    return bool(jnp.issubdtype(jnp.result_type(array), jnp.inexact))


def refuse_not_real(what: str, params: Any, *, integers: bool = False) -> None:
    """Raise an error unless all parameters are real floating-point numbers.

    Args:
        what: the operation that needs real parameters, for the text of the error.
        params: a tree of arrays.
        integers: whether integers and booleans are allowed too.

    Raises:
        DTypeError: if a parameter has another dtype, or has a shape but no values; the error names the parameter.
    """
    for name, leaf in named_leaves(params).items():
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise DTypeError(
                f"{what} needs the values of the parameters: {name!r}",
                got="a jax.ShapeDtypeStruct",
                expected="arrays",
                step="pass the parameters of a network: shapes alone are enough to trace a model",
            )
        if is_real(leaf) or (integers and not is_inexact(leaf)):
            continue
        raise DTypeError(
            f"{what} needs real floating-point parameters: {name!r}",
            got=f"dtype {leaf.dtype}",
            expected="float32, float64, bfloat16 or float16",
            step="store its real and imaginary parts as two parameters, and trace again"
            if is_inexact(leaf)
            else "leave it out of the parameters, as a constant of apply(params, x), and trace again",
        )


def checked_leaves(leaves: tuple[Leaf, ...], params: Any, what: str = "the parameters") -> dict[str, Any]:
    """Return the arrays of `params` by name, after checking them against the leaves of a specification.

    Raises:
        OptionError, ShapeError, DTypeError: if names or shapes do not match; the error names the leaf and the axis.
    """
    given, known = named_leaves(params), {leaf.name: leaf for leaf in leaves}
    step = "pass a tree of the same structure as the one that was traced"
    _checks.same_names(what, given, known, step=step, error=OptionError)
    for name, leaf in known.items():
        step = "trace the model that these parameters are of"
        _checks.shaped(f"{name!r} of {what} ({leaf})", given[name], ("*batch", *leaf.shape), step=step)
    return given


def refuse_moved_indices(leaves: tuple[Leaf, ...], permuted: Collection[str]) -> None:
    """Raise an error if the labels of an axis depend on the index along a permuted axis.

    Raises:
        OptionError: if there is such an axis; the error names the leaf and the label.
    """
    for leaf in leaves:
        for axis in leaf.axes:
            for place in axis.over if isinstance(axis, Indexed) else ():
                moved = [label for label in leaf.axes[place].labels if label in permuted]
                if moved:
                    raise OptionError(
                        f"{moved[0]!r} is permuted, and {leaf.name!r} has other labels for each of its indices",
                        got=f"{leaf.name}: {leaf}",
                        expected=f"{moved[0]!r} bound to Fixed",
                        step="trace the model: it binds the labels",
                    )


def refuse_sizes_that_differ(leaves: tuple[Leaf, ...], sizes: Mapping[str, int]) -> None:
    """Raise an error unless the size of every axis is the size of its label's group.

    Raises:
        OptionError: if a size differs; the error names the leaf and the axis.
    """
    places: dict[str, dict[int, list[str]]] = {label: {size: ["its group"]} for label, size in sizes.items()}
    for leaf in leaves:
        for place, axis in enumerate(leaf.axes):
            for symbol in symbols(axis):
                at = places.setdefault(symbol.label, {}).setdefault(symbol.size, [])
                at.append(f"{leaf.name!r} axis {place}")
    for label, found in places.items():
        if len(found) > 1 or label not in sizes:
            raise OptionError(
                f"the label {label!r} has two sizes" if label in sizes else f"the label {label!r} has no group",
                got="; ".join(f"{size} in {', '.join(at)}" for size, at in found.items()),
                expected="one size for each label, the size of its group",
                step="give the axes different labels" if label in sizes else "bind it: S(n) or Fixed(n)",
            )


def refuse_unlike(trees: Mapping[str, Any], *, single: bool = False) -> None:
    """Raise an error unless all trees have the structure and shapes of the first tree.

    Args:
        trees: the trees, by the name that the error uses.
        single: whether trees other than the first may contain a scalar in place of an array.

    Raises:
        OptionError: if structures differ.
        ShapeError: if shapes differ.
    """
    (_, like), *others = trees.items()
    wanted = by_path(like)
    structure: Any = jax.tree.structure(like)
    for name, tree in others:
        found = by_path(tree)
        step = "pass trees of one architecture"
        _checks.same_names(f"leaves of {name}", found, wanted, step=step, error=OptionError)
        _checks.same(f"structure of {name}", jax.tree.structure(tree), structure, step=step)
        for path, leaf in found.items():
            if not (single and jnp.shape(leaf) == ()):
                _checks.shaped(f"{path!r} of {name}", leaf, jnp.shape(wanted[path]), step=step)


def by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves of any tree by path, in the order of the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(map(key_name, path)) or "the array": leaf for path, leaf in leaves}


def symbols(axis: Any) -> list[Any]:
    """Return all symbols in an expression."""
    inner = next((getattr(axis, name) for name in ("factors", "parts", "members") if hasattr(axis, name)), None)
    return [axis] if inner is None else [symbol for one in inner for symbol in symbols(one)]


def with_channels(leaves: tuple[Leaf, ...], params: Any, channels: int) -> dict[str, jax.Array]:
    """Return arrays `[*batch, *shape, channels]` by name; if there is one channel, `params` have no channel axis.

    Raises:
        OptionError, ShapeError, DTypeError: if the parameters do not match the leaves, or their batch shapes differ.
    """
    arrays = in_channels(params, channels)
    checked_leaves(leaves, one_channel(arrays))
    named = named_leaves(arrays)
    batch_of(leaves, one_channel(named))
    return named


def in_channels(params: Any, channels: int) -> Any:
    """Return a tree of real arrays with a last axis of channels; if there is one channel, `params` do not have it."""
    refuse_not_real("a function of weights", params)
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf)[..., None], params) if channels == 1 else params
    for name, array in named_leaves(arrays).items():
        step = "stack them: jax.tree.map(lambda *a: jnp.stack(a, -1), weights, gradients)"
        _checks.shaped(f"the parameter {name!r}", array, ("*axes", channels), step=step)
    return arrays


def one_channel(arrays: Any) -> Any:
    """Return the shapes and dtypes of one channel of a tree of arrays."""
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[:-1], array.dtype), arrays)


def batch_of(leaves: Sequence[Leaf], arrays: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the common shape of the leading batch axes of all arrays.

    Raises:
        ShapeError: if the batch shapes differ.
    """
    first = arrays[leaves[0].name]
    batch: tuple[int, ...] = first.shape[: first.ndim - len(leaves[0].axes)]
    step = "stack the parameters of all networks: jax.tree.map(lambda *a: jnp.stack(a), *trees)"
    for leaf in leaves:
        _checks.shaped(f"the parameter {leaf.name!r}", arrays[leaf.name], (*batch, *leaf.shape), step=step)
    return batch
