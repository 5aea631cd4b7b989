"""Inner products of diagrams, and the exact change between the diagram basis and the orbit basis.

The map of a diagram is the sum of the orbit maps of all coarser diagrams, \\(D_\\pi = \\sum_{\\sigma \\ge \\pi}
O_\\sigma\\), so the change of basis is the zeta matrix of the refinement order and its inverse the Möbius function.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit._checks import refuse_if_more
from equikit._errors import DiagramError
from equikit.diagrams._dense import size_symbols
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._sequence import Diagrams
from equikit.diagrams.algebra._forms import edges, symplectic_sign
from equikit.diagrams.algebra._heads import head_product
from equikit.diagrams.counting._growth import FEWER, join
from equikit.diagrams.counting._rules import axes_of
from equikit.signatures import base

if TYPE_CHECKING:
    import sympy

MOST_JOINED = 1000
"""The most diagrams of a Gram matrix whose entries are joins of partitions."""

MOST_MULTIPLIED = 300
"""The most diagrams of a Gram matrix whose entries are products of diagrams with signs or tensors."""

MOST_CHANGED = 100_000_000
"""The most entries of a change of basis."""


def inner_product(first: Diagram, second: Diagram) -> tuple[Any, tuple[tuple[str, int], ...]]:
    r"""The factor of \(\mathrm{tr}(D^T E)\), a sign if all blocks are pairs, and the power of each label's size."""
    if first.elements or second.elements:
        return _element_product(first, second)
    turned = {label for label, form in first.forms if form.kind == "symplectic"}
    loops = [edge for diagram in (first, second) for edge in edges(diagram, turned, range(diagram.order))]
    if first.heads or second.heads:
        factor, powers = head_product(first, second)
        return factor * symplectic_sign(loops), powers
    count = Counter(base(first.labels[block]) for block in set(join(first.growth, second.growth)))
    return symplectic_sign(loops), tuple(sorted(count.items()))


def _element_product(first: Diagram, second: Diagram) -> tuple[Any, tuple[tuple[str, int], ...]]:
    """The product of the invariant tensors of the labels that have one, and the inner product on other labels."""
    factor: Any = 1
    for (label, group, number), (_, _, other) in zip(first.elements, second.elements, strict=True):
        tensors = group.invariants(axes_of(label, first.top, first.bottom))
        factor *= np.vdot(tensors[number], tensors[other]).item()
    scalar, count = inner_product(*(_without_elements(diagram) for diagram in (first, second)))
    return factor * scalar, count


def _without_elements(diagram: Diagram) -> Diagram:
    """Return the diagram on the labels without an invariant tensor."""
    whole = {label for label, _, _ in diagram.elements}
    top, bottom = (tuple(label for label in row if base(label) not in whole) for row in (diagram.top, diagram.bottom))
    growth = [b for b, label in zip(diagram.growth, diagram.labels, strict=True) if base(label) not in whole]
    return Diagram(top, bottom, tuple(growth), diagram.forms, diagram.heads)


def inner_exponents(first: Diagram, second: Diagram) -> tuple[int, int]:
    """Return the sign and the power of n in the inner product of two diagrams of one label."""
    sign, count = inner_product(first, second)
    return sign, sum(number for _, number in count)


