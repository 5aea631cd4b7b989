"""The space on which a Lie algebra acts: balanced coordinates, the commutant, and a decomposition into blocks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equikit.groups.lie._algebra import Matrices, null_space, orthonormal
from equikit.groups.lie._forms import threshold

Array = NDArray[np.float64]

STEPS = 400
"""Steps of gradient descent to balanced coordinates."""

MOST_CONDITION = 1e4
"""Coordinates that would need a worse condition number are not balanced: the representation is not semisimple."""

TRIALS = 24
"""Random elements of a commutant among which the one with the most separated eigenvalues is chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """An isotypic component: copies of one representation.

    Attributes:
        basis: columns that span it, copy by copy `[n, size * copies]`; all copies have the same matrices.
        size: the dimension of a copy.
        copies: their number.
        algebra: the matrices of the given basis on one copy, `[d, size, size]`.
    """

    basis: Array
    size: int
    copies: int
    algebra: Matrices


def balanced(basis: Matrices, tolerance: float) -> Array:
    r"""Return coordinates in which a Lie algebra is closed under transposition, if it is reductive.

    The coordinates minimize \(\sum_a \|P^{-1} L_a P\|^2\) for an orthonormal basis, by descent along
    \(\sum_a [L_a, L_a^T]\). Returns the identity matrix where they would be worse conditioned than the noise
    allows: the representation is not semisimple, or not distinguishable from one that is not.

    Source:
        Kempf and Ness, The length of vectors in representation spaces, 1979.
    """
    n = basis.shape[-1]
    change, current, step, last = np.eye(n), orthonormal(basis), 0.5, np.inf
    for _ in range(STEPS if len(current) else 0):
        moment = np.einsum("aij,akj->ik", current, current) - np.einsum("aji,ajk->ik", current, current)
        size = float(np.linalg.norm(moment))
        if size < max(1e-9, 0.01 * tolerance):
            break
        step, last = (min(step * 1.1, 1.0) if size < last else step / 2), size
        values, vectors = np.linalg.eigh(step * moment / max(1.0, size))
        change = change @ (vectors * np.exp(values)) @ vectors.T
        moved = np.linalg.inv(change) @ basis @ change
        current = np.linalg.qr(moved.reshape(len(moved), -1).T)[0].T.reshape(moved.shape)
        if np.linalg.cond(change) > min(MOST_CONDITION, 0.5 / tolerance**0.5):
            return np.eye(n)
    return change


def commutant(algebra: Matrices, bound: float) -> Matrices:
    """Return an orthonormal basis of the matrices that commute with a Lie algebra, `[count, n, n]`."""
    return intertwiners(algebra, algebra, bound)


def intertwiners(one: Matrices, other: Matrices, bound: float) -> Matrices:
    """Return an orthonormal basis of the matrices T with T L = L' T, `[count, n', n]`."""
    n, m = one.shape[-1], other.shape[-1]
    if not len(one):
        return np.eye(m * n).reshape(-1, m, n)
    rows = [np.kron(np.eye(m), a.T) - np.kron(b, np.eye(n)) for a, b in zip(one, other, strict=True)]
    return null_space(np.concatenate(rows), bound).reshape(-1, m, n)


def _clusters(values: NDArray[np.complex128], width: float) -> list[list[int]]:
    """Return indices of eigenvalues, joined where they or their conjugates are closer than a width."""
    groups: list[list[int]] = []
    for place, value in enumerate(values):
        near = [
            group
            for group in groups
            if any(min(abs(values[i] - value), abs(values[i] - value.conjugate())) < width for i in group)
        ]
        groups = [group for group in groups if group not in near] + [[*itertools.chain(*near), place]]
    return groups


def _split(algebra: Matrices, bound: float, width: float, random: np.random.Generator) -> list[Array]:
    """Return bases of subspaces that an algebra keeps, whose sum is the space; they cannot be split further."""
    n = algebra.shape[-1]
    commuting = commutant(algebra, bound)
    if len(commuting) < 2:
        return [np.eye(n)]
    best: tuple[int, float, list[list[int]], Array] = (1, 0.0, [[*range(n)]], np.eye(n))
    for _ in range(TRIALS):
        element = np.tensordot(random.normal(size=len(commuting)), commuting, 1)
        element = element / np.linalg.norm(element, 2)
        values = np.linalg.eigvals(element).astype(complex)
        groups = _clusters(values, width)
        means = [np.mean(values[group].real) + 1j * np.mean(abs(values[group].imag)) for group in groups]
        apart = min((abs(a - b) for a, b in itertools.combinations(means, 2)), default=0.0)
        best = max(best, (len(groups), apart, groups, element), key=lambda one: one[:2])
    count, _, groups, element = best
    if count == 1:
        return [np.eye(n)]
    parts = [_invariant_subspace(element, np.linalg.eigvals(element).astype(complex)[group]) for group in groups]
    return [part @ piece for part in parts for piece in _split(restricted(algebra, part), bound, width, random)]


def _invariant_subspace(element: Array, values: NDArray[np.complex128]) -> Array:
    """Return an orthonormal basis of the sum of generalized eigenspaces of some eigenvalues."""
    from scipy.linalg import schur  # installed with JAX, not with NumPy

    def chosen(real: float, imaginary: float) -> bool:
        every = np.linalg.eigvals(element)
        nearest = every[np.argmin(abs(every - (real + 1j * imaginary)))]
        return bool(np.any(abs(values - nearest) < 1e-12))

    _, vectors, count = schur(element, output="real", sort=chosen)
    found: Array = vectors[:, :count]
    return found


def restricted(algebra: Matrices, basis: Array) -> Matrices:
    """Return the matrices of an algebra on an invariant subspace with this basis."""
    inverse = np.linalg.pinv(basis)
    return inverse @ algebra @ basis if len(algebra) else np.zeros((0, basis.shape[1], basis.shape[1]))


def components(algebra: Matrices, tolerance: float) -> list[Component]:
    """Decompose the space into isotypic components, for an orthonormal basis in balanced coordinates.

    A representation that is not semisimple is decomposed as far as eigenvalues of its commutant do.
    """
    bound = threshold(len(algebra), tolerance)
    width = max(1e-5, 10 * tolerance**0.5)
    pieces = _split(algebra, bound, width, np.random.default_rng(0))
    whole = np.concatenate(pieces, axis=1)
    everywhere = np.linalg.inv(whole) @ algebra @ whole if len(algebra) else algebra
    ends = np.cumsum([0, *(piece.shape[1] for piece in pieces)])
    on = [everywhere[:, a:b, a:b] for a, b in itertools.pairwise(ends)]
    found: list[list[tuple[Array, Matrices]]] = []
    for piece, matrices in zip(pieces, on, strict=True):
        for copies in found:
            first, model = copies[0]
            between = intertwiners(model, matrices, bound) if first.shape[1] == piece.shape[1] else ()
            usable = [t for t in between if np.linalg.cond(t) < MOST_CONDITION]
            if usable:
                t = usable[0] * (len(usable[0]) ** 0.5 / np.linalg.norm(usable[0]))
                copies.append((piece @ t, model))
                break
        else:
            found.append([(piece, matrices)])
    return [
        Component(
            np.concatenate([piece for piece, _ in copies], axis=1), copies[0][0].shape[1], len(copies), copies[0][1]
        )
        for copies in found
    ]
