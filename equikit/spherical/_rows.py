"""The change of basis in integers: one row for each component of each irrep."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np

from equikit._checks import refuse_if_more
from equikit.diagrams import refuse_if_large
from equikit.spherical._characters import Symmetry, count_irreps
from equikit.spherical._harmonics import factorials, power, product, solid_harmonics, step_matrix

MOST_AXES = 40
"""The largest order for which a change of basis is attempted."""

MOST_PATHS = 1_000_000
"""The most paths that are listed: more take seconds."""

BYTES = 64
"""Estimated bytes for each entry of a change of basis: the integer, the float, and Python's own objects."""


def coupling_paths(order: int) -> list[tuple[int, ...]]:
    """List by their ends all sequences of degrees that start at 1 and change by at most one, with 1 after 0.

    Raises:
        TooLargeError: if there are too many, from order 15 on.

    Example:
        >>> coupling_paths(2)
        [(1, 0), (1, 1), (1, 2)]
    """
    count, step = sum(count_irreps(order).values()), "use a lower order; multiplicities and irreps need no list"
    refuse_if_more("there are too many irreps to be listed", count, MOST_PATHS, "paths", step)
    paths: list[tuple[int, ...]] = [()]
    for _ in range(order):
        ends = [path[-1] if path else 0 for path in paths]
        paths = [
            (*path, degree) for path, end in zip(paths, ends, strict=True) for degree in range(abs(end - 1), end + 2)
        ]
    return sorted(paths, key=lambda path: (path[-1:], path))


def path_rows(path: tuple[int, ...]) -> np.ndarray:
    r"""Return orthogonal rows that span the irrep at the end of a path in \(V^{\otimes k}\): int64 `[2l+1, 3^k]`.

    Their lengths are the lengths of the solid harmonics, up to one common factor.
    """
    rows = np.ones((1, 1), np.int64)
    for source, target in pairwise((0, *path)):
        matrix = step_matrix(source, target)
        bound = int(abs(matrix).max()) * int(abs(rows).max()) * (2 * source + 1)
        assert bound < 2**62, "the integers of this order need more than 64 bits"
        rows = np.einsum("tsi,sj->tji", matrix, rows).reshape(2 * target + 1, -1)
        rows //= np.gcd.reduce(rows, axis=None)
    return rows


def symmetric_rows(order: int, degree: int) -> np.ndarray:
    r"""Return orthogonal rows that span the irrep of a degree in symmetric tensors: int64 `[2l+1, 3^k]`.

    They are the tensors of \(r^{k-l} Y_m\), where degree and order have the same parity.
    """
    square = power({(2, 0, 0): 1, (0, 2, 0): 1, (0, 0, 2): 1}, (order - degree) // 2)
    polynomials = [product(square, harmonic) for harmonic in solid_harmonics(degree)]
    # An entry depends only on the numbers of axes with index 0 and with index 1.
    exponents = [(i, j, order - i - j) for i in range(order + 1) for j in range(order + 1 - i)]
    entries = np.array([[p.get(c, 0) * factorials(c) for c in exponents] for p in polynomials], np.int64)
    number = np.zeros((order + 1, order + 1), np.int64)
    number[tuple(np.array(exponents).T[:2])] = np.arange(len(exponents))
    places = np.indices((3,) * order).reshape(order, 3**order)
    result: np.ndarray = entries[:, number[(places == 0).sum(axis=0), (places == 1).sum(axis=0)]]
    return result


@functools.lru_cache(maxsize=32)
def exact_rows(order: int, symmetry: Symmetry | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the basis of the irreps, coprime orthogonal rows int64 `[dim, 3^k]`, and their squared norms.

    An irrep of alternating tensors occurs once in all tensors of its order, so its path is unique.
    """
    step = "decompose(order) names the irreps without it"
    refuse_if_more("the change of basis would not fit in memory", order, MOST_AXES, "axes", step)  # counting takes long
    counts = count_irreps(order, symmetry)
    entries = sum(c * (2 * l + 1) for l, c in counts.items()) * 3**order
    refuse_if_large("the change of basis", entries, BYTES, "use a smaller order")
    if symmetry == "sym":
        blocks = [symmetric_rows(order, degree) for degree in counts]
    else:
        blocks = [path_rows(path) for path in (coupling_paths(order) if counts else ()) if (path or (0,))[-1] in counts]
    rows = np.concatenate([np.zeros((0, 3**order), np.int64), *blocks])
    rows //= np.gcd.reduce(rows, axis=1, keepdims=True)
    assert 3**order * int(abs(rows).max(initial=0)) ** 2 < 2**63, "squared norms of this order need more than 64 bits"
    norms = np.einsum("ij,ij->i", rows, rows)
    for array in (rows, norms):
        array.setflags(write=False)
    return rows, norms
