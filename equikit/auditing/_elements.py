"""Group elements: identity, product, inverse, lists, exponentials, and simple elements that faults often show at."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from equikit._errors import GroupError, TooLargeError
from equikit.groups import Group

MOST_ROWS = 24
"""The largest number of rows of matrices whose Lie algebra is searched."""

TERMS = 16
"""The number of terms of the series of an exponential: enough for double precision at a norm of one half."""

MOST_LISTED = 200
"""The largest number of elements that are all tried."""


def identity(group: Group) -> np.ndarray:
    """Return the identity of a bound group."""
    n = group.n or 0
    if group.elements_are == "matrices":
        return np.eye(n)
    return np.arange(n) + (group.elements_are == "signed permutations")


def product(group: Group, after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the product of two elements; the second one acts first."""
    if group.elements_are == "matrices":
        return np.asarray(after @ before)
    if group.elements_are == "permutations":
        return np.asarray(after[before])
    return np.asarray(after[np.abs(before) - 1] * np.sign(before))


def same(group: Group, one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two elements are equal, up to rounding for matrices."""
    if group.elements_are == "matrices":
        return bool(np.allclose(one, two, atol=1e-9))
    return bool(np.array_equal(one, two))


def listed(group: Group, most: int = MOST_LISTED) -> list[np.ndarray] | None:
    """Return all elements of a finite group, the identity first; `None` if there are more than `most`."""
    if not group.is_finite:
        return None
    try:
        return list(group.elements(most=most))
    except (TooLargeError, GroupError):  # given generators may generate infinitely many elements
        return None


def listed_products(groups: Mapping[str, Group], most: int = MOST_LISTED) -> list[dict[str, np.ndarray]] | None:
    """Return all elements of a product of groups, the identity first; `None` if there are more than `most`."""
    lists = [listed(group, most) for group in groups.values()]
    known = [each for each in lists if each is not None]
    if len(known) < len(lists) or math.prod(map(len, known)) > most:
        return None
    return [dict(zip(groups, element, strict=True)) for element in itertools.product(*known)]


def is_wide(group: Group) -> bool:
    """Whether a matrix group is too large for a search in its Lie algebra."""
    return group.elements_are == "matrices" and (group.n or 0) > MOST_ROWS


def algebra(group: Group) -> list[np.ndarray]:
    """Return a basis of the Lie algebra of a bound group in float64, scaled to norm √2; empty for finite groups.

    A rotation in a plane has norm √2, so that a coefficient of one is a rotation by one radian. For groups on more than
    `MOST_ROWS` entries, whose algebras have hundreds of dimensions, it is empty too.
    """
    lie_algebra = None if is_wide(group) else getattr(group, "lie_algebra", None)
    basis = [] if lie_algebra is None else [np.asarray(matrix, complex) for matrix in lie_algebra()]
    scaled = [math.sqrt(2) * matrix / np.linalg.norm(matrix) for matrix in basis if np.any(matrix)]
    return [matrix if np.any(matrix.imag) else matrix.real for matrix in scaled]


def exponential(basis: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the exponential of a linear combination of matrices, by its series and repeated squares.

    SciPy's function starts threads for matrices of five rows, which takes milliseconds on a busy machine.
    """
    generator = np.tensordot(weights, np.stack(basis), 1)
    squares = max(0, math.frexp(float(np.linalg.norm(generator)))[1] + 1)
    term = found = np.eye(len(generator))
    for place in range(1, TERMS):
        term = term @ (generator / 2**squares) / place
        found = found + term
    for _ in range(squares):
        found = found @ found
    return np.asarray(found)


def transposition(n: int, i: int, j: int) -> np.ndarray:
    """Return the permutation of n points that exchanges two of them."""
    points = np.arange(n)
    points[[i, j]] = j, i
    return points


def simple(group: Group) -> Iterator[np.ndarray]:
    """Yield a few simple elements: the generators, and for O(n) the reflections of one axis and of all axes.

    For the families of this package, they are in all components of the group.
    """
    n, found = group.n or 0, list[np.ndarray]()
    diagonals = [[-1.0 if place == axis else 1.0 for place in range(n)] for axis in range(min(n, 4))]
    others = [*map(np.diag, diagonals), -np.eye(n)] if group.reflects and group.keeps_norm else []
    for element in (*group.generators(), *others):
        if not any(same(group, element, other) for other in found):
            found.append(element)
            yield element
