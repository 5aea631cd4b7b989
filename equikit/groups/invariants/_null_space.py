"""Invariant tensors of a group given by matrices: the null space of the constraints of its generators.

A tensor v is invariant if every generator maps it to itself and every element of the Lie algebra maps it to zero. The
method depends on the matrices. Signed permutations need only orbits of index tuples. Rational matrices have an exact
null space, computed modulo primes and verified over the integers. All others have a numerical null space.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit._checks import refuse_if_more
from equikit._errors import GroupError
from equikit.groups.invariants._null_space_exact import exact_null_space

MOST_UNKNOWNS = 2000
"""The largest number of tensor entries for a null space; constraint matrices have this number of rows and columns."""

MOST_WORK = 6_000_000_000
"""The largest work for an exact null space: the number of constraints times the cube of the tensor's entry count."""

MOST_NUMERICAL = 25_000_000_000
"""The same for a numerical null space, with `DECOMPOSED` more constraints and `COMPLEX` times the work for complex
numbers: about two seconds on one core, and up to six on a busy machine."""

DECOMPOSED = 12
"""The cost of the singular values and the basis of a square matrix, in constraints."""

COMPLEX = 3
"""The cost of complex arithmetic relative to real arithmetic."""

MOST_INDICES = 2**22
"""The largest number of tensor entries for which orbits are computed."""

MOST_ENTRIES = 2**26
"""The largest number of entries of all invariant tensors together."""

GAP = 10
"""The factor by which a nonzero singular value has to exceed the tolerance."""


Moves = tuple[np.ndarray, np.ndarray]
"""A signed permutation: the new position of each entry, and its sign."""


@dataclass(frozen=True, slots=True)
class Action:
    """The action of a group on each axis of a tensor.

    Attributes:
        n: the size of an axis.
        elements: the matrices of each generator on vectors and on dual vectors.
        algebra: the same for the elements of the Lie algebra.
    """

    n: int
    elements: tuple[tuple[np.ndarray, np.ndarray], ...]
    algebra: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @property
    def dtype(self) -> Any:
        """The dtype of numerical tensors."""
        matrices = [matrix for pair in (*self.elements, *self.algebra) for matrix in pair]
        return np.complex128 if any(map(np.iscomplexobj, matrices)) else np.float64

    @property
    def exact(self) -> bool:
        """Whether all entries are integers or fractions."""
        return all(matrix.dtype.kind in "iO" for pair in (*self.elements, *self.algebra) for matrix in pair)


def moves_of(matrix: np.ndarray) -> Moves | None:
    """Return a matrix as a signed permutation, or `None` if it is not one."""
    if np.iscomplexobj(matrix):
        return None
    absolute = abs(matrix)
    if not np.all((absolute == 0) | (absolute == 1)):
        return None
    if not (np.all((absolute != 0).sum(0) == 1) and np.all((absolute != 0).sum(1) == 1)):
        return None
    return (absolute != 0).argmax(0), matrix.sum(0).astype(np.int64)


def refuse_if_many(what: str, entries: int, most: int) -> None:
    """Raise `TooLargeError` if a null space has too many unknowns, or a basis too many entries."""
    problem, step = (
        f"the invariant tensors of {what} are too large to be found",
        "use fewer axes, or a group with diagrams",
    )
    refuse_if_more(problem, entries, most, "entries", step)


def refuse_if_slow(what: str, entries: int, constraints: int, kind: Any = None) -> None:
    """Raise `TooLargeError` if a null space of this size would take more than a few seconds.

    Args:
        what: the group, for messages.
        entries: the number of unknowns.
        constraints: the number of square matrices.
        kind: the dtype of a numerical null space; `None` for an exact one.
    """
    most = MOST_WORK / max(constraints, 1)
    if kind is not None:
        most = MOST_NUMERICAL / (constraints + DECOMPOSED) / (COMPLEX if np.dtype(kind).kind == "c" else 1)
    refuse_if_many(what, entries, min(MOST_UNKNOWNS, int(most ** (1 / 3))))


def invariant_tensors(what: str, action: Action, stars: Sequence[bool], tolerance: float) -> np.ndarray:
    """Return a basis of the invariant tensors, `[count, n, ..., n]`.

    Args:
        what: the group, for messages.
        action: its generators.
        stars: whether each axis carries the dual.
        tolerance: for inexact entries, singular values up to this, or up to rounding errors if larger, count as zero.

    Returns:
        int64 for exact entries, ordered by first entries; otherwise orthonormal, float64 or complex128.

    Raises:
        TooLargeError: if a tensor has too many entries, or exact entries are too large.
        GroupError: if the numerical rank is in doubt.
    """
    moves = [moves_of(matrix) for matrix, _ in action.elements]
    found = [move for move in moves if move is not None]
    if len(found) == len(moves) and not action.algebra:
        return orbit_tensors(what, action.n, found, len(stars))
    entries = action.n ** len(stars)
    kind = None if action.exact else action.dtype
    refuse_if_slow(what, entries, len(action.elements) + len(action.algebra), kind)  # before computing constraints
    rows = _constraints(action, stars)
    if not action.exact:
        rows = [row.astype(action.dtype) for row in rows]
    basis = common_null_space(what, rows, entries, action.exact, tolerance)
    return basis.reshape(len(basis), *(action.n,) * len(stars))


