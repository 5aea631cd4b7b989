"""The layer of `permutation_layers` in equikit, and as a dense matrix; shared parts of all rivals.

Each rival is written as a user of that method would write it in JAX, with the sharing that the method has. A layer
takes its own parameters, made from the shared weights `[diagrams, channels in, channels out]` outside the timed region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from equikit.diagrams import Diagram


@dataclass(frozen=True)
class Shape:
    """One layer, and the arrays that it is applied to."""

    GROUP: ClassVar[str] = "S"

    k: int
    l: int
    n: int
    batch: int
    channels: int

    @property
    def signature(self) -> str:
        return f"{' '.join('p' * self.k)} -> {' '.join('p' * self.l)}"

    @property
    def space(self) -> ek.HomSpace:
        return ek.hom(self.signature, p=getattr(ek, self.GROUP))

    @property
    def diagrams(self) -> Sequence[Diagram]:
        return self.space.diagrams

    @property
    def input(self) -> tuple[int, ...]:
        return (self.batch, *(self.n,) * self.k, self.channels)

    @property
    def output(self) -> tuple[int, ...]:
        return (self.batch, *(self.n,) * self.l, self.channels)

    @property
    def matrix_bytes(self) -> int:
        """Size of the dense float32 matrix of the layer."""
        return 4 * self.n ** (self.k + self.l) * self.channels**2


def _same(array: Any) -> Any:
    return array


@dataclass(frozen=True)
class Layer:
    """A layer as a rival computes it.

    Attributes:
        apply: parameters and input to output.
        parameters: made from the shared weights.
        weights: maps a gradient with respect to the parameters to one with respect to the shared weights; `None` if
            these cannot be compared.
        enter, leave: between arrays `[batch, *axes, channels]` and the rival's own layout.
    """

    apply: Callable[[Any, jax.Array], jax.Array]
    parameters: Any
    weights: Callable[[Any], jax.Array] | None = _same
    enter: Callable[[jax.Array], jax.Array] = _same
    leave_input: Callable[[jax.Array], jax.Array] = _same
    leave_output: Callable[[jax.Array], jax.Array] = _same


def equikit_module(shape: Shape, seed: int) -> ek.nn.Linear:
    """The layer itself; its initial weights are the weights of all rivals."""
    return ek.nn.Linear(
        shape.signature,
        shape.channels,
        shape.channels,
        p=getattr(ek, shape.GROUP),
        use_bias=False,
        normalize="sum",
        init_size=shape.n,
        rngs=nnx.Rngs(seed),
    )


def shared_weights(module: ek.nn.Linear) -> jax.Array:
    """The weights `[diagrams, channels in, channels out]`, all for the one pair of terms."""
    (parameter,) = module.kernel.values()
    return parameter[...]


def equikit_layer(module: ek.nn.Linear) -> Layer:
    """What the layer's call runs, with its weights in a plain dictionary.

    As a `nnx.State` they would cost some microseconds of flattening in each call, which no rival pays.
    """
    (name,), plan = module.kernel, module.plan
    return Layer(
        lambda weights, x: ek.plans.apply(plan, x, weights),
        {name: shared_weights(module)},
        lambda gradient: gradient[name],
    )


def _dense_basis(shape: Shape) -> jax.Array:
    return jnp.asarray(shape.space.matrices(shape.n), jnp.float32)


def _assembled(basis: jax.Array, weights: jax.Array) -> jax.Array:
    """The whole matrix, transposed so that a batch of rows is multiplied from the right."""
    whole = jnp.einsum("dij,dab->jaib", basis, weights)
    return whole.reshape(whole.shape[0] * whole.shape[1], -1)


def dense_prebuilt(shape: Shape, weights: jax.Array) -> Layer:
    """One product with a matrix assembled beforehand: inference only."""

    def apply(matrix: jax.Array, x: jax.Array) -> jax.Array:
        return (x.reshape(shape.batch, -1) @ matrix).reshape(shape.output)

    return Layer(apply, jax.jit(_assembled)(_dense_basis(shape), weights), None)


def dense_assembled(shape: Shape, weights: jax.Array) -> Layer:
    """The matrix is assembled from the weights in each call, as training needs it."""
    basis = _dense_basis(shape)

    def apply(parameters: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
        weights, basis = parameters
        matrix = _assembled(jax.lax.stop_gradient(basis), weights)
        return (x.reshape(shape.batch, -1) @ matrix).reshape(shape.output)

    return Layer(apply, (weights, basis), lambda gradient: gradient[0])
