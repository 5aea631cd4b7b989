"""Four data sets with the group under which their classes are invariant, and concepts that are invariant too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np

import equikit as ek
from benchmarks.data.digits import clouds, digits
from benchmarks.data.graphs import connected_graphs, relabeled

explanations = ek.auditing.explanations

LENGTH = 64
"""Samples of a heartbeat."""
POINTS = 20
"""Points of a cloud."""
NODES = 7
WAVES = {"P": (14, 2.5, 0.25), "Q": (25, 1.0, -0.2), "R": (28, 1.3, 1.2), "S": (31, 1.2, -0.3), "T": (44, 4.0, 0.4)}
"""Place, width and height of the waves of a heartbeat."""


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        x: inputs `[N, *axes, 1 or 2]`, in random order.
        y: classes.
        present: the concepts of each input, which no element of the group changes.
        classes: the number of classes.
        term, groups: the axes of an input, and their groups.
        axes: their sizes.
        move: moves each input of a batch by a random element.
        regions: for each method that replaces regions, its regions.
    """

    x: np.ndarray
    y: np.ndarray
    present: np.ndarray
    classes: int
    term: str
    groups: Mapping[str, ek.groups.Group]
    axes: tuple[int, ...]
    move: Callable[[jax.Array, jax.Array], jax.Array]
    regions: Mapping[str, np.ndarray]

    @property
    def equivariant(self) -> str:
        """The signature of attributions."""
        return f"{self.term} -> {self.term}"

    @property
    def invariant(self) -> str:
        """The signature of classes."""
        return f"{self.term} -> ()"


def heartbeats(seed: int, count: int) -> Data:
    """Heartbeats as in an electrocardiogram, normal or with one to three anomalies, under cyclic shifts.

    All beats are aligned, as in the paper's data. The concepts are the anomalies: a wide QRS complex, an inverted T
    wave, a missing P wave.
    """
    random = np.random.default_rng(seed)
    present = random.random((count, 3)) < 0.5
    present[random.random(count) < 0.45] = False
    time, x = np.arange(LENGTH), 0.08 * random.normal(size=(count, LENGTH))
    for name, (place, width, height) in WAVES.items():
        center = place + random.normal(size=(count, 1))
        wide = np.where(present[:, :1] & (name in "QRS"), 2.2, 1.0) * width * random.uniform(0.85, 1.15, (count, 1))
        high = height * random.uniform(0.8, 1.2, (count, 1))
        high = np.where(present[:, 1:2] & (name == "T"), -high, np.where(present[:, 2:] & (name == "P"), 0.0, high))
        x += high * np.exp(-((time - center) ** 2) / (2 * wide**2))

    def move(key: jax.Array, x: jax.Array) -> jax.Array:
        shifts = jax.random.randint(key, (len(x),), 0, LENGTH)
        return jax.vmap(lambda row, shift: jnp.roll(row, shift, axis=0))(x, shifts)

    blocks = np.repeat(np.eye(8, dtype=bool), LENGTH // 8, axis=1)[..., None]
    regions = of_grid((LENGTH,), 5) | {"Shapley values": blocks}
    y, group = present.any(axis=1).astype(np.int32), {"t": ek.Z(LENGTH)}
    return Data(x[..., None].astype(np.float32), y, present, 2, "t", group, (LENGTH,), move, regions)


def of_grid(shape: tuple[int, ...], size: int) -> dict[str, np.ndarray]:
    """Regions of a grid on which shifts act."""
    return {
        "feature ablation": explanations.windows(shape),
        "occlusion": explanations.windows(shape, size),
        "occlusion, cyclic windows": explanations.windows(shape, size, cyclic=True),
    }


def of_digits(labels: np.ndarray) -> np.ndarray:
    """Concepts of handwritten digits: a closed loop, a vertical stroke, no curve."""
    return np.stack([np.isin(labels, some) for some in ((0, 6, 8, 9), (1, 4, 9), (1, 4, 7))], axis=1)


def images(seed: int, count: int) -> Data:
    """The digits of scikit-learn with a border of one pixel, under cyclic shifts of rows and columns."""
    found = digits(seed).take(slice(count))
    x, n = np.pad(found.inputs, ((0, 0), (1, 1), (1, 1)))[..., None], 10

    def move(key: jax.Array, x: jax.Array) -> jax.Array:
        shifts = jax.random.randint(key, (len(x), 2), 0, n)
        return jax.vmap(lambda image, shift: jnp.roll(image, shift, axis=(0, 1)))(x, shifts)

    halves = np.repeat(np.eye(5, dtype=bool), 2, axis=1)
    blocks = (halves[:, None, :, None] & halves[None, :, None, :]).reshape(25, n, n, 1)
    regions = of_grid((n, n), 3) | {"Shapley values": blocks}
    groups = {"i": ek.Z(n), "j": ek.Z(n)}
    return Data(x, found.labels, of_digits(found.labels), 10, "i j", groups, (n, n), move, regions)


def sets(seed: int, count: int) -> Data:
    """Clouds of 20 points around the pixels of the digits of scikit-learn, under permutations."""
    found = clouds(digits(seed).take(slice(count)), seed)

    def move(key: jax.Array, x: jax.Array) -> jax.Array:
        return jax.vmap(lambda key, cloud: jax.random.permutation(key, cloud))(jax.random.split(key, len(x)), x)

    regions = dict.fromkeys(("feature ablation", "Shapley values"), explanations.windows((POINTS,)))
    x, group = found.inputs[:, :POINTS], {"p": ek.S(POINTS)}
    return Data(x, found.labels, of_digits(found.labels), 10, "p", group, (POINTS,), move, regions)


def graphs(seed: int, count: int) -> Data:
    """All connected graphs with seven nodes, under permutations: is there a node without which they fall apart?

    The concepts are invariant under permutations: a node with one neighbor, four nodes that are all joined, planarity.
    """
    random = np.random.default_rng(seed)
    adjacency = connected_graphs(NODES)
    adjacency = relabeled(adjacency[random.permutation(len(adjacency))[:count]], random)
    every = [nx.from_numpy_array(each) for each in adjacency]
    y = np.array([any(True for _ in nx.articulation_points(graph)) for graph in every]).astype(np.int32)
    present = [
        [1 in dict(g.degree).values(), max(map(len, nx.find_cliques(g))) >= 4, nx.check_planarity(g)[0]] for g in every
    ]

    def move(key: jax.Array, x: jax.Array) -> jax.Array:
        orders = jax.vmap(lambda key: jax.random.permutation(key, NODES))(jax.random.split(key, len(x)))
        moved: jax.Array = jax.vmap(lambda graph, order: graph[order][:, order])(x, orders)
        return moved

    rows, columns = np.triu_indices(NODES, 1)
    edges = np.zeros((len(rows) + 1, NODES, NODES, 1), bool)
    edges[np.arange(len(rows)), rows, columns] = edges[np.arange(len(rows)), columns, rows] = True
    edges[-1, range(NODES), range(NODES)] = True
    regions = {"feature ablation": edges[:-1], "Shapley values": edges}
    x = adjacency[..., None].astype(np.float32)
    return Data(x, y, np.array(present), 2, "p p", {"p": ek.S(NODES)}, (NODES, NODES), move, regions)


DATA: dict[str, Callable[[int, int], Data]] = {
    "permuted sets": sets,
    "atlas graphs": graphs,
    "cyclic signals": heartbeats,
    "digits": images,
}
"""Name to function of a seed and the number of inputs."""


def rows(data: Data, part: slice) -> tuple[Any, Any]:
    """Inputs and classes of a slice."""
    return data.x[part], data.y[part]
