"""The rivals on EMLP's synthetic tasks: modules that map rows of inputs to rows of targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.data.emlp import METRIC, Task
from benchmarks.models.equivariant import zero
from benchmarks.models.networks import Perceptron
from benchmarks.models.perceptron import perceptron


class InvariantNetwork(nnx.Module):
    """Invariants of vectors by learned products; a second layer of products, and a network that corrects it."""

    def __init__(self, task: Task, rngs: nnx.Rngs, products: int = 16, width: int = 64) -> None:
        self.task = task
        self.products = ek.nn.Bilinear({"x": task.vectors}, products, {"": width}, x=task.group, rngs=rngs)
        self.polynomial = ek.nn.Bilinear({"": width}, products, {"": 1}, rngs=rngs)
        self.network = ek.nn.Network([{"": width}, {"": 64}, {"": 64}, {"": 1}], products=0, rngs=rngs)
        zero(self.network.head)  # a correction begins at zero

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map rows to invariants `[N, 1]`."""
        invariants = self.products({"x": jnp.swapaxes(self.task.split(x)[1], 1, 2)})
        return self.polynomial(invariants)[""] + self.network(invariants)[""]


class BodiesNetwork(nnx.Module):
    """An equivariant network on bodies, for permutations and rotations."""

    def __init__(self, task: Task, rngs: nnx.Rngs, products: int = 16) -> None:
        self.task = task
        features = [{"p": 1, "p x": 1}, {"p": 16, "p x x": 16}, {"x x": 1}]
        groups = {"p": ek.S(task.vectors), "x": task.group}
        self.network = ek.nn.Network(features, products=products, groups=groups, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map rows to matrices, row by row."""
        masses, places = self.task.split(x)
        found = self.network({"p": masses[..., None], "p x": places[..., None]})
        return found["x x"].reshape(len(x), self.task.out)


class Scalars(nnx.Module):
    """A multilayer perceptron on all inner products; for matrices it returns coefficients of outer products.

    Villar et al., arXiv:2106.06610: an invariant function is one of the inner products, an equivariant matrix a
    combination of outer products and the identity, with invariants as coefficients.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        pairs = task.vectors * (task.vectors + 1) // 2
        self.network = perceptron(task.scalars + pairs, pairs + 1 if task.matrix else 1, seed)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map rows to rows."""
        task = self.task
        rows, columns = np.triu_indices(task.vectors)
        metric = METRIC if task.group.form is not None else np.ones(task.n)
        invariants, vectors = task.split(x)
        gram = jnp.einsum("bvi,i,bwi->bvw", vectors, jnp.asarray(metric, x.dtype), vectors)[:, rows, columns]
        found = self.network(jnp.concatenate([invariants, gram / task.n], axis=1))
        if not task.matrix:
            return found
        weights = jnp.zeros((len(x), task.vectors, task.vectors), x.dtype).at[:, rows, columns].set(found[:, 1:])
        outer = jnp.einsum("bvw,bvi,bwj->bij", weights, vectors, vectors)
        square = (outer + jnp.swapaxes(outer, 1, 2)) / 2 + found[:, :1, None] * jnp.eye(task.n, dtype=x.dtype)
        return square.reshape(len(x), task.out)


def equikit(task: Task, seed: int) -> InvariantNetwork | BodiesNetwork:
    """The network of layers of equikit."""
    return (BodiesNetwork if task.matrix else InvariantNetwork)(task, nnx.Rngs(seed))


def mlp(task: Task, seed: int) -> Perceptron:
    """The multilayer perceptron on the rows."""
    return perceptron(task.width, task.out, seed)
