"""Convert parameters to features of nodes and edges of their graph, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.weightspace.graphs._layout import Block, Layout, Place


class Features(NamedTuple):
    """Features of the nodes and edges of a graph.

    Attributes:
        nodes: `[*batch, nodes, channels]`.
        edges: `[*batch, edges, channels]`.
    """

    nodes: jax.Array
    edges: jax.Array


def laid_out(blocks: Layout, tensors: Mapping[str, jax.Array], on_edges: bool) -> jax.Array:
    """Convert tensors `[*batch, *axes, c]` to zero-padded features of nodes or edges, `[*batch, count, width * c]`.

    Arrays of NumPy give an array of NumPy.
    """
    xp = np if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()) else jnp
    some, first = next(iter(tensors.values())), blocks.places[0]
    batch, c = some.shape[: some.ndim - len(first.tensor.axes) - 1], some.shape[-1]
    dtype, width = jnp.result_type(*tensors.values()), blocks.width(on_edges)
    found: dict[int, list[jax.Array]] = {}
    for place in blocks.places:
        if place.on_edges == on_edges:
            array, start = tensors[place.tensor.name], len(batch)
            order = [*range(start), *(start + axis for axis in (*place.axes, *place.rest)), array.ndim - 1]
            flat = array.transpose(order).reshape(*batch, _size(place), place.width, c)
            found.setdefault(place.block, []).append(flat.astype(dtype))
    parts = []
    for number, block in enumerate(_side(blocks, on_edges)):
        held = found.get(number, [])
        missing = width - sum(part.shape[-2] for part in held)
        # The tensors of a block come in the order of their channels.
        parts.append(xp.concatenate([*held, xp.zeros((*batch, block.size, missing, c), dtype)], axis=-2))
    whole = xp.concatenate([*parts, xp.zeros((*batch, 0, width, c), dtype)], axis=-3)
    rows: jax.Array = whole.reshape(*batch, whole.shape[-3], width * c)
    return rows


def picked(blocks: Layout, features: Features) -> dict[str, jax.Array]:
    """Convert features `[*batch, count, width * c]` to tensors `[*batch, *axes, c]`: the inverse of `laid_out`."""
    tensors: dict[str, jax.Array] = {}
    # One side may have no values, but not both.
    widths = blocks.width(False), blocks.width(True)
    c = next(array.shape[-1] // width for array, width in zip(features, widths, strict=True) if width)
    for place in blocks.places:
        side: Sequence[Block] = _side(blocks, place.on_edges)
        array = features.edges if place.on_edges else features.nodes
        start = sum(block.size for block in side[: place.block])
        batch, width = array.shape[:-2], blocks.width(place.on_edges)
        rows = array[..., start : start + _size(place), :]
        rows = rows.reshape(*batch, _size(place), width, c)
        rows = rows[..., place.first : place.first + place.width, :]
        tensors[place.tensor.name] = _on_axes(place, rows, len(batch))
    return tensors


def _on_axes(place: Place, rows: jax.Array, start: int) -> jax.Array:
    order = (*place.axes, *place.rest)
    sizes = (place.tensor.axes[axis].size for axis in order)
    array = rows.reshape(*rows.shape[:start], *sizes, rows.shape[-1])
    back = [start + order.index(axis) for axis in range(len(order))]
    return array.transpose([*range(start), *back, array.ndim - 1])


def _size(place: Place) -> int:
    return math.prod(place.tensor.axes[axis].size for axis in place.axes)


def _side(blocks: Layout, on_edges: bool) -> Sequence[Block]:
    return blocks.edges if on_edges else blocks.nodes


def of_one(features: Features) -> Features:
    """Return the features of one network, or raise `ShapeError` if they have batch axes."""
    step = "choose one network: jax.tree.map(lambda a: a[0], params)"
    _checks.shaped("edges of one network", features.edges, ("edges", "width"), step=step)
    return features
