"""Rivals of `permutation_layers` that treat one diagram at a time, by einsum."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import opt_einsum

from benchmarks.speed._permutation_rivals import Layer, Shape
from equikit.diagrams import Diagram

LETTERS = [letter for letter in string.ascii_letters if letter not in "xyz"]  # z: batch, x and y: channels


@dataclass(frozen=True)
class Formula:
    """A diagram in einsum notation: a letter per block, and another with an identity matrix per repeated top vertex.

    A block that is one top vertex and nothing else has no letter; it is left to broadcasting, an axis of size one.

    Attributes:
        text: as `jnp.einsum` takes it; operands are the input, the weights of the diagram, the identities.
        identities: how many identity matrices there are.
        shape: of the result with its broadcast axes.
    """

    text: str
    identities: int
    shape: tuple[int, ...]


def formula(diagram: Diagram, shape: Shape) -> Formula:
    """Write a diagram down as one einsum."""
    top, bottom = diagram.growth[: shape.l], diagram.growth[shape.l :]
    spare = iter(LETTERS[max(diagram.growth, default=-1) + 1 :])
    identities: list[str] = []
    output, axes, used = "", [], set[int]()
    for block in top:
        if diagram.growth.count(block) == 1:
            axes.append(1)
            continue
        axes.append(shape.n)
        if block in used:
            identities.append(LETTERS[block] + next(spare))
        output += identities[-1][1] if block in used else LETTERS[block]
        used.add(block)
    source = "z" + "".join(LETTERS[block] for block in bottom) + "x"
    text = f"{','.join([source, 'xy', *identities])}->z{output}y"
    return Formula(text, len(identities), (shape.batch, *axes, shape.channels))


def _sum_of(shape: Shape, weights: jax.Array, terms: list[Callable[..., jax.Array]]) -> Layer:
    def apply(weights: jax.Array, x: jax.Array) -> jax.Array:
        identity = jnp.eye(shape.n, dtype=x.dtype)
        y = jnp.zeros(shape.output, x.dtype)
        for d, term in enumerate(terms):
            y = y + term(x, weights[d], identity)
        return y

    return Layer(apply, weights)


def one_einsum(shape: Shape, weights: jax.Array) -> Layer:
    """One `jnp.einsum` a diagram, with its default contraction order."""

    def term(one: Formula) -> Callable[..., jax.Array]:
        return lambda x, w, eye: jnp.einsum(one.text, x, w, *[eye] * one.identities).reshape(one.shape)

    return _sum_of(shape, weights, [term(formula(diagram, shape)) for diagram in shape.diagrams])


def best_path(shape: Shape, weights: jax.Array) -> Layer:
    """One contraction expression of opt_einsum a diagram, each with the optimal path."""

    def term(one: Formula) -> Callable[..., jax.Array]:
        matrices = [(shape.channels, shape.channels), *[(shape.n, shape.n)] * one.identities]
        expression = opt_einsum.contract_expression(one.text, shape.input, *matrices, optimize="optimal")
        return lambda x, w, eye: expression(x, w, *[eye] * one.identities, backend="jax").reshape(one.shape)

    return _sum_of(shape, weights, [term(formula(diagram, shape)) for diagram in shape.diagrams])


def three_steps(shape: Shape, weights: jax.Array) -> Layer:
    """Each diagram in three steps by hand: reduce by einsum, mix channels, expand by identity matrices.

    The code shares no work between diagrams; under `jit` XLA merges equal reductions, and fuses the expansions into the
    sum.
    """

    def term(diagram: Diagram) -> Callable[..., jax.Array]:
        top, bottom = diagram.growth[: shape.l], diagram.growth[shape.l :]
        wires = [block for block in dict.fromkeys(top) if block in bottom]
        source, core = ("".join(LETTERS[block] for block in blocks) for blocks in (bottom, wires))
        axes = [1] * shape.l
        for block in wires:
            axes[top.index(block)] = shape.n
        repeated = [(top.index(block), i) for i, block in enumerate(top) if top.index(block) != i]

        def run(x: jax.Array, w: jax.Array, eye: jax.Array) -> jax.Array:
            y = (jnp.einsum(f"z{source}x->z{core}x", x) @ w).reshape(shape.batch, *axes, shape.channels)
            for first, again in repeated:
                y = y * eye.reshape([1, *(shape.n if i in (first, again) else 1 for i in range(shape.l)), 1])
            return y

        return run

    return _sum_of(shape, weights, [term(diagram) for diagram in shape.diagrams])
