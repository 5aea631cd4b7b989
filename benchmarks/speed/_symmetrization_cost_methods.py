"""What the benchmark `symmetrization_cost` times: a network for clouds, images and graphs, and every method for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.models.networks import Perceptron
from equikit.symmetrization import Canonicalize, MatrixNetwork, OrbitDistance, Probabilistic
from equikit.symmetrization.canonicalization import GroupConvolution, VectorNeurons
from equikit.symmetrization.frames import PCA, QR, Alignment, Canonical, GroupAverage, Laplacian, Sort, Stochastic

Make = Callable[[int], Any]
"""The sizes of an input to a method."""


class PointNetwork(nnx.Module):
    """A perceptron of every point, which then sees the mean of all: clouds `[*batch, p, 3, 1]` to the same."""

    def __init__(self, size: int, rngs: nnx.Rngs, width: int = 128) -> None:
        self.before = Perceptron([3, width, width, width], rngs)
        self.after = Perceptron([2 * width, width, 3], rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Vectors of points."""
        h = self.before(x[..., 0])
        mean = jnp.broadcast_to(h.mean(axis=-2, keepdims=True), h.shape)
        return self.after(jnp.concatenate([h, mean], axis=-1))[..., None]


class PixelNetwork(nnx.Module):
    """Three convolutions and a mean: images `[*batch, n, n, 1]` to `[*batch, 10]`."""

    def __init__(self, size: int, rngs: nnx.Rngs, width: int = 16) -> None:
        self.layers = nnx.List([nnx.Conv(a, width, (3, 3), rngs=rngs) for a in (1, width, width)])
        self.read = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Scores of images."""
        for layer in self.layers:
            images = jax.nn.relu(layer(images))
        return self.read(images.mean(axis=(-3, -2)))


class GraphPerceptron(nnx.Module):
    """A perceptron of all entries: adjacency matrices `[*batch, n, n, 1]` to `[*batch, 10]`."""

    def __init__(self, size: int, rngs: nnx.Rngs) -> None:
        self.inner = Perceptron([size**2, 256, 256, 10], rngs)

    def __call__(self, a: jax.Array) -> jax.Array:
        """Outputs of graphs."""
        return self.inner(a.reshape(*a.shape[:-3], -1))


def clouds(batch: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """Normal points."""
    return generator.normal(size=(batch, size, 3, 1))


def images(batch: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """Normal pixels."""
    return generator.normal(size=(batch, size, size, 1))


def graphs(batch: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """Graphs with an edge between two nodes with probability a half."""
    upper = np.triu(generator.random((batch, size, size)) < 0.5, 1)
    return (upper | upper.swapaxes(1, 2))[..., None].astype(float)


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        draw: maps a batch, the size of an input and a generator to inputs.
        network: makes the backbone.
        signature: of the backbone.
        groups: the group of each label.
        methods: rival to the function that makes its method.
        keyed: rivals that sample elements and need a key.
        translate: the label of the spatial axis, if inputs are positions.
        more: groups that replace `groups` for a rival.
    """

    draw: Callable[[int, int, np.random.Generator], np.ndarray]
    network: Callable[[int, nnx.Rngs], nnx.Module]
    signature: str
    groups: Callable[[int], dict[str, object]]
    methods: dict[str, Make]
    keyed: tuple[str, ...] = ()
    translate: str | None = None
    more: Callable[[str, int], dict[str, Any]] = lambda rival, size: {}


def _vectors(count: int, **noise: Any) -> VectorNeurons:
    return VectorNeurons({"p x": 1, **noise}, count, channels=16, layers=2, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(1))


KINDS: dict[str, Kind] = {
    "clouds": Kind(
        clouds,
        PointNetwork,
        "p x -> p x",
        lambda size: {"p": ek.S, "x": ek.O(3)},
        {
            "frame": lambda size: PCA(),
            "stochastic frame": lambda size: Stochastic(PCA()),
            "minimal frame": lambda size: QR(),
            "weighted frame, 8 draws": lambda size: Alignment(samples=8),
            "Haar average, 8 draws": lambda size: GroupAverage("x", samples=8),
            "sorted": lambda size: Sort(),
            "frame, sorted": lambda size: [PCA(), Sort()],
            "canonical": lambda size: Canonicalize(_vectors(3), ek.O),
            "probabilistic": lambda size: Probabilistic(_vectors(3, noise=("p x", 1)), "x"),
            "orbit distance": lambda size: OrbitDistance(
                MatrixNetwork({"p x": 1}, "x", p=ek.S, x=ek.O(3), rngs=nnx.Rngs(1)), "x", invariant_to="p"
            ),
        },
        keyed=("stochastic frame", "weighted frame, 8 draws", "Haar average, 8 draws", "probabilistic"),
        translate="x",
        # By Gram-Schmidt in the order given, without permutations; by coordinates as they are, without rotations.
        more=lambda rival, size: {"minimal frame": {"p": ek.Fixed(size)}, "sorted": {"x": ek.Fixed(3)}}.get(rival, {}),
    ),
    "images": Kind(
        images,
        PixelNetwork,
        "i j -> ",
        lambda size: {"i": ek.Fixed(size), "j": ek.Fixed(size)},
        {
            "group average": lambda size: GroupAverage(axes=("i", "j"), group=ek.Z(4)),
            "stochastic average": lambda size: Stochastic(GroupAverage(axes=("i", "j"), group=ek.Z(4))),
            "canonical": lambda size: Canonicalize(
                GroupConvolution(1, ek.Z(4), hidden=(8,), rngs=nnx.Rngs(1)), ek.Z(4)
            ),
            "canonical by energy": lambda size: Canonicalize(
                lambda x: jnp.mean(x * jnp.linspace(0, 1, size)[:, None], axis=(-3, -2, -1)), ek.Z(4), by="energy"
            ),
        },
        keyed=("stochastic average",),
    ),
    "graphs": Kind(
        graphs,
        GraphPerceptron,
        "p p -> ",
        lambda size: {"p": ek.S},
        {
            "Laplacian frame": lambda size: Laplacian(max_size=4, on_degenerate="flag"),
            "stochastic Laplacian frame": lambda size: Stochastic(Laplacian()),
            "canonical form": lambda size: Canonical(),
        },
        keyed=("stochastic Laplacian frame",),
    ),
}


def made(kind: Kind, rival: str, size: int, seed: int) -> tuple[nnx.Module, bool]:
    """The backbone as it is, or symmetrized, and whether it takes a key."""
    network = kind.network(size, nnx.Rngs(seed))
    if rival == "bare":
        return network, False
    groups = {**kind.groups(size), **kind.more(rival, size)}
    translate = None if rival == "sorted" else kind.translate
    found = ek.symmetrize(network, kind.signature, groups=groups, translate=translate, how=kind.methods[rival](size))
    assert isinstance(found, nnx.Module)
    return found, rival in kind.keyed
