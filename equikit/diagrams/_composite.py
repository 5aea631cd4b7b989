"""A diagram with a scalar: what a product of two diagrams is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from equikit.diagrams._dense import label_sizes
from equikit.diagrams._diagram import Diagram

if TYPE_CHECKING:
    import sympy


@dataclass(frozen=True, slots=True)
class Composite:
    """The product of two diagrams: a diagram, times the size of a label for every loop.

    Attributes:
        diagram: the composed diagram.
        loops: each label with the number of its loops, sorted by label; labels without loops are left out.
        coefficient: an integer; minus one where symplectic forms met so that their product is negative.
    """

    diagram: Diagram
    loops: tuple[tuple[str, int], ...]
    coefficient: int = 1

    def factor(self, n: int | Mapping[str, int]) -> int:
        """The scalar at given sizes, an exact integer."""
        sizes = label_sizes(tuple(label for label, _ in self.loops), n)
        result: int = self.coefficient * math.prod(sizes[label] ** count for label, count in self.loops)
        return result

    @property
    def symbol(self) -> sympy.Expr:
        """The scalar as a SymPy expression in the sizes; `n` alone where the diagram has one label."""
        import sympy

        from equikit.diagrams._gram import size_symbols

        symbols = size_symbols({*self.diagram.labels, *(label for label, _ in self.loops)})
        return sympy.Mul(self.coefficient, *(symbols[label] ** count for label, count in self.loops))

    def __str__(self) -> str:
        return str(self.diagram) if not self.loops and self.coefficient == 1 else f"{self.symbol} * ({self.diagram})"
