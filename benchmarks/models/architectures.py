"""Networks of six families for 8 × 8 images, of mixed depths, widths and nonlinearities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp

from benchmarks.models.zoo import (
    CLASSES,
    PIXELS,
    Activation,
    Model,
    Params,
    convolution,
    convolutional,
    gru,
    normal,
    patches,
    perceptron,
)

EPSILON = 1e-5
IMAGES = jnp.zeros((5, PIXELS, PIXELS))
Settle = Callable[[Params, jax.Array], Params]
"""Maps parameters after training and images to parameters with the statistics of these images."""


@dataclass(frozen=True)
class Architecture:
    """Networks with the same parameters.

    Attributes:
        family: the kind of networks.
        name: what distinguishes it within its family.
        model: the networks.
        settle: see `Settle`; `None` if there are no statistics.
        test: like `model.train`, with the statistics that are among the parameters.
        rates: from which rate of learning to which it is trained.
    """

    family: str
    name: str
    model: Model
    settle: Settle | None
    test: Callable[[Params, jax.Array], jax.Array]
    rates: tuple[float, float]

    def inputs(self, images: jax.Array) -> jax.Array:
        """Return images `[N, 8, 8]` as the model takes them."""
        return images.reshape(len(images), *self.model.example.shape[1:])

    def parameters(self) -> list[str]:
        """Return the names of the parameters in the order in which the model makes and uses them."""
        found: list[str] = []
        jax.eval_shape(lambda key: found.extend(self.model.init(key, 1.0)), jax.random.key(0))
        return found


def normalized(channels: Sequence[int], activation: Activation) -> tuple[Model, Settle, Callable[..., jax.Array]]:
    """Convolutions with batch normalization: the model, its statistics, and its test."""
    layers = list(pairwise((1, *channels)))

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        params: Params = {}
        for number, (a, b) in enumerate(layers):
            params[f"k{number}"] = scale * normal(jax.random.fold_in(key, number), (3, 3, a, b), 9 * a)
            params |= {f"scale{number}": jnp.ones(b), f"shift{number}": jnp.zeros(b)}
            params |= {f"mean{number}": jnp.zeros(b), f"variance{number}": jnp.ones(b)}
        return params | _dense(jax.random.fold_in(key, len(layers)), channels[-1], CLASSES, "", scale)

    def run(params: Params, x: jax.Array, convolve: Callable[..., jax.Array], seen: Params | None) -> jax.Array:
        """Normalize by the statistics of the batch, which `seen` receives, or by those among the parameters."""
        x = x[..., None]
        for number in range(len(layers)):
            x = convolve(x, params[f"k{number}"], 1 if number == 0 else 2)
            mean, variance = params[f"mean{number}"], params[f"variance{number}"]
            if seen is not None:
                mean, variance = jnp.mean(x, axis=(0, 1, 2)), jnp.var(x, axis=(0, 1, 2))
                seen |= {f"mean{number}": mean, f"variance{number}": variance}
            x = (x - mean) * jax.lax.rsqrt(variance + EPSILON) * params[f"scale{number}"] + params[f"shift{number}"]
            x = activation(x)
        return jnp.mean(x, axis=(1, 2)) @ params["w"] + params["b"]

    def settle(params: Params, x: jax.Array) -> Params:
        seen: Params = {}
        run(params, x, patches, seen)
        return params | seen

    model = Model(init, lambda p, x: run(p, x, convolution, None), lambda p, x: run(p, x, patches, {}), IMAGES)
    return model, settle, lambda p, x: run(p, x, patches, None)


def residual_images(channels: int, blocks: int, activation: Activation) -> Model:
    """A convolution, blocks of two convolutions that are added to their input, a mean, and a dense layer."""

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        params: Params = {}
        for number in range(2 * blocks + 1):
            a = channels if number else 1
            params[f"k{number}"] = scale * normal(jax.random.fold_in(key, number), (3, 3, a, channels), 9 * a)
            params[f"b{number}"] = jnp.zeros(channels)
        return params | _dense(jax.random.fold_in(key, 2 * blocks + 1), channels, CLASSES, "", scale)

    def run(convolve: Callable[..., jax.Array]) -> Callable[[Params, jax.Array], jax.Array]:
        def apply(params: Params, x: jax.Array) -> jax.Array:
            def layer(number: int, x: jax.Array, stride: int = 1) -> jax.Array:
                return convolve(x, params[f"k{number}"], stride) + params[f"b{number}"]

            x = layer(0, x[..., None], 2)
            for number in range(1, 2 * blocks, 2):
                x = x + layer(number + 1, activation(layer(number, activation(x))))
            return jnp.mean(activation(x), axis=(1, 2)) @ params["w"] + params["b"]

        return apply

    return Model(init, run(convolution), run(patches), IMAGES)


def residual_vectors(width: int, hidden: int, blocks: int, activation: Activation) -> Model:
    """The same with dense layers on all pixels."""

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        keys = jax.random.split(key, 2 * blocks + 2)
        params = _dense(keys[0], PIXELS**2, width, "0", scale)
        for number in range(1, 2 * blocks, 2):
            params |= _dense(keys[number], width, hidden, f"{number}", scale)
            params |= _dense(keys[number + 1], hidden, width, f"{number + 1}", scale)
        return params | _dense(keys[-1], width, CLASSES, "", scale)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        def layer(number: int, x: jax.Array) -> jax.Array:
            return x @ params[f"w{number}"] + params[f"b{number}"]

        x = layer(0, x)
        for number in range(1, 2 * blocks, 2):
            x = x + layer(number + 1, activation(layer(number, activation(x))))
        return activation(x) @ params["w"] + params["b"]

    return Model(init, apply, apply, jnp.zeros((5, PIXELS**2)))


def attention(side: int, width: int, heads: int, hidden: int, activation: Activation, norm: bool = False) -> Model:
    """One block of attention and dense layers.

    Args:
        side: tokens are squares of `side` × `side` pixels, or rows if it is `PIXELS`.
        width: features of a token.
        heads: of the attention.
        hidden: features between the two dense layers.
        activation: between the two dense layers.
        norm: whether layers normalize the features of a token.
    """
    rows, columns = (PIXELS, 1) if side == PIXELS else (PIXELS // side, PIXELS // side)
    high, wide = PIXELS // rows, PIXELS // columns
    each = width // heads

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        keys = jax.random.split(key, 9)
        params = _dense(keys[0], high * wide, width, "0", scale)
        params["positions"] = 0.3 * scale * jax.random.normal(keys[1], (rows * columns, width))
        for name, one in zip(("q", "k", "v"), keys[2:5], strict=True):
            params[name] = scale * normal(one, (width, heads, each), 2 * width)
        params["o"] = scale * normal(keys[5], (heads, each, width), 2 * width)
        params |= _dense(keys[6], width, hidden, "1", scale) | _dense(keys[7], hidden, width, "2", scale)
        for name in ("first", "second") if norm else ():
            params |= {f"scale, {name}": jnp.ones(width), f"shift, {name}": jnp.zeros(width)}
        return params | _dense(keys[8], width, CLASSES, "", scale)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        def normed(x: jax.Array, name: str) -> jax.Array:
            if not norm:
                return x
            x = (x - jnp.mean(x, axis=-1, keepdims=True)) * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + EPSILON)
            return x * params[f"scale, {name}"] + params[f"shift, {name}"]

        x = x.reshape(len(x), rows, high, columns, wide).transpose(0, 1, 3, 2, 4)
        x = x.reshape(len(x), rows * columns, -1) @ params["w0"] + params["b0"] + params["positions"]
        y = normed(x, "first")
        q, k, v = (jnp.einsum("bti,ihd->bhtd", y, params[name]) for name in ("q", "k", "v"))
        weights = jax.nn.softmax(jnp.einsum("bhsd,bhtd->bhst", q, k) / each**0.5)
        x = x + jnp.einsum("bhst,bhtd,hdo->bso", weights, v, params["o"])
        y = activation(normed(x, "second") @ params["w1"] + params["b1"])
        x = x + y @ params["w2"] + params["b2"]
        return jnp.mean(x, axis=1) @ params["w"] + params["b"]

    return Model(init, apply, apply, IMAGES)


def lstm(hidden: int) -> Model:
    """A long short-term memory that reads an image row by row; its last state is classified."""

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        params = _recurrent(key, 4 * hidden, hidden, scale)
        # The gate that forgets is open at the start.
        return params | {"bias": jnp.concatenate([jnp.zeros(hidden), jnp.ones(hidden), jnp.zeros(2 * hidden)])}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        rows = jnp.moveaxis(x @ params["input"] + params["bias"], 1, 0)

        def step(carry: tuple[jax.Array, jax.Array], row: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
            h, c = carry
            i, f, g, o = jnp.split(row + h @ params["recurrent"], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        zeros = jnp.zeros((x.shape[0], hidden), x.dtype)
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), rows)
        return h @ params["w"] + params["b"]

    return Model(init, apply, apply, IMAGES)


def recurrent(hidden: int, activation: Activation) -> Model:
    """A recurrent layer without gates; it reads an image row by row."""

    def init(key: jax.Array, scale: jax.Array | float) -> Params:
        return _recurrent(key, hidden, hidden, scale)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        rows = jnp.moveaxis(x @ params["input"] + params["bias"], 1, 0)

        def step(h: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
            return activation(row + h @ params["recurrent"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], hidden), x.dtype), rows)
        return h @ params["w"] + params["b"]

    return Model(init, apply, apply, IMAGES)


def _dense(key: jax.Array, a: int, b: int, name: str, scale: jax.Array | float) -> Params:
    return {f"w{name}": scale * normal(key, (a, b), a), f"b{name}": jnp.zeros(b)}


def _recurrent(key: jax.Array, gates: int, hidden: int, scale: jax.Array | float) -> Params:
    one, two, three = jax.random.split(key, 3)
    return {
        "input": scale * normal(one, (PIXELS, gates), 2 * PIXELS),
        "recurrent": scale * normal(two, (hidden, gates), 2 * hidden),
        "bias": jnp.zeros(gates),
        **_dense(three, hidden, CLASSES, "", scale),
    }


ACTIVATIONS: dict[str, Activation] = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu}
PERCEPTRONS = (
    (40, "relu"),
    (24, "tanh"),
    (24, 24, "gelu"),
    (32, 16, "tanh"),
    (20, 20, 20, "relu"),
    (*(16,) * 4, "gelu"),
)
CONVOLUTIONS = (
    (8, 16, "relu"),
    (8, 12, "tanh"),
    (10, 20, "gelu"),
    (8, 8, 16, "tanh"),
    (6, 12, 16, "gelu"),
    (6, 8, 8, 16, "relu"),
)
NORMALIZED = (
    (8, 16, "tanh"),
    (8, 12, "relu"),
    (10, 20, "gelu"),
    (8, 8, 16, "gelu"),
    (6, 12, 16, "relu"),
    (6, 8, 8, 16, "tanh"),
)
RESIDUAL_IMAGES = ((8, 1, "relu"), (8, 2, "gelu"), (6, 3, "tanh"))
RESIDUAL_VECTORS = ((24, 24, 1, "gelu"), (16, 24, 2, "relu"), (16, 16, 3, "tanh"))
ATTENTION = (
    (8, 16, 2, 32, "relu", False),
    (8, 12, 1, 24, "gelu", True),
    (8, 16, 4, 16, "tanh", False),
    (2, 16, 2, 32, "gelu", False),
    (2, 12, 2, 24, "relu", True),
    (2, 12, 1, 16, "tanh", True),
)


def architectures() -> dict[str, tuple[Architecture, ...]]:
    """Return the architectures of each family."""
    found: dict[str, list[Architecture]] = {}
    for one in _architectures():
        found.setdefault(one.family, []).append(one)
    return {family: tuple(of) for family, of in found.items()}


def _architectures() -> Iterator[Architecture]:
    def plain(family: str, name: str, model: Model, rates: tuple[float, float]) -> Architecture:
        return Architecture(family, name, model, None, model.train, rates)

    def worded(*parts: object) -> str:
        return " ".join(map(str, parts))

    for *widths, act in PERCEPTRONS:
        model = perceptron((PIXELS**2, *widths, CLASSES), ACTIVATIONS[act])
        yield plain("perceptrons", worded(*widths, act), model, (5e-4, 2e-2))
    for *channels, act in CONVOLUTIONS:
        model = convolutional(channels, ACTIVATIONS[act])
        yield plain("convolutions", worded(*channels, act), model, (2e-3, 5e-2))
    for *channels, act in NORMALIZED:
        model, settle, test = normalized(channels, ACTIVATIONS[act])
        yield Architecture("batch normalization", worded(*channels, act), model, settle, test, (1e-3, 2e-2))
    for channels, blocks, act in RESIDUAL_IMAGES:
        model = residual_images(channels, blocks, ACTIVATIONS[act])
        yield plain("residual", worded("images", channels, blocks, act), model, (1e-3, 3e-2))
    for width, hidden, blocks, act in RESIDUAL_VECTORS:
        model = residual_vectors(width, hidden, blocks, ACTIVATIONS[act])
        yield plain("residual", worded("vectors", width, hidden, blocks, act), model, (3e-4, 1e-2))
    for side, width, heads, hidden, act, norm in ATTENTION:
        model = attention(side, width, heads, hidden, ACTIVATIONS[act], norm)
        yield plain(
            "attention", worded(side, width, heads, hidden, act, "norm" if norm else "plain"), model, (5e-4, 2e-2)
        )
    for size in (12, 16):
        yield plain("recurrent", f"gru {size}", gru(size), (2e-3, 5e-2))
    for size in (10, 14):
        yield plain("recurrent", f"lstm {size}", lstm(size), (2e-3, 5e-2))
    for size, act in ((24, "tanh"), (28, "relu")):
        yield plain("recurrent", f"plain {size} {act}", recurrent(size, ACTIVATIONS[act]), (5e-4, 2e-2))
