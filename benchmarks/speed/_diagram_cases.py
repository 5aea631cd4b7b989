"""The diagrams of `diagram_multiplication`, and their cost: by the paper, by our count, by the dense matrix."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import sympy

import equikit as ek
from equikit.diagrams import Diagram

RIVALS: dict[str, str] = {
    "factored": "`Factorization.apply`, step by step in NumPy; what can be a view is one",
    "factored, written": "the same, and the result copied into a contiguous array",
    "plan": "the plan of all diagrams of the shape at once, compiled, the weights of the others being zero",
    "dense": "the product with the dense matrix, compiled",
}
BATCH = 4096
"""Vectors per call for diagrams with a head: n is small there, and one vector takes no time."""

OVERHEAD = ", overhead"
"""The suffix of a rival's name for its time with next to nothing to compute."""

N = sympy.Symbol("n", integer=True, nonnegative=True)
SHAPES = ((2, 2), (3, 3), (3, 1), (2, 3))
GROUPS = {"S, worst": ek.S, "S, best": ek.S, "O, SO": ek.O, "Sp": ek.Sp, "SO, head": ek.SO, "A, head": ek.A}
HEADED = ("SO, head", "A, head")

# For S one block of the input alone with a single vertex, or all of the input as one block; for pairs one in each row.
CHOSEN = {
    "S, worst": {(2, 2): "1 1' | 2 | 2'", (3, 3): "1 1' | 2 2' | 3 | 3'", (3, 1): "1 1' | 2' | 3'"}
    | {(2, 3): "1 1' | 2 | 3 | 2'"},
    "S, best": {(2, 2): "1 2 | 1' 2'", (3, 3): "1 2 3 | 1' 2' 3'", (3, 1): "1 | 1' 2' 3'", (2, 3): "1 2 3 | 1' 2'"},
    "O, SO": {(2, 2): "1 2 | 1' 2'", (3, 3): "1 1' | 2 3 | 2' 3'", (3, 1): "1 1' | 2' 3'"},
    "Sp": {(2, 2): "1 2 | 1' 2'", (3, 3): "1 1' | 2 3 | 2' 3'", (3, 1): "1 1' | 2' 3'"},
}
BOUND = {"SO, head": range(2, 7), "A, head": range(3, 7)}


@dataclass(frozen=True)
class Row:
    """A diagram of a family.

    Attributes:
        family: a key of `GROUPS`.
        k, l: axes of the input and of the output.
        bound: the size n where there is a head, which is for that n only; else `None`.
    """

    family: str
    k: int
    l: int
    bound: int | None = None

    @property
    def signature(self) -> str:
        return f"{' '.join('x' * self.k)} -> {' '.join('x' * self.l)}"

    @property
    def space(self) -> ek.HomSpace:
        """All maps of the shape."""
        group = GROUPS[self.family]
        return ek.hom(self.signature, x=group if self.bound is None else group(self.bound))

    @functools.cached_property
    def diagram(self) -> Diagram:
        """The chosen diagram; of those with a head the first of those with the largest cost."""
        diagrams = self.space.diagrams
        if self.bound is None:
            wanted = Diagram.parse(f"{self.signature}: {CHOSEN[self.family][self.k, self.l]}", x=GROUPS[self.family])
            return diagrams[list(diagrams).index(wanted)]
        return max((d for d in diagrams if d.heads), key=lambda d: d.factor().operations(self.bound)[1])

    @property
    def blocks(self) -> str:
        """The diagram without its signature."""
        return str(self.diagram).split(": ", 1)[1]

    def counted(self) -> tuple[Any, Any]:
        """Our multiplications and additions, as polynomials where n is free."""
        multiplications, additions = self.diagram.factor().operations(self.bound)
        return sympy.expand(multiplications), sympy.expand(additions)

    def naive(self) -> Any:
        """Return the multiplications of the product with the matrix."""
        return sympy.expand(self.diagram.factor().naive_operations(self.bound)[0])

    def moved(self) -> Any:
        """The entries of the input that are needed, and all entries of the output, which have to be written."""
        n = N if self.bound is None else sympy.Integer(self.bound)
        return n ** len({*self.diagram.growth[self.l :]}) + n**self.l

    def paper(self) -> Any:
        """Return the content of the paper's O(...), at the bound n if there is one; `None` if it says nothing."""
        if self.family == "SO, head":
            n, s = self.bound, self.legs_above
            return n ** (self.k - (n - s)) * (math.factorial(n) + sympy.Rational(n) ** (s - 1))
        degree = {"S, worst": self.k, "S, best": 1, "O, SO": self.k - 1, "Sp": self.k - 1}
        return N ** degree[self.family] if self.family in degree else None

    @property
    def legs_above(self) -> int:
        """The vertices of the output that are legs of the head; s in the paper."""
        ((_, _, legs),) = self.diagram.heads
        return sum(block in legs for block in self.diagram.growth[: self.l])


def free_rows() -> list[Row]:
    """Return the rows whose n is free."""
    return [Row(family, *shape) for family, chosen in CHOSEN.items() for shape in SHAPES if shape in chosen]


def headed_rows() -> list[Row]:
    """Return the rows with a head, for every n at which there is one."""
    rows = [Row(family, *shape, n) for family in HEADED for shape in SHAPES for n in BOUND[family]]
    return [row for row in rows if any(diagram.heads for diagram in row.space.diagrams)]


def degree(polynomial: Any) -> int:
    """Return the degree in n."""
    return int(sympy.degree(polynomial, N)) if sympy.sympify(polynomial).has(N) else 0


def text(value: Any) -> str:
    """Return a polynomial or a number as text for a table."""
    return str(value).replace("**", "^").replace("*", " ")
