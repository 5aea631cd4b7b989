"""From rows to graphs and back: sums and maxima over each graph, and one value of a graph for all its rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from equikit.plans.sparse._rows import flat, sum_rows, taken
from equikit.supports import Support


def sum_by_graph(x: jax.Array, support: Support, order: int) -> jax.Array:
    """Sum an array `[rows, ...]` of the user's data of one node or more over each graph; half precision in float32.

    Args:
        x: the array, zero in padded rows.
        support: the support.
        order: the number of axes that are rows.

    Returns:
        `[graphs, ...]`, with one row if there are no graph numbers.
    """
    level = support.levels[order]
    x = x if level.own is None else taken(x, level.own)
    for m in range(order, 0, -1):
        level, count = support.levels[m], support.levels[m - 1].count
        single = m == 1 and support.graphs is None
        x = flat(lambda y, a=level, n=count, one=single: sum_rows(y, a, a.length - 1, n, single=one), x)  # type: ignore[misc]
    return x


def max_by_graph(x: jax.Array, support: Support, order: int) -> jax.Array:
    """Return the maximum of an array `[rows, ...]` over each graph, minus infinity without rows; as `sum_by_graph`."""
    empty = jnp.full((support.levels[0].count, *x.shape[1:]), -jnp.inf, x.dtype)
    return empty.at[graph_of_rows(support, order)].max(x, mode="drop")


def from_graphs(y: jax.Array, support: Support, order: int) -> jax.Array:
    """Return for each row of the user's data the entry of an array `[graphs, ...]`, zero for padded rows."""
    return taken(y, graph_of_rows(support, order))


def graph_of_rows(support: Support, order: int) -> jax.Array:
    """Return the graph of each row of the user's data of one node or more, out of range for padded rows."""
    level = support.levels[order]
    rows = jnp.arange(level.count) if level.rows is None else jnp.asarray(level.rows)
    for m in range(order, 0, -1):
        below = support.levels[m - 1].count
        table = jnp.asarray(support.levels[m].drop[-1])
        rows = table.at[rows].get(mode="fill", fill_value=below)
    return rows
