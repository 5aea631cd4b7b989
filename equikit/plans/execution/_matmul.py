"""The matrix products of a plan and their gradients."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero

from equikit.plans.execution._arrays import alike, joined, widened


@dataclass(frozen=True, slots=True)
class Parts:
    """How the features of a product are made of the features of tensors.

    Attributes:
        inputs: for each tensor that is concatenated its number of features.
        groups: number of equally many columns, one for each permutation of the wires of the result.
        outputs: number of tensors in a group, with equally many features.
        apart: whether a TPU multiplies them apart.
        long: whether the last axis but features is long, the only one besides batch axes, and there is one tensor.
    """

    inputs: tuple[int, ...]
    groups: int
    outputs: int
    apart: bool = True
    long: bool = False


def matmul(x: jax.Array, matrix: jax.Array, precision: lax.PrecisionLike, parts: Parts | None = None) -> jax.Array:
    """Multiply the last axis by a matrix, with all other axes folded into one, also in the backward pass.

    The backward pass keeps x itself, and not a second array that is x with other axes. In half precision the result is
    float32: it is one of many terms of an output, and can be larger than their sum.

    A TPU stores the last two axes of an array in tiles. Where it folds axes, or concatenates features, it copies the
    array to another layout, and it cannot fuse a permutation of axes with some of the columns of a product. With
    `parts` it multiplies without these. A GPU adds an array that is broadcast along the last axis but features in the
    kernel of the product, if the axes before it are batch axes of the product.
    """

    def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
        flat, matrix = alike(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), matrix)
        y: jax.Array = lax.dot_general(flat, matrix, (((1,), (0,)), ((), ())), precision, **widened(flat))
        return y.reshape(*x.shape[:-1], matrix.shape[1])

    def chosen(x: jax.Array, matrix: jax.Array) -> jax.Array:
        assert parts is not None
        branches = {}
        if parts.apart:
            branches["tpu"] = functools.partial(matmul_apart, parts=parts, precision=precision)
        if parts.long:
            branches["cuda"] = functools.partial(matmul_batched, precision=precision)
        found: jax.Array = lax.platform_dependent(x, matrix, default=product, **branches)
        return found

    y: jax.Array = jax.checkpoint(product if parts is None else chosen, prevent_cse=False)(x, matrix)
    return y


def matmul_apart(x: jax.Array, matrix: jax.Array, parts: Parts, precision: lax.PrecisionLike) -> jax.Array:
    """Multiply the last axis by a matrix, in a product for each group of columns, without folding other axes."""
    x, matrix = alike(x, matrix)
    matrix = matrix.reshape(
        matrix.shape[0], parts.groups, parts.outputs, matrix.shape[1] // (parts.groups * parts.outputs)
    )
    stacks, start = [], 0
    pieces = lax.split(x, parts.inputs, x.ndim - 1)
    for width, some in itertools.groupby(pieces, lambda piece: piece.shape[-1]):
        stack = _stacked([*some], x.ndim - 1)
        rows = lax.slice_in_dim(matrix, start, start + stack.shape[-2] * width)
        stacks.append((stack, rows.reshape(stack.shape[-2], width, *matrix.shape[1:])))
        start += stack.shape[-2] * width
    axes = ((x.ndim - 1, x.ndim), (0, 1)), ((), ())
    found = []
    for group in range(parts.groups):
        terms = [
            lax.dot_general(stack, lax.index_in_dim(rows, group, 2, keepdims=False), axes, precision, **widened(x))
            for stack, rows in stacks
        ]
        found.append(sum(terms[1:], terms[0]))
    return _stacked(found, x.ndim - 1).reshape(*x.shape[:-1], math.prod(matrix.shape[1:]))


def matmul_batched(x: jax.Array, matrix: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Multiply the last axis by a matrix, in a product for each index of the axes before the last two."""
    x, matrix = alike(x, matrix)
    flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    every = lax.broadcast(matrix, flat.shape[:1])
    y: jax.Array = lax.dot_general(flat, every, (((2,), (1,)), ((0,), (0,))), precision, **widened(x))
    return y.reshape(*x.shape[:-1], matrix.shape[1])


def _stacked(xs: Sequence[jax.Array], axis: int) -> jax.Array:
    """Stack arrays along a new axis."""
    every = [lax.expand_dims(x, (axis,)) for x in xs]
    return every[0] if len(every) == 1 else lax.concatenate(every, axis)


def matmul_rows(
    xs: Sequence[jax.Array],
    rows: Sequence[jax.Array],
    precision: lax.PrecisionLike,
    parts: Sequence[Parts | None],
) -> jax.Array:
    r"""Multiply concatenated arrays by a matrix given as blocks of rows: \(\sum_t x_t M_t\), in one product.

    The gradient of each block is a separate product. Cut out of one big gradient, every block would have a different
    offset, and XLA on the CPU compiles a kernel for every offset: for a layer between the tensors of a network, with
    hundreds of pairs of terms, that took longer than everything else. Equal products and cuts are compiled once. The
    backward pass keeps the arrays and not their concatenation.
    """
    if len(xs) == 1:
        return matmul(xs[0], rows[0], precision, parts[0])
    y: jax.Array = _matmul_rows(precision, tuple(parts), tuple(xs), tuple(rows))
    return y


def _joined(
    xs: Sequence[jax.Array], rows: Sequence[jax.Array], precision: lax.PrecisionLike, parts: Sequence[Parts | None]
) -> jax.Array:
    known = [part for part in parts if part is not None]
    whole = replace(known[0], inputs=sum((part.inputs for part in known), ())) if known else None
    return matmul(joined(xs, -1), joined(rows, 0), precision, whole)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _matmul_rows(
    precision: lax.PrecisionLike,
    parts: tuple[Parts | None, ...],
    xs: tuple[jax.Array, ...],
    rows: tuple[jax.Array, ...],
) -> jax.Array:
    return _joined(xs, rows, precision, parts)


@functools.partial(_matmul_rows.defjvp, symbolic_zeros=True)
def _matmul_rows_jvp(
    precision: lax.PrecisionLike,
    parts: tuple[Parts | None, ...],
    primals: tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]],
    tangents: tuple[tuple[jax.Array | SymbolicZero, ...], tuple[jax.Array | SymbolicZero, ...]],
) -> tuple[jax.Array, jax.Array]:
    (xs, rows), (xs_dot, rows_dot) = primals, tangents
    y = _matmul_rows(precision, parts, xs, rows)
    terms = [
        matmul(x, block, precision, part)
        for x, block, part in zip(xs, rows_dot, parts, strict=True)
        if not isinstance(block, SymbolicZero)
    ]
    every = zip(xs_dot, rows, parts, strict=True)
    moving = [(x, block, part) for x, block, part in every if not isinstance(x, SymbolicZero)]
    if moving:
        found, blocks, some = zip(*moving, strict=True)
        terms.append(_joined(found, blocks, precision, some))
    return y, sum(terms[1:], terms[0])
