"""Symmetric and antisymmetric parts of tensors on a support."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import jax

from equikit.diagrams import parity
from equikit.plans.execution._arrays import wide
from equikit.plans.execution._contract import symmetrized
from equikit.plans.sparse._rows import flat, taken, turn_rows
from equikit.signatures import Exchange, Operand
from equikit.supports import Level, Support


def symmetrized_rows(x: jax.Array, operand: Operand, support: Support) -> jax.Array:
    """Return the symmetric or antisymmetric part of a tensor `[rows, *other axes, channels]` in its exchanged axes.

    An absent entry is zero, and stays absent: a row without its reverse is divided by two.
    """
    places = [i for i, label in enumerate(operand.labels) if label == support.label]
    others = [i for i, label in enumerate(operand.labels) if label != support.label]
    rest = []
    for exchange in operand.exchanges:
        if exchange.members[0] in places:
            x = _part(x, exchange, [places.index(i) for i in exchange.members], support.levels[len(places)])
        else:
            rest.append(replace(exchange, members=tuple(others.index(i) for i in exchange.members)))
    if not rest:
        return x
    has_rows = bool(places) or support.graphs is not None
    return symmetrized(x, rest) if has_rows else symmetrized(x[None], rest)[0]


def _part(x: jax.Array, exchange: Exchange, own: list[int], level: Level) -> jax.Array:
    """Return the part of a tensor on the rows of the user's data in which some positions of a tuple are exchanged."""
    dtype, x = x.dtype, x.astype(wide(x.dtype))
    rows = x if level.own is None else taken(x, level.own)
    total = rows
    for order in itertools.islice(itertools.permutations(range(len(own))), 1, None):
        moved = [*range(level.length)]
        for place, i in zip(own, order, strict=True):
            moved[place] = own[i]
        turned = flat(lambda y, to=tuple(moved): turn_rows(y, level, to), rows)  # type: ignore[misc]
        total = total - turned if exchange.sign < 0 and parity(order) < 0 else total + turned
    total = total / math.factorial(len(own))
    return (total if level.rows is None else taken(total, level.rows)).astype(dtype)
