"""Invariant tensors of a group given by matrices: the null space of what its generators demand.

A tensor v is invariant when every generator takes it to itself and every element of the Lie algebra takes it to zero.
Three ways, by what the matrices are: signed permutations have orbits of index tuples, which need no algebra; rational
matrices an exact null space, found modulo a prime and proved over the integers; others a numerical one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from equikit._errors import GroupError, TooLargeError, explain

MOST_UNKNOWNS = 2000
"""Entries of a tensor above which no null space is computed: the constraints are a matrix with the square of it."""

MOST_INDICES = 2**22
"""Entries of a tensor above which no orbits are looked for."""

MOST_ENTRIES = 2**26
"""Entries of all invariant tensors together above which they are not written down."""

PRIMES = (2**61 - 1, 2**59 - 55, 2**57 - 13)


@dataclass(frozen=True, slots=True)
class Action:
    """What a group does on each axis of a tensor.

    Attributes:
        n: the size of an axis.
        elements: for each generator the matrices on a vector and on a dual vector.
        algebra: the same for elements of the Lie algebra.
    """

    n: int
    elements: tuple[tuple[np.ndarray, np.ndarray], ...]
    algebra: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @property
    def monomial(self) -> bool:
        """Whether generators are permutation matrices up to signs, and there is no Lie algebra."""
        return not self.algebra and all(_is_monomial(matrix) for matrix, _ in self.elements)

    @property
    def dtype(self) -> Any:
        """The dtype of tensors that are not exact."""
        matrices = [matrix for pair in (*self.elements, *self.algebra) for matrix in pair]
        return np.complex128 if any(map(np.iscomplexobj, matrices)) else np.float64

    @property
    def exact(self) -> bool:
        """Whether all entries are integers or fractions."""
        return all(matrix.dtype.kind in "iO" for pair in (*self.elements, *self.algebra) for matrix in pair)


def _is_monomial(matrix: np.ndarray) -> bool:
    size = np.arange(len(matrix))
    absolute = abs(matrix)
    places = [list(np.flatnonzero(row)) for row in absolute]
    return (
        all(len(place) == 1 for place in places)
        and sorted(int(place[0]) for place in places) == size.tolist()
        and bool(np.all((absolute == 0) | (absolute == 1)))
        and not np.iscomplexobj(matrix)
    )


def refuse_if_many(what: str, entries: int, most: int) -> None:
    """Raise `TooLargeError` before a null space of too many unknowns is begun, or a basis too large is made."""
    if entries > most:
        raise TooLargeError(
            explain(
                f"the invariant tensors of {what} are too large to be found",
                got=f"{entries:,} entries",
                expected=f"at most {most:,}",
                step="use fewer axes, or a group whose diagrams are known",
            )
        )


def invariant_tensors(what: str, action: Action, stars: Sequence[bool], tolerance: float) -> np.ndarray:
    """A basis of the invariant tensors, `[count, n, ..., n]`.

    Args:
        what: the group, for messages.
        action: its generators.
        stars: for each axis whether it carries the dual.
        tolerance: singular values up to this count as zero, where entries are not exact.

    Returns:
        int64 for exact entries, ordered by their first entries; else float64 or complex128, orthonormal.

    Raises:
        TooLargeError: if a tensor has too many entries.
        GroupError: if the numerical rank is in doubt.
    """
    entries, shape = action.n ** len(stars), (action.n,) * len(stars)
    if action.monomial:
        refuse_if_many(what, entries, MOST_INDICES)
        basis = _orbits(what, action, len(stars))
    else:
        refuse_if_many(what, entries, MOST_UNKNOWNS)
        rows = _constraints(action, stars)
        basis = _exact(rows, entries) if action.exact else _numerical(what, rows, entries, action.dtype, tolerance)
    return basis.reshape(len(basis), *shape)


def _orbits(what: str, action: Action, order: int) -> np.ndarray:
    """Signed sums over the orbits of index tuples that no element takes to minus themselves.

    Each index tuple is there twice, once for either sign; an orbit that holds both signs of one tuple vanishes.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n, size = action.n, action.n**order
    index = np.indices((n,) * order).reshape(order, size) if order else np.zeros((0, 1), np.int64)
    tail, head = [np.arange(0)], [np.arange(0)]
    for matrix, _ in action.elements:
        target = np.array([int(np.flatnonzero(column)[0]) for column in matrix.T], np.int64)
        sign = np.array([int(matrix[t, i]) for i, t in enumerate(target)], np.int64)
        image, product = np.zeros(size, np.int64), np.ones(size, np.int64)
        for axis in index:
            image, product = image * n + target[axis], product * sign[axis]
        here = np.arange(size)
        for copy in (0, 1):
            flipped = np.where(product > 0, copy, 1 - copy)
            tail.append(here + copy * size)
            head.append(image + flipped * size)
    edges = np.concatenate(tail), np.concatenate(head)
    graph = coo_matrix((np.ones(len(edges[0]), np.int8), edges), (2 * size, 2 * size))
    component = connected_components(graph, directed=False)[1]
    plus, minus = component[:size], component[size:]
    kept, first = np.unique(plus[plus != minus], return_index=True)
    refuse_if_many(what, len(kept) * size, MOST_ENTRIES)
    seen: set[int] = set()
    basis = []
    for name in kept[np.argsort(first)]:
        partner = int(minus[np.flatnonzero(plus == name)[0]])
        if int(name) in seen:
            continue
        seen |= {int(name), partner}
        basis.append((plus == name).astype(np.int64) - (minus == name))
    return np.array(basis, np.int64).reshape(len(basis), size)


