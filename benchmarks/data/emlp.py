"""The synthetic tasks of EMLP's paper: how inputs are sampled, the targets, and the action of elements on both."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import jax
import numpy as np

import equikit as ek

Array = TypeVar("Array", np.ndarray, jax.Array)
METRIC = np.array([1.0, -1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Task:
    """A regression whose target is an invariant or equivariant function of vectors.

    A row of inputs is the invariants, then one vector after the other; a row of targets one number, or a matrix row by
    row.

    Attributes:
        name: in tables.
        group: acts on every vector.
        scalars, vectors: how many of each come in.
        matrix: whether the target is a matrix g Y gᵀ rather than an invariant.
        draw: a generator and a number to inputs.
        target: inputs to targets.
    """

    name: str
    group: ek.O
    scalars: int
    vectors: int
    matrix: bool
    draw: Callable[[np.random.Generator, int], np.ndarray]
    target: Callable[[np.ndarray], np.ndarray]

    @property
    def n(self) -> int:
        """The number of entries of a vector."""
        assert self.group.n is not None
        return self.group.n

    @property
    def width(self) -> int:
        """The numbers in a row of inputs."""
        return self.scalars + self.vectors * self.n

    @property
    def out(self) -> int:
        """The numbers in a row of targets."""
        return self.n**2 if self.matrix else 1

    def split(self, x: Array) -> tuple[Array, Array]:
        """Split rows of inputs into invariants `[N, scalars]` and vectors `[N, vectors, n]`."""
        return x[:, : self.scalars], x[:, self.scalars :].reshape(-1, self.vectors, self.n)

    def act(self, elements: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Apply elements `[N, n, n]` to rows of inputs."""
        scalars, vectors = self.split(x)
        moved = np.einsum("bij,bvj->bvi", elements, vectors)
        return np.concatenate([scalars, moved.reshape(len(x), -1)], axis=1)

    def act_on_targets(self, elements: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Apply elements to rows of targets."""
        if not self.matrix:
            return y
        square = y.reshape(-1, self.n, self.n)
        return np.einsum("bij,bjk,blk->bil", elements, square, elements).reshape(len(y), -1)


def _dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The Minkowski product."""
    return np.sum(u * METRIC * v, axis=-1)


def _draw_normal(vectors: int, n: int, scale: float) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda generator, count: scale * generator.normal(size=(count, vectors * n))


def _draw_bodies(generator: np.random.Generator, count: int) -> np.ndarray:
    masses = np.logaddexp(0.0, generator.normal(size=(count, 5)))
    return np.concatenate([masses, generator.normal(size=(count, 15))], axis=1)


def two_vectors(x: np.ndarray) -> np.ndarray:
    """sin |u| - |v|³ / 2 + the cosine of the angle between u and v."""
    u, v = x.reshape(-1, 2, 5).transpose(1, 0, 2)
    first, second = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    return (np.sin(first) - second**3 / 2 + np.sum(u * v, axis=1) / (first * second))[:, None]


def inertia(x: np.ndarray) -> np.ndarray:
    """The sum over bodies of m (|r|² I - r rᵀ)."""
    masses, places = x[:, :5], x[:, 5:].reshape(-1, 5, 3)
    weighted = masses[..., None] * places
    second = np.einsum("bpi,bpj->bij", weighted, places)
    trace = np.trace(second, axis1=1, axis2=2)
    return (trace[:, None, None] * np.eye(3) - second).reshape(-1, 9)


def scattering(x: np.ndarray) -> np.ndarray:
    """Return the squared matrix element of electron-muon scattering, as in EMLP, from products of the momenta."""
    p = x.reshape(-1, 4, 4).transpose(1, 0, 2)
    electron = _dot(p[0], p[2]) - _dot(p[0], p[0])
    muon = _dot(p[1], p[3]) - _dot(p[1], p[1])
    cross = _dot(p[0], p[1]) * _dot(p[2], p[3])
    found = cross - muon * _dot(p[0], p[2]) - electron * _dot(p[1], p[3]) + 4 * electron * muon
    return 4 * found[:, None]


TASKS = {
    task.name: task
    for task in (
        Task("O(5) invariant", ek.O(5), 0, 2, False, _draw_normal(2, 5, 1.0), two_vectors),
        Task("inertia", ek.O(3), 5, 5, True, _draw_bodies, inertia),
        Task("scattering", ek.Lorentz, 0, 4, False, _draw_normal(4, 4, 0.25), scattering),
    )
}


@dataclass(frozen=True)
class Data:
    """Float32 rows for training, validation and test, in standardized units, and the inverse transformation.

    Attributes:
        train, validation, test: inputs and targets.
        scale: of the targets; an error times its square is the error in the units of the target.
        variance: of the test targets, in those units: the error of the best constant for an invariant.
        elements: `[2, E, n, n]`; a product of one of the first and one of the second is a random group element.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    scale: float
    variance: float
    elements: np.ndarray


def make_data(task: Task, train: int, validation: int, test: int, seed: int, elements: int = 512) -> Data:
    """Sample a task's data.

    Inputs are divided by one number for all vectors, which commutes with every group. Invariant targets are
    standardized; a matrix is only divided by its root mean square.
    """
    generator = np.random.default_rng(seed)
    x = task.draw(generator, train + validation + test)
    y = task.target(x)
    known = slice(0, train)
    scalars, vectors = task.split(x)
    size = np.sqrt(np.mean(vectors[known] ** 2))
    x = np.concatenate([scalars, (vectors / size).reshape(len(x), -1)], axis=1)
    shift = 0.0 if task.matrix else float(np.mean(y[known]))
    scale = float(np.sqrt(np.mean((y[known] - shift) ** 2)))
    ends = (0, train, train + validation, len(x))
    parts = [
        (x[a:b].astype(np.float32), ((y[a:b] - shift) / scale).astype(np.float32)) for a, b in itertools.pairwise(ends)
    ]
    variance = float(np.mean((y[ends[2] :] - np.mean(y[ends[2] :], axis=0)) ** 2))
    pools = [random_elements(task, generator, elements), turns(task, generator, elements)]
    return Data(parts[0], parts[1], parts[2], scale, variance, np.stack(pools).astype(np.float32))


def random_elements(task: Task, generator: np.random.Generator, count: int) -> np.ndarray:
    """Elements `[count, n, n]`: rotations and reflections, and for the Lorentz group boosts of moderate size."""
    return np.stack([task.group.random_element(generator) for _ in range(count)])


def turns(task: Task, generator: np.random.Generator, count: int) -> np.ndarray:
    """Sample elements of the largest compact subgroup, so that products with them do not grow."""
    if task.group.form is None:
        return random_elements(task, generator, count)
    found = np.zeros((count, 4, 4))
    found[:, 0, 0] = 1.0
    found[:, 1:, 1:] = [ek.O(3).random_element(generator) for _ in range(count)]
    return found
