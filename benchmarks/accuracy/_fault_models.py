"""Models of Flax with planted faults, and correct ones: what an audit has to tell apart."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek

N, SAMPLES = 6, 32


@dataclass(frozen=True)
class Suspect:
    """A model, and the question to ask about it.

    Attributes:
        model: the function or module.
        signature: its signature, or the signature of the energy for a check of derivatives.
        data: its input.
        groups: the groups of the labels.
        check: `"audit"`, `"padding"` or `"derivative"`.
        fault: the module at fault; `None` for a correct model.
    """

    model: Callable[..., Any]
    signature: str
    data: Any
    groups: dict[str, Any] = field(default_factory=dict)
    check: str = "audit"
    fault: str | None = None


def vectors(seed: int = 0, channels: int = 2, n: int = N) -> np.ndarray:
    """Random vectors for each point, `[samples, n, 3, channels]`."""
    return np.random.default_rng(seed).normal(size=(SAMPLES, n, 3, channels)).astype(np.float32)


def scalars(seed: int = 0, channels: int = 3, n: int = N) -> np.ndarray:
    """Random features of each point, `[samples, n, channels]`."""
    return np.random.default_rng(seed).normal(size=(SAMPLES, n, channels)).astype(np.float32)


def groups(n: int = N) -> dict[str, Any]:
    """Permutations of points, and rotations with reflections of vectors."""
    return {"p": ek.S(n), "x": ek.O(3)}


# Vectors for each point. The axis before the channels has the three coordinates.


class Mix(nnx.Module):
    """A linear map of the channels of vectors; a bias is the same number for all coordinates, and a fault."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs, bias: bool = False) -> None:
        self.weight = nnx.Param(rngs.normal((inputs, outputs)) / inputs**0.5)
        self.bias = nnx.Param(0.3 * rngs.normal((outputs,))) if bias else None

    def __call__(self, x: Any) -> Any:
        y = x @ self.weight[...]
        return y if self.bias is None else y + self.bias[...]


class LengthNorm(nnx.Module):
    """Divide vectors by their root mean square length."""

    def __call__(self, x: Any) -> Any:
        square = jnp.mean(jnp.square(x.astype(jnp.float32)), (-1, -2), keepdims=True)
        return x * jax.lax.rsqrt(square + 1e-3).astype(x.dtype)


class VectorLayerNorm(nnx.Module):
    """A fault: subtract the mean over the coordinates, and divide by their spread."""

    def __call__(self, x: Any) -> Any:
        centered = x - x.mean(-2, keepdims=True)
        return centered / jnp.sqrt(jnp.mean(centered**2, -2, keepdims=True) + 1e-3)


