"""Networks on jets: four-momenta `[..., h, 4]` and a mask `[..., h]` to a score `[...]`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.data.emlp import METRIC

METRIC32 = np.float32(METRIC)
Features = Callable[[jax.Array, jax.Array], jax.Array]
"""Maps four-momenta and a mask to features of particles."""


def dot(p: jax.Array, q: jax.Array) -> jax.Array:
    """Minkowski products."""
    return jnp.sum(p * METRIC32 * q, axis=-1)


def compressed(x: jax.Array) -> jax.Array:
    """Products over orders of magnitude to numbers of order one; the mass of a jet is about one."""
    return jnp.sign(x) * jnp.log1p(1e3 * jnp.abs(x)) / 3


def products(p: jax.Array) -> jax.Array:
    """The products of all pairs `[..., h, h, 2]`, compressed; once more on a scale that resolves large ones."""
    found = dot(p[..., :, None, :], p[..., None, :, :])
    return jnp.stack([compressed(found), jnp.log1p(10 * jnp.abs(found))], axis=-1)


def mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean over present particles."""
    return jnp.mean(x, axis=-2, where=mask[..., None])


class Head(nnx.Module):
    """A score from the mean of the scalars of particles."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.hidden, self.out = nnx.Linear(width, width, rngs=rngs), nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, h: jax.Array, mask: jax.Array) -> jax.Array:
        return self.out(jax.nn.silu(self.hidden(mean(h, mask))))[..., 0]


class LorentzAttention(nnx.Module):
    """Attention of scalars and four-vectors; scores are Minkowski products of vectors, and a map of the pairs."""

    def __init__(self, width: int, layers: int, rngs: nnx.Rngs, vectors: int = 4, products: int = 8) -> None:
        kept, alone = {"s": ("h", width), "v": ("h m", vectors)}, {"s": ("", width), "v": ("m", vectors)}
        options: dict[str, Any] = {
            "heads": 4,
            "pairs": {"h h": 2},
            "products": products,
            "h": ek.S,
            "m": ek.Lorentz,
            "rngs": rngs,
        }
        self.first = ek.nn.Attention({"p": ("h m", 1)}, kept, **options)
        self.attend = nnx.List([ek.nn.Attention(kept, **options) for _ in range(layers)])
        self.update = nnx.List(
            [ek.nn.MLP([alone] * 3, products=products, m=ek.Lorentz, rngs=rngs) for _ in range(layers)]
        )
        self.head = Head(width, rngs)

    def __call__(self, p: jax.Array, mask: jax.Array) -> jax.Array:
        known: dict[str, Any] = {"mask": mask, "pairs": {"h h": products(p)}}
        h = self.first({"p": p[..., None]}, **known)
        for attend, update in zip(self.attend, self.update, strict=True):
            h = jax.tree.map(jnp.add, h, attend(h, **known))
            h = jax.tree.map(jnp.add, h, update(h))
        return self.head(h["s"], mask)


class LorentzNet(nnx.Module):
    """The paper's network: messages from scalars and Minkowski products, weighted; vectors move along differences."""

    def __init__(self, width: int, layers: int, rngs: nnx.Rngs, step: float = 5e-3) -> None:
        def dense(*widths: int) -> nnx.Sequential:
            parts = [nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(widths)]
            return nnx.Sequential(*(part for one in parts for part in (one, jax.nn.relu)))

        self.step = step
        self.embed = nnx.Linear(1, width, rngs=rngs)
        self.edge = nnx.List([dense(2 * width + 3, width, width) for _ in range(layers)])
        self.gate = nnx.List([nnx.Linear(width, 1, rngs=rngs) for _ in range(layers)])
        self.node = nnx.List([dense(2 * width, width) for _ in range(layers)])
        self.change = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(layers)])
        self.move = nnx.List([dense(width, width) for _ in range(layers - 1)])
        self.along = nnx.List([nnx.Linear(width, 1, use_bias=False, rngs=rngs) for _ in range(layers - 1)])
        self.head = Head(width, rngs)

    def __call__(self, p: jax.Array, mask: jax.Array) -> jax.Array:
        x, h = p, self.embed(compressed(dot(p, p))[..., None])
        present = mask[..., None, :, None]
        for i, (edge, gate, node, change) in enumerate(zip(self.edge, self.gate, self.node, self.change, strict=True)):
            between = x[..., :, None, :] - x[..., None, :, :]
            distance = compressed(dot(between, between))[..., None]
            one, two = jnp.broadcast_arrays(h[..., :, None, :], h[..., None, :, :])
            message = edge(jnp.concatenate([one, two, distance, products(x)], axis=-1))
            if i < len(self.move):
                moved = between * self.along[i](self.move[i](message))
                x = x + self.step * jnp.mean(moved, axis=-2, where=present)
            received = jnp.sum(message * jax.nn.sigmoid(gate(message)), axis=-2, where=present)
            h = h + change(node(jnp.concatenate([h, received], axis=-1)))
        return self.head(h, mask)


