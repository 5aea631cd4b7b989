"""Exact null spaces of rational matrices: computed modulo primes, lifted to fractions, verified over the integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from equikit._errors import TooLargeError

MOST_PRIMES = 64
"""The largest number of 61-bit primes to combine before giving up."""

LARGEST_ENTRY = 2**31
"""The largest entries of exact tensors, so that products of two fit in 64 bits."""


def exact_null_space(what: str, rows: Sequence[np.ndarray], entries: int, most_primes: int = MOST_PRIMES) -> np.ndarray:
    """Compute the null space modulo at most `most_primes` primes, lift it to fractions, and verify it.

    Modulo a prime the rank can only decrease and the null space only grow, so verified vectors are a basis if their
    number equals the dimension modulo the prime. One prime suffices for small fractions; more are combined if needed.
    """
    import flint

    whole = [_cleared(row) for row in rows]
    residues: np.ndarray | None = None
    modulus, prime = 1, 2**61
    for _ in range(min(most_primes, MOST_PRIMES)):
        prime = _prime_below(prime)
        found = _null_space_modulo(whole, entries, prime)
        if not len(found):
            return np.zeros((0, entries), np.int64)
        if residues is None or found.shape[0] < len(residues):  # an earlier prime divides a pivot
            residues, modulus = found, prime
        elif found.shape[0] == len(residues):
            step = pow(modulus, -1, prime)
            residues = residues + modulus * ((found - residues) * step % prime)
            modulus *= prime
        lifted = [_lifted(vector, modulus) for vector in residues.tolist()]
        if any(vector is None for vector in lifted):
            continue
        basis = np.array(lifted, object).reshape(len(lifted), entries)
        columns = flint.fmpz_mat(basis.T.tolist())
        if all(not any(map(int, (flint.fmpz_mat(row.tolist()) * columns).entries())) for row in whole):
            if max(abs(x) for x in basis.ravel()) >= LARGEST_ENTRY:
                break
            return basis.astype(np.int64)
    raise TooLargeError(
        f"the exact invariant tensors of {what} have too large entries",
        got=f"integers beyond {LARGEST_ENTRY:,}",
        expected="generators of small integers and fractions",
        step="write MatrixGroup(..., exact=False), for a numerical null space",
    )


def _prime_below(number: int) -> int:
    import flint

    number -= 1
    while not flint.fmpz(number).is_prime():
        number -= 1
    return number


def _null_space_modulo(whole: Sequence[np.ndarray], entries: int, prime: int) -> np.ndarray:
    """Return the reduced echelon form of the common null space of integer matrices modulo a prime, `[dim, entries]`."""
    import flint

    basis: Any = None  # columns span the null space of the constraints so far
    for row in whole:
        matrix = flint.nmod_mat((row % prime).tolist(), prime)
        image = matrix if basis is None else matrix * basis
        null, count = image.nullspace()
        if count == 0:
            return np.zeros((0, entries), object)
        null = flint.nmod_mat(null.nrows(), count, [x for line in null.tolist() for x in line[:count]], prime)
        basis = null if basis is None else basis * null
    if basis is None:
        return np.eye(entries, dtype=object)
    reduced, rank = basis.transpose().rref()
    assert rank == reduced.nrows(), "the columns of a null space are independent"
    return np.array([[int(x) for x in line] for line in reduced.tolist()], object)


def _cleared(matrix: np.ndarray) -> np.ndarray:
    """Multiply each row by its common denominator, and return Python integers."""
    if matrix.dtype.kind == "i":
        return matrix.astype(object)
    result = np.empty(matrix.shape, object)
    for i, row in enumerate(matrix.tolist()):
        scale = math.lcm(*(Fraction(entry).denominator for entry in row))
        result[i] = [int(entry * scale) for entry in row]
    return result


def _lifted(vector: Sequence[int], modulus: int) -> list[int] | None:
    """Return the smallest integers proportional to a vector modulo a number; `None` if they are not small."""
    bound = math.isqrt(modulus // 2)
    fractions = []
    for entry in vector:
        fraction = Fraction(entry) if entry <= 1 else _fraction(entry, modulus, bound)
        if fraction is None:
            return None
        fractions.append(fraction)
    scale = math.lcm(*(f.denominator for f in fractions))
    numbers = [int(f * scale) for f in fractions]
    common = math.gcd(*numbers)
    return [x // common for x in numbers]


def _fraction(value: int, modulus: int, bound: int) -> Fraction | None:
    """Return the fraction with numerator and denominator up to a bound, by Euclid's algorithm, or `None`."""
    before, now = (modulus, 0), (value % modulus, 1)
    while now[0] > bound:
        quotient = before[0] // now[0]
        before, now = now, (before[0] - quotient * now[0], before[1] - quotient * now[1])
    if now[1] == 0 or abs(now[1]) > bound:
        return None
    return Fraction(now[0], now[1])
