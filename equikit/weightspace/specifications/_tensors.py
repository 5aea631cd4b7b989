"""Conversion between parameters and tensors with one label per axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit.weightspace.specifications._leaves import checked_leaves
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf, Product, Sum, Symbol, without


@dataclass(frozen=True)
class Tensor:
    """A piece of a parameter with one label per axis.

    Attributes:
        name: the name of the parameter, followed by the number of the piece if there are several pieces.
        axes: the symbol of each axis.
    """

    name: str
    axes: tuple[Symbol, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the axes."""
        return tuple(axis.label for axis in self.axes)


Axes = tuple[Expression, ...]


def opened(axes: Axes) -> tuple[int, tuple[Axes, ...]] | None:
    """Return the position of the first structured axis, and the axes of each array that opening this axis produces.

    Opening a product gives one array with the factors as axes. Opening a sum gives one array for each part. Opening an
    axis on which another axis depends gives one array for each index, without this axis.
    """
    for axis in axes:
        if isinstance(axis, Indexed):
            place, count = axis.over[0], axis.counts[0]
            return place, tuple(without(axes, place, index) for index in range(count))
    for place, axis in enumerate(axes):
        if isinstance(axis, Product):
            return place, (axes[:place] + axis.factors + axes[place + 1 :],)
        if isinstance(axis, Sum):
            return place, tuple((*axes[:place], part, *axes[place + 1 :]) for part in axis.parts)
    return None


def pieces(axes: Axes) -> Iterator[tuple[Symbol, ...]]:
    """Yield the axes of every piece of an array."""
    found = opened(axes)
    if found is None:
        yield tuple(axis for axis in axes if isinstance(axis, Symbol))
        return
    for inner in found[1]:
        yield from pieces(inner)


def tensors_of(leaf: Leaf) -> tuple[Tensor, ...]:
    """Return the pieces of a parameter."""
    found = [*pieces(leaf.axes)]
    names = [leaf.name] if len(found) == 1 else [f"{leaf.name}[{number}]" for number in range(len(found))]
    return tuple(Tensor(name, axes) for name, axes in zip(names, found, strict=True))


def split(leaves: tuple[Leaf, ...], arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Split parameters `[*batch, *shape, channels]` into tensors `[*batch, *axes, channels]`, by name."""
    found: dict[str, jax.Array] = {}
    for leaf in leaves:
        names = (tensor.name for tensor in tensors_of(leaf))
        found |= dict(zip(names, _split(leaf.axes, arrays[leaf.name]), strict=True))
    return found


def _split(axes: Axes, array: jax.Array) -> Iterator[jax.Array]:
    inside = opened(axes)
    if inside is None:
        yield array
        return
    place, inner = inside
    start = array.ndim - len(axes) - 1 + place
    axis = axes[place]
    if isinstance(axis, Product):
        sizes = (factor.size for factor in axis.factors)
        yield from _split(inner[0], array.reshape(*array.shape[:start], *sizes, *array.shape[start + 1 :]))
        return
    if isinstance(axis, Symbol):
        for index, one in enumerate(inner):
            yield from _split(one, array[(slice(None),) * start + (index,)])
        return
    assert isinstance(axis, Sum)
    first = 0
    for part, one in zip(axis.parts, inner, strict=True):
        yield from _split(one, array[(slice(None),) * start + (slice(first, first + part.size),)])
        first += part.size


def join(leaves: tuple[Leaf, ...], arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Join tensors to parameters: the inverse of `split`."""
    return {
        leaf.name: _joined(leaf.axes, iter([arrays[tensor.name] for tensor in tensors_of(leaf)])) for leaf in leaves
    }


def _joined(axes: Axes, tensors: Iterator[jax.Array]) -> jax.Array:
    inside = opened(axes)
    if inside is None:
        return next(tensors)
    place, inner = inside
    parts = [_joined(one, tensors) for one in inner]
    start = place - len(axes) - 1  # counted from the end: the channels are the last axis
    axis = axes[place]
    if isinstance(axis, Product):
        (array,) = parts
        first = array.ndim + start - len(axis.factors) + 1
        size = math.prod(array.shape[first : first + len(axis.factors)])
        return array.reshape(*array.shape[:first], size, *array.shape[first + len(axis.factors) :])
    return jnp.stack(parts, axis=start) if isinstance(axis, Symbol) else jnp.concatenate(parts, axis=start)


def checked_tensors(leaves: tuple[Leaf, ...], params: Any, name: str) -> dict[str, jax.Array]:
    """Return the tensors `[*axes]` of one network by name, after checking that its weights can be compared.

    Raises:
        OptionError: if the parameters are traced arrays, or contain NaN or infinite values.
        ShapeError: if the parameters are a batch of networks.
    """
    given = checked_leaves(leaves, params, name)
    for leaf in leaves:
        array = given[leaf.name]
        _checks.untraced(f"{leaf.name!r} of {name}", array, step="call this outside of jit, and use the result inside")
        step = "take one network at a time: jax.tree.map(lambda leaf: leaf[0], params)"
        _checks.shaped(f"{leaf.name!r} of {name}", array, leaf.shape, step=step)
    for leaf_name, array in given.items():
        if not _is_finite(array):
            step = "see whether the training of this network diverged"
            _checks.finite(f"weights {leaf_name!r} of {name}", array, step=step)
    # NumPy arrays stay as they are: each computation copies what it needs of them, and not the whole network.
    whole = [leaf for leaf in leaves if all(isinstance(axis, Symbol) for axis in leaf.axes)]
    rest = tuple(leaf for leaf in leaves if leaf not in whole)
    cut = split(rest, {leaf.name: jnp.asarray(given[leaf.name])[..., None] for leaf in rest})
    return {leaf.name: given[leaf.name] for leaf in whole} | {name: a[..., 0] for name, a in cut.items()}


@jax.jit
def _is_finite(array: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(array))


def labels_of(leaves: tuple[Leaf, ...]) -> dict[str, tuple[str, ...]]:
    """Return the labels of the axes of every tensor."""
    return {tensor.name: tensor.labels for leaf in leaves for tensor in tensors_of(leaf)}
