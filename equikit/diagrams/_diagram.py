"""Diagrams: set partitions of a top and a bottom row of vertices, coloured by axis label."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit._errors import DiagramError, explain
from equikit.diagrams._growth import canonical
from equikit.diagrams._half import HalfDiagram
from equikit.diagrams._parse import parse_labels

if TYPE_CHECKING:
    from equikit.diagrams._category import Composite


def row(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels of a row, given as a text or one by one."""
    if isinstance(labels, str):
        return parse_labels(labels)
    return _words(tuple(labels) if isinstance(labels, Iterable) else (labels,))


@functools.lru_cache(maxsize=1024)
def _words(labels: tuple[object, ...]) -> tuple[str, ...]:
    """Return labels normalised as in a signature, or raise `DiagramError` where one is not a word."""
    words = []
    for label in labels:
        if not isinstance(label, str) or not label.isidentifier():
            raise DiagramError(
                explain(
                    "a label of the diagram is not a word",
                    got=repr(label),
                    expected="one word for each axis",
                    step='write for example ("p", "p"), or "p p"',
                )
            )
        words.append(unicodedata.normalize("NFKC", label))
    return tuple(words)


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Diagram:
    r"""A set partition of the axes of an output (top row) and an input (bottom row).

    Vertices are numbered from the left, the top row first. The diagram stands for the linear map
    \(D : V^{\otimes k} \to V^{\otimes l}\) with \(D_{I,J} = 1\) where the indices \((I, J)\) are equal within every
    block, and 0 elsewhere; these maps span \(\mathrm{Hom}_{S_n}\). A block holds axes of one label only.

    Diagrams are ordered by propagating number, largest first, then by input half, output half and wires.

    Attributes:
        top: labels of the output axes.
        bottom: labels of the input axes.
        growth: the block of each vertex, numbered by first appearance (a restricted growth string).

    Raises:
        DiagramError: if a label is not a word, `growth` has not one entry a vertex, or a block mixes labels.

    Example:
        >>> trace_to_diagonal = Diagram(("p", "p"), ("p", "p"), (0, 0, 1, 1))
        >>> print(trace_to_diagonal)
        p p -> p p: 1 2 | 1' 2'
        >>> Diagram.parse("p p -> p p: 1 2 | 1' 2'") == trace_to_diagonal
        True

    Source:
        Pearce-Crump, "Connecting Permutation Equivariant Neural Networks and Partition Diagrams", section 4;
        Godfrey et al., arXiv:2303.06208.
    """

    top: tuple[str, ...]
    bottom: tuple[str, ...]
    growth: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "top", row(self.top))
        object.__setattr__(self, "bottom", row(self.bottom))
        if not isinstance(self.growth, Sequence):
            raise DiagramError(
                explain(
                    "the blocks of the vertices are not a list",
                    got=repr(self.growth),
                    expected="one block number for each vertex",
                    step="write for example (0, 1, 0)",
                )
            )
        object.__setattr__(self, "growth", canonical(self.growth))
        if len(self.growth) != self.order:
            raise DiagramError(
                explain(
                    "the diagram needs one block number for each vertex",
                    got=f"{len(self.growth)} numbers for {len(self.top)} top and {len(self.bottom)} bottom vertices",
                    expected=f"{self.order} numbers",
                    step="give the block of each top vertex, then of each bottom vertex",
                )
            )
        for block in self.blocks:
            colours = {self.labels[vertex] for vertex in block}
            if len(colours) > 1:
                raise DiagramError(
                    explain(
                        "a block joins axes with different labels",
                        got=f"labels {', '.join(sorted(colours))} in one block",
                        expected="one label in each block: different labels move independently",
                        step="give the axes one label, or split the block",
                    )
                )

    @classmethod
    def from_blocks(cls, top: Iterable[str], bottom: Iterable[str], blocks: Iterable[Sequence[int]]) -> Diagram:
        """Build a diagram from lists of vertices: tops are 0..l-1, bottoms l..l+k-1."""
        top, bottom = row(top), row(bottom)
        number = [-1] * (len(top) + len(bottom))
        for i, block in enumerate(blocks):
            for vertex in block if isinstance(block, Sequence) else (block,):
                if vertex not in range(len(number)) or number[vertex] >= 0:
                    raise DiagramError(
                        explain(
                            "the blocks are not a partition of the vertices",
                            got=f"vertex {vertex!r} outside the rows, or twice",
                            expected=f"each of 0..{len(number) - 1} in one block",
                            step="check the list of blocks",
                        )
                    )
                number[vertex] = i
        if -1 in number:
            raise DiagramError(
                explain(
                    "the blocks are not a partition of the vertices",
                    got=f"vertex {number.index(-1)} in no block",
                    expected=f"each of 0..{len(number) - 1} in one block",
                    step="add it, alone if it is joined to nothing",
                )
            )
        return cls(top, bottom, tuple(number))

    @classmethod
    def from_halves(cls, top: HalfDiagram, bottom: HalfDiagram, wires: Sequence[int]) -> Diagram:
        """Join an output half and an input half: bottom wire `j` meets top wire `wires[j]`."""
        number = {block: -1 - j for j, block in enumerate(bottom.closed)}
        number |= {block: top.wires[wires[j]] for j, block in enumerate(bottom.wires)}
        return cls(top.labels, bottom.labels, (*top.growth, *(number[block] for block in bottom.growth)))

    @classmethod
    def identity(cls, labels: Iterable[str] | str) -> Diagram:
        """The identity map on axes with these labels."""
        labels = row(labels)
        return cls(labels, labels, (*range(len(labels)), *range(len(labels))))

    @classmethod
    def parse(cls, text: str) -> Diagram:
        """Read the text form: labels, a colon, blocks separated by bars; bottom vertices carry a prime."""
        from equikit.diagrams._text import parse_diagram

        return parse_diagram(text)

    @property
    def order(self) -> int:
        """The number of vertices, k + l."""
        return len(self.top) + len(self.bottom)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each vertex."""
        return self.top + self.bottom

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The vertices of each block."""
        return HalfDiagram(self.labels, self.growth, ()).blocks

    @property
    def block_labels(self) -> tuple[str, ...]:
        """The label of each block."""
        return tuple(self.labels[block[0]] for block in self.blocks)

    @property
    def propagating_number(self) -> int:
        """The number of blocks that join the two rows; the rank of the map is the product of their sizes."""
        return len(set(self.growth[: len(self.top)]) & set(self.growth[len(self.top) :]))

    @property
    def halves(self) -> tuple[HalfDiagram, HalfDiagram, tuple[int, ...]]:
        """The output half, the input half, and for each wire of the input half the wire of the output half it meets."""
        split = len(self.top)
        above, below = self.growth[:split], self.growth[split:]
        shared = set(above) & set(below)
        top = HalfDiagram(self.top, above, tuple(sorted(shared)))
        renumbered = dict(zip(below, canonical(below), strict=True))
        bottom = HalfDiagram(self.bottom, canonical(below), tuple(sorted(renumbered[block] for block in shared)))
        original = {new: old for old, new in renumbered.items()}
        return top, bottom, tuple(top.wires.index(original[block]) for block in bottom.wires)

    def _key(self) -> tuple[Any, ...]:
        top, bottom, wires = self.halves
        return self.top, self.bottom, -len(wires), top.core, bottom, top, wires

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Diagram):
            return NotImplemented
        return self._key() < other._key()

    def __str__(self) -> str:
        from equikit.diagrams._text import format_diagram

        return format_diagram(self)

    def __repr__(self) -> str:
        return f'Diagram.parse("{self}")'

    def _repr_svg_(self) -> str:
        from equikit.draw import diagram_svg  # drawing stands above diagrams; only the picture reaches up to it

        return diagram_svg(self)

    def matrix(self, n: int | Mapping[str, int], *, basis: str = "diagram") -> np.ndarray:
        r"""The map as a dense integer matrix, rows and columns in row-major order of the indices.

        Args:
            n: the size of every label, or a dictionary from label to size.
            basis: `"diagram"`, or `"orbit"` for the map that is 1 only where different blocks have different indices.

        Returns:
            int64 `[n^l, n^k]`.

        Raises:
            OptionError: if there is no such basis.
            ShapeError: if a label has no size.
            TooLargeError: if the matrix would pass 4 GiB.

        Cost: time and memory \(n^{k+l}\).
        """
        from equikit.diagrams._dense import diagram_matrix

        return diagram_matrix(self, n, basis=basis)

    def compose(self, other: Diagram) -> Composite:
        """`self` after `other`; see `equikit.diagrams.compose`."""
        from equikit.diagrams._category import compose

        return compose(self, other)

    __matmul__ = compose

    def tensor(self, other: Diagram) -> Diagram:
        """`self` beside `other`; see `equikit.diagrams.tensor`."""
        from equikit.diagrams._category import tensor

        return tensor(self, other)

    def flip(self) -> Diagram:
        """The diagram upside down, which is the transposed map; see `equikit.diagrams.flip`."""
        from equikit.diagrams._category import flip

        return flip(self)
