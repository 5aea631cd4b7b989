"""The category of diagrams: composition with its scalar, tensor product, transposition.

`matrix` is a functor: with \\(A\\) after \\(B\\), `A.matrix(n) @ B.matrix(n)` is `n**loops` times the matrix of the
composed diagram, where the loops are the blocks left in the middle row, joined to neither side.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from equikit._errors import DiagramError, explain
from equikit.diagrams._dense import label_sizes
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._forms import edges, symplectic_sign

if TYPE_CHECKING:
    import sympy


@dataclass(frozen=True, slots=True)
class Composite:
    """The product of two diagrams: a diagram, times the size of a label for every loop.

    Attributes:
        diagram: the composed diagram.
        loops: each label with the number of its loops, sorted by label; labels without loops are left out.
        sign: minus one where symplectic forms met so that their product is negative, otherwise one.
    """

    diagram: Diagram
    loops: tuple[tuple[str, int], ...]
    sign: int = 1

    def factor(self, n: int | Mapping[str, int]) -> int:
        """The scalar at given sizes, an exact integer."""
        sizes = label_sizes(tuple(label for label, _ in self.loops), n)
        result: int = self.sign * math.prod(sizes[label] ** count for label, count in self.loops)
        return result

    @property
    def symbol(self) -> sympy.Expr:
        """The scalar as a SymPy expression in the sizes; `n` alone where the diagram has one label."""
        import sympy

        from equikit.diagrams._gram import size_symbols

        symbols = size_symbols({*self.diagram.labels, *(label for label, _ in self.loops)})
        return sympy.Mul(self.sign, *(symbols[label] ** count for label, count in self.loops))

    def __str__(self) -> str:
        return str(self.diagram) if not self.loops and self.sign == 1 else f"{self.symbol} * ({self.diagram})"


def join(*strings: tuple[int, ...]) -> list[int]:
    """The finest partition coarser than all the given ones: the number of the block of each vertex."""
    parent = list(range(len(strings[0])))

    def root(vertex: int) -> int:
        while parent[vertex] != vertex:
            parent[vertex] = parent[parent[vertex]]
            vertex = parent[vertex]
        return vertex

    for string in strings:
        first: dict[int, int] = {}
        for vertex, block in enumerate(string):
            parent[root(vertex)] = root(first.setdefault(block, vertex))
    return [root(vertex) for vertex in range(len(parent))]


def _check_diagrams(verb: str, *operands: object) -> None:
    for operand in operands:
        if not isinstance(operand, Diagram):
            raise DiagramError(
                explain(
                    f"only diagrams can be {verb}",
                    got=repr(operand),
                    expected="two diagrams",
                    step="take the diagram of a composite with .diagram, the matrix of a diagram with .matrix(n)",
                )
            )


def _refuse_heads(verb: str, *operands: Diagram) -> None:
    if any(diagram.heads for diagram in operands):
        raise DiagramError(
            explain(
                f"diagrams with a Levi-Civita tensor cannot be {verb} as diagrams",
                got=" and ".join(map(str, operands)),
                expected="diagrams without legs marked ^",
                step="multiply their matrices",
            )
        )


def compose(after: Diagram, before: Diagram) -> Composite:
    """Stack `after` on `before`: the map that applies `before` first.

    Args:
        after: a diagram whose bottom row has the labels of the top row of `before`.
        before: the diagram applied first.

    Returns:
        The composed diagram, with its loops.

    Raises:
        DiagramError: if the rows that meet have different labels, or one of the two is not a diagram.

    Cost: linear in the number of vertices.

    Example:
        >>> cup_cap = Diagram.parse("p p -> p p: 1 2 | 1' 2'")
        >>> print(compose(cup_cap, cup_cap))
        n * (p p -> p p: 1 2 | 1' 2')
    """
    _check_diagrams("composed", after, before)
    _refuse_heads("composed", after, before)
    if after.bottom != before.top or _contradict(after, before):
        raise DiagramError(
            explain(
                "the diagrams cannot be composed",
                got=f"{after} after {before}",
                expected="the bottom row of the first to have the labels, and forms, of the top row of the second",
                step="flip or permute one of them",
            )
        )
    tops, middles, bottoms = len(after.top), len(after.bottom), len(before.bottom)
    # Vertices of the stack: top row, middle row, bottom row. Vertices outside a diagram get blocks of their own.
    upper = (*after.growth, *range(after.order, after.order + bottoms))
    lower = (*range(-tops, 0), *before.growth)
    block = join(upper, lower)
    outer = {*block[:tops], *block[tops + middles :]}
    labels = after.labels
    loops = Counter({b: labels[b] for b in block[tops : tops + middles] if b not in outer}.values())
    growth = (*block[:tops], *block[tops + middles :])
    forms = dict(after.forms) | dict(before.forms)
    result = Diagram(after.top, before.bottom, growth, tuple(forms.items()))
    turned = {label for label, form in forms.items() if form.kind == "symplectic"}
    sign = symplectic_sign(
        [*edges(after, turned, range(tops + middles)), *edges(before, turned, range(tops, tops + before.order))]
    )
    return Composite(result, tuple(sorted(loops.items())), sign)


def _contradict(first: Diagram, second: Diagram) -> bool:
    """Whether a label that both diagrams have carries different forms in them."""
    one, other = dict(first.forms), dict(second.forms)
    return any(one.get(label) != other.get(label) for label in {*first.labels} & {*second.labels})


def tensor(left: Diagram, right: Diagram) -> Diagram:
    """Put two diagrams side by side: the Kronecker product of the maps.

    Example:
        >>> one = Diagram.identity("p")
        >>> tensor(one, one) == Diagram.identity("p p")
        True
    """
    _check_diagrams("put side by side", left, right)
    _refuse_heads("put side by side", left, right)
    offset = left.order
    split, other = len(left.top), len(right.top)
    shifted = tuple(block + offset for block in right.growth)
    growth = (*left.growth[:split], *shifted[:other], *left.growth[split:], *shifted[other:])
    if _contradict(left, right):
        raise DiagramError(
            explain(
                "one label has different forms in the two diagrams",
                got=f"{left!r} and {right!r}",
                expected="one form for each label",
                step="give the axes different labels",
            )
        )
    return Diagram(left.top + right.top, left.bottom + right.bottom, growth, left.forms + right.forms)


def flip(diagram: Diagram) -> Diagram:
    """Turn a diagram upside down: the transposed map.

    Example:
        >>> print(flip(Diagram.parse("p p -> p: 1 1' | 2'")))
        p -> p p: 1 1' | 2
    """
    _refuse_heads("turned upside down", diagram)
    split = len(diagram.top)
    return Diagram(diagram.bottom, diagram.top, diagram.growth[split:] + diagram.growth[:split], diagram.forms)
