"""The contenders of `emlp_tasks`, each as parameters and a function from rows of inputs to rows of targets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.core.measurement import Skip
from benchmarks.data.emlp import METRIC, Task
from benchmarks.models.emlp_library import load_emlp

WIDTH, LAYERS = 256, 3
"""Hidden layers of the multilayer perceptrons. EMLP's paper has 384 and 3."""
EMLP_WIDTH = 64


@dataclass(frozen=True)
class Model:
    """Parameters, and a function of them and rows of inputs `[N, width]` to rows of targets `[N, out]`."""

    parameters: Any
    apply: Callable[[Any, jax.Array], jax.Array]

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.parameters))


def of_module(module: nnx.Module, apply: Callable[[Any, jax.Array], jax.Array]) -> Model:
    """A model from a module, and a function that calls it."""
    static, parameters = nnx.split(module)
    return Model(parameters, lambda p, x: apply(nnx.merge(static, p), x))


class InvariantNetwork(nnx.Module):
    """Invariants of vectors by learned products; a second layer of products, and a network that corrects it."""

    def __init__(self, vectors: int, group: ek.O, rngs: nnx.Rngs, products: int = 16, width: int = 64) -> None:
        self.products = ek.nn.Bilinear({"x": vectors}, products, {"": width}, x=group, rngs=rngs)
        self.polynomial = ek.nn.Bilinear({"": width}, products, {"": 1}, rngs=rngs)
        self.network = ek.nn.Network([{"": width}, {"": 64}, {"": 64}, {"": 1}], products=0, rngs=rngs)
        for kernel in self.network.head.kernel.values():  # a correction begins at zero
            kernel[...] = jnp.zeros_like(kernel[...])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map vectors `[N, n, vectors]` to invariants `[N, 1]`."""
        invariants = self.products({"x": x})
        return self.polynomial(invariants)[""] + self.network(invariants)[""]


def equikit(task: Task, seed: int) -> Model:
    """Return invariants of the vectors, or an equivariant network on bodies for permutations and rotations."""
    rngs = nnx.Rngs(seed)
    if not task.matrix:
        net = InvariantNetwork(task.vectors, task.group, rngs)
        return of_module(net, lambda net, x: net(jnp.swapaxes(task.split(x)[1], 1, 2)))
    groups = {"p": ek.S(task.vectors), "x": task.group}
    features = [{"p": 1, "p x": 1}, {"p": 16, "p x x": 16}, {"x x": 1}]

    def apply(net: ek.nn.Network, x: jax.Array) -> jax.Array:
        masses, places = task.split(x)
        return net({"p": masses[..., None], "p x": places[..., None]})["x x"].reshape(len(x), task.out)

    return of_module(ek.nn.Network(features, products=16, groups=groups, rngs=rngs), apply)


class Perceptron(nnx.Module):
    """A multilayer perceptron without symmetry."""

    def __init__(self, width_in: int, width_out: int, rngs: nnx.Rngs) -> None:
        widths = itertools.pairwise([width_in, *[WIDTH] * LAYERS])
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in widths])
        self.head = nnx.Linear(WIDTH, width_out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map rows to rows."""
        for layer in self.layers:
            x = jax.nn.silu(layer(x))
        return self.head(x)


def perceptron(task: Task, seed: int) -> Model:
    """A multilayer perceptron on the rows."""
    return of_module(Perceptron(task.width, task.out, nnx.Rngs(seed)), lambda net, x: net(x))


def scalars(task: Task, seed: int) -> Model:
    """Return a multilayer perceptron on all inner products of the vectors, and for matrices on outer products too.

    Villar et al., arXiv:2106.06610: an invariant function is one of the inner products, an equivariant matrix a
    combination of outer products and the identity, with invariants as coefficients.
    """
    rows, columns = np.triu_indices(task.vectors)
    metric = METRIC if task.group.form is not None else np.ones(task.n)
    count = len(rows) + 1 if task.matrix else 1
    net = Perceptron(task.scalars + len(rows), count, nnx.Rngs(seed))

    def apply(net: Perceptron, x: jax.Array) -> jax.Array:
        invariants, vectors = task.split(x)
        gram = jnp.einsum("bvi,i,bwi->bvw", vectors, jnp.asarray(metric, x.dtype), vectors)[:, rows, columns]
        found = net(jnp.concatenate([invariants, gram / task.n], axis=1))
        if not task.matrix:
            return found
        weights = jnp.zeros((len(x), task.vectors, task.vectors), x.dtype).at[:, rows, columns].set(found[:, 1:])
        outer = jnp.einsum("bvw,bvi,bwj->bij", weights, vectors, vectors)
        square = (outer + jnp.swapaxes(outer, 1, 2)) / 2 + found[:, :1, None] * jnp.eye(task.n, dtype=x.dtype)
        return square.reshape(len(x), task.out)

    return of_module(net, apply)


def emlp(task: Task, seed: int) -> Model:
    """Return EMLP's own network by its Flax interface, with representations from its heuristic.

    Raises:
        Skip: where EMLP is not installed.
    """
    library = load_emlp()
    if library is None:
        raise Skip("emlp is not installed")
    import emlp.nn.flax

    reps, groups = library.reps, library.groups
    group = groups.Lorentz() if task.group.form is not None else groups.O(task.n)
    inputs = task.vectors * reps.Vector if not task.scalars else task.scalars * reps.Scalar + task.vectors * reps.Vector
    np.random.seed(seed)  # EMLP's solver and heuristic draw from NumPy's global random state
    reps.Rep.solcache.clear()
    net = emlp.nn.flax.EMLP(inputs, reps.T(2) if task.matrix else reps.Scalar, group, ch=EMLP_WIDTH)
    parameters = net.init(jax.random.key(seed), jnp.zeros((2, task.width)))
    return Model(parameters, functools.partial(_apply_linen, net))


def _apply_linen(net: Any, parameters: Any, x: jax.Array) -> jax.Array:
    found: jax.Array = net.apply(parameters, x)
    return found
