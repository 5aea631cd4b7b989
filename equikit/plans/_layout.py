"""Weights laid out for the matrix products of a plan: from one array a pair of terms to one matrix a core."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from equikit.plans._ir import Plan, Product
from equikit.plans._whole import invariant_tensors

Weights = Mapping[tuple[int | None, int], jax.Array]
"""For each pair (input term, output term) an array [diagrams, features in, features out]; for the bias (None, output
term) an array [diagrams, features out]."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=("products",), meta_fields=("plan",))
@dataclass(frozen=True)
class Layout:
    """The matrices of a plan; made by `lay_out`, taken by `apply` in place of weights.

    Attributes:
        products: for each product of the plan its matrix `[inputs, outputs]` and its bias `[outputs]`, `None` where
            there is none.
        plan: the plan.
    """

    products: tuple[tuple[jax.Array | None, jax.Array | None], ...]
    plan: Plan


def pieces(weights: jax.Array, segments: tuple[tuple[int, int], ...]) -> jax.Array:
    """Cut the diagram axis into the pieces of a matrix, with zeros where a pair of halves is not allowed."""
    found = [
        jnp.zeros((count, *weights.shape[1:]), weights.dtype) if start < 0 else weights[start : start + count]
        for start, count in segments
    ]
    return found[0] if len(found) == 1 else jnp.concatenate(found)


def joined(parts: list[jax.Array], axis: int) -> jax.Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)


def matrices(plan: Plan, product: Product, weights: Weights) -> tuple[jax.Array | None, jax.Array | None]:
    """The matrix of a product, rows (wires in, halves, features) by columns (wires out, halves, features); its bias.

    Axes of groups without diagrams stand before the features, in rows and in columns.
    """
    features_in, features_out = plan.features
    segments = {(block.source, block.target): block.segments for block in product.blocks}
    dtype = jnp.result_type(*weights.values())
    copies_in, copies_out = len(product.wires_in), len(product.wires_out)
    tensors = invariant_tensors(plan.signature, product.tensors)
    choices, above, below = tensors.shape

    def part(t: int, s: int) -> jax.Array:
        bottoms, tops, f, g = len(product.inputs[t]), len(product.outputs[s]), features_in[t], features_out[s]
        if (t, s) not in segments:
            return jnp.zeros((copies_in, bottoms * below * f, copies_out, tops * above * g), dtype)
        grid = pieces(weights[t, s], segments[t, s])
        if product.tensors:
            grid = grid.reshape(bottoms, tops, copies_out, copies_in, choices, f, g)
            grid = tensors.spread(grid, 4).transpose(3, 0, 5, 6, 2, 1, 4, 7)
            return grid.reshape(copies_in, bottoms * below * f, copies_out, tops * above * g)
        grid = grid.reshape(bottoms, tops, copies_out, copies_in, f, g).transpose(3, 0, 4, 2, 1, 5)
        return grid.reshape(copies_in, bottoms * f, copies_out, tops * g)

    targets = [s for s, tops in enumerate(product.outputs) if tops]
    sources = [t for t, bottoms in enumerate(product.inputs) if bottoms]
    matrix = None
    if sources:
        whole = joined([joined([part(t, s) for s in targets], 3) for t in sources], 1)
        matrix = whole.reshape(whole.shape[0] * whole.shape[1], whole.shape[2] * whole.shape[3])
    if not any(source is None for source, _ in segments):
        return matrix, None
    rows = []
    for s in targets:
        tops, g = len(product.outputs[s]), features_out[s]
        if (None, s) not in segments:
            rows.append(jnp.zeros((tops * above * g,), dtype))
            continue
        grid = pieces(weights[None, s], segments[None, s])
        if product.tensors:
            grid = tensors.spread(grid.reshape(tops, choices, g), 1)
        rows.append(grid.reshape(tops * above * g))
    return matrix, joined(rows, 0)


def laid_out(plan: Plan, weights: Weights) -> Layout:
    """The layout of checked weights."""
    return Layout(tuple(matrices(plan, product, weights) for product in plan.products), plan)
