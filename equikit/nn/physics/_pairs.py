"""Pairs of receiving and sending points, in blocks of equal size: all pairs, or the edges of a list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit import _checks
from equikit._errors import OptionError, ShapeError
from equikit._neighbors import Neighbors
from equikit.supports import Support


def checked_edges(edges: Neighbors, n: int, d: int) -> Neighbors:
    """Return edges with arrays of JAX, or raise `OptionError` or `ShapeError` if they do not fit n points."""
    make = "ek.data.neighbors(positions, cutoff)"
    if isinstance(edges, Support):
        raise OptionError(
            "edges= must be a Neighbors",
            got=repr(edges),
            expected="a neighbor list, in which an edge is listed once for each periodic image",
            step="write edges=ek.data.Neighbors.of(*support.indices(), n=support.n)",
        )
    edges = _checks.instance("edges", edges, Neighbors, make)
    if edges.n != n:
        raise ShapeError(
            "edges= is a list of other points",
            got=f"edges of {edges.n} points, and {n} positions",
            expected=f"edges of {n} points",
            step=f"write edges={make}",
        )
    edges = jax.tree.map(jnp.asarray, edges)
    count = edges.senders.shape[-1] if edges.senders.ndim else 1
    shapes = {"senders": (count,), "receivers": (count,)} | ({} if edges.shifts is None else {"shifts": (count, d)})
    for name, shape in shapes.items():
        step = "map the layer over lists with jax.vmap, or join systems to one array"
        _checks.shaped(f"{name} of edges=", getattr(edges, name), shape, step=step)
    return edges


@dataclass(frozen=True)
class Pairs:
    """Blocks of pairs: each receiver of a block with each sender of the block.

    All pairs of n points are one block for each sample. The edges of a list, sorted by receiver, are divided into
    blocks with one receiver and up to `width` senders, so that messages are the same products of matrices for both.
    There are at most edges / width + n blocks, thus memory is linear in edges and points.

    Attributes:
        difference: `[blocks, receivers, senders, d]`, the positions of senders minus those of receivers.
        there: booleans `[blocks, receivers, senders]`, which pairs are present.
        senders: `[blocks of a sample, senders]`, or `None` if the senders of a block are the points in order.
        receivers: `[blocks of a sample]`, ascending, or `None`.
        points: the numbers of samples and of points.
    """

    difference: jax.Array
    there: jax.Array
    senders: jax.Array | None
    receivers: jax.Array | None
    points: tuple[int, int]

    def sent(self, x: jax.Array) -> jax.Array:
        """Return the features of senders, `[blocks, senders, ...]`, of features of points `[batch, points, ...]`."""
        if self.senders is None:
            return x
        found = _sent(x, self.senders)
        return found.reshape(math.prod(found.shape[:2]), *found.shape[2:])

    def summed(self, y: jax.Array) -> jax.Array:
        """Return the sums `[batch, points, ...]` of messages to receivers of blocks, `[blocks, receivers, ...]`."""
        if self.receivers is None:
            return y
        batch, n = self.points
        parts = _wide(y).reshape(batch, self.receivers.shape[0], *y.shape[2:])
        zeros = jnp.zeros((batch, n, *y.shape[2:]), parts.dtype)
        total = zeros.at[:, self.receivers].add(
            parts, mode="drop", indices_are_sorted=True, wrap_negative_indices=False
        )
        return total.astype(y.dtype)


def all_pairs(positions: jax.Array, present: jax.Array | None) -> Pairs:
    """Return all pairs of different points, one block for each sample.

    Args:
        positions: `[batch, n, d]`.
        present: booleans `[batch, n]`, or `None` for all points.
    """
    batch, n, _ = positions.shape
    there = ~jnp.eye(n, dtype=bool)[None]
    if present is not None:
        there = there & present[:, :, None] & present[:, None, :]
    difference = positions[:, None, :, :] - positions[:, :, None, :]
    return Pairs(difference, there, None, None, (batch, n))


def listed_pairs(positions: jax.Array, present: jax.Array | None, edges: Neighbors) -> Pairs:
    """Return the edges of a list in blocks with one receiver each; samples share the list."""
    batch, n, d = positions.shape
    if n == 0:
        return all_pairs(positions, present)
    receivers, block, there = _blocks(edges.receivers, n)
    senders = _filled(edges.senders, block, n)
    there = there & (senders < n)  # [blocks, width]
    width = there.shape[1]
    difference = _sent(positions, senders) - _rows(positions, receivers, ascend=True)[:, :, None]
    if edges.shifts is not None:
        shifts = _filled(edges.shifts.astype(positions.dtype), block, 0)
        difference = difference + jnp.where(there[..., None], shifts, jnp.zeros((), shifts.dtype))
    there = jnp.broadcast_to(there, (batch, *there.shape))
    if present is not None:
        there = there & _rows(present, senders) & _rows(present, receivers)[:, :, None]
    return Pairs(difference.reshape(-1, 1, width, d), there.reshape(-1, 1, width), senders, receivers, (batch, n))


def _width(edges: Any, n: Any) -> int:
    """Return the number of senders in a block: a power of two near a quarter of the edges of a point."""
    if not (isinstance(edges, int) and isinstance(n, int)):
        return 8  # symbolic sizes of jax.export
    return 1 << max(0, round(math.log2(max(edges, 1) / max(4 * n, 1))))


def _blocks(receivers: jax.Array, n: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Divide edges into blocks with one receiver each.

    Returns:
        The receiver of each block `[blocks]`, n for unused blocks; edges `[blocks, width]`; which of these are in the
        block.
    """
    edges = receivers.shape[0]
    width = _width(edges, n)
    counts = jnp.zeros(n, jnp.int32)
    counts = counts.at[receivers].add(1, mode="drop", indices_are_sorted=True, wrap_negative_indices=False)
    ends = jnp.cumsum(counts)
    parts = (counts + width - 1) // width
    last = jnp.cumsum(parts)
    number = lax.iota(jnp.int32, edges if width == 1 else edges // width + n)
    receiver = jnp.searchsorted(last, number, side="right").astype(jnp.int32)
    rank = (number - _filled(last - parts, receiver, 0)) * width
    first = _filled(ends - counts, receiver, 0) + rank
    block = first[:, None] + lax.iota(jnp.int32, width)
    return receiver, block, block < _filled(ends, receiver, 0)[:, None]


def _filled(x: jax.Array, rows: jax.Array, value: int) -> jax.Array:
    """Return rows of an array, with a value where the row does not exist."""
    found: jax.Array = x.at[rows].get(mode="fill", fill_value=value, wrap_negative_indices=False)
    return found


def _wide(x: jax.Array) -> jax.Array:
    """Return numbers of half precision in float32, in which they are added."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _rows(x: jax.Array, rows: jax.Array, *, ascend: bool = False) -> jax.Array:
    """Return rows of each sample, zeros where the row does not exist."""
    found: jax.Array = x.at[:, rows].get(
        mode="fill", fill_value=0, indices_are_sorted=ascend, wrap_negative_indices=False
    )
    return found


def _sent(x: jax.Array, senders: jax.Array) -> jax.Array:
    """Return the rows of senders, such that the backward pass adds them in a fixed order.

    XLA on the CPU adds rows in order. Other platforms do so only if the rows are ascending.
    """
    found: jax.Array = lax.platform_dependent(_wide(x), senders, cpu=_rows, default=_rows_in_order)
    return found.astype(x.dtype)


_rows_in_order = jax.custom_jvp(_rows)


@_rows_in_order.defjvp
def _rows_in_order_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, Any]
) -> tuple[jax.Array, jax.Array]:
    """Write the tangent so that its transpose adds ascending rows."""
    (x, rows), (moved, _) = primals, tangents
    order = jnp.argsort(rows.reshape(-1))
    ascending = _rows(moved, rows.reshape(-1)[order], ascend=True)
    placed = jnp.zeros_like(ascending).at[:, order].set(ascending, unique_indices=True, mode="promise_in_bounds")
    return _rows_in_order(x, rows), placed.reshape(x.shape[0], *rows.shape, *x.shape[2:])
