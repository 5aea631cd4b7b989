"""The two players of LieGAN, their losses, and one epoch of training as a single program."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

HALVINGS, TERMS = 6, 8
"""Scaling and squaring of the exponential: matrices up to a norm of 32 in float32, with errors of about 1e-5."""
WORDS = 32
"""The width of the embedding of a class."""


def exponential(matrices: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """Return the exponentials of many small matrices: a Taylor polynomial, squared.

    `jax.scipy.linalg.expm` computes the polynomials of all orders for a batch.
    """
    small, one = matrices / 2**HALVINGS, jnp.eye(matrices.shape[-1], dtype=matrices.dtype)
    total: Array = one + small / TERMS
    for term in range(TERMS - 1, 0, -1):
        total = one + small @ total / term
    for _ in range(HALVINGS):
        total = total @ total
    return total


class Discriminator(nnx.Module):
    """A perceptron that tells data from moved data; classes are embedded."""

    def __init__(self, width: int, classes: int | None, hidden: Sequence[int], *, rngs: nnx.Rngs) -> None:
        self.embedding = None if classes is None else nnx.Embed(classes, WORDS, rngs=rngs)
        sizes = [width + (0 if classes is None else WORDS), *hidden, 1]
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)])

    def __call__(self, x: Array, y: Array) -> Array:
        """Return the logit of being unmoved for each sample."""
        outputs = y if self.embedding is None else self.embedding(y)
        values = jnp.concatenate([x.reshape(len(x), -1), outputs.reshape(len(x), -1)], axis=1)
        for layer in self.layers[:-1]:
            values = nnx.leaky_relu(layer(values), 0.2)
        return jnp.asarray(self.layers[-1](values)[:, 0])


@dataclass(frozen=True, slots=True)
class Rules:
    """What stays the same during training; the program is compiled for it once.

    Attributes:
        coefficients: the distribution of the coefficients: normal, uniform or integers.
        outputs: how the group acts on outputs: invariant, vector or dual, or a function of the matrix.
        similarity, overlap: weights of the two penalties.
        killing: whether generators are compared by the Killing form of gl(n) instead of cosines.
        batch, rates: of training.
    """

    coefficients: str
    outputs: str | Callable[[Any], Any]
    similarity: float
    overlap: float
    killing: bool
    batch: int
    rates: tuple[float, float]

    def optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """Return the optimizers of the generators and of the discriminator."""
        # An exponential of a large matrix has a large gradient, which would stay in Adam's second moment for long.
        clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.rates[0], b1=0.5))
        return clipped, optax.adam(self.rates[1])

    def draw(self, key: Array, shape: tuple[int, int], most: Array) -> Array:
        """Sample coefficients `[batch, generators]`; `most` is their standard deviation or bound."""
        if self.coefficients == "normal":
            return most * jax.random.normal(key, shape)
        if self.coefficients == "uniform":
            return most * jax.random.uniform(key, shape, minval=-1, maxval=1)
        bound = most.astype(jnp.int32)
        return jax.random.randint(key, shape, -bound, bound + 1).astype(jnp.float32)

    def move(self, elements: Array, x: Array, y: Array) -> tuple[Array, Array]:
        """Move inputs `[batch, copies, n]` by matrices `[batch, n, n]`, and outputs by their representation."""
        moved = jnp.einsum("bij,bkj->bki", elements, x)
        if self.outputs == "invariant":
            return moved, y
        if self.outputs == "dual":
            return moved, jnp.linalg.solve(jnp.swapaxes(elements, 1, 2)[:, None], y[..., None])[..., 0]
        matrices = elements if isinstance(self.outputs, str) else jax.vmap(self.outputs)(elements)
        return moved, jnp.einsum("bij,bkj->bki", matrices, y)


def overlap(matrices: Array, *, killing: bool) -> Array:
    """Return the sum of the overlaps of all pairs of generators, each scaled to unit norm."""
    norms = jnp.sqrt(jnp.sum(matrices**2, axis=(1, 2), keepdims=True))
    unit = matrices / (norms + 1e-6)
    if killing:  # of gl(n), over 2 n: tr(XY) - tr(X) tr(Y) / n
        traces = jnp.trace(unit, axis1=1, axis2=2)
        pairs = jnp.einsum("aij,bji->ab", unit, unit) - traces[:, None] * traces / unit.shape[-1]
    else:
        pairs = jnp.einsum("aij,bij->ab", unit, unit)
    return jnp.sum(jnp.abs(jnp.triu(pairs, 1)))


def cosine(one: Array, other: Array) -> Array:
    """Return the mean cosine of pairs of vectors; zero for a pair with a zero vector."""
    squares = jnp.sum(one**2, axis=-1), jnp.sum(other**2, axis=-1)
    there = (squares[0] > 0) & (squares[1] > 0)  # the derivative of the norm of zero is NaN
    sizes = jnp.sqrt(jnp.where(there, squares[0], 1)) * jnp.sqrt(jnp.where(there, squares[1], 1))
    return jnp.mean(jnp.sum(one * other, axis=-1) / jnp.maximum(sizes, 1e-8))


@functools.partial(jax.jit, static_argnames=("rules", "graph"))
def epoch(
    rules: Rules, graph: Any, state: Any, x: Array, y: Array, mask: Array, most: Array, key: Array
) -> tuple[Any, Float[Array, " 3"]]:
    """Train for one epoch; returns the state, and the mean losses: adversarial, similarity, of the discriminator."""
    steps = len(x) // rules.batch
    order_key, *keys = jax.random.split(key, 2)
    rows = jax.random.permutation(order_key, len(x))[: steps * rules.batch].reshape(steps, rules.batch)
    of_generators, of_discriminator = rules.optimizers()

    def loss_of_generators(raw: Array, judge: Any, batch: tuple[Array, Array], key: Array) -> tuple[Array, Any]:
        matrices = raw * mask
        weights = rules.draw(key, (len(batch[0]), len(raw)), most)
        moved = rules.move(exponential(jnp.einsum("bc,cij->bij", weights, matrices)), *batch)
        fooled = jnp.mean(jax.nn.softplus(-nnx.merge(graph, judge)(*moved)))
        same = jnp.abs(cosine(moved[0], batch[0]))
        loss = fooled + rules.similarity * same + rules.overlap * overlap(matrices, killing=rules.killing)
        return loss, (moved, fooled, same)

    def loss_of_discriminator(judge: Any, batch: tuple[Array, Array], moved: tuple[Array, Array]) -> Array:
        network = nnx.merge(graph, judge)
        right = jax.nn.softplus(-network(*batch)), jax.nn.softplus(network(*moved))
        return (jnp.mean(right[0]) + jnp.mean(right[1])) / 2

    def step(state: Any, inputs: tuple[Array, Array]) -> tuple[Any, Array]:
        raw, judge, momenta, other_momenta = state
        batch = x[inputs[0]], y[inputs[0]]
        played = jax.value_and_grad(loss_of_generators, has_aux=True)(raw, judge, batch, inputs[1])
        (_, (moved, fooled, same)), slope = played
        change, momenta = of_generators.update(slope, momenta)
        loss, slopes = jax.value_and_grad(loss_of_discriminator)(judge, batch, jax.lax.stop_gradient(moved))
        changes, other_momenta = of_discriminator.update(slopes, other_momenta)
        state = optax.apply_updates(raw, change), optax.apply_updates(judge, changes), momenta, other_momenta
        return state, jnp.stack([fooled, same, loss])

    state, losses = jax.lax.scan(step, state, (rows, jax.random.split(keys[0], steps)))
    return state, jnp.mean(losses, axis=0)