def _kronecker(matrices: Iterable[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.kron, matrices, np.ones((1, 1), np.int64))


def _constraints(action: Action, stars: Sequence[bool]) -> list[np.ndarray]:
    """Square matrices whose common null space are the invariant tensors."""
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
    """The matrix as Python integers where products of its entries could pass 64 bits."""
    if matrix.dtype.kind == "i" and int(abs(matrix).max(initial=1)) ** order >= 2**62:
        return matrix.astype(object)
    return matrix


def _exact(rows: Sequence[np.ndarray], entries: int) -> np.ndarray:
    """The null space modulo a prime, lifted to fractions, and proved.

    Modulo a prime the rank can only be too small and the null space too large, so that as many proved vectors as there
    are modulo the prime are all there are.
    """
    import flint

    whole = [_cleared(row) for row in rows]
    for prime in PRIMES:
        basis = np.eye(entries, dtype=object)  # rows: a basis modulo the prime of what the constraints so far allow
        for row in whole:
            image = flint.nmod_mat((row % prime).astype(object).tolist(), prime) * flint.nmod_mat(
                basis.T.tolist(), prime
            )
            basis = np.array(_null_rows(image, prime), object).reshape(-1, len(basis)).dot(basis) % prime
            if not len(basis):
                break
        reduced = _echelon(basis, entries, prime)
        lifted = [_lifted(vector, prime) for vector in reduced]
        if all(vector is not None for vector in lifted):
            found = np.array(lifted, object).reshape(-1, entries)
            if all(not np.any(row.dot(found.T)) for row in whole):
                return found.astype(np.int64)
    raise AssertionError(f"no prime of {PRIMES} gives a null space that can be proved: a bug of equikit")


def _cleared(matrix: np.ndarray) -> np.ndarray:
    """Each row times its common denominator, as Python integers."""
    result = np.empty(matrix.shape, object)
    for i, row in enumerate(matrix.tolist()):
        fractions = [Fraction(entry) for entry in row]
        scale = int(np.lcm.reduce([f.denominator for f in fractions], dtype=object)) if fractions else 1
        result[i] = [int(f * scale) for f in fractions]
    return result


def _null_rows(image: Any, prime: int) -> list[list[int]]:
    """Combinations of the columns of a matrix modulo a prime that vanish."""
    columns = image.ncols()
    reduced, rank = image.rref()
    pivots = []
    column = 0
    for row in range(rank):
        while int(reduced[row, column]) == 0:
            column += 1
        pivots.append(column)
    rows = []
    for free in (c for c in range(columns) if c not in set(pivots)):
        vector = [0] * columns
        vector[free] = 1
        for row, pivot in enumerate(pivots):
            vector[pivot] = -int(reduced[row, free]) % prime
        rows.append(vector)
    return rows


def _echelon(basis: np.ndarray, entries: int, prime: int) -> list[list[int]]:
    import flint

    if not len(basis):
        return []
    reduced, rank = flint.nmod_mat(basis.tolist(), prime).rref()
    return [[int(reduced[row, column]) for column in range(entries)] for row in range(rank)]


def _lifted(vector: Sequence[int], prime: int) -> list[int] | None:
    """The smallest integers in the proportions of a vector modulo a prime; `None` where they are not small."""
    found = [_fraction(entry, prime) for entry in vector]
    if any(f is None for f in found):
        return None
    fractions = [f for f in found if f is not None]
    scale = int(np.lcm.reduce([f.denominator for f in fractions], dtype=object))
    numbers = [int(f * scale) for f in fractions]
    return numbers if max(map(abs, numbers)) < 2**31 else None


def _fraction(value: int, prime: int) -> Fraction | None:
    """The fraction with numerator and denominator below the root of half the prime, by Euclid's algorithm."""
    bound = int((prime // 2) ** 0.5)
    before, now = (prime, 0), (value % prime, 1)
    while now[0] > bound:
        quotient = before[0] // now[0]
        before, now = now, (before[0] - quotient * now[0], before[1] - quotient * now[1])
    if now[1] == 0 or abs(now[1]) > bound:
        return None
    return Fraction(now[0], now[1])


def _numerical(what: str, rows: Sequence[np.ndarray], entries: int, kind: Any, tolerance: float) -> np.ndarray:
    """An orthonormal basis by singular values: the columns of the projector with the longest rest, one by one."""
    stacked = np.concatenate([np.zeros((1, entries)), *rows]).astype(kind)
    values, vectors = np.linalg.eigh(stacked.conj().T @ stacked)
    singular = np.sqrt(np.maximum(values, 0))
    # Squaring the matrix leaves singular values that are zero at the root of the rounding error.
    null = vectors[:, singular < 1e-6 * max(1.0, float(singular.max(initial=0)))]
    exact = np.linalg.svd(stacked @ null, compute_uv=False) if null.shape[1] else np.zeros(0)
    above = singular[null.shape[1] :]
    if np.any(exact > tolerance) or np.any(above < 100 * tolerance):
        smallest = float(above.min(initial=np.inf))
        raise GroupError(
            explain(
                f"which tensors {what} leaves as they are cannot be told at this tolerance",
                got=f"singular values {exact.max(initial=0):.1e} and {smallest:.1e}, tolerance {tolerance:.0e}",
                expected="a clear gap between what is zero and what is not",
                step="give generators of full precision, or integers and fractions, or another tolerance=",
            )
        )
    rest = null @ null.conj().T  # the projector, which does not depend on the basis that was found
    basis = []
    for _ in range(null.shape[1]):
        lengths = np.real(np.diag(rest))
        place = int(np.flatnonzero(lengths > lengths.max() - 1e-8)[0])
        column = rest[:, place] / np.sqrt(lengths[place])
        basis.append(column)
        rest = rest - np.outer(column, column.conj())
    return np.array(basis, kind).reshape(len(basis), entries)
