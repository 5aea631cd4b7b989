"""Models of many architectures, each as a pure function with its parameters and an input."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Model = tuple[Callable[[Any, Any], Any], Any, Any]
MODELS: dict[str, Callable[[], Model]] = {}


def model(function: Callable[[], Model]) -> Callable[[], Model]:
    """Register a model, which is made once for each precision, so that its compiled programs are shared too."""
    made = functools.cache(lambda x64: function())
    MODELS[function.__name__] = lambda: made(jax.config.jax_enable_x64)
    return function


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def plain(shapes: dict[str, tuple[int, ...]]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(leaf) for name, leaf in in_float64(shapes).items()}


def in_float64(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {
        name: np.random.default_rng(seed).normal(size=shape) / 2 for seed, (name, shape) in enumerate(shapes.items())
    }


def drawn(tree: Any) -> Any:
    """Random parameters of the shapes in a tree, of normalizations too: their usual ones hide mistakes."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    found = []
    for seed, (path, leaf) in enumerate(leaves):
        random = np.random.default_rng(seed).normal(size=leaf.shape)
        positive = any(word in jax.tree_util.keystr(path) for word in ("scale", "var"))
        found.append(jnp.asarray(1 + 0.3 * abs(random) if positive else random / leaf.shape[0] ** 0.5, leaf.dtype))
    return jax.tree.unflatten(structure, found)


def of_nnx(make: Callable[[], nnx.Module], x: Any) -> Model:
    static, params = nnx.split(nnx.eval_shape(make))
    return lambda p, x: nnx.merge(static, p)(x), drawn(params), x


def of_linen(module: nn.Module, x: Any) -> Model:
    return module.apply, drawn(jax.eval_shape(module.init, jax.random.key(0), x)), x


@model
def perceptron() -> Model:
    def apply(p, x):
        h = jnp.tanh(x @ p["w0"] + p["b0"])
        return jax.nn.relu(h @ p["w1"] + p["b1"]) @ p["w2"]

    return apply, plain({"w0": (3, 8), "b0": (8,), "w1": (8, 5), "b1": (5,), "w2": (5, 2)}), normal(4, 3)


@model
def perceptron_nnx() -> Model:
    class MLP(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in ((3, 6), (6, 6), (6, 2))])

        def __call__(self, x):
            for layer in self.layers[:-1]:
                x = jax.nn.gelu(layer(x))
            return self.layers[-1](x)

    return of_nnx(lambda: MLP(nnx.Rngs(0)), normal(4, 3))


@model
def perceptron_linen() -> Model:
    return of_linen(nn.Sequential([nn.Dense(6), nn.relu, nn.Dense(5), nn.tanh, nn.Dense(2)]), normal(4, 3))


@model
def perceptron_equinox() -> Model:
    import equinox as eqx

    module = eqx.nn.MLP(3, 2, 6, 2, key=jax.random.key(0))
    params, static = eqx.partition(module, eqx.is_inexact_array)
    return lambda p, x: jax.vmap(eqx.combine(p, static))(x), params, normal(4, 3)


@model
def layer_norm() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.LayerNorm()(nn.Dense(6)(x)))

    return of_linen(Net(), normal(4, 3))


@model
def convolution_with_batch_norm() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(6, (3, 3))(x)))
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(5, (3, 3), strides=(2, 2))(x)))
            return nn.Dense(2)(x.mean((1, 2)))

    return of_linen(Net(), normal(2, 6, 6, 3))


@model
def group_norm() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.relu(nn.GroupNorm(num_groups=4)(nn.Conv(8, (3, 3))(x))).mean((1, 2)))

    return of_linen(Net(), normal(2, 6, 6, 3))


@model
def residual() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(6)(x)
            for _ in range(2):
                x = x + nn.Dense(6)(nn.relu(nn.Dense(5)(nn.LayerNorm()(x))))
            return nn.Dense(2)(x)

    return of_linen(Net(), normal(4, 3))


@model
def residual_convolutions() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3))(x)
            y = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(6, (3, 3), strides=(2, 2))(x)))
            y = nn.Conv(6, (3, 3))(y) + nn.Conv(6, (1, 1), strides=(2, 2))(x)
            return nn.Dense(2)(nn.relu(y).mean((1, 2)))

    return of_linen(Net(), normal(2, 6, 6, 3))


@model
def dense_concatenation() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3))(x)
            for width in (3, 5):
                x = jnp.concatenate([x, nn.relu(nn.Conv(width, (3, 3))(x))], axis=-1)
            return nn.Dense(2)(x.mean((1, 2)))

    return of_linen(Net(), normal(2, 6, 6, 3))


@model
def concatenated_then_flattened() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jnp.concatenate([nn.Conv(3, (3, 3))(x), nn.relu(nn.Conv(2, (1, 1))(x))], axis=-1)
            return nn.Dense(2)(nn.Dense(6)(x.reshape(len(x), -1)))

    return of_linen(Net(), normal(2, 4, 4, 3))


@model
def convolution_flattened() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.max_pool(nn.relu(nn.Conv(5, (3, 3))(x)), (2, 2), (2, 2))
            return nn.Dense(2)(nn.relu(nn.Dense(7)(x.reshape(len(x), -1))))

    return of_linen(Net(), normal(2, 6, 6, 3))


@model
def grouped_convolution() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(6, (1, 1))(x))
            x = nn.relu(nn.Conv(9, (3, 3), feature_group_count=3)(x))
            return nn.Dense(2)(nn.Conv(4, (1, 1))(x).mean((1, 2)))

    return of_linen(Net(), normal(2, 4, 4, 3))