def common_null_space(what: str, rows: Sequence[np.ndarray], entries: int, exact: bool, tolerance: float) -> np.ndarray:
    """Return a basis of the common null space of matrices `[entries, entries]`, `[count, entries]`.

    Raises:
        TooLargeError: if there are too many unknowns, or exact entries are too large.
        GroupError: if the numerical rank is in doubt.
    """
    kind = None if exact else np.result_type(np.float64, *rows)
    refuse_if_slow(what, entries, len(rows), kind)
    if exact:
        return exact_null_space(what, rows, entries, max(2, MOST_WORK // max(entries**3 * len(rows), 1)))
    return _numerical(what, rows, entries, kind, tolerance)


def orbit_tensors(what: str, n: int, moves: Sequence[Moves], order: int) -> np.ndarray:
    """Return signed sums over orbits of index tuples, int64 `[count, n, ..., n]`.

    The orbits are connected components of a graph with two nodes for each index tuple, one for each sign. An orbit that
    contains both signs of a tuple has sum zero and is omitted.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    size = n**order
    refuse_if_many(what, size, MOST_INDICES)
    index = np.indices((n,) * order).reshape(order, size)
    tail, head = [np.arange(0)], [np.arange(0)]
    for target, sign in moves:
        image, product = np.zeros(size, np.int64), np.ones(size, np.int64)
        for axis in index:
            image, product = image * n + target[axis], product * sign[axis]
        here = np.arange(size)
        for copy in (0, 1):
            tail.append(here + copy * size)
            head.append(image + np.where(product > 0, copy, 1 - copy) * size)
    edges = np.concatenate(tail), np.concatenate(head)
    graph = coo_matrix((np.ones(len(edges[0]), np.int8), edges), (2 * size, 2 * size))
    component = connected_components(graph, directed=False)[1]
    plus, minus = component[:size], component[size:]
    # Of an orbit and its negative, keep the orbit that contains its first index tuple with a plus sign.
    alive = plus != minus
    pair = np.minimum(plus, minus)
    names, first = np.unique(pair[alive], return_index=True)
    order_of = np.argsort(first)
    refuse_if_many(what, len(names) * size, MOST_ENTRIES)
    number = np.full(int(pair.max(initial=-1)) + 1, -1)
    number[names[order_of]] = np.arange(len(names))
    lead = plus[alive][first][order_of]
    places = np.flatnonzero(alive)
    which = number[pair[places]]
    basis = np.zeros((len(names), size), np.int64)
    basis[which, places] = np.where(plus[places] == lead[which], 1, -1)
    return basis.reshape(len(names), *(n,) * order)


def _kronecker(matrices: Iterable[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.kron, matrices, np.ones((1, 1), np.int64))


def _constraints(action: Action, stars: Sequence[bool]) -> list[np.ndarray]:
    """Return square matrices whose common null space is the space of invariant tensors."""
    identity = np.eye(action.n, dtype=np.int64)
    rows = []
    for pair in action.elements:
        whole = _kronecker(_wide(pair[star], len(stars)) for star in stars)
        rows.append(whole - np.eye(len(whole), dtype=np.int64))
    for pair in action.algebra:
        parts = [
            _kronecker(pair[other] if place == axis else identity for place, other in enumerate(stars))
            for axis in range(len(stars))
        ]
        rows.append(functools.reduce(np.add, parts, np.zeros((action.n ** len(stars),) * 2, np.int64)))
    return rows


def _wide(matrix: np.ndarray, order: int) -> np.ndarray:
    """Return the matrix with Python integers if products of its entries could exceed 64 bits."""
    if matrix.dtype.kind == "i" and max((abs(int(x)) for x in matrix.ravel()), default=1) ** order >= 2**62:
        return matrix.astype(object)
    return matrix


def _numerical(what: str, rows: Sequence[np.ndarray], entries: int, kind: Any, tolerance: float) -> np.ndarray:
    """Return an orthonormal basis from singular vectors; `_longest_columns` makes it independent of their choice."""
    stacked = np.concatenate(rows or [np.zeros((entries, entries))]).astype(kind)
    square = stacked if len(stacked) == entries else np.linalg.qr(stacked, mode="r")
    _, singular, vectors = np.linalg.svd(square)
    tolerance = max(tolerance, 64 * float(np.finfo(np.float64).eps * singular.max(initial=0)))
    null = vectors[singular <= tolerance].conj().T
    above = float(singular[singular > tolerance].min(initial=np.inf))
    if above < GAP * tolerance:
        raise GroupError(
            f"the invariant tensors of {what} cannot be determined at this tolerance",
            got=f"a singular value of {above:.1e}, tolerance {tolerance:.0e}",
            expected=f"values up to the tolerance, and values {GAP} times as large",
            step="give generators of full precision, or integers and fractions, or another tolerance=",
        )
    return _longest_columns(null)


def _longest_columns(null: np.ndarray) -> np.ndarray:
    """Orthonormalize columns of the projector onto the span of orthonormal columns, longest remainder first."""
    projector = null @ null.conj().T
    lengths = np.real(np.diag(projector)).copy()
    basis = np.zeros(null.shape[::-1], null.dtype)
    for count in range(len(basis)):
        place = int(np.flatnonzero(lengths > lengths.max() - 1e-8)[0])
        # Not with `@`, whose threads would synchronize in every step.
        rest = projector[:, place] - np.einsum("ij,i->j", basis[:count], basis[:count, place].conj())
        basis[count] = rest / np.sqrt(lengths[place])
        lengths -= abs(basis[count]) ** 2
    return basis
