"""Inner products of diagrams, and the exact change between the diagram basis and the orbit basis.

The map of a diagram is the sum of the orbit maps of all coarser diagrams, \\(D_\\pi = \\sum_{\\sigma \\ge \\pi}
O_\\sigma\\), so the change of basis is the zeta matrix of the refinement order and its inverse the Möbius function.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit._errors import DiagramError
from equikit.diagrams._category import join
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._forms import edges, symplectic_sign
from equikit.diagrams._heads import head_product
from equikit.diagrams._rules import axes_of
from equikit.diagrams._signature import base

if TYPE_CHECKING:
    import sympy


def size_symbols(labels: Iterable[str]) -> dict[str, sympy.Symbol]:
    """A SymPy symbol for the size of each label: `n` for a single label, `n_p` and so on for several."""
    import sympy

    labels = sorted(set(labels))
    single = len({*map(base, labels)}) == 1  # a label and its dual have one size
    return {
        label: sympy.Symbol("n" if single else f"n_{base(label)}", integer=True, nonnegative=True) for label in labels
    }


def inner_product(first: Diagram, second: Diagram) -> tuple[Any, tuple[tuple[str, int], ...]]:
    r"""The factor of \(\mathrm{tr}(D^T E)\), a sign where there are pairs only, and the power of each label's size."""
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
    """The product of the invariant tensors of each label that has one, and the inner product on all other labels."""
    factor: Any = 1
    for (label, group, number), (_, _, other) in zip(first.elements, second.elements, strict=True):
        tensors = group.invariants(axes_of(label, first.top, first.bottom))
        factor *= np.vdot(tensors[number], tensors[other]).item()
    scalar, count = inner_product(*(_without_elements(diagram) for diagram in (first, second)))
    return factor * scalar, count


def _without_elements(diagram: Diagram) -> Diagram:
    """The diagram on the labels that no invariant tensor holds together."""
    whole = {label for label, _, _ in diagram.elements}
    top, bottom = (tuple(label for label in row if base(label) not in whole) for row in (diagram.top, diagram.bottom))
    growth = [b for b, label in zip(diagram.growth, diagram.labels, strict=True) if base(label) not in whole]
    return Diagram(top, bottom, tuple(growth), diagram.forms, diagram.heads)


def inner_exponents(first: Diagram, second: Diagram) -> tuple[int, int]:
    """The sign and the power of n in the inner product of two diagrams of one label."""
    sign, count = inner_product(first, second)
    return sign, sum(number for _, number in count)


def gram_matrix(diagrams: Sequence[Diagram]) -> sympy.ImmutableDenseMatrix:
    r"""The matrix of \(\langle D_i, D_j\rangle = \mathrm{tr}(D_i^T D_j) = n^{|\pi_i \vee \pi_j|}\), powers of n.

    Cost: the square of the number of diagrams, times the number of vertices.
    """
    import sympy

    symbols = size_symbols({base(label) for diagram in diagrams[:1] for label in diagram.labels})
    powers: dict[tuple[tuple[str, int], ...], sympy.Expr] = {}

    def entry(i: int, j: int) -> sympy.Expr:
        sign, count = inner_product(diagrams[i], diagrams[j])
        if count not in powers:
            powers[count] = sympy.Mul(*(symbols[label] ** number for label, number in count))
        return sign * powers[count]

    upper = {(i, j): entry(i, j) for i in range(len(diagrams)) for j in range(i, len(diagrams))}
    return sympy.ImmutableDenseMatrix(len(diagrams), len(diagrams), lambda i, j: upper[min(i, j), max(i, j)])


def gram_determinant(diagrams: Sequence[Diagram]) -> sympy.Expr:
    r"""The determinant of the Gram matrix of a set of diagrams closed under coarsening, factored.

    The change to the orbit basis is unitriangular and orbit maps are orthogonal, so the determinant is the product over
    the diagrams of \(n (n-1) \cdots (n-|\pi|+1)\), for each label. Its roots are the sizes at which the diagrams become
    dependent.
    """
    import sympy

    symbols = size_symbols({label for diagram in diagrams[:1] for label in diagram.labels})
    powers: Counter[tuple[str, int]] = Counter()
    for diagram in diagrams:
        for label, count in Counter(diagram.block_labels).items():
            powers.update((label, i) for i in range(count))
    return sympy.Mul(*((symbols[label] - i) ** power for (label, i), power in sorted(powers.items())))


def dense_determinant(diagrams: Sequence[Diagram]) -> sympy.Expr:
    """The determinant of a Gram matrix, from the matrix, factored.

    Cost: the cube of the number of diagrams, in polynomials of a degree as large as their vertices together.
    """
    import sympy
    from sympy.polys.matrices import DomainMatrix

    gram = gram_matrix(diagrams)
    if not len(diagrams):
        return sympy.Integer(1)
    return sympy.factor(DomainMatrix.from_Matrix(gram).det().as_expr() if gram.free_symbols else gram.det())


def refines(finer: Diagram, coarser: Diagram) -> bool:
    """Whether every block of the first lies inside a block of the second; they must have the same rows."""
    if (finer.top, finer.bottom) != (coarser.top, coarser.bottom):
        raise DiagramError(
            "the diagrams have different rows",
            got=f"{finer} and {coarser}",
            expected="two diagrams on the same labels",
            step="compare diagrams of one space",
        )
    return len(set(zip(finer.growth, coarser.growth, strict=True))) == len(set(finer.growth))


def zeta_matrix(diagrams: Sequence[Diagram]) -> np.ndarray:
    """The matrix that writes diagram maps in orbit maps: 1 at `[i, j]` where diagram i refines diagram j; int64."""
    count = len(diagrams)
    return np.array([[refines(a, b) for b in diagrams] for a in diagrams], np.int64).reshape(count, count)


def moebius_matrix(diagrams: Sequence[Diagram]) -> np.ndarray:
    r"""The inverse of `zeta_matrix`.

    \(\mu(\pi, \sigma) = \prod (-1)^{m-1} (m-1)!\) over the blocks of σ, each holding m blocks of π.
    """
    result = np.zeros((len(diagrams), len(diagrams)), np.int64)
    for i, finer in enumerate(diagrams):
        for j, coarser in enumerate(diagrams):
            if refines(finer, coarser):
                inside = Counter(block for _, block in set(zip(finer.growth, coarser.growth, strict=True)))
                result[i, j] = math.prod((-1) ** (m - 1) * math.factorial(m - 1) for m in inside.values())
    return result
