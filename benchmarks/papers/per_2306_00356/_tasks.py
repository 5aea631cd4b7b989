"""The synthetic functions of PER's paper, the candidate groups, and networks of one shape."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.data.emlp import inertia
from benchmarks.models.networks import Perceptron
from equikit.groups import Group

Rows = tuple[dict[str, np.ndarray], np.ndarray]
"""Input features by labels, and targets."""
Z_AXIS = np.array([0.0, 0.0, 1.0])


def about(axis: int) -> Group:
    """Return the group O(2) × Z2 of the symmetries of one coordinate axis, about z as a direct sum."""
    if axis == 2:
        return ek.O(2) + ek.O(1)
    one, other = (i for i in range(3) if i != axis)
    turn = np.zeros((3, 3), np.int64)
    turn[other, one], turn[one, other] = 1, -1
    flips = [np.diag([-1 if i == j else 1 for j in range(3)]) for i in (axis, one)]
    return ek.MatrixGroup(flips, lie_algebra=[turn], name=f"O(2) × Z2 about {'xyz'[axis]}")


SCALES = ek.MatrixGroup(lie_algebra=[np.eye(3, dtype=np.int64)], name="scales")
"""The positive multiples of the identity."""


@dataclass(frozen=True)
class Function:
    """A function to learn.

    Attributes:
        name: in tables.
        make: a generator and a number to rows.
        candidates: the groups with penalties.
        true: the position of the largest candidate that is a symmetry.
        features: of the input, the hidden layers and the output.
        weight: of the penalties, at the beginning.
        normalize: whether hidden features are divided by their root mean square.
        random: whether free weights are random at first; otherwise they start as an equivariant network.
    """

    name: str
    make: Callable[[np.random.Generator, int], Rows]
    candidates: tuple[Group, ...]
    true: int
    features: tuple[dict[str, int], ...]
    weight: float
    normalize: bool = False
    random: bool = False

    def network(self, seed: int) -> nnx.Module:
        """Return an equivariant network for the first candidate, O(3) or SO(3)."""
        group = self.candidates[0]
        return ek.nn.Network(self.features, x=group, normalize_features=self.normalize, rngs=nnx.Rngs(seed))

    def free(self, seed: int) -> nnx.Module:
        """Return the same network with free linear layers."""
        network = ek.relax.restrict(self.network(seed), x=ek.Trivial(3))
        for _, layer in nnx.iter_modules(network):
            if (
                self.random
                and isinstance(layer, ek.nn.Linear)
                and isinstance(layer.signature.groups.get("x"), ek.Trivial)
            ):
                fresh = ek.nn.Linear(layer.space, *layer.channels, rngs=nnx.Rngs(seed))
                nnx.update(layer, nnx.state(fresh))
        return network

    def loss(self, model: Any, batch: Any) -> jax.Array:
        """Return the mean squared error."""
        x, y = batch
        (found,) = model(x).values()
        return jnp.mean((found[..., 0] - y) ** 2)


class Flat(nnx.Module):
    """A multilayer perceptron on all numbers of the input, with the outputs of the networks."""

    def __init__(self, rows: Rows, seed: int) -> None:
        self.shape = rows[1].shape[1:]
        inputs = sum(int(np.prod(array.shape[1:])) for array in rows[0].values())
        self.network = Perceptron([inputs, 128, 128, 128, int(np.prod(self.shape))], nnx.Rngs(seed))

    def __call__(self, x: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Map features to one feature."""
        flat = jnp.concatenate([array.reshape(len(array), -1) for array in x.values()], axis=1)
        return {"": self.network(flat).reshape(len(flat), *self.shape, 1)}


def modified_inertia(generator: np.random.Generator, count: int) -> Rows:
    """The tensor of inertia I of five bodies plus 0.3 (I e) eᵀ, with e the z axis; as in the authors' code."""
    masses = np.logaddexp(0.0, generator.normal(size=(count, 5)))
    places = generator.normal(size=(count, 5, 3))
    exact = inertia(np.concatenate([masses, places.reshape(count, 15)], axis=1)).reshape(count, 3, 3)
    target = exact + 0.3 * np.einsum("bi,j->bij", exact @ Z_AXIS, Z_AXIS)
    inputs = {"": masses, "x": places.swapaxes(1, 2)}
    return {name: x.astype(np.float32) for name, x in inputs.items()}, target.astype(np.float32)


def cosines(generator: np.random.Generator, count: int, kept: str) -> Rows:
    """The mean cosine of three pairs of vectors minus a term that only rotations, or only scales keep."""
    x = generator.normal(size=(count, 3, 3))
    lengths = np.linalg.norm(x, axis=2)
    following = np.roll(np.arange(3), -1)
    mean = np.mean(np.sum(x * x[:, following], axis=2) / (lengths * lengths[:, following]), axis=1)
    sizes = np.abs(x).sum(axis=2)
    term = lengths.mean(axis=1) if kept == "rotations" else sizes[:, 0] / (sizes[:, 1] + sizes[:, 2])
    return {"x": x.swapaxes(1, 2).astype(np.float32)}, (mean - term).astype(np.float32)


HIDDEN = {"": 16, "x": 8}
ROTATIONS, SCALED = "cosines, rotations kept", "cosines, scales kept"
WIDE = {"": 32, "x": 16, "x x": 8}
FUNCTIONS = {
    one.name: one
    for one in (
        Function(
            "modified inertia",
            modified_inertia,
            (ek.O(3), about(0), about(1), about(2)),
            3,
            ({"": 5, "x": 5}, WIDE, WIDE, {"x x": 1}),
            3.0,
        ),
        *(
            Function(
                name,
                functools.partial(cosines, kept=kept),
                (ek.SO(3), SCALES),
                true,
                ({"x": 3}, HIDDEN, HIDDEN, {"": 1}),
                0.3,
                normalize=True,
                random=True,
            )
            for name, kept, true in ((ROTATIONS, "rotations", 0), (SCALED, "scales", 1))
        ),
    )
}
