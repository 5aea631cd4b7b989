"""Rivals whose layers are equivariant, from the library itself: nothing is symmetrized.

The networks of charges have about as many parameters as `ParticleNetwork`, and as many rounds.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from benchmarks.core.trained import Rival

GROUPS = {"p": ek.S, "x": ek.O(3)}
CUTOFF = 12.0
"""Distance of charges beyond which no message is sent; one pair in a thousand is farther apart."""


class EquivariantCharges(nnx.Module):
    """An `ek.nn.Network` on the features that `ParticleNetwork` sees: of charges, and of all pairs of them.

    It predicts what x + v, a straight line for one unit of time, leaves over, and begins with the straight line.
    """

    def __init__(self, rngs: nnx.Rngs, width: int = 16, vectors: int = 8, layers: int = 4) -> None:
        hidden = {"p": width, "p x": vectors, "p p": width, "p p x": vectors}
        inputs, last = {"p": 1, "p x": 2, "p p": 2, "p p x": 1}, {"p x": vectors, "p p x": vectors}
        features = [inputs, *[hidden] * (layers - 1), last, {"p x": 1}]
        self.network = ek.nn.Network(
            features, products=vectors, residual=True, normalize_features=True, groups=GROUPS, rngs=rngs
        )
        zero(self.network.head)

    def __call__(self, charges: jax.Array, x: jax.Array, v: jax.Array) -> jax.Array:
        """Map charges `[..., p]`, positions and velocities `[..., p, 3]` to later positions `[..., p, 3]`."""
        between = x[..., :, None, :] - x[..., None, :, :]
        squared = jnp.sum(between**2, axis=-1, keepdims=True) + 0.1
        products = (charges[..., :, None] * charges[..., None, :])[..., None]
        features = {
            "p": charges[..., None],
            "p x": jnp.stack([x - x.mean(axis=-2, keepdims=True), v], axis=-1),
            "p p": jnp.concatenate([products, jnp.log(squared)], axis=-1),
            "p p x": (between / jnp.sqrt(squared))[..., None],
        }
        return x + v + self.network(features)["p x"][..., 0]


class GeometricRound(nnx.Module):
    """Messages by `ek.nn.GeometricMessage`, and an `ek.nn.Network` that updates charges with what they receive."""

    def __init__(self, width: int, vectors: int, rngs: nnx.Rngs) -> None:
        kept = {"p": width, "p x": vectors}
        self.message = ek.nn.GeometricMessage(
            kept, kept, cutoff=CUTOFF, powers=1, groups=GROUPS, basis_size=16, neighbors=4.0, rngs=rngs
        )
        both = {"p": 2 * width, "p x": 2 * vectors}
        self.update = ek.nn.Network([both, kept, kept], products=vectors, groups=GROUPS, rngs=rngs)

    def __call__(self, h: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
        """Map features of charges at positions `[..., p, 3]` to features."""
        received = self.message(h, x)
        change = self.update({name: jnp.concatenate([h[name], received[name]], axis=-1) for name in h})
        return {name: h[name] + change[name] for name in h}


class GeometricCharges(nnx.Module):
    """Rounds of geometric messages between charges; it predicts what x + v leaves over."""

    def __init__(self, rngs: nnx.Rngs, width: int = 32, vectors: int = 8, rounds: int = 4) -> None:
        self.embed = ek.nn.Linear({"p": 1, "p x": 2}, {"p": width, "p x": vectors}, groups=GROUPS, rngs=rngs)
        self.rounds = nnx.List([GeometricRound(width, vectors, rngs) for _ in range(rounds)])
        features = [{"p": width, "p x": vectors}, {"p x": vectors}, {"p x": 1}]
        self.read = ek.nn.Network(features, products=vectors, groups=GROUPS, rngs=rngs)
        zero(self.read.head)

    def __call__(self, charges: jax.Array, x: jax.Array, v: jax.Array) -> jax.Array:
        """Map charges `[..., p]`, positions and velocities `[..., p, 3]` to later positions `[..., p, 3]`."""
        centered = x - x.mean(axis=-2, keepdims=True)
        h = self.embed({"p": charges[..., None], "p x": jnp.stack([centered, v], axis=-1)})
        for one in self.rounds:
            h = one(h, x)
        return x + v + self.read(h)["p x"][..., 0]


class AttentionRound(nnx.Module):
    """`ek.nn.Attention` between charges at points in space, and an `ek.nn.Network` that updates them."""

    def __init__(self, width: int, vectors: int, rngs: nnx.Rngs) -> None:
        kept = {"p": width, "p x": vectors}
        self.attend = ek.nn.Attention(kept, heads=4, points=4, pairs={"p p": 2}, groups=GROUPS, rngs=rngs)
        both = {"p": 2 * width, "p x": 2 * vectors}
        self.update = ek.nn.Network([both, kept, kept], products=vectors, groups=GROUPS, rngs=rngs)

    def __call__(self, h: dict[str, jax.Array], x: jax.Array, pairs: jax.Array) -> dict[str, jax.Array]:
        """Map features of charges at positions `[..., p, 3]`, and of pairs of them, to features of charges."""
        received = self.attend(h, positions=x, pairs={"p p": pairs})
        change = self.update({name: jnp.concatenate([h[name], received[name]], axis=-1) for name in h})
        return {name: h[name] + change[name] for name in h}


class AttentionCharges(nnx.Module):
    """Rounds of attention between charges; it predicts what x + v leaves over."""

    def __init__(self, rngs: nnx.Rngs, width: int = 32, vectors: int = 8, rounds: int = 4) -> None:
        self.embed = ek.nn.Linear({"p": 1, "p x": 2}, {"p": width, "p x": vectors}, groups=GROUPS, rngs=rngs)
        self.rounds = nnx.List([AttentionRound(width, vectors, rngs) for _ in range(rounds)])
        features = [{"p": width, "p x": vectors}, {"p x": vectors}, {"p x": 1}]
        self.read = ek.nn.Network(features, products=vectors, groups=GROUPS, rngs=rngs)
        zero(self.read.head)

    def __call__(self, charges: jax.Array, x: jax.Array, v: jax.Array) -> jax.Array:
        """Map charges `[..., p]`, positions and velocities `[..., p, 3]` to later positions `[..., p, 3]`."""
        between = x[..., :, None, :] - x[..., None, :, :]
        squared = jnp.sum(between**2, axis=-1) + 0.1
        pairs = jnp.stack([charges[..., :, None] * charges[..., None, :], jnp.log(squared)], axis=-1)
        centered = x - x.mean(axis=-2, keepdims=True)
        h = self.embed({"p": charges[..., None], "p x": jnp.stack([centered, v], axis=-1)})
        for one in self.rounds:
            h = one(h, x, pairs)
        return x + v + self.read(h)["p x"][..., 0]


def zero(layer: ek.nn.Linear) -> None:
    """Set the weights of a last layer to zero."""
    for kernel in layer.kernel.values():
        kernel[...] = jnp.zeros_like(kernel[...])


def equivariant_network(task: str, seed: int) -> Rival:
    """An equivariant network on charges and pairs of them."""
    return Rival(EquivariantCharges(nnx.Rngs(seed)), lambda module, inputs, key: module(*inputs))


def equivariant_messages(task: str, seed: int) -> Rival:
    """Equivariant messages between charges."""
    return Rival(GeometricCharges(nnx.Rngs(seed)), lambda module, inputs, key: module(*inputs))


def equivariant_attention(task: str, seed: int) -> Rival:
    """Attention between charges."""
    return Rival(AttentionCharges(nnx.Rngs(seed)), lambda module, inputs, key: module(*inputs))


def deep_sets(task: str, seed: int) -> Rival:
    """Deep Sets on clouds of points, with three hidden layers of 64."""
    return Rival(ek.nn.DeepSets(2, [64, 64, 64], 10, rngs=nnx.Rngs(seed)), lambda module, inputs, key: module(inputs))
