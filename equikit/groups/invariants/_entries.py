"""Read matrices, with exact entries if possible, and do exact linear algebra on them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np

from equikit._checks import shown
from equikit._errors import GroupError

Entries = tuple[tuple[Any, ...], ...]
"""The rows of a matrix: integers, fractions, floats or complex numbers."""

LARGEST_NUMBER = 2**62
"""The bound on entries of a matrix, and on their numerators and denominators."""


def stretch(matrix: np.ndarray) -> float:
    """Return the largest factor by which a matrix or its inverse stretches a vector."""
    singular = np.linalg.svd(matrix, compute_uv=False)
    return float(max(singular.max(initial=1.0), 1 / max(singular.min(initial=1.0), 1e-300)))


def read_matrices(what: str, given: Any) -> tuple[Entries, ...]:
    """Return matrices as tuples of rows, preserving integers and fractions, or raise `GroupError`."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise _not_matrices(what, shown(given))
    return tuple(read_entries(what, matrix) for matrix in given)


def read_entries(what: str, matrix: Any) -> Entries:
    """Return a matrix as a tuple of rows."""
    try:
        array = np.asarray(matrix)
    except ValueError:  # rows of different lengths
        raise _not_matrices(what, shown(matrix)) from None
    array = array.reshape(0, 0) if array.shape == (0,) else array
    if array.ndim != 2 or array.shape[0] != array.shape[1] or isinstance(matrix, np.ma.MaskedArray):
        raise _not_matrices(what, f"shape {array.shape}")
    numbers = tuple(tuple(_number(entry) for entry in row) for row in array.tolist())
    if any(entry is None for row in numbers for entry in row):
        raise _not_matrices(what, shown(matrix))
    return numbers


def _not_matrices(what: str, got: str) -> GroupError:
    return GroupError(
        f"{what} is not a square matrix of finite numbers",
        got=got,
        expected="a list of matrices [n, n]: integers, fractions, floats or complex numbers up to 2^62",
        step="write for example MatrixGroup([[[0, -1], [1, 0]]])",
    )


def _number(entry: Any) -> int | Fraction | float | complex | None:
    """Return an entry, exactly if it is rational or an integral float; `None` if it is not a valid number."""
    if isinstance(entry, str | bytes):
        return None
    if getattr(entry, "is_Rational", False):  # a SymPy number
        entry = Fraction(int(entry.p), int(entry.q))
    if isinstance(entry, Rational | bool):
        fraction = Fraction(int(entry.numerator), int(entry.denominator))
        if max(abs(fraction.numerator), fraction.denominator) >= LARGEST_NUMBER:
            return None
        return int(fraction) if fraction.denominator == 1 else fraction
    try:
        number = complex(entry)
    except (TypeError, ValueError, OverflowError):
        return None
    if not abs(number) < LARGEST_NUMBER:
        return None
    if number.imag:
        return number + 0  # so that zeros have no sign
    return int(number.real) if number.real.is_integer() else number.real


def numbers(matrix: Entries) -> np.ndarray:
    """Return a matrix as an int64, float64 or complex128 array."""
    if all(isinstance(x, int) and abs(x) < 2**31 for row in matrix for x in row):
        return np.array(matrix, np.int64).reshape(len(matrix), len(matrix))
    kind = np.complex128 if any(isinstance(x, complex) for row in matrix for x in row) else np.float64
    return np.array([[kind(x) for x in row] for row in matrix], kind)


def refuse_singular(matrix: Entries) -> None:
    """Raise `GroupError` if a generator is not invertible."""
    exact = all(isinstance(x, Rational) for row in matrix for x in row)
    singular = _determinant(matrix) == 0 if exact else np.linalg.matrix_rank(numbers(matrix)) < len(matrix)
    if len(matrix) and singular:
        raise GroupError(
            "a generator is not invertible",
            got=repr([list(row) for row in matrix]),
            expected="an invertible matrix",
            step="check its entries; elements of a Lie algebra are given by lie_algebra=",
        )


def exact_array(matrix: Entries) -> np.ndarray:
    """Return a matrix of integers and fractions as an array; int64 if products of two entries fit."""
    small = all(isinstance(x, int) and abs(x) < 2**31 for row in matrix for x in row)
    return np.array(matrix, np.int64 if small else object).reshape(len(matrix), len(matrix))


def _flint(matrix: Entries) -> Any:
    import flint

    size = len(matrix)
    entries = [flint.fmpq(Fraction(x).numerator, Fraction(x).denominator) for row in matrix for x in row]
    return flint.fmpq_mat(size, size, entries)


def _determinant(matrix: Entries) -> Any:
    return _flint(matrix).det() if len(matrix) else 1


def exact_inverse(matrix: Entries) -> np.ndarray:
    """Return the exact inverse."""
    inverse, size = _flint(matrix).inv(), len(matrix)
    entries = [[Fraction(int(inverse[i, j].p), int(inverse[i, j].q)) for j in range(size)] for i in range(size)]
    return exact_array(tuple(tuple(int(x) if x.denominator == 1 else x for x in row) for row in entries))
