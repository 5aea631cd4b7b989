"""Rows of levels: sums, diagonals, repetitions, embeddings and permutations of the axes of one label.

The axes are wires of a plan; a tensor with m of them has the rows of level m first. An absent row is out of range: it
is zero where it is read, and dropped where it is written. XLA on the CPU adds rows in order. On other platforms they
are first put into ascending order, so that the rows of one sum are neighbors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit.plans.execution._arrays import broadcast, wide
from equikit.supports import Exchange, Level


def taken(x: jax.Array, rows: Any, *, ascend: bool = False) -> jax.Array:
    """Return rows of an array, zero where they are absent."""
    if not len(x):
        return jnp.zeros((len(rows), *x.shape[1:]), x.dtype)
    found: jax.Array = x.at[rows].get(mode="fill", fill_value=0, indices_are_sorted=ascend, wrap_negative_indices=False)
    return found


def put(x: jax.Array, rows: Any, count: int) -> jax.Array:
    """Put different rows into an array of zeros: the transpose of `taken`."""
    zeros = jnp.zeros((count, *x.shape[1:]), x.dtype)
    return zeros.at[rows].add(x, mode="drop", unique_indices=True, wrap_negative_indices=False)


def flat(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Apply a function of rows to an array with its other axes folded into one."""
    y = function(x.reshape(x.shape[0], math.prod(x.shape[1:])))
    return y.reshape(y.shape[0], *x.shape[1:])


def _added(x: jax.Array, rows: Any, count: int, *, ascend: bool) -> jax.Array:
    zeros = jnp.zeros((count, x.shape[1]), x.dtype)
    return zeros.at[rows].add(x, mode="drop", indices_are_sorted=ascend, wrap_negative_indices=False)


def sum_rows(x: jax.Array, level: Level, place: int, count: int, *, single: bool = False) -> jax.Array:
    """Sum an array `[rows, features]` of a level over one position of its tuples; half precision in float32.

    Args:
        x: the array.
        level: the level.
        place: the position.
        count: the number of rows of the result.
        single: whether the result has one row, to which all rows belong.
    """
    x = x.astype(wide(x.dtype)) if jnp.issubdtype(x.dtype, jnp.inexact) else x
    exchange = level.exchange
    if exchange is None:
        return _summed(x, level, place, count, single)
    if level.length > 1:
        return _to_owners(_summed(x, level, place, exchange.reach, single), exchange, count)
    found: jax.Array = lax.psum(_summed(x, level, place, count, single), exchange.axis)
    return found


def _summed(x: jax.Array, level: Level, place: int, count: int, single: bool) -> jax.Array:
    if single:
        return jnp.sum(x, axis=0, keepdims=True, dtype=x.dtype)
    return _added_at(x, level.drop[place], level.order[place], count)


def _added_at(x: jax.Array, rows: Any, order: Any, count: int) -> jax.Array:
    """Add rows to the rows of an array of zeros, with the permutation that sorts these, `None` if they are sorted."""
    if order is None:
        return _added(x, rows, count, ascend=True)

    def ordered(x: jax.Array, rows: Any, order: Any) -> jax.Array:
        sorted_rows = rows.at[order].get(mode="promise_in_bounds", unique_indices=True)
        moved = x.at[order].get(mode="promise_in_bounds", unique_indices=True)
        return _added(moved, sorted_rows, count, ascend=True)

    def unordered(x: jax.Array, rows: Any, order: Any) -> jax.Array:
        return _added(x, rows, count, ascend=False)

    found: jax.Array = lax.platform_dependent(x, rows, order, cpu=unordered, default=ordered)
    return found


def spread_rows(y: jax.Array, level: Level, place: int, *, single: bool = False) -> jax.Array:
    """Repeat an array `[rows, features]` along a new position of the tuples of a level: the transpose of `sum_rows`."""
    if single:
        if level.exchange is not None:
            # Make the row one of this device before it is repeated, by a table that always allows it: the backward pass
            # then adds one row over devices, and not all of its repetitions.
            y = jnp.where(jnp.asarray(level.exchange.lent[:1] >= 0)[:, None], y, jnp.zeros((), y.dtype))
        return broadcast(y, (level.count, y.shape[1]))
    if level.exchange is not None and level.length > 1:
        y = _to_reached(y, level.exchange)
    return _read_at(y, level.drop[place], level.order[place])


def _read_at(y: jax.Array, rows: Any, order: Any) -> jax.Array:
    """Read rows that may repeat: the transpose of `_added_at`."""
    dtype = y.dtype
    y = y.astype(wide(dtype))  # so that sums of the backward pass run in float32
    if order is None:
        return taken(y, rows, ascend=True).astype(dtype)
    found: jax.Array = lax.platform_dependent(y, rows, order, cpu=_spread, default=_spread_in_order)
    return found.astype(dtype)


def _to_owners(x: jax.Array, exchange: Exchange, count: int) -> jax.Array:
    """Add rows of the nodes that each device reaches to the rows of their owners."""
    foreign = _swapped(taken(x, exchange.borrowed), exchange)
    return x[:count] + _added_at(foreign, exchange.lent, exchange.order, count)


def _to_reached(y: jax.Array, exchange: Exchange) -> jax.Array:
    """Return rows of the nodes that each device reaches, from the rows of its own: the transpose of `_to_owners`."""
    foreign = _swapped(_read_at(y, exchange.lent, exchange.order), exchange)
    own = jnp.pad(y, ((0, exchange.reach - y.shape[0]), (0, 0)))
    return own + put(foreign, exchange.borrowed, exchange.reach)


def _swapped(rows: jax.Array, exchange: Exchange) -> jax.Array:
    found: jax.Array = lax.all_to_all(rows, exchange.axis, 0, 0, tiled=True)
    return found


def _spread(y: jax.Array, rows: Any, order: Any) -> jax.Array:
    return taken(y, rows)


_spread_in_order = jax.custom_jvp(_spread)


@_spread_in_order.defjvp
def _spread_in_order_jvp(
    primals: tuple[jax.Array, Any, Any], tangents: tuple[jax.Array, Any, Any]
) -> tuple[jax.Array, jax.Array]:
    """Write the tangent so that its transpose adds rows in ascending order."""
    (y, rows, order), (moved, _, _) = primals, tangents
    sorted_rows = rows.at[order].get(mode="promise_in_bounds", unique_indices=True)
    return _spread_in_order(y, rows, order), put(taken(moved, sorted_rows, ascend=True), order, len(order))


def table_of(level: Level, order: tuple[int, ...]) -> Any:
    """Return for each tuple t the row of \\((t_{s(0)}, t_{s(1)}, \\dots)\\) for a permutation s that moves places."""
    return level.turned[[*itertools.permutations(range(level.length))].index(order) - 1]


def turn_rows(x: jax.Array, level: Level, order: tuple[int, ...]) -> jax.Array:
    """Return the rows that `table_of` names."""
    back = tuple(sorted(range(level.length), key=order.__getitem__))
    return _turned(x, table_of(level, order), table_of(level, back))


@jax.custom_jvp
def _turned(x: jax.Array, rows: Any, back: Any) -> jax.Array:
    return taken(x, rows)


@_turned.defjvp
def _turned_jvp(
    primals: tuple[jax.Array, Any, Any], tangents: tuple[jax.Array, Any, Any]
) -> tuple[jax.Array, jax.Array]:
    """Write the tangent so that its transpose reads rows and adds none."""
    (x, rows, back), (moved, _, _) = primals, tangents
    return _turned(x, rows, back), put(moved, back, x.shape[0])
