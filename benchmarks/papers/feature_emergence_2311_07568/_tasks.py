"""Modular addition, composition of permutations, and sparse parity: all inputs, the largest margin, the features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import equikit as ek
from equikit.groups import irreps


@dataclass(frozen=True)
class Task:
    r"""A task, and what theory says about the network of the largest margin.

    Attributes:
        name: in tables.
        inputs: one-hot or ±1, `[rows, variables]`: all inputs there are.
        labels: their classes `[rows]`.
        power: of the activation.
        margin: the largest margin of a network whose neurons have \(\sum_i \|\theta_i\|^{\mathrm{power} + 1} = 1\).
        features: name to an orthonormal basis `[count, variables + classes]` of the weights of one kind of neuron;
            together they span everything.
        constant: features that a network of the largest margin does not use.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    power: int
    margin: float
    features: dict[str, np.ndarray]
    constant: tuple[str, ...]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.labels.max()) + 1


def of_group(name: str, table: np.ndarray, blocks: dict[str, np.ndarray], margin: float, constant: str) -> Task:
    """Return the task to find the product of two elements.

    Args:
        name: in tables.
        table: the number of each product, `[order, order]`.
        blocks: name to orthonormal functions `[count, order]` on the group.
        margin: by theory.
        constant: the name of the constant function.
    """
    order = len(table)
    first, second = (each.ravel() for each in np.indices(table.shape))
    eye = np.eye(order, dtype=np.float32)
    inputs = np.concatenate([eye[first], eye[second]], axis=1)
    features = {
        name: np.kron(np.eye(3), block) for name, block in blocks.items()
    }  # of both factors, and of the classes
    return Task(name, inputs, table.ravel().astype(np.int32), 2, margin, features, (constant,))


def addition(p: int) -> Task:
    r"""Addition modulo an odd p: \(\gamma^* = \sqrt{2/27} / (\sqrt p (p - 1))\), and a feature for each frequency."""
    angle = 2 * np.pi * np.arange(p) / p
    blocks = {
        str(k): np.stack([np.cos(k * angle), np.sin(k * angle)]) * math.sqrt(2 / p) for k in range(1, (p + 1) // 2)
    }
    table = (np.arange(p)[:, None] + np.arange(p)) % p
    margin = math.sqrt(2 / 27) / (math.sqrt(p) * (p - 1))
    return of_group(f"Z_{p}", table, {"0": np.full((1, p), p**-0.5), **blocks}, margin, "0")


def permutations(n: int) -> Task:
    r"""Composition in S_n: \(\gamma^* = 2 / (3 \sqrt{3 n!} \sum_\rho d_\rho^{5/2})\), a feature for each irrep.

    The sum leaves out the trivial irrep. The functions \(\sqrt{d / n!}\, \rho_{ij}\) are orthonormal.
    """
    elements = ek.S(n).elements()
    place = {tuple(each): i for i, each in enumerate(elements.tolist())}
    table = np.array([[place[tuple(g[h].tolist())] for h in elements] for g in elements])
    trivial, *others = irreps(ek.S(n))
    order = len(elements)
    blocks = {
        str(irrep.shape): irrep.matrix(elements).reshape(order, -1).T * math.sqrt(irrep.dim / order)
        for irrep in (trivial, *others)
    }
    margin = 2 / (3 * math.sqrt(3 * order) * sum(irrep.dim**2.5 for irrep in others))
    return of_group(f"S_{n}", table, blocks, margin, str(trivial.shape))


def parity(n: int, k: int) -> Task:
    r"""The product of the first k of n signs: \(\gamma^* = k! \sqrt{2 (k + 1)^{-(k + 1)}}\), one feature.

    The neurons of the largest margin have equal weights, up to signs, on the k variables, and opposite ones on the two
    classes.
    """
    signs = np.array(list(itertools.product((-1, 1), repeat=n)), np.float32)
    labels = (np.prod(signs[:, :k], axis=1) > 0).astype(np.int32)
    both = np.array([[1.0, -1.0], [1.0, 1.0]]) / math.sqrt(2)
    eye = np.eye(n)
    feature = np.block([[eye[:k], np.zeros((k, 2))], [np.zeros((1, n)), both[:1]]])
    others = np.block([[eye[k:], np.zeros((n - k, 2))], [np.zeros((1, n)), both[1:]]])
    margin = math.factorial(k) * math.sqrt(2 * (k + 1) ** -(k + 1))
    return Task(f"parity of {k} in {n}", signs, labels, k, margin, {"support": feature, "others": others}, ("others",))


TASKS: dict[str, tuple[Callable[..., Task], tuple[int, ...]]] = {
    **{f"Z_{p}": (addition, (p,)) for p in (23,)},
    **{f"S_{n}": (permutations, (n,)) for n in (3, 4)},
    "parity of 4 in 10": (parity, (10, 4)),
}
"""Name to the function that makes the task and its arguments."""


def make(name: str) -> Task:
    """Return a task by its name."""
    function, arguments = TASKS[name]
    return function(*arguments)
