r"""Invariant and equivariant polynomials of a symmetric tensor under a point group.

A finite group G of orthogonal matrices, given by generators, acts on symmetric tensors and on the monomials of their
entries. The coefficients of invariant polynomials, and of equivariant maps to symmetric tensors, form the null space of
linear constraints from the generators. It is exact if the generators are exact.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import TooLargeError
from equikit.groups import Group, MatrixGroup, common_null_space

MOST_WORK = 800_000
"""The largest sum of squared coefficient counts for which polynomials are computed; a unit takes at most 12 µs."""

Monomial = tuple[int, ...]
"""The positions of entries in ascending order, one for each factor."""


def places(n: int) -> list[tuple[int, int]]:
    """Return the entries of a symmetric matrix on and above the diagonal."""
    return list(itertools.combinations_with_replacement(range(n), 2))


def monomials(n: int, degree: int) -> list[Monomial]:
    """Return the monomials of a degree in the entries of a symmetric matrix."""
    return list(itertools.combinations_with_replacement(range(len(places(n))), degree))


def _on_entries(matrix: np.ndarray) -> np.ndarray:
    r"""Return the matrix of \(E \mapsto g E g^T\) on the entries on and above the diagonal."""
    found = places(len(matrix))
    result = np.zeros((len(found), len(found)), matrix.dtype)
    for column, (i, j) in enumerate(found):
        for row, (k, l) in enumerate(found):
            result[row, column] = matrix[k, i] * matrix[l, j] + (matrix[k, j] * matrix[l, i] if i != j else 0)
    return result


def _on_monomials(action: np.ndarray, own: list[Monomial]) -> np.ndarray:
    """Expand each monomial of the transformed entries in monomials of the entries."""
    place = {monomial: i for i, monomial in enumerate(own)}
    result = np.zeros((len(own), len(own)), action.dtype)
    for row, monomial in enumerate(own):
        terms: Counter[Monomial] = Counter({(): 1})
        for factor in monomial:
            longer: Counter[Monomial] = Counter()
            for known, coefficient in terms.items():
                for entry in np.flatnonzero(action[factor]).tolist():
                    longer[tuple(sorted((*known, entry)))] += coefficient * action[factor, entry]
            terms = longer
        for known, coefficient in terms.items():
            result[row, place[known]] = coefficient
    return result


def _refuse_if_long(group: Group, invariants: int, degree: int) -> None:
    """Raise `TooLargeError` if computing the null spaces of all degrees would take too long."""
    assert group.n is not None
    entries, work = math.comb(group.n + 1, 2), 0
    for highest, width, option, least in ((invariants, 1, "invariants", 1), (degree, entries, "degree", 0)):
        for d in range(highest + 1):
            work += (width * math.comb(entries + d - 1, d)) ** 2
            if work > MOST_WORK:
                raise TooLargeError(
                    f"the polynomials of {group} would take too long to find",
                    got=f"{option}={highest}",
                    expected="a lower degree",
                    step=f"write {option}={d - 1}" if d > least else "use a group of fewer dimensions",
                )


@functools.lru_cache(maxsize=64)
def _given(group: Group) -> MatrixGroup:
    """Return the group as a `MatrixGroup` with the matrices of its generators."""
    if isinstance(group, MatrixGroup):
        return group
    return MatrixGroup([group.matrix(generator) for generator in group.generators()], n=group.n, name=str(group))


def polynomials(group: Group, degree: int, *, tensors: bool) -> np.ndarray:
    r"""Return coefficients of the invariant polynomials of a degree, or of the polynomial maps to symmetric tensors.

    Args:
        group: a finite group of orthogonal matrices, given by generators.
        degree: the degree of the polynomials.
        tensors: whether to return maps to symmetric tensors.

    Returns:
        float64 `[count, monomials]`, or `[count, entries, monomials]`; each of norm one.

    Raises:
        TooLargeError: if there are too many coefficients.

    Cost: cubic in the number of coefficients.
    """
    assert group.n is not None
    given = _given(group)
    own, width = monomials(group.n, degree), len(places(group.n)) if tensors else 1
    rows = []
    for generator in given.given:
        kind: Any = object if given.exact else np.float64
        matrix = np.array([[Fraction(x) if given.exact else float(x) for x in row] for row in generator], kind)
        action = _on_entries(matrix)
        moved = _on_monomials(action, own)
        one, identity = np.eye(width, dtype=np.int64), np.eye(len(own), dtype=np.int64)
        # F(g E) = g F(E): coefficients on transformed monomials equal transformed coefficients.
        rows.append(np.kron(one, moved.T) - np.kron(action if tensors else one, identity))
    basis = common_null_space(str(group), rows, width * len(own), given.exact, given.tolerance).astype(np.float64)
    basis /= np.maximum(np.linalg.norm(basis, axis=1, keepdims=True), 1e-300)
    return basis.reshape(len(basis), width, len(own)) if tensors else basis


def evaluated_monomials(strain: jax.Array, degree: int) -> jax.Array:
    """Return the monomials of a degree of a symmetric matrix `[*batch, n, n]`: `[*batch, monomials]`."""
    n = strain.shape[-1]
    entries = [strain[..., i, j] for i, j in places(n)]
    one = jnp.ones_like(strain[..., 0, 0])  # has the sharding of the strain
    values = [
        functools.reduce(jnp.multiply, [entries[place] for place in monomial], one) for monomial in monomials(n, degree)
    ]
    return jnp.stack(values, -1)


def symmetric_matrix(entries: jax.Array, n: int) -> jax.Array:
    """Return the matrix with given entries on and above the diagonal, `[..., entries]` to `[..., n, n]`."""
    number = {place: i for i, place in enumerate(places(n))}
    rows = [jnp.stack([entries[..., number[min(i, j), max(i, j)]] for j in range(n)], -1) for i in range(n)]
    return jnp.stack(rows, -2)


def invariants_of(group: Group, degree: int, strain: jax.Array) -> jax.Array:
    """Return the invariants of degrees 1 to `degree`, `[*batch, count]`."""
    parts = [
        evaluated_monomials(strain, d) @ jnp.asarray(polynomials(group, d, tensors=False).T, strain.dtype)
        for d in range(1, degree + 1)
    ]
    return jnp.concatenate(parts, -1)


def maps_of(group: Group, degree: int, strain: jax.Array) -> jax.Array:
    """Return the maps of degrees 0 to `degree` at a strain, `[*batch, n, n, count]`."""
    n, parts = strain.shape[-1], []
    for d in range(degree + 1):
        coefficients = jnp.asarray(polynomials(group, d, tensors=True), strain.dtype)
        entries = jnp.einsum("...m,cem->...ce", evaluated_monomials(strain, d), coefficients)
        parts.append(jnp.moveaxis(symmetric_matrix(entries, n), -3, -1))
    return jnp.concatenate(parts, -1)


def counts(group: Group, invariants: int, degree: int) -> tuple[int, int]:
    """Return the numbers of invariants and of maps.

    Raises:
        TooLargeError: if computing them would take more than about ten seconds.
    """
    _refuse_if_long(group, invariants, degree)
    own = sum(len(polynomials(group, d, tensors=False)) for d in range(1, invariants + 1))
    return own, sum(len(polynomials(group, d, tensors=True)) for d in range(degree + 1))
