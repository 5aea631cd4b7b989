"""Rivals whose elements a network chooses, trained together with the backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
from flax import nnx

import equikit as ek
from benchmarks.core.trained import Rival
from benchmarks.models.wrapped import SYMMETRIES, symmetrized
from equikit.symmetrization import Canonicalize, MatrixNetwork, OrbitDistance, Probabilistic, orbit_loss
from equikit.symmetrization.canonicalization import GroupConvolution, VectorNeurons, prior_loss, separation_loss

SAMPLES = 20
"""Elements drawn for each input in the tests of "probabilistic"."""


def vector_network(task: str, seed: int, more: Mapping[str, str] | None = None) -> VectorNeurons:
    """Vector neurons of the inputs of a task, and more, from which three vectors come."""
    symmetry = SYMMETRIES[task]
    inputs = {**symmetry.inputs, **(more or {})}
    features = {name: (labels, 1) for name, labels in inputs.items()}
    return VectorNeurons(features, 3, groups=dict(symmetry.groups), rngs=nnx.Rngs(seed + 1))


def canonical(task: str, seed: int) -> Rival:
    """One element: by vector neurons; for images the turn by a group convolution, upright ones as they are."""
    if task == "digits":
        return _canonical_image(seed, 4)
    how = Canonicalize(vector_network(task, seed), ek.O, on_degenerate="flag")
    return symmetrized(task, seed, how)


def canonical_by_eighths(task: str, seed: int) -> Rival:
    """The same with eighths of a turn, for which pixels are interpolated."""
    return _canonical_image(seed, 8)


def _canonical_image(seed: int, turns: int) -> Rival:
    network = GroupConvolution(1, ek.Z(turns), hidden=(16,), rngs=nnx.Rngs(seed + 1))
    how = Canonicalize(network, ek.Z(turns), on_degenerate="flag")
    return symmetrized("digits", seed, how, penalty=prior_loss)


class Encoder(nnx.Module):
    """A convolution and a hidden layer, which know of no turns: images `[N, 8, 8]` to vectors `[N, 32]`."""

    def __init__(self, seed: int) -> None:
        rngs = nnx.Rngs(seed)
        self.first = nnx.Conv(1, 16, (3, 3), strides=(2, 2), rngs=rngs)
        self.second = nnx.Linear(256, 32, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Vectors of images."""
        h = jax.nn.relu(self.first(images[..., None]))
        return self.second(h.reshape(len(images), -1))


def canonical_by_energy(task: str, seed: int) -> Rival:
    """The turn that looks most like a learned reference to an encoder of any kind, which sees all four."""
    how = Canonicalize(
        Encoder(seed + 1), ek.Z(4), by="energy", features=32, on_degenerate="flag", rngs=nnx.Rngs(seed + 2)
    )
    return symmetrized(task, seed, how, penalty=lambda info: prior_loss(info) + separation_loss(info))


def probabilistic(task: str, seed: int) -> Rival:
    """Elements drawn from what vector neurons make of the input and noise: one in training, 20 in the tests."""
    network = vector_network(task, seed, {"noise": "p x"})
    return symmetrized(task, seed, Probabilistic(network, "x", evaluation_samples=SAMPLES), draws="always")


def orbit_distance(task: str, seed: int) -> Rival:
    """The matrix of an equivariant network, which a loss, the distance of its invariants, pulls toward the group."""
    symmetry = SYMMETRIES[task]
    features = {name: (labels, 1) for name, labels in symmetry.inputs.items()}
    network = MatrixNetwork(features, "x", groups=dict(symmetry.groups), rngs=nnx.Rngs(seed + 1))
    return symmetrized(task, seed, OrbitDistance(network, invariant_to="p"), penalty=orbit_loss)


LEARNED: dict[str, Callable[[str, int], Rival]] = {
    "canonical": canonical,
    "canonical, eighths": canonical_by_eighths,
    "canonical by energy": canonical_by_energy,
    "probabilistic": probabilistic,
    "orbit distance": orbit_distance,
}
