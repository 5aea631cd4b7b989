"""A diagram with a scalar: the product of two diagrams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equikit.diagrams._dense import label_sizes, refuse_if_formless, size_symbols
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.algebra._algebra import Multipliable

if TYPE_CHECKING:
    import sympy


@dataclass(frozen=True, slots=True)
class Composite(Multipliable):
    """The product of two diagrams: a diagram, times the size of a label for every loop.

    Attributes:
        diagram: the composed diagram.
        loops: each label with the number of its loops, sorted by label; labels without loops are omitted.
        coefficient: an integer; minus one if the product of the joined symplectic forms is negative.
    """

    diagram: Diagram
    loops: tuple[tuple[str, int], ...]
    coefficient: int = 1

    def factor(self, n: int | Mapping[str, int]) -> int:
        """Return the scalar at given sizes, an exact integer."""
        sizes = label_sizes(tuple(label for label, _ in self.loops), n)
        refuse_if_formless(self.diagram.forms, sizes)
        result: int = self.coefficient * math.prod(sizes[label] ** count for label, count in self.loops)
        return result

    @property
    def symbol(self) -> sympy.Expr:
        """The scalar as a SymPy expression in the sizes; `n` if the diagram has a single label."""
        import sympy

        symbols = size_symbols({*self.diagram.labels, *(label for label, _ in self.loops)})
        return sympy.Mul(self.coefficient, *(symbols[label] ** count for label, count in self.loops))

    @property
    def terms(self) -> tuple[Composite, ...]:
        """The composite as its only term, for use as a combination."""
        return (self,)

    def matrix(self, n: int | Mapping[str, int]) -> np.ndarray:
        """Return the map as a dense integer matrix, scalar included; arguments as in `Diagram.matrix`."""
        return self.factor(n) * self.diagram.matrix(n)

    def __str__(self) -> str:
        return str(self.diagram) if not self.loops and self.coefficient == 1 else f"{self.symbol} * ({self.diagram})"