@model
def depthwise_convolution() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(6, (1, 1))(x))
            x = nn.relu(nn.Conv(6, (3, 3), feature_group_count=6)(x))
            return nn.Dense(2)(nn.Conv(4, (1, 1))(x).mean((1, 2)))

    return of_linen(Net(), normal(2, 4, 4, 3))


@model
def tied_layers() -> Model:
    def apply(p, x):
        h = jnp.tanh(x @ p["in"])
        for _ in range(3):
            h = jnp.tanh(h @ p["hidden"] + p["bias"])
        return h @ p["out"]

    return apply, plain({"in": (3, 6), "hidden": (6, 6), "bias": (6,), "out": (6, 2)}), normal(4, 3)


@model
def autoencoder_with_tied_weights() -> Model:
    def apply(p, x):
        return jax.nn.relu(x @ p["w"] + p["b"]) @ p["w"].T

    return apply, plain({"w": (3, 6), "b": (6,)}), normal(4, 3)


@model
def gru() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.RNN(nn.GRUCell(5))(x)[:, -1])

    return of_linen(Net(), normal(2, 7, 3))


@model
def lstm() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.RNN(nn.OptimizedLSTMCell(5))(x))

    return of_linen(Net(), normal(2, 7, 3))


@model
def attention() -> Model:
    return of_nnx(lambda: nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0)), normal(2, 5, 8))


@model
def transformer() -> Model:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(8)(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
            x = x + nn.Dense(8)(nn.gelu(nn.Dense(12)(nn.LayerNorm()(x))))
            return nn.Dense(2)(x)

    return of_linen(Net(), normal(2, 5, 3))


@model
def fused_attention() -> Model:
    def apply(p, x):
        q, k, v = jnp.split(x @ p["in"] @ p["qkv"], 3, axis=-1)
        q, k, v = (a.reshape(*a.shape[:-1], 2, 4) for a in (q, k, v))
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(*x.shape[:-1], 8) @ p["out"]

    return apply, plain({"in": (3, 6), "qkv": (6, 24), "out": (8, 2)}), normal(2, 5, 3)


@model
def gated_units() -> Model:
    def apply(p, x):
        h = x @ p["in"]
        return h + (jax.nn.silu(h @ p["gate"]) * (h @ p["up"])) @ p["down"] @ p["out"] @ p["back"]

    shapes = {"in": (3, 6), "gate": (6, 7), "up": (6, 7), "down": (7, 6), "out": (6, 2), "back": (2, 6)}
    return apply, plain(shapes), normal(4, 3)


@model
def gated_halves() -> Model:
    def apply(p, x):
        return jax.nn.glu(x @ p["in"]) @ p["out"]

    return apply, plain({"in": (3, 8), "out": (4, 2)}), normal(4, 3)


@model
def language_model_with_tied_embedding() -> Model:
    def apply(p, tokens):
        h = p["embedding"][tokens] + p["position"]
        h = h + jax.nn.relu(h @ p["up"]) @ p["down"]
        return h @ p["embedding"].T

    shapes = {"embedding": (11, 6), "position": (5, 6), "up": (6, 7), "down": (7, 6)}
    return apply, plain(shapes), jnp.arange(10).reshape(2, 5) % 11


@model
def scanned_layers() -> Model:
    def apply(p, x):
        def layer(h, w):
            return jnp.tanh(h @ w), None

        return jax.lax.scan(layer, x @ p["in"], p["hidden"])[0] @ p["out"]

    return apply, plain({"in": (3, 6), "hidden": (4, 6, 6), "out": (6, 2)}), normal(4, 3)


@model
def branches() -> Model:
    def apply(p, x):
        h = x @ p["in"]
        h = jax.lax.cond(x.sum() > 0, lambda h: jnp.tanh(h @ p["w"]), jax.nn.relu, h)
        return h @ p["out"]

    return apply, plain({"in": (3, 6), "w": (6, 6), "out": (6, 2)}), normal(4, 3)


@model
def equilibrium() -> Model:
    def apply(p, x):
        def step(state):
            number, h = state
            return number + 1, jnp.tanh(0.1 * h @ p["w"] + x @ p["in"])

        return jax.lax.while_loop(lambda state: state[0] < 9, step, (0, x @ p["in"]))[1] @ p["out"]

    return apply, plain({"in": (3, 6), "w": (6, 6), "out": (6, 2)}), normal(4, 3)


@model
def siren() -> Model:
    def apply(p, x):
        h = jnp.sin(30 * (x @ p["w0"] + p["b0"]))
        return jnp.sin(h @ p["w1"]) @ p["w2"]

    return apply, plain({"w0": (2, 8), "b0": (8,), "w1": (8, 8), "w2": (8, 1)}), normal(4, 2)


@model
def mixture_of_experts() -> Model:
    def apply(p, x):
        weights = jax.nn.softmax(x @ p["router"])
        h = jax.nn.relu(jnp.einsum("bi,eih->beh", x, p["up"]))
        return jnp.einsum("be,beh,eho->bo", weights, h, p["down"])

    return apply, plain({"router": (3, 4), "up": (4, 3, 6), "down": (4, 6, 2)}), normal(5, 3)


@model
def message_passing() -> Model:
    def apply(p, x):
        adjacency, nodes = x
        h = nodes @ p["in"]
        for _ in range(2):
            h = jax.nn.relu(adjacency @ h @ p["message"] + h @ p["self"])
        return h.sum(0) @ p["out"]

    def together(p, adjacency, nodes):
        return apply(p, (adjacency, nodes))

    shapes = {"in": (3, 6), "message": (6, 6), "self": (6, 6), "out": (6, 2)}
    return together, plain(shapes), (normal(5, 5), normal(5, 3))
