"""The matrix products of a plan and their gradients."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from equikit.plans.execution._arrays import alike, joined, widened


def matmul(x: jax.Array, matrix: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Multiply the last axis by a matrix, with all other axes folded into one, also in the backward pass.

    The backward pass keeps x itself, and not a second array that is x with other axes. In half precision the result is
    float32: it is one of many terms of an output, and can be larger than their sum.
    """

    def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
        flat, matrix = alike(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), matrix)
        y: jax.Array = jnp.matmul(flat, matrix, precision=precision, **widened(flat))
        return y.reshape(*x.shape[:-1], matrix.shape[1])

    y: jax.Array = jax.checkpoint(product, prevent_cse=False)(x, matrix)
    return y


def matmul_rows(parts: Sequence[jax.Array], rows: Sequence[jax.Array], precision: lax.PrecisionLike) -> jax.Array:
    r"""Multiply concatenated arrays by a matrix given as blocks of rows: \(\sum_t x_t M_t\), in one product.

    The gradient of each block is a separate product. Cut out of one big gradient, every block would have a different
    offset, and XLA on the CPU compiles a kernel for every offset: for a layer between the tensors of a network, with
    hundreds of pairs of terms, that took longer than everything else. Equal products and cuts are compiled once. The
    backward pass keeps the arrays and not their concatenation.
    """
    if len(parts) == 1:
        return matmul(parts[0], rows[0], precision)
    y: jax.Array = _matmul_rows(precision, tuple(parts), tuple(rows))
    return y


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _matmul_rows(precision: lax.PrecisionLike, parts: tuple[jax.Array, ...], rows: tuple[jax.Array, ...]) -> jax.Array:
    return matmul(joined(parts, -1), joined(rows, 0), precision)


@functools.partial(_matmul_rows.defjvp, symbolic_zeros=True)
def _matmul_rows_jvp(
    precision: lax.PrecisionLike,
    primals: tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]],
    tangents: tuple[tuple[jax.Array | SymbolicZero, ...], tuple[jax.Array | SymbolicZero, ...]],
) -> tuple[jax.Array, jax.Array]:
    (parts, rows), (parts_dot, rows_dot) = primals, tangents
    y = _matmul_rows(precision, parts, rows)
    terms = [
        matmul(x, block, precision)
        for x, block in zip(parts, rows_dot, strict=True)
        if not isinstance(block, SymbolicZero)
    ]
    moving = [(x, block) for x, block in zip(parts_dot, rows, strict=True) if not isinstance(x, SymbolicZero)]
    if moving:
        terms.append(matmul(joined([x for x, _ in moving], -1), joined([block for _, block in moving], 0), precision))
    return y, sum(terms[1:], terms[0])
