"""Rivals of `peers` that work in the irreps of O(3): the linear layers of e3nn-jax and cuEquivariance.

In a basis of irreps, an equivariant map between tensors of one order is one matrix for each degree that mixes its
copies and channels: by Schur's lemma this is the space of the diagrams, for order three 1 + 9 + 4 + 1 = 15 maps.
The inputs of the rivals are already in irreps; the change of basis, which equikit does not need, is not timed.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.core.measurement import Skip
from benchmarks.speed._permutation_rivals import Layer, Shape, equikit_layer, shared_weights
from equikit.spherical import decompose, from_irreps, to_irreps


@dataclass(frozen=True)
class TensorShape(Shape):
    """One layer of O(3) on tensors of space."""

    GROUP: ClassVar[str] = "O"

    @property
    def space(self) -> ek.HomSpace:
        return ek.hom(self.signature, p=ek.O(3))


def tensor_layer(shape: TensorShape, seed: int) -> tuple[Layer, jax.Array]:
    """The layer as equikit computes it, and the weights of all rivals."""
    module = ek.nn.Linear(
        shape.signature, shape.channels, shape.channels, p=ek.O(3), use_bias=False, normalize="sum", rngs=nnx.Rngs(seed)
    )
    return equikit_layer(module), shared_weights(module)


def lengths(y: Any) -> jax.Array:
    """Return mean(sqrt(1 + |y|^2)) over samples: nonlinear, and unlike relu the same in every orthonormal basis."""
    leaves = [one.reshape(one.shape[0], -1) for one in jax.tree.leaves(y)]
    return jnp.mean(jnp.sqrt(1 + sum(jnp.sum(one**2, axis=1) for one in leaves)))


@functools.cache
def blocks(order: int) -> tuple[tuple[int, int, np.ndarray], ...]:
    """For each degree: itself, its copies, and every diagram in irreps `[diagrams, copies out, copies in]`."""
    space = TensorShape(order, order, 3, 1, 1).space
    basis = decompose(order).matrix()
    dense = np.asarray(space.matrices(), np.float64).reshape(-1, 3**order, 3**order)
    turned = np.einsum("ij,djk,lk->dil", basis, dense, basis)
    found, start = [], 0
    for (degree, _), copies in decompose(order).multiplicities.items():
        size = 2 * degree + 1
        part = turned[:, start : start + copies * size, start : start + copies * size]
        start += copies * size
        found.append((degree, copies, part.reshape(-1, copies, size, copies, size)[:, :, 0, :, 0]))
    return tuple(found)


def to_blocks(shape: Shape, weights: jax.Array) -> list[jax.Array]:
    """Shared weights as one matrix a degree, (copies, channels) in by (copies, channels) out."""
    matrices = [jnp.einsum("doi,dab->iaob", jnp.asarray(m, jnp.float32), weights) for *_, m in blocks(shape.k)]
    return [m.reshape(m.shape[0] * m.shape[1], -1) for m in matrices]


def from_blocks(shape: Shape, gradients: list[jax.Array]) -> jax.Array:
    """The transpose of `to_blocks`: gradients by the matrices to the gradient by the shared weights."""
    c, total = shape.channels, jnp.zeros(())
    for (_, copies, m), gradient in zip(blocks(shape.k), gradients, strict=True):
        total += jnp.einsum("doi,iaob->dab", jnp.asarray(m, jnp.float32), gradient.reshape(copies, c, copies, c))
    return total


def irreps(shape: Shape) -> str:
    """The irreps of a feature in e3nn's notation: every copy as often as there are channels."""
    letter = "e" if shape.k % 2 == 0 else "o"
    return "+".join(f"{copies * shape.channels}x{degree}{letter}" for degree, copies, _ in blocks(shape.k))


