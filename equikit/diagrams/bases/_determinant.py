"""Determinants of Gram matrices as factored polynomials in the sizes: closed forms, and exact interpolation.

Diagrams of several labels are products, and so is their Gram matrix. Its determinant is the product over labels of
their determinants, each to the power of the number of diagrams of all other labels.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit._checks import refuse_if_more
from equikit.diagrams._dense import size_symbols
from equikit.diagrams._sequence import Diagrams
from equikit.diagrams.bases._basis import count_candidates
from equikit.diagrams.bases._gram import gram_entries, inner_products
from equikit.diagrams.counting._count import even_stirling_row, stirling_row
from equikit.diagrams.counting._growth import FEWER
from equikit.diagrams.counting._rules import group_of
from equikit.groups import Group
from equikit.signatures import base

if TYPE_CHECKING:
    import sympy

MOST_PAIRS = 30
"""The most pairs for which a determinant is computed: 5,604 Young diagrams have 30 boxes."""

MOST_ELIMINATED = 400
"""The most diagrams of one label for which a numerical determinant is computed."""

MOST_INTERPOLATED = 80
"""The most diagrams of one label for which a determinant is interpolated."""

MOST_BITS = 10_000_000
"""The most bits of a determinant that is written as a number."""

LARGEST_POWER = 10**4000
"""The largest power in a determinant that is written: a larger one has too many digits for Python."""

Factor = tuple[Any, int]
"""A number or expression, and its power."""


def gram_determinant(diagrams: Diagrams, sizes: Mapping[str, int] | None = None) -> sympy.Expr:
    """Return the factored determinant of the Gram matrix; a number if sizes are given.

    Raises:
        TooLargeError: if there are too many diagrams, or the number has too many digits.

    Cost: for groups that permute a basis the square of the number of vertices; for others, with symbolic n, the number
    of interpolation points times the cube of the number of diagrams.
    """
    import sympy

    total, factors = diagrams.count_all, []
    refuse_if_more("the determinant has too large powers", total, LARGEST_POWER, "diagrams", FEWER)
    for label in sorted({*map(base, diagrams.top + diagrams.bottom)}) if total else ():
        top, bottom = (tuple(x for x in row if base(x) == label) for row in (diagrams.top, diagrams.bottom))
        own = Diagrams(top, bottom, tuple(item for item in diagrams.groups if base(item[0]) == label))
        size = size_symbols({*map(base, diagrams.top + diagrams.bottom)})[label] if sizes is None else sizes[label]
        others = total // own.count_all
        factors += [(value, power * others) for value, power in _factors(own, group_of(own.groups, label), label, size)]
    if any(value == 0 for value, _ in factors):
        return sympy.Integer(0)
    if sizes is not None:
        bits = sum(power * (abs(value) - 1).bit_length() for value, power in factors if isinstance(value, int))
        refuse_if_more(
            "the determinant has too many digits", bits, MOST_BITS, "bits", "leave n out, to have it factored"
        )
    return sympy.Mul(*(sympy.sympify(value) ** power for value, power in factors))


def _factors(diagrams: Diagrams, group: Group, label: str, size: Any) -> Iterator[Factor]:
    """Yield the factors of the determinant for one label."""
    m = len(diagrams.top) + len(diagrams.bottom)
    if group.blocks in ("any", "even") and not group.legs:
        row = stirling_row(m) if group.blocks == "any" else even_stirling_row(m // 2)
        row = row[: None if group.n is None else group.n + 1]
        # The change to the orbit basis is unitriangular, and orbit maps are orthogonal: n ... (n-t+1) for t blocks.
        yield from ((size - i, sum(row[i + 1 :])) for i in range(len(row) - 1) if sum(row[i + 1 :]))
    elif group.blocks == "pair" and diagrams.count_all == count_candidates(group, m) and not _has_heads(group, m):
        yield from _of_pairings(group, m // 2, size)
    elif isinstance(size, int):
        refuse_if_more(
            "there are too many diagrams for a determinant", diagrams.count_all, MOST_ELIMINATED, "diagrams", FEWER
        )
        yield _determinant(gram_entries(diagrams, {label: size})), 1
    else:
        yield from _interpolated(diagrams, label, size)


def _has_heads(group: Group, m: int) -> bool:
    return 0 < group.legs <= m


def _of_pairings(group: Group, pairs: int, size: Any) -> Iterator[Factor]:
    r"""Yield the factors if all pairings, or all permutations, are independent.

    The Gram matrix acts on the irreducible representations of a symmetric group by scalars: products over the boxes of
    a Young diagram of \(n + 2j - i\) for pairings (\(n\) is \(-n\) for the symplectic form), and \(n + j - i\) for
    permutations, with row i and column j counted from zero.

    Source:
        Zinn-Justin, Jucys-Murphy elements and Weingarten matrices, arXiv:0907.2719.
    """
    refuse_if_more("there are too many pairs for a determinant", pairs, MOST_PAIRS, "pairs", FEWER)
    stretch = 1 if group.has_dual else 2
    powers: Counter[int] = Counter()
    for shape in _shapes(pairs, pairs):
        multiplicity = _tableaux(tuple(stretch * row for row in shape)) ** (2 if group.has_dual else 1)
        for i, row in enumerate(shape):
            for j in range(row):
                powers[stretch * j - i] += multiplicity
    turned = group.form is not None and group.form.kind == "symplectic"
    # n - s instead of n + s, because the form contributes the sign of every factor -n + s.
    yield from ((size - shift if turned else size + shift, power) for shift, power in sorted(powers.items()))


def _shapes(boxes: int, widest: int) -> Iterator[tuple[int, ...]]:
    """Yield the integer partitions in descending order."""
    if not boxes:
        yield ()
    for row in range(min(boxes, widest), 0, -1):
        yield from ((row, *rest) for rest in _shapes(boxes - row, row))


def _tableaux(shape: tuple[int, ...]) -> int:
    """Count the standard tableaux of a shape, by the hook length formula."""
    lengths = [row + len(shape) - 1 - i for i, row in enumerate(shape)]
    above = math.prod(a - b for a, b in itertools.combinations(lengths, 2))
    return math.factorial(sum(shape)) * above // math.prod(map(math.factorial, lengths))


def _determinant(entries: list[list[Any]]) -> Any:
    """Return the determinant of rows of integers, exactly, or of a Hermitian matrix of floats or complex numbers."""
    import flint

    if all(isinstance(entry, int) for row in entries for entry in row):
        return int(flint.fmpz_mat(entries).det())
    return float(np.real(np.linalg.det(np.array(entries))))


def _interpolated(diagrams: Diagrams, label: str, symbol: sympy.Symbol) -> Iterator[Factor]:
    """Yield the factors of the determinant as a polynomial, by Newton interpolation of its values at 0, 1, 2, ..."""
    import flint
    import sympy

    what = "there are too many diagrams for a determinant as a polynomial"
    refuse_if_more(what, diagrams.count_all, MOST_INTERPOLATED, "diagrams", FEWER)
    factors, powers = inner_products(diagrams)
    power = powers[label]
    degree = int(power.max(axis=1, initial=0).sum())
    if not degree:
        yield _determinant(factors.tolist()), 1
        return
    values = [
        _determinant((factors * np.array([point**e for e in range(int(power.max()) + 1)], object)[power]).tolist())
        for point in range(degree + 1)
    ]
    differences = [values[0]]
    while len(values) > 1:
        values = [after - before for before, after in itertools.pairwise(values)]
        differences.append(values[0])
    polynomial = flint.fmpq_poly([])
    for k in reversed(range(len(differences))):
        polynomial = polynomial * flint.fmpq_poly([-k, 1]) + flint.fmpq(differences[k], math.factorial(k))
    content, found = flint.fmpz_poly([int(c) for c in polynomial.coeffs()]).factor()
    yield int(content), 1
    for poly, exponent in found:
        yield sympy.Poly([int(c) for c in reversed(poly.coeffs())], symbol).as_expr(), int(exponent)
