"""Rows of numbers whose plain products are the scores: queries, keys and values, split into heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from equikit.groups import Form
from equikit.nn.attention._kinds import Kind
from equikit.signatures import Signature, Term


def to_heads(arrays: Sequence[jax.Array], heads: int, batch: int) -> jax.Array:
    """Return features of points as one row of numbers for each point and head.

    Args:
        arrays: for each kind `[*batch, points, *axes, heads * channels]`.
        heads: the number of heads.
        batch: the number of batch axes.

    Returns:
        `[prod(batch), heads, points, numbers]`.
    """
    rows = []
    for x in arrays:
        *first, count = x.shape[: batch + 1]
        axes, channels = math.prod(x.shape[batch + 1 : -1]), x.shape[-1] // heads
        split = x.reshape(math.prod(first), count, axes, heads, channels).transpose(0, 3, 1, 2, 4)
        rows.append(split.reshape(*split.shape[:3], axes * channels))
    return jnp.concatenate(rows, -1)


def from_heads(rows: jax.Array, shapes: Sequence[tuple[int, ...]], batch: int) -> list[jax.Array]:
    """Return rows `[prod(batch), heads, points, numbers]` as arrays of these shapes, as `to_heads` takes them."""
    first, heads, count, _ = rows.shape
    found, start = [], 0
    for shape in shapes:
        axes, channels = math.prod(shape[batch + 1 : -1]), shape[-1] // heads
        part = rows[..., start : start + axes * channels].reshape(first, heads, count, axes, channels)
        found.append(part.transpose(0, 2, 3, 1, 4).reshape(shape))
        start += axes * channels
    return found


def lowered(signature: Signature, kind: Kind, x: jax.Array, batch: int) -> jax.Array:
    r"""Return queries such that a plain product with keys is the product with the forms of the groups.

    An axis with a metric η or the symplectic form Ω becomes \(q_j = \sum_i q_i \eta_{ij}\); an axis of a group without
    a form does not change.
    """
    for axis, label in enumerate(Term.of(kind).labels, batch + 1):
        group = signature.groups.get(label)
        if group is not None and group.form is not None:
            x = _lowered_axis(group.form, x, axis)
    return x


def _lowered_axis(form: Form, x: jax.Array, axis: int) -> jax.Array:
    if form.kind == "metric":
        signs = jnp.asarray(form.signs(), x.real.dtype)
        return x * signs.reshape(-1, *[1] * (x.ndim - axis - 1))
    first, second = jnp.split(x, 2, axis)
    return jnp.concatenate([-second, first], axis)


def term_count(
    signature: Signature,
    channels: Mapping[Kind, int],
    sizes: Mapping[str, int],
    masks: Mapping[str, jax.Array],
    heads: int,
) -> Any:
    """Return the number of terms of a score: a number, or `[*batch]` if entries of tensor axes are absent."""
    total: Any = 0
    for kind, width in channels.items():
        count: Any = width // heads
        for label in Term.of(kind).labels:
            count = count * (jnp.sum(masks[label], -1) if label in masks else sizes[label])
        total = total + count
    return total
