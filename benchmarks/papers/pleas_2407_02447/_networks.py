"""A convolutional network and a transformer for 8 × 8 digits. They read their sizes from their parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

CLASSES, SIDE, PATCH = 10, 8, 2


class Convolutions(nnx.Module):
    """Three convolutions, the mean over the image, and a hidden layer."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, width, (3, 3), rngs=rngs)
        self.second = nnx.Conv(width, 2 * width, (3, 3), strides=2, rngs=rngs)
        self.third = nnx.Conv(2 * width, 2 * width, (3, 3), rngs=rngs)
        self.hidden = nnx.Linear(2 * width, 2 * width, rngs=rngs)
        self.out = nnx.Linear(2 * width, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images `[N, 8, 8]` to scores `[N, 10]`."""
        x = jax.nn.relu(self.first(x[..., None]))
        x = jax.nn.relu(self.third(jax.nn.relu(self.second(x))))
        return self.out(jax.nn.relu(self.hidden(jnp.mean(x, (1, 2)))))


class Attention(nnx.Module):
    """Self-attention with several heads: queries, keys and values `[width, heads, features]`."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        draw, shape = nnx.initializers.lecun_normal(), (width, heads, width // heads)
        kernels = (nnx.Param(draw(rngs.params(), (width, width)).reshape(shape)) for _ in range(3))
        self.query, self.key, self.value = kernels
        self.shifts = nnx.List([nnx.Param(jnp.zeros(shape[1:])) for _ in "qkv"])
        self.out = nnx.Param(draw(rngs.params(), (width, width)).reshape(heads, width // heads, width))
        self.shift = nnx.Param(jnp.zeros(width))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map tokens `[N, tokens, width]` to tokens."""
        query, key, value = (
            jnp.einsum("bti,ihd->bthd", x, kernel[...]) + shift[...]
            for kernel, shift in zip((self.query, self.key, self.value), self.shifts, strict=True)
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
        return jnp.einsum("bqhd,hdo->bqo", mixed, self.out[...]) + self.shift[...]


class Norm(nnx.Module):
    """Layer normalization."""

    def __init__(self, width: int) -> None:
        self.scale, self.bias = nnx.Param(jnp.ones(width)), nnx.Param(jnp.zeros(width))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Standardize the last axis."""
        return jax.nn.standardize(x, epsilon=1e-5) * self.scale[...] + self.bias[...]


class Block(nnx.Module):
    """Attention and a perceptron, each added to its input."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.attention, self.norms = Attention(width, heads, rngs), nnx.List([Norm(width), Norm(width)])
        self.up, self.down = nnx.Linear(width, 2 * width, rngs=rngs), nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map tokens to tokens."""
        x = x + self.attention(self.norms[0](x))
        return x + self.down(jax.nn.gelu(self.up(self.norms[1](x))))


class Transformer(nnx.Module):
    """Sixteen patches as tokens with learned positions, two blocks, and the mean over the tokens."""

    def __init__(self, width: int, rngs: nnx.Rngs, heads: int = 4, blocks: int = 2) -> None:
        tokens = (SIDE // PATCH) ** 2
        self.embed = nnx.Linear(PATCH**2, width, rngs=rngs)
        self.positions = nnx.Param(0.1 * jax.random.normal(rngs.params(), (tokens, width)))
        self.blocks = nnx.List([Block(width, heads, rngs) for _ in range(blocks)])
        self.norm, self.out = Norm(width), nnx.Linear(width, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images `[N, 8, 8]` to scores `[N, 10]`."""
        side = SIDE // PATCH
        patches = x.reshape(-1, side, PATCH, side, PATCH).swapaxes(2, 3).reshape(-1, side * side, PATCH**2)
        x = self.embed(patches) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(jnp.mean(x, 1)))
