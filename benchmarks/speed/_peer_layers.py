"""Rivals of `peers` on single tensors: handwritten layers, and two yardsticks that no layer can beat."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from benchmarks.speed._permutation_rivals import Layer, Shape


@dataclass(frozen=True)
class OrthogonalShape(Shape):
    """One layer of O(n)."""

    GROUP: ClassVar[str] = "O"


def deep_sets(shape: Shape, weights: jax.Array) -> Layer:
    """1 → 1 of S(n) by hand: each point, and the sum over all points."""

    def apply(weights: jax.Array, x: jax.Array) -> jax.Array:
        each, all_points = weights
        return x @ each + jnp.sum(x, axis=1, keepdims=True) @ all_points

    return Layer(apply, weights)


def matrices_by_hand(shape: Shape, weights: jax.Array) -> Layer:
    """2 → 2 of O(n) by hand: the matrix, its transpose, and its trace times the identity."""
    names = {(0, 1, 0, 1): "matrix", (0, 1, 1, 0): "transpose", (0, 0, 1, 1): "trace"}
    place = {names[diagram.growth]: i for i, diagram in enumerate(shape.diagrams)}

    def apply(weights: jax.Array, x: jax.Array) -> jax.Array:
        y = x @ weights[place["matrix"]] + jnp.swapaxes(x, 1, 2) @ weights[place["transpose"]]
        trace = jnp.einsum("ziix->zx", x) @ weights[place["trace"]]
        return y + jnp.eye(shape.n, dtype=x.dtype)[:, :, None] * trace[:, None, None, :]

    return Layer(apply, weights)


def product_sizes(shape: Shape) -> list[tuple[int, int, int]]:
    """Return rows, columns in and columns out of the matrix products of a layer of S(n), one for each core.

    A core of w wires has n^w rows per sample. Its columns in are the reduced inputs. Its columns out are the outputs
    before expansion, once for each of the w! orders in which their wires meet the wires of the inputs.
    """
    rows: dict[int, tuple[set[Any], set[Any]]] = defaultdict(lambda: (set(), set()))
    for diagram in shape.diagrams:
        top, bottom, wires = diagram.halves
        tops, bottoms = rows[len(wires)]
        tops.add(top)
        bottoms.add(bottom)
    return [
        (shape.batch * shape.n**w, len(bottoms) * shape.channels, len(tops) * math.factorial(w) * shape.channels)
        for w, (tops, bottoms) in rows.items()
    ]


def core_product(shape: Shape, weights: jax.Array) -> Layer:
    """Compute only the matrix products of a layer of S(n), on random arrays: no reduction and no expansion."""
    keys = jax.random.split(jax.random.key(0), 2)
    sizes = product_sizes(shape)
    matrices = [jax.random.normal(keys[0], (inside, outside)) for _, inside, outside in sizes]
    arrays = [jax.random.normal(keys[1], (rows, inside)) for rows, inside, _ in sizes]

    def apply(matrices: list[jax.Array], arrays: list[jax.Array]) -> list[jax.Array]:
        return [array @ matrix for array, matrix in zip(arrays, matrices, strict=True)]

    return Layer(apply, matrices, enter=lambda x: arrays, leave_output=lambda y: {})


def copy(shape: Shape, weights: jax.Array) -> Layer:
    """One read of the input and one write of the output, which is as large: x + 1."""
    return Layer(lambda none, x: x + 1, (), leave_output=lambda y: {})
