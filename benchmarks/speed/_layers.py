"""Layers of any group as functions of their weights and input, and their memory as XLA reports it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import equikit as ek
from benchmarks.core.measurement import Measurement
from equikit.plans import Plan, apply, plan, weight_shapes

DIRECTIONS = ("forward", "training")
MIXED = "S x O(3)"
Weights = dict[str, Any]


@dataclass(frozen=True)
class LayerCase:
    """A layer k -> l of a group, and the arrays that it is applied to.

    Attributes:
        group: `"S"` and `"O"` serve any n, `"O(3)"` n = 3; `"S x O(3)"` is the layer `"p x -> p x"` of n points
            in space.
        k, l: axes of the input and of the output.
        n: the size of an axis.
        batch, channels: the same on both sides.
    """

    group: str
    k: int
    l: int
    n: int
    batch: int
    channels: int = 16

    @property
    def signature(self) -> str:
        return "p x -> p x" if self.group == MIXED else f"{_axes(self.k)} -> {_axes(self.l)}"

    @property
    def bound(self) -> dict[str, Any]:
        if self.group == MIXED:
            return {"p": ek.S, "x": ek.O(3)}
        free = {"S": ek.S, "O": ek.O, "O(3)": ek.O(3), "Lorentz": ek.Lorentz}
        return {"x": free[self.group] if self.group in free else getattr(ek, self.group)(self.n)}

    def shape(self, axes: int) -> tuple[int, ...]:
        sizes = (self.n, 3) if self.group == MIXED else (self.n,) * axes
        return (self.batch, *sizes, self.channels)

    @property
    def plan(self) -> Plan:
        return plan(ek.hom(self.signature, **self.bound), (self.channels,) * 2, normalize="mean", bias=True)

    def arrays(self, dtype: Any = jnp.float32, seed: int = 0) -> tuple[Weights, jax.Array]:
        """Weights that keep the variance near one, and a normal input; sampled in float64, equal in any dtype."""
        x = np.random.default_rng([seed, 1]).normal(size=self.shape(self.k))
        return self.weights(dtype, seed), jnp.asarray(x, dtype)

    def weights(self, dtype: Any = jnp.float32, seed: int = 0) -> Weights:
        """The weights alone."""
        rng, shapes = np.random.default_rng(seed), weight_shapes(self.plan)
        scale = 1 / math.sqrt(self.channels * sum(shape[0] for shape in shapes.values() if len(shape) == 3))
        return {name: jnp.asarray(scale * rng.normal(size=shape), dtype) for name, shape in shapes.items()}

    def abstract(self, dtype: Any = jnp.float32) -> tuple[Weights, jax.ShapeDtypeStruct]:
        """Return the same as abstract arrays, to compile with."""
        weights = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in weight_shapes(self.plan).items()}
        return weights, jax.ShapeDtypeStruct(self.shape(self.k), dtype)

    def tensor_bytes(self, dtype: Any = jnp.float32) -> int:
        """Bytes of the input and the output."""
        return sum(math.prod(self.shape(axes)) for axes in (self.k, self.l)) * jnp.dtype(dtype).itemsize


def _axes(count: int) -> str:
    return " ".join("x" * count) or "()"


def function(case: LayerCase, direction: str, **options: Any) -> Callable[[Weights, jax.Array], Any]:
    """Return the layer; or for training, mean(relu(y)^2) and its gradient with respect to weights and input."""
    forward = functools.partial(_forward, case.plan, options)
    return forward if direction == "forward" else jax.value_and_grad(functools.partial(_loss, forward), argnums=(0, 1))


def _forward(program: Plan, options: dict[str, Any], weights: Weights, x: jax.Array) -> Any:
    return apply(program, x, weights, **options)


def _loss(forward: Callable[..., Any], weights: Weights, x: jax.Array) -> jax.Array:
    return jnp.mean(lax.square(jax.nn.relu(forward(weights, x))))


@dataclass(frozen=True)
class Footprint:
    """Bytes that a compiled program needs, as XLA reports them.

    Attributes:
        arguments, results, temporaries: bytes of each.
        tensors: bytes of the input and the output of the layer.
    """

    arguments: int
    results: int
    temporaries: int
    tensors: int

    @property
    def total(self) -> int:
        """The largest total: XLA allocates temporaries together, and reuses memory that is no longer needed."""
        return self.arguments + self.results + self.temporaries

    def write(self, m: Measurement) -> None:
        """Write the bytes into a measurement."""
        m.argument_bytes, m.output_bytes, m.temporary_bytes = self.arguments, self.results, self.temporaries
        m.peak_bytes = self.total

    @property
    def ratio(self) -> float:
        """Total over the input and the output."""
        return self.total / self.tensors


def footprint(case: LayerCase, direction: str, dtype: Any = jnp.float32, **options: Any) -> Footprint:
    """Compile a layer, without running it, and return its memory."""
    compiled = jax.jit(function(case, direction, **options)).lower(*case.abstract(dtype)).compile()
    return account(case, compiled, dtype)


def account(case: LayerCase, compiled: Any, dtype: Any = jnp.float32) -> Footprint:
    """Return the memory of a compiled layer."""
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Footprint(memory.argument_size_in_bytes, results, memory.temp_size_in_bytes, case.tensor_bytes(dtype))