class Gate(nnx.Module):
    """Multiply vectors by a function of their lengths."""

    def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
        self.scores = nnx.Linear(channels, channels, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return x * jax.nn.sigmoid(self.scores(jnp.sum(x * x, -2)))[..., None, :]


class Relu(nnx.Module):
    """A fault on vectors: the positive part of each coordinate."""

    def __call__(self, x: Any) -> Any:
        return jax.nn.relu(x)


class VectorBlock(nnx.Module):
    """Mix with the mean over the points, normalize, and gate."""

    def __init__(self, channels: int, rngs: nnx.Rngs, fault: str = "") -> None:
        self.mix = Mix(channels, channels, rngs, bias=fault == "bias")
        self.norm = VectorLayerNorm() if fault == "norm" else LengthNorm()
        self.gate = Relu() if fault == "gate" else Gate(channels, rngs)

    def __call__(self, x: Any) -> Any:
        return x + self.gate(self.norm(self.mix(x + x.mean(1, keepdims=True))))


class VectorNetwork(nnx.Module):
    """Vectors to vectors for each point, by scalar weights."""

    def __init__(self, rngs: nnx.Rngs, fault: str = "", block: int = 1) -> None:
        self.embed = Mix(2, 6, rngs)
        self.blocks = nnx.List([VectorBlock(6, rngs, fault if i == block else "") for i in range(3)])
        self.out = Mix(6, 1, rngs)

    def __call__(self, x: Any) -> Any:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.out(x)


# Matrices, sets and sequences.


class Exchangeable(nnx.Module):
    """A layer for matrices whose rows and columns are permuted; the fault adds means of rows to columns."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs, fault: bool = False) -> None:
        self.own, self.rows, self.columns = (nnx.Linear(inputs, outputs, rngs=rngs) for _ in range(3))
        self.fault = fault

    def __call__(self, x: Any) -> Any:
        of_rows = self.rows(x.mean(2))
        spread = of_rows[:, None] if self.fault else of_rows[:, :, None]
        return jax.nn.relu(self.own(x) + spread + self.columns(x.mean(1))[:, None])


class MatrixNetwork(nnx.Module):
    """Matrices to a number for each row."""

    def __init__(self, rngs: nnx.Rngs, fault: bool = False) -> None:
        widths = [(1, 4), (4, 4), (4, 4)]
        self.layers = nnx.List([Exchangeable(a, b, rngs, fault and i == 1) for i, (a, b) in enumerate(widths)])
        self.out = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return self.out(x.mean(2))


class Sorted(nnx.Module):
    """Order the points by their first feature; ties stay in the order of the input, which is a fault."""

    def __call__(self, x: Any) -> Any:
        order = jnp.argsort(x[..., 0], axis=1, stable=True)
        return jnp.take_along_axis(x, order[..., None], axis=1)


class SortedNetwork(nnx.Module):
    """A perceptron of the sorted points."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.sort = Sorted()
        self.hidden, self.out = nnx.Linear(3 * N, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.out(jnp.tanh(self.hidden(self.sort(x).reshape(len(x), -1))))


class Position(nnx.Module):
    """A fault for sets: a learned vector for each place."""

    def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
        self.table = nnx.Param(0.5 * rngs.normal((N, channels)))

    def __call__(self, x: Any) -> Any:
        return x + self.table[...]


class Attention(nnx.Module):
    """Self-attention with two heads."""

    def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
        self.project = nnx.Linear(channels, 3 * channels, rngs=rngs)
        self.out = nnx.Linear(channels, channels, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        q, k, v = jnp.split(self.project(x).reshape(*x.shape[:2], 2, -1), 3, axis=-1)
        scores = jnp.einsum("bnhc,bmhc->bhnm", q, k) / q.shape[-1] ** 0.5
        mixed = jnp.einsum("bhnm,bmhc->bnhc", jax.nn.softmax(scores.astype(jnp.float32)).astype(v.dtype), v)
        return self.out(mixed.reshape(x.shape))


class Transformer(nnx.Module):
    """Two blocks of attention; without positions it commutes with permutations."""

    def __init__(self, rngs: nnx.Rngs, positions: bool = False) -> None:
        self.embed = nnx.Linear(3, 8, rngs=rngs)
        self.position = Position(8, rngs) if positions else None
        self.norms = nnx.List([nnx.LayerNorm(8, rngs=rngs) for _ in range(2)])
        self.attention = nnx.List([Attention(8, rngs) for _ in range(2)])
        self.out = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = self.embed(x)
        x = x if self.position is None else self.position(x)
        for norm, attention in zip(self.norms, self.attention, strict=True):
            x = x + attention(norm(x))
        return self.out(jax.nn.gelu(x))


class HalfSum(nnx.Module):
    """A fault: add up in float16, one point after the other."""

    def __call__(self, x: Any) -> Any:
        rows = [x[:, i].astype(jnp.float16) for i in range(x.shape[1])]
        return functools.reduce(jnp.add, rows).astype(x.dtype)


class Sum(nnx.Module):
    """Add up the points."""

    def __call__(self, x: Any) -> Any:
        return x.sum(1)


class Sets(nnx.Module):
    """Deep Sets."""

    def __init__(self, rngs: nnx.Rngs, pool: type[nnx.Module] = Sum) -> None:
        self.each, self.pool = nnx.Linear(3, 8, rngs=rngs), pool()
        self.out = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.out(jnp.tanh(self.pool(jnp.tanh(self.each(x)))))


class AttentionPool(nnx.Module):
    """A weighted mean of the points; the fault gives weights to absent ones too."""

    def __init__(self, channels: int, rngs: nnx.Rngs, leaks: bool) -> None:
        self.score, self.leaks = nnx.Linear(channels, 1, rngs=rngs), leaks

    def __call__(self, x: Any, mask: Any) -> Any:
        scores = self.score(x)
        scores = scores if self.leaks else jnp.where(mask[..., None], scores, -jnp.inf)
        return jnp.sum(jax.nn.softmax(scores, axis=1) * x, axis=1)


class MaskedSets(nnx.Module):
    """Sets of several sizes, with a mask."""

    def __init__(self, rngs: nnx.Rngs, leaks: bool) -> None:
        self.each, self.pool = nnx.Linear(3, 8, rngs=rngs), AttentionPool(8, rngs, leaks)
        self.out = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: Any, mask: Any) -> Any:
        return self.out(self.pool(jnp.tanh(self.each(x)) * mask[..., None], mask))


# Energies, whose gradients are forces.


@jax.custom_jvp
def wrong_length(x: Any) -> Any:
    """The length of vectors, with a wrong derivative."""
    return jnp.sqrt(jnp.sum(x**2, -1) + 1e-3)


@wrong_length.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    length = wrong_length(x)
    return length, jnp.sum(jnp.abs(x) * dx, -1) / length


class Lengths(nnx.Module):
    """Distances from the center."""

    def __init__(self, fault: bool) -> None:
        self.fault = fault

    def __call__(self, x: Any) -> Any:
        return wrong_length(x) if self.fault else jnp.sqrt(jnp.sum(x**2, -1) + 1e-3)


class RadialEnergy(nnx.Module):
    """An energy of the distances from the center."""

    def __init__(self, rngs: nnx.Rngs, fault: bool = False) -> None:
        self.lengths = Lengths(fault)
        self.hidden, self.out = nnx.Linear(1, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = x[..., 0] - x[..., 0].mean(1, keepdims=True)
        return self.out(jnp.tanh(self.hidden(self.lengths(x)[..., None])).sum(1))


class Frame(nnx.Module):
    """Rows of an orthogonal matrix that rotates with the points: Gram-Schmidt of three weighted sums of points."""

    def __init__(self, detached: bool) -> None:
        self.detached = detached

    def __call__(self, x: Any) -> Any:
        square = jnp.sum(x**2, -1, keepdims=True)
        a, b = jnp.sum(square * x, 1), jnp.sum(jnp.cos(square) * x, 1)
        first = a / jnp.sqrt(jnp.sum(a**2, -1, keepdims=True) + 0.1)
        rest = b - jnp.sum(first * b, -1, keepdims=True) * first
        second = rest / jnp.sqrt(jnp.sum(rest**2, -1, keepdims=True) + 0.1)
        frame = jnp.stack([first, second, jnp.cross(first, second)], 1)
        return jax.lax.stop_gradient(frame) if self.detached else frame


class FramedEnergy(nnx.Module):
    """An energy of coordinates in a frame."""

    def __init__(self, rngs: nnx.Rngs, detached: bool = False) -> None:
        self.frame = Frame(detached)
        self.hidden, self.out = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = x[..., 0] - x[..., 0].mean(1, keepdims=True)
        inner = jnp.einsum("bnx,bix->bni", x, self.frame(x))
        return self.out(jnp.tanh(self.hidden(inner)).sum(1))


def faults(seed: int = 0) -> dict[str, Suspect]:
    """The ten planted faults."""
    rngs, x, points, both = nnx.Rngs(seed), vectors(seed), scalars(seed), groups()
    tied = points.copy()
    tied[..., 0] = np.round(tied[..., 0])
    matrices = np.random.default_rng(seed).normal(size=(SAMPLES, 5, 5, 1)).astype(np.float32)
    p, q = {"p": ek.S(N)}, {"p": ek.S(5), "q": ek.S(5)}
    positions = vectors(seed, channels=1)
    return {
        "layer norm on vectors": Suspect(VectorNetwork(rngs, "norm"), "p x -> p x", x, both, fault="blocks.1.norm"),
        "wrong nonlinearity": Suspect(VectorNetwork(rngs, "gate", 0), "p x -> p x", x, both, fault="blocks.0.gate"),
        "row for column": Suspect(MatrixNetwork(rngs, True), "p q -> p", matrices, q, fault="layers.1"),
        "sorted ties": Suspect(SortedNetwork(rngs), "p -> ()", tied, p, fault="sort"),
        "wrong tangent": Suspect(
            RadialEnergy(rngs, True), "p x -> ()", positions, both, check="derivative", fault="lengths"
        ),
        "bias on vectors": Suspect(VectorNetwork(rngs, "bias", 2), "p x -> p x", x, both, fault="blocks.2.mix"),
        "absolute positions": Suspect(Transformer(rngs, True), "p -> p", points, p, fault="position"),
        "float16 sums": Suspect(Sets(rngs, HalfSum), "p -> ()", points, p, fault="pool"),
        "padding that leaks": Suspect(MaskedSets(rngs, True), "p -> ()", points, p, check="padding", fault="pool"),
        "detached frame": Suspect(
            FramedEnergy(rngs, True), "p x -> ()", positions, both, check="derivative", fault="frame"
        ),
    }


# Correct models.


class Messages(nnx.Module):
    """EGNN: messages from squared distances and features, positions moved along differences."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.edge, self.weight = nnx.Linear(7, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
        self.node = nnx.Linear(11, 3, rngs=rngs)

    def __call__(self, h: Any, x: Any) -> tuple[Any, Any]:
        between = x[:, :, None] - x[:, None]
        pairs = (*between.shape[:3], h.shape[-1])
        distance = jnp.sum(between**2, -1, keepdims=True)
        ends = [jnp.broadcast_to(h[:, :, None], pairs), jnp.broadcast_to(h[:, None], pairs)]
        messages = jax.nn.silu(self.edge(jnp.concatenate([distance, *ends], -1)))
        moved = x + jnp.mean(between * jnp.tanh(self.weight(messages)), 2)
        return h + self.node(jnp.concatenate([h, messages.mean(2)], -1)), moved


class Egnn(nnx.Module):
    """Two layers of EGNN from features and positions."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([Messages(rngs) for _ in range(2)])

    def __call__(self, given: Any) -> Any:
        h, x = given["p"], given["p x"][..., 0]
        for layer in self.layers:
            h, x = layer(h, x)
        return {"p": h, "p x": x[..., None]}


class Invariants(nnx.Module):
    """A perceptron of the scalar products of all vectors, which are rotated together."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden, self.out = nnx.Linear(16, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.out(jax.nn.gelu(self.hidden((jnp.swapaxes(x, -1, -2) @ x).reshape(len(x), -1))))


class GraphNetwork(nnx.Module):
    """Two rounds of sums over neighbors, from an adjacency matrix and features."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.own, self.neighbor = (
            nnx.List([nnx.Linear(a, 8, rngs=rngs) for a in (3, 8)]),
            nnx.List([nnx.Linear(a, 8, rngs=rngs) for a in (3, 8)]),
        )
        self.out = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, given: Any) -> Any:
        edges, h = given["p p"][..., 0], given["p"]
        for own, neighbor in zip(self.own, self.neighbor, strict=True):
            h = jax.nn.relu(own(h) + neighbor(edges @ h))
        return self.out(h.mean(1))


class Janossy(nnx.Module):
    """The mean of a function of all ordered pairs of points."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.pair, self.out = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        shape = (len(x), x.shape[1], x.shape[1], x.shape[2])
        pairs = jnp.concatenate([jnp.broadcast_to(x[:, :, None], shape), jnp.broadcast_to(x[:, None], shape)], -1)
        return self.out(jax.nn.relu(self.pair(pairs)).mean((1, 2)))


def in_dtype(module: nnx.Module, dtype: Any) -> nnx.Module:
    """Convert the parameters of a module."""
    state = jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, nnx.state(module))
    nnx.update(module, state)
    return module


def correct(dtype: Any = jnp.float32, seed: int = 0) -> dict[str, Suspect]:
    """Ten correct models, with parameters and inputs of a dtype."""
    rngs, both, p = nnx.Rngs(seed), groups(), {"p": ek.S(N)}
    x, points, generator = vectors(seed), scalars(seed), np.random.default_rng(seed)
    few, edges = (generator.normal(size=(SAMPLES, *shape)).astype(np.float32) for shape in ((3, 4), (N, N, 1)))
    matrices = ek.nn.Network([{"p p": 1}, {"p p": 4}, {"p": 1}], rngs=rngs, p=ek.S)
    hidden = [{"p": 2, "p x": 2}, {"p": 4, "p x": 4}, {"p x": 1}]
    network = ek.nn.Network(hidden, rngs=rngs, p=ek.S, x=ek.O(3))
    one = {"p": points[..., :2], "p x": x}
    frame = ek.symmetrize(nnx.Linear(2, 2, rngs=rngs), "p x -> p x", p=ek.S, x=ek.O(3), how=ek.frames.PCA())
    given = {
        "Deep Sets": Suspect(ek.nn.DeepSets(3, [8], 1, rngs=rngs), "p -> ()", points, p),
        "network of S x O(3)": Suspect(network, "p + p x -> p x", one, both),
        "matrices (IGN)": Suspect(matrices, "p p -> p", {"p p": edges}, p),
        "EGNN": Suspect(Egnn(rngs), "p + p x -> p + p x", {"p": points, "p x": x[..., :1]}, both),
        "transformer": Suspect(Transformer(rngs), "p -> p", points, p),
        "invariants": Suspect(Invariants(rngs), "x -> ()", few, {"x": ek.O(3)}),
        "PCA frame": Suspect(frame, "p x -> p x", x, both),
        "graph network": Suspect(GraphNetwork(rngs), "p p + p -> ()", {"p p": edges, "p": points}, p),
        "scalar-weighted vectors": Suspect(VectorNetwork(rngs), "p x -> p x", x, both),
        "Janossy": Suspect(Janossy(rngs), "p -> ()", points, p),
    }
    return {name: _cast(suspect, dtype) for name, suspect in given.items()}


def _cast(suspect: Suspect, dtype: Any) -> Suspect:
    model = suspect.model
    if isinstance(model, nnx.Module):
        in_dtype(model, dtype)
    data = jax.tree.map(lambda a: jnp.asarray(a, dtype), suspect.data)
    return Suspect(model, suspect.signature, data, suspect.groups, suspect.check)