def _flat(shape: Shape, components_first: bool) -> tuple[Callable[[jax.Array], jax.Array], ...]:
    """From Cartesian features to flat arrays of irreps and back; within a degree components or channels run slower."""
    parity = (-1) ** shape.k

    def enter(x: jax.Array) -> jax.Array:
        parts = []
        for part in to_irreps(x, shape.k).values():  # [batch, copies, components, channels]
            order = (0, 2, 1, 3) if components_first else (0, 1, 3, 2)
            parts.append(part.transpose(order).reshape(shape.batch, -1))
        return jnp.concatenate(parts, axis=-1)

    def leave(y: jax.Array) -> jax.Array:
        parts, start = {}, 0
        for degree, copies, _ in blocks(shape.k):
            size, c = 2 * degree + 1, shape.channels
            part = y[:, start : start + copies * size * c]
            start += copies * size * c
            if components_first:
                part = part.reshape(-1, size, copies, c).transpose(0, 2, 1, 3)
            else:
                part = part.reshape(-1, copies, c, size).transpose(0, 1, 3, 2)
            parts[degree, parity] = part
        return from_irreps(parts, shape.k)

    return enter, leave


def _imported(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Skip(f"{package} is not installed") from error


def e3nn_linear(shape: Shape, weights: jax.Array) -> Layer:
    """`e3nn_jax.flax.Linear`; its features hold channels slower than components.

    Raises:
        Skip: where e3nn-jax is not installed.
    """
    e3nn, modules = _imported("e3nn_jax", "e3nn-jax"), _imported("e3nn_jax.flax", "e3nn-jax")
    text, (enter, leave) = irreps(shape), _flat(shape, components_first=False)
    module = modules.Linear(text)
    example = e3nn.IrrepsArray(text, jnp.zeros((shape.batch, e3nn.Irreps(text).dim)))
    names = [*jax.eval_shape(module.init, jax.random.key(0), example)["params"]]
    # What e3nn multiplies its parameters by; the shared weights are divided by it.
    scales = [one.path_weight for one in e3nn.FunctionalLinear(text, text).instructions]
    parameters = [block / scale for block, scale in zip(to_blocks(shape, weights), scales, strict=True)]

    def apply(parameters: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return module.apply({"params": parameters}, e3nn.IrrepsArray(text, x)).array

    def back(gradient: dict[str, jax.Array]) -> jax.Array:
        return from_blocks(shape, [gradient[name] / scale for name, scale in zip(names, scales, strict=True)])

    return Layer(apply, dict(zip(names, parameters, strict=True)), back, enter, leave, leave)


def cuequivariance_linear(shape: Shape, weights: jax.Array) -> Layer:
    """cuEquivariance's descriptor `linear` by its naive method, the one for CPUs; components slower than channels.

    Of its forms it is the fastest here: its layer for Flax NNX, `IrrepsLinear`, took 1.0 to 1.7 times as long.

    Raises:
        Skip: where cuEquivariance is not installed.
    """
    cue, cuex = (_imported(name, f"{name.replace('_', '-')}") for name in ("cuequivariance", "cuequivariance_jax"))
    text, (enter, leave) = cue.Irreps("O3", irreps(shape)), _flat(shape, components_first=True)
    polynomial = cue.descriptors.linear(text, text).polynomial
    outputs = [jax.ShapeDtypeStruct((shape.batch, text.dim), jnp.float32)]
    # The descriptor divides by the square root of the number of inputs of each path.
    scales = [1 / math.sqrt(copies * shape.channels) for _, copies, _ in blocks(shape.k)]
    matrices = to_blocks(shape, weights)
    parameters = jnp.concatenate([m.reshape(-1) / scale for m, scale in zip(matrices, scales, strict=True)])

    def apply(parameters: jax.Array, x: jax.Array) -> jax.Array:
        (y,) = cuex.segmented_polynomial(polynomial, [parameters, x], outputs, method="naive")
        return y

    def back(gradient: jax.Array) -> jax.Array:
        ends = np.cumsum([m.size for m in matrices])[:-1]
        return from_blocks(shape, [g / s for g, s in zip(jnp.split(gradient, ends), scales, strict=True)])

    return Layer(apply, parameters, back, enter, leave, leave)