class Pairs(nnx.Module):
    """All maps between pairs, on the products of momenta: `ek.nn.GraphNetwork`."""

    def __init__(self, width: int, layers: int, rngs: nnx.Rngs) -> None:
        self.network = ek.nn.GraphNetwork(2, [width] * layers, 1, rngs=rngs)

    def __call__(self, p: jax.Array, mask: jax.Array) -> jax.Array:
        return self.network(products(p), mask=mask)[..., 0]


class Vectors(nnx.Module):
    """Linear and bilinear layers on scalars and four-vectors: `ek.nn.Network`."""

    def __init__(self, width: int, layers: int, rngs: nnx.Rngs, vectors: int = 8) -> None:
        features = [{"h m": 1}, *[{"h": width, "h m": vectors}] * layers, {"": 1}]
        self.network = ek.nn.Network(features, products=8, normalize_features=True, h=ek.S, m=ek.Lorentz, rngs=rngs)

    def __call__(self, p: jax.Array, mask: jax.Array) -> jax.Array:
        return self.network({"h m": p[..., None]}, mask={"h": mask})[""][..., 0]


def usual(p: jax.Array, mask: jax.Array) -> jax.Array:
    """The features of other taggers, relative to beam and jet: angles, and logarithms of momenta across the beam."""
    total = jnp.sum(p, axis=-2, where=mask[..., None], keepdims=True)

    def coordinates(q: jax.Array) -> tuple[jax.Array, ...]:
        across = jnp.sqrt(q[..., 1] ** 2 + q[..., 2] ** 2 + 1e-12)
        return jnp.arcsinh(q[..., 3] / across), jnp.arctan2(q[..., 2], q[..., 1]), jnp.log(across), jnp.log(q[..., 0])

    filled = jnp.where(mask[..., None], p, total)
    (eta, phi, across, energy), jet = coordinates(filled), coordinates(total)
    turn = jnp.mod(phi - jet[1] + jnp.pi, 2 * jnp.pi) - jnp.pi
    far = jnp.sqrt((eta - jet[0]) ** 2 + turn**2 + 1e-12)
    return jnp.stack([eta - jet[0], turn, across, energy, across - jet[2], energy - jet[3], far], axis=-1)


def invariants(p: jax.Array, mask: jax.Array) -> jax.Array:
    """Products with the jet, over its squared mass, their logarithms, and the mass."""
    total = jnp.sum(p, axis=-2, where=mask[..., None], keepdims=True)
    square = dot(total, total)
    share = jnp.where(mask, dot(p, total) / square, 1.0)
    return jnp.stack([share, jnp.log(share + 1e-5), jnp.broadcast_to(square, share.shape)], axis=-1)


class Sets(nnx.Module):
    """Deep Sets on features of particles."""

    def __init__(
        self, features: Callable[..., jax.Array], channels: int, width: int, layers: int, rngs: nnx.Rngs
    ) -> None:
        self.features = features
        self.network = ek.nn.DeepSets(channels, [width] * layers, 1, rngs=rngs)

    def __call__(self, p: jax.Array, mask: jax.Array) -> jax.Array:
        return self.network(self.features(p, mask), mask=mask)[..., 0]


class Transformer(nnx.Module):
    """Attention of scalars on the usual features."""

    def __init__(self, width: int, layers: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(7, width, rngs=rngs)
        self.attend = nnx.List([ek.nn.Attention({"h": width}, heads=4, h=ek.S, rngs=rngs) for _ in range(layers)])
        self.update = nnx.List([ek.nn.MLP([{"": width}] * 3, products=0, rngs=rngs) for _ in range(layers)])
        self.head = Head(width, rngs)

    def __call__(self, p: jax.Array, mask: jax.Array) -> jax.Array:
        h = {"h": self.embed(usual(p, mask))}
        for attend, update in zip(self.attend, self.update, strict=True):
            h = jax.tree.map(jnp.add, h, attend(h, mask=mask))
            h = {"h": h["h"] + update({"": h["h"]})[""]}
        return self.head(h["h"], mask)
