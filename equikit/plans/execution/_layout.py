"""Arrange weights for the products of a plan: one matrix for each core, from one array for each pair of terms."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit.plans._ir import Plan, Product, TermPair
from equikit.plans.execution._arrays import joined
from equikit.plans.execution._whole import invariant_tensors

Weights = Mapping[TermPair, jax.Array]
"""For each pair (input term, output term) an array [diagrams, features in, features out]; for the bias (None, output
term) an array [diagrams, features out]."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=("products", "before"), meta_fields=("plan",))
@dataclass(frozen=True, eq=False)
class Layout:
    """The matrices of a plan; made by `lay_out`, accepted by `apply` in place of weights.

    Attributes:
        products: for each product of the plan its matrix `[inputs, outputs]`, in one or more blocks of rows, and its
            bias `[outputs]`, `None` if there is none.
        plan: the plan.
        before: for each product `None`, or a matrix `[inputs, rank]` that is multiplied by its matrix, which is then
            `[rank, outputs]`: a matrix of low rank. Empty if there are none.
    """

    products: tuple[tuple[tuple[jax.Array, ...], jax.Array | None], ...]
    plan: Plan
    before: tuple[jax.Array | None, ...] = ()

    @property
    def whole(self) -> Layout:
        """The layout with matrices in place of factors."""
        pairs = zip(self.products, self.before, strict=bool(self.before))
        found = (((one @ rows[0],), bias) if one is not None else (rows, bias) for (rows, bias), one in pairs)
        return Layout(tuple(found), self.plan) if self.before else self


Pieces = Mapping[TermPair, Mapping[int, jax.Array]]
"""Weights cut along the diagrams, each piece with the number of its first diagram."""


def cut(plan: Plan, weights: Weights) -> Pieces:
    """Cut all weights where the segments of the products begin, so that each piece is used once.

    They are cut by one operation instead of one slice for each product, so their gradient is also one operation.
    """
    found: dict[TermPair, Mapping[int, jax.Array]] = {}
    starts: dict[TermPair, dict[int, int]] = {pair: {} for pair in weights}
    for product in plan.products:
        for block in product.blocks:
            starts[block.source, block.target] |= {start: count for start, count in block.segments if start >= 0}
    for pair, counts in starts.items():
        order = sorted(counts)
        found[pair] = dict(zip(order, _split(weights[pair], [counts[start] for start in order]), strict=True))
    return found


def _split(weight: Any, counts: Sequence[int]) -> Sequence[Any]:
    if len(counts) < 2:
        return [weight]
    if isinstance(weight, np.ndarray):
        return np.split(weight, np.cumsum(counts[:-1]))
    return lax.split(weight, counts)


def pieces(given: Mapping[int, Any], segments: tuple[tuple[int, int], ...]) -> list[Any]:
    """The pieces of a pair of terms in the order of a matrix, with zeros for pairs of halves that are not allowed."""
    some = next(iter(given.values()))
    zeros = zeros_like(some)
    return [given[start] if start >= 0 else zeros((count, *some.shape[1:])) for start, count in segments]


def zeros_like(weight: Any) -> Callable[[tuple[int, ...]], Any]:
    """Make zeros of the dtype of a weight: in NumPy for a NumPy array, otherwise in JAX."""
    make: Any = np.zeros if isinstance(weight, np.ndarray) else jnp.zeros
    return functools.partial(make, dtype=weight.dtype)


def _row_blocks(
    plan: Plan, product: Product, given: Pieces, zeros: Callable[[tuple[int, ...]], Any]
) -> tuple[tuple[jax.Array, ...], jax.Array | None]:
    """Return the matrix of a product, and its bias: a block of rows for each input term that enters.

    Rows are (wires in, halves, features) of the term, columns (wires out, output terms, halves, features). Axes of
    groups without diagrams precede the features, in rows and in columns. A block is concatenated from all its pairs of
    terms before its axes are transposed, so that hundreds of pairs take few operations.
    """
    segments = {(block.source, block.target): block.segments for block in product.blocks}
    features_in, features_out = plan.features
    wires_in, wires_out = len(product.wires_in), len(product.wires_out)
    tensors = invariant_tensors(plan.signature, product.tensors) if product.tensors else None
    choices, above, below = tensors.shape if tensors is not None else (1, 1, 1)
    tops = [len(halves) for halves in product.outputs]
    targets = [s for s, count in enumerate(tops) if count]
    alike = [(g, list(some)) for g, some in itertools.groupby(targets, features_out.__getitem__)]

    def of_pair(t: int | None, s: int, count: int, *features: int) -> list[jax.Array]:
        if (t, s) in segments:
            return pieces(given[t, s], segments[t, s])
        return [zeros((count, *features))]

    def block(t: int) -> jax.Array:
        bottoms, f = len(product.inputs[t]), features_in[t]
        found = []
        for g, some in alike:
            many, parts = sum(tops[s] for s in some), []
            for s in some:
                count = tops[s] * wires_out * wires_in * choices
                part = of_pair(t, s, bottoms * count, f, g)
                parts += part if bottoms == 1 else [joined(part, 0).reshape(bottoms, count, f, g)]
            if tensors is None and bottoms * wires_in * wires_out == 1 and many == len(some):
                found.append(joined(parts, 2).reshape(f, 1, many * g))
                continue
            grid = joined(parts, 0 if bottoms == 1 else 1)
            if tensors is None:
                grid = grid.reshape(bottoms, many, wires_out, wires_in, f, g).transpose(3, 0, 4, 2, 1, 5)
            else:
                grid = grid.reshape(bottoms, many, wires_out, wires_in, choices, f, g)
                grid = tensors.spread(grid, 4).transpose(3, 0, 5, 6, 2, 1, 4, 7)
            found.append(grid.reshape(wires_in * bottoms * below * f, wires_out, many * above * g))
        whole = joined(found, 2)
        return whole.reshape(whole.shape[0], whole.shape[1] * whole.shape[2])

    def bias() -> jax.Array:
        found = []
        for g, some in alike:
            many = sum(tops[s] for s in some)
            grid = joined([piece for s in some for piece in of_pair(None, s, tops[s] * choices, g)], 0)
            if tensors is not None:
                grid = tensors.spread(grid.reshape(many, choices, g), 1)
            found.append(grid.reshape(many * above * g))
        return joined(found, 0)

    rows = tuple(block(t) for t, halves in enumerate(product.inputs) if halves)
    return rows, bias() if any(source is None for source, _ in segments) else None


def laid_out(plan: Plan, weights: Weights) -> Layout:
    """Return the layout of checked weights, each matrix in a block of rows for each input term.

    NumPy weights are arranged by NumPy, which compiles nothing.
    """
    if not weights:
        return Layout((), plan)
    given, zeros = cut(plan, weights), zeros_like(next(iter(weights.values())))
    return Layout(tuple(_row_blocks(plan, product, given, zeros) for product in plan.products), plan)


def as_whole(layout: Layout) -> Layout:
    """Return the layout with each matrix in one block."""
    return Layout(tuple(((joined(rows, 0),) if rows else (), bias) for rows, bias in layout.products), layout.plan)
