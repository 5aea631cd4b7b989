r"""Factor a diagram into a permutation, a planar diagram and a permutation, for a fast matrix-vector product.

The planar diagram is a row of *components*: blocks of the output only, blocks that join the rows, blocks of the input
only. Its matrix is the Kronecker product of their matrices, so a vector is multiplied component by component: the input
is summed first, and copied into the output last. No matrix with \(n^{k+l}\) entries is formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit._errors import ShapeError
from equikit.diagrams._dense import label_sizes, refuse_elements, size_symbols
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.algebra._product import additions, applied


@dataclass(frozen=True, slots=True)
class FactorStep:
    """One step of the product of a diagram with a vector.

    Attributes:
        kind: `"permute"`, `"contract"` (input axes are summed), `"transfer"` (input axes become output axes) or
            `"copy"` (output axes are added).
        diagram: the permutation, or the component.
        axes: the labels of the axes of the result.
        multiplications, additions: integers or polynomials in the sizes. Multiplications by one and minus one, and
            copies, are not counted.
    """

    kind: str
    diagram: Diagram
    axes: tuple[str, ...]
    multiplications: Any
    additions: Any


@dataclass(frozen=True, slots=True)
class Factorization:
    """An output permutation after a planar diagram after an input permutation.

    Attributes:
        output, planar, input: the three diagrams, whose composition is the factored diagram.
        components: the planar diagram from left to right; its matrix is the Kronecker product of theirs.
    """

    output: Diagram
    planar: Diagram
    input: Diagram
    components: tuple[Diagram, ...]

    def __str__(self) -> str:
        return f"({self.output}) @ ({self.planar}) @ ({self.input})"

    def _repr_html_(self) -> str:
        from equikit.draw import factorization_html  # draw is built on diagrams; only the picture imports it

        return factorization_html(self)

    def _repr_latex_(self) -> str:
        from equikit.draw import factorization_tikz, latex

        return latex(factorization_tikz(self), str(self))

    def steps(self, n: int | Mapping[str, int] | None = None) -> tuple[FactorStep, ...]:
        """Return the steps of the matrix-vector product, with their numbers of operations.

        Args:
            n: the size of every label, or a dictionary; symbols by default.
        """
        return tuple(_steps(self, n))

    def operations(self, n: int | Mapping[str, int] | None = None) -> tuple[Any, Any]:
        """Return the total multiplications and additions of all steps; see `naive_operations` for the matrix.

        Example:
            >>> Diagram.parse("p p -> p p: 1 | 2 | 1' 2'").factor().operations()
            (0, n - 1)
        """
        steps = self.steps(n)
        return sum(step.multiplications for step in steps), sum(step.additions for step in steps)

    def naive_operations(self, n: int | Mapping[str, int] | None = None) -> tuple[Any, Any]:
        """Return the multiplications and additions of the product with the dense matrix."""
        size = _sizes(self.planar, n)
        rows, columns = (math.prod(size[x] for x in row) for row in (self.output.top, self.input.bottom))
        return rows * columns, rows * (columns - 1)

    def apply(self, x: np.ndarray, n: int | Mapping[str, int]) -> np.ndarray:
        """Multiply by a vector, given as a tensor, step by step.

        Args:
            x: one axis for each input axis, of its size.
            n: the size of every label, or a dictionary.

        Returns:
            One axis for each output axis; a view of `x` where axes are only moved.

        Raises:
            ShapeError: if `x` has another shape.

        Cost: the cost of `operations`, plus one pass over every array that is read or written.

        Example:
            >>> Diagram.parse("p p -> p: 1 | 1' 2'").factor().apply(np.arange(4).reshape(2, 2), 2).tolist()
            [3, 3]
        """
        size = _sizes(self.planar, n)
        expected = tuple(size[label] for label in self.input.bottom)
        if np.shape(x) != expected:
            raise ShapeError(
                "the tensor does not fit the diagram",
                got=f"shape {np.shape(x)}",
                expected=f"{expected}: one axis for each input axis",
                step="reshape it, or check the sizes",
            )
        x = np.transpose(x, _axes(self.input))
        for component, offset in _right_to_left(self.components):
            x = applied(component, x, offset, size)
        return np.transpose(x, _axes(self.output))


def factor(diagram: Diagram) -> Factorization:
    r"""Write a diagram as output permutation, planar diagram and input permutation.

    Components are ordered: output only, both rows, input only, each by its first vertex. The order within a component
    is preserved, so no form and no Levi-Civita tensor changes its sign.

    Returns:
        The factorization, with `output @ planar @ input` equal to the diagram.

    Cost: linear in the number of vertices.

    Example:
        >>> swap = Diagram.parse("p p -> p p: 1 2' | 2 1'").factor()
        >>> print(swap.planar)
        p p -> p p: 1 1' | 2 2'

    Source:
        Pearce-Crump and Knottenbelt, arXiv:2412.10837, the algorithm PlanarMult; Godfrey et al., arXiv:2303.06208.
    """
    refuse_elements("the factorization", diagram)
    split = len(diagram.top)
    groups: dict[int, list[int]] = {}
    joined = {block: legs[0] for _, _, legs in diagram.heads for block in legs}
    for vertex, block in enumerate(diagram.growth):
        groups.setdefault(joined.get(block, block), []).append(vertex)

    def place(vertices: list[int]) -> int:
        return 0 if vertices[-1] < split else 2 if vertices[0] >= split else 1

    ordered = sorted(groups.values(), key=lambda vertices: (place(vertices), vertices))
    tops = [vertex for vertices in ordered for vertex in vertices if vertex < split]
    bottoms = [vertex for vertices in ordered for vertex in vertices if vertex >= split]
    above, below = (tuple(diagram.labels[vertex] for vertex in row) for row in (tops, bottoms))
    growth = tuple(diagram.growth[vertex] for vertex in (*tops, *bottoms))
    first = tuple(bottoms.index(vertex) for vertex in range(split, diagram.order))
    last = tuple(tops.index(vertex) for vertex in range(split))
    return Factorization(
        Diagram(diagram.top, above, (*last, *range(split)), diagram.forms),
        Diagram(above, below, growth, diagram.forms, diagram.heads),
        Diagram(below, diagram.bottom, (*range(len(bottoms)), *first), diagram.forms),
        tuple(_component(diagram, vertices) for vertices in ordered),
    )


def _component(diagram: Diagram, vertices: list[int]) -> Diagram:
    split = len(diagram.top)
    rows = [[v for v in vertices if v < split], [v for v in vertices if v >= split]]
    top, bottom = (tuple(diagram.labels[vertex] for vertex in row) for row in rows)
    growth = tuple(diagram.growth[vertex] for vertex in vertices)
    heads = tuple(head for head in diagram.heads if set(head[2]) & set(growth))
    return Diagram(top, bottom, growth, diagram.forms, heads)


def _right_to_left(components: tuple[Diagram, ...]) -> Iterator[tuple[Diagram, int]]:
    """Yield the components in the order of computation, each with the number of input axes to its left."""
    offset = sum(len(component.bottom) for component in components)
    for component in reversed(components):
        offset -= len(component.bottom)
        yield component, offset


def _sizes(diagram: Diagram, n: int | Mapping[str, int] | None) -> dict[str, Any]:
    if n is not None:
        return dict(label_sizes(diagram.labels, n))
    return dict(size_symbols(diagram.labels)) | {label: count for label, count, _ in diagram.heads}


def _axes(permutation: Diagram) -> list[int]:
    """Return for each top vertex of a permutation diagram the position of the bottom vertex that it is joined to."""
    split = len(permutation.top)
    return [permutation.growth.index(block, split) - split for block in permutation.growth[:split]]


def _steps(factored: Factorization, n: int | Mapping[str, int] | None) -> Iterator[FactorStep]:
    size = _sizes(factored.planar, n)
    axes = list(factored.input.top)
    yield FactorStep("permute", factored.input, tuple(axes), 0, 0)
    for component, offset in _right_to_left(factored.components):
        count = len(component.bottom)
        axes[offset : offset + count] = []
        rest = math.prod(size[label] for label in axes)
        axes[offset:offset] = component.top
        kind = "copy" if not count else "transfer" if component.top else "contract"
        yield FactorStep(kind, component, tuple(axes), 0, additions(component, size) * rest)
    yield FactorStep("permute", factored.output, tuple(factored.output.top), 0, 0)