def inner_products(diagrams: Sequence[Diagram]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the factor of each inner product, and the power of each label's size: arrays `[count, count]`.

    Raises:
        TooLargeError: if there are too many diagrams.

    Cost: the square of the number of diagrams, times the number of vertices.
    """
    what, count = "there are too many diagrams for a Gram matrix", _count(diagrams)
    refuse_if_more(what, count, MOST_JOINED, "diagrams", FEWER)
    listed = tuple(diagrams)
    signed = any(
        diagram.heads or diagram.elements or any(form.kind == "symplectic" for _, form in diagram.forms)
        for diagram in listed
    )
    refuse_if_more(what, count, MOST_MULTIPLIED if signed else MOST_JOINED, "diagrams", FEWER)
    labels = [*map(base, listed[0].labels)] if listed else []
    powers = {label: np.zeros((count, count), np.int64) for label in sorted(set(labels))}
    if not signed:
        growth = np.array([diagram.growth for diagram in listed], np.int64).reshape(count, len(labels))
        for label in powers:
            powers[label] = _join_counts(growth[:, [own == label for own in labels]])
        return np.ones((count, count), np.int64), powers
    factors = np.zeros((count, count), object)
    for i in range(count):
        for j in range(i, count):
            factor, found = inner_product(listed[i], listed[j])
            factors[i, j], factors[j, i] = factor, factor.conjugate()
            for label, power in found:
                powers[label][i, j] = powers[label][j, i] = power
    return factors, powers


def _join_counts(growth: np.ndarray) -> np.ndarray:
    """Count the blocks of the join of any two partitions, given as rows of block numbers."""
    count, order = growth.shape
    result = np.zeros((count, count), np.int64)
    for i, blocks in enumerate(growth.tolist()):
        joined = growth.copy()
        for vertex, block in enumerate(blocks):
            first = blocks.index(block)
            if first < vertex:
                joined = np.where(joined == joined[:, [vertex]], joined[:, [first]], joined)
        joined.sort(axis=1)
        result[i] = min(order, 1) + (np.diff(joined, axis=1) != 0).sum(axis=1)
    return result


def gram_entries(diagrams: Sequence[Diagram], sizes: Mapping[str, Any]) -> list[list[Any]]:
    """Return the inner products of diagrams as rows of Python numbers, or of expressions if sizes are symbols."""
    factors, powers = inner_products(diagrams)
    known: dict[tuple[Any, ...], Any] = {}

    def entry(key: tuple[Any, ...]) -> Any:
        if key not in known:
            known[key] = key[0] * math.prod(sizes[label] ** power for label, power in zip(powers, key[1:], strict=True))
        return known[key]

    rows = (
        zip(*(array[i].tolist() for array in (factors, *powers.values())), strict=True) for i in range(len(factors))
    )
    return [[entry(key) for key in row] for row in rows]


def gram_matrix(diagrams: Sequence[Diagram], sizes: Mapping[str, int] | None = None) -> sympy.ImmutableDenseMatrix:
    r"""Return the matrix of \(\langle D_i, D_j\rangle = \mathrm{tr}(D_i^T D_j) = n^{|\pi_i \vee \pi_j|}\), powers of n.

    Raises:
        TooLargeError: if there are too many diagrams.

    Cost: the square of the number of diagrams, times the number of vertices.
    """
    import sympy

    labels = {base(label) for diagram in diagrams[:1] for label in diagram.labels}
    entries = gram_entries(diagrams, size_symbols(labels) if sizes is None else sizes)
    return sympy.ImmutableDenseMatrix(len(entries), len(entries), [entry for row in entries for entry in row])


def refuse_other_rows(first: Diagram, second: Diagram) -> None:
    """Raise `DiagramError` if two diagrams have different rows."""
    if (first.top, first.bottom) != (second.top, second.bottom):
        raise DiagramError(
            "the diagrams have different rows",
            got=f"{first} and {second}",
            expected="two diagrams on the same labels",
            step="compare diagrams of one space",
        )


def refines(finer: Diagram, coarser: Diagram) -> bool:
    """Whether every block of the first lies inside a block of the second; both must have the same rows."""
    refuse_other_rows(finer, coarser)
    return len(set(zip(finer.growth, coarser.growth, strict=True))) == len(set(finer.growth))


def zeta_matrix(diagrams: Sequence[Diagram]) -> np.ndarray:
    """Return the matrix from diagram maps to orbit maps: int64, 1 at `[i, j]` if diagram i refines diagram j.

    Raises:
        DiagramError: if the diagrams have different rows.
        TooLargeError: if there are more than ten thousand diagrams.

    Cost: the square of the number of diagrams, times the number of vertices.
    """
    return _triangle(diagrams, lambda blocks, coarser: np.ones(len(coarser), np.int64))


def moebius_matrix(diagrams: Sequence[Diagram]) -> np.ndarray:
    r"""Return the inverse of `zeta_matrix`.

    \(\mu(\pi, \sigma) = \prod (-1)^{m-1} (m-1)!\) over the blocks of σ, which contain m blocks of π each.

    Raises:
        DiagramError: if the diagrams have different rows.
        TooLargeError: if there are more than ten thousand diagrams.

    Cost: the square of the number of diagrams, times the number of vertices.
    """
    return _triangle(diagrams, _moebius)


def _triangle(diagrams: Sequence[Diagram], entries: Callable[[list[int], np.ndarray], np.ndarray]) -> np.ndarray:
    """The matrix with rows `entries` at the diagrams j that are coarser than or equal to diagram i, and zeros."""
    growth = _growths(diagrams)
    result = np.zeros((len(growth), len(growth)), np.int64)
    for i, blocks in enumerate(growth.tolist()):
        coarser = np.flatnonzero(_is_coarser(growth, blocks))
        result[i, coarser] = entries(blocks, growth[coarser])
    return result


def _moebius(blocks: list[int], coarser: np.ndarray) -> np.ndarray:
    """Return the Möbius function of a partition and each of some coarser ones."""
    held = coarser[:, [blocks.index(block) for block in range(max(blocks, default=-1) + 1)]]
    value = np.ones(len(coarser), np.int64)
    for last in range(held.shape[1]):  # (m-1)! accumulates one factor at a time, with the blocks contained so far
        before = (held[:, :last] == held[:, [last]]).sum(axis=1)
        value *= np.where(before, -before, 1)
    return value


def identity_matrix(diagrams: Sequence[Diagram]) -> np.ndarray:
    """Return the change from a basis to itself, int64, or raise `TooLargeError`."""
    return np.eye(_changed(diagrams), dtype=np.int64)


def _changed(diagrams: Sequence[Diagram]) -> int:
    """Return the number of diagrams, or raise `TooLargeError` if it is too large for a change of basis."""
    count = _count(diagrams)
    refuse_if_more("the change of basis would not fit in memory", count**2, MOST_CHANGED, "entries", FEWER)
    return count


def _count(diagrams: Sequence[Diagram]) -> int:
    return diagrams.count_all if isinstance(diagrams, Diagrams) else len(diagrams)


def _growths(diagrams: Sequence[Diagram]) -> np.ndarray:
    """Return the block numbers of diagrams with equal rows, int8 `[count, vertices]`."""
    count = _changed(diagrams)
    if isinstance(diagrams, Diagrams):
        return diagrams.array()
    for diagram in diagrams[1:]:
        refuse_other_rows(diagrams[0], diagram)
    return np.array([diagram.growth for diagram in diagrams], np.int8).reshape(count, -1 if count else 0)


def _is_coarser(growth: np.ndarray, blocks: list[int]) -> np.ndarray:
    """Return which partitions keep every block of a partition together."""
    keeps = np.ones(len(growth), bool)
    for vertex, block in enumerate(blocks):
        first = blocks.index(block)
        if first < vertex:
            keeps &= growth[:, vertex] == growth[:, first]
    return keeps
