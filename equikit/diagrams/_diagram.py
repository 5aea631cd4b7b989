"""Diagrams: set partitions of a top and a bottom row of vertices, colored by axis label."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit._errors import DiagramError
from equikit._keywords import call_of
from equikit.diagrams._half import HalfDiagram, Head, blocks_of, labels_of
from equikit.diagrams.algebra._algebra import Multipliable
from equikit.diagrams.counting._growth import canonical
from equikit.diagrams.counting._rules import axes_of, forms_of
from equikit.groups import Form, Group
from equikit.signatures import base, bindings, is_keyword, parse_labels, refuse_unused

if TYPE_CHECKING:
    from equikit.diagrams.algebra._factor import Factorization

Forms = tuple[tuple[str, Form], ...]
Heads = tuple[tuple[str, int, tuple[int, ...]], ...]
"""For each label the number of legs of its Levi-Civita tensor, and the blocks that are legs."""

Elements = tuple[tuple[str, Group, int], ...]
"""For each label without a star its group, and the number of an invariant tensor of the group."""


def row(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels of a row, given as text or one by one."""
    if isinstance(labels, str | bytes):
        return parse_labels(labels)
    words = tuple(labels) if isinstance(labels, Iterable) else (labels,)
    try:
        return _words(words)
    except TypeError:  # a label that cannot be hashed is not a word
        return _words.__wrapped__(words)


def bound_forms(groups: Mapping[str, object] | None, keywords: Mapping[str, object], labels: Iterable[str]) -> Forms:
    """Return the forms of the labels that are bound to a group with a form."""
    found, labels = bindings(groups, keywords), tuple(labels)
    refuse_unused(found, {*map(base, labels)}, " ".join(labels) or "()")
    return forms_of(tuple((label, what) for label, what in found.items() if isinstance(what, Group)), labels)


@functools.lru_cache(maxsize=1024)
def _words(labels: tuple[object, ...]) -> tuple[str, ...]:
    """Return labels normalized as in a signature, or raise `DiagramError` if one is not a word."""
    words = []
    for label in labels:
        if not isinstance(label, str) or not base(label).isidentifier():
            raise DiagramError(
                "a label of the diagram is not a word",
                got=repr(label),
                expected="one word for each axis",
                step='write for example ("p", "p"), or "p p"',
            )
        words.append(unicodedata.normalize("NFKC", label))
    return tuple(words)


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Diagram(Multipliable):
    r"""A set partition of the axes of an output (top row) and an input (bottom row).

    Vertices are numbered from the left, the top row first. The diagram stands for the linear map
    \(D : V^{\otimes k} \to V^{\otimes l}\) with \(D_{I,J} = 1\) if the indices \((I, J)\) are equal within every block,
    and 0 otherwise. These maps span \(\mathrm{Hom}_{S_n}\), and the maps of pairings span \(\mathrm{Hom}_{O(n)}\). A
    block contains axes of one label only. If a label has a form, its blocks are pairs, and a pair inside one row stands
    for the entry of the form, with row and column in the order of the vertices.

    A *head* is a Levi-Civita tensor whose legs are blocks of its label: the entry is multiplied by the sign of their
    indices as a permutation. If there is one block fewer than legs, the last leg is summed over. The order of the legs
    is: blocks in both rows, blocks in the top row only, blocks in the bottom row only. Blocks in both rows follow their
    order in the row with more legs of its own, the bottom row in a tie. A metric lowers the legs in the bottom row.

    A group given by generators has no diagrams. All axes of its label are then single vertices, and the entry is
    multiplied by the entry of an *element*, a basis tensor of its invariant tensors, `group.invariants`.

    Diagrams are ordered by number of wires, largest first, then by input half, output half and wires.

    Attributes:
        top: labels of the output axes.
        bottom: labels of the input axes.
        growth: the block of each vertex, numbered by first appearance (a restricted growth string).
        forms: the labels that have a form other than the identity matrix, sorted, each with its form.
        heads: the labels with a head, sorted, with its number of legs and the blocks that are legs.
        elements: the labels whose groups have no diagrams, sorted, with the group and the number of the tensor.

    Raises:
        DiagramError: if a label is not a word, `growth` does not have one entry for each vertex, a block mixes labels,
            or a label with a form has a block that is not a pair.

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
    forms: tuple[tuple[str, Form], ...] = ()
    heads: Heads = ()
    elements: Elements = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "top", row(self.top))
        object.__setattr__(self, "bottom", row(self.bottom))
        if not isinstance(self.growth, Sequence):
            raise DiagramError(
                "the blocks of the vertices are not a list",
                got=repr(self.growth),
                expected="one block number for each vertex",
                step="write for example (0, 1, 0)",
            )
        given, growth = self.growth, canonical(self.growth)
        new = dict(zip(given, growth, strict=True))
        heads = [
            (label, legs, tuple(sorted(new.get(block, -1) for block in blocks))) for label, legs, blocks in self.heads
        ]
        object.__setattr__(self, "growth", growth)
        object.__setattr__(self, "heads", tuple(sorted(heads)))
        if len(self.growth) != self.order:
            raise DiagramError(
                "the diagram needs one block number for each vertex",
                got=f"{len(self.growth)} numbers for {len(self.top)} top and {len(self.bottom)} bottom vertices",
                expected=f"{self.order} numbers",
                step="give the block of each top vertex, then of each bottom vertex",
            )
        for label, legs, blocks in heads:
            own = {block for block, name in zip(growth, self.labels, strict=True) if base(name) == label}
            if len({*blocks}) < len(blocks) or not {*blocks} <= own or legs - len(blocks) not in (0, 1):
                raise DiagramError(
                    f"the legs of the Levi-Civita tensor on {label!r} are not blocks of it",
                    got=f"{legs} legs, blocks {blocks}",
                    expected=f"different ones of {sorted(own)}, as many as there are legs or one fewer",
                    step="see the heads of a diagram in space.diagrams",
                )
        object.__setattr__(self, "elements", tuple(sorted(self.elements, key=lambda element: element[0])))
        whole = {label for label, _, _ in self.elements}
        for label in sorted(whole):
            if any(base(self.labels[block[0]]) == label and len(block) > 1 for block in self.blocks):
                raise DiagramError(
                    f"axes of {label!r} are joined by a block, but held together by an invariant tensor",
                    got=repr(growth),
                    expected="single vertices",
                    step="see the elements of a diagram in space.diagrams",
                )
        formed = dict(self.forms)
        object.__setattr__(self, "forms", tuple(sorted((x, formed[x]) for x in formed if x in self.labels)))
        taken = {block for _, _, blocks in heads for block in blocks}
        for number, block in enumerate(self.blocks):
            if self.labels[block[0]] in formed and len(block) != (1 if number in taken else 2):
                raise DiagramError(
                    f"label {self.labels[block[0]]!r} has a form, which joins two vertices",
                    got=f"a block of {len(block)}",
                    expected="pairs",
                    step="leave the form out, or join the vertices in pairs",
                )
            colors = {base(self.labels[vertex]) for vertex in block}
            if len(colors) > 1:
                raise DiagramError(
                    "a block joins axes with different labels",
                    got=f"labels {', '.join(sorted(colors))} in one block",
                    expected="one label in each block: different labels move independently",
                    step="give the axes one label, or split the block",
                )

    @classmethod
    def from_blocks(
        cls,
        top: Iterable[str],
        bottom: Iterable[str],
        blocks: Iterable[Sequence[int]],
        forms: Forms = (),
        heads: Heads = (),
        elements: Elements = (),
    ) -> Diagram:
        """Build a diagram from lists of vertices: the tops are 0..l-1, the bottoms l..l+k-1."""
        top, bottom = row(top), row(bottom)
        number = [-1] * (len(top) + len(bottom))
        for i, block in enumerate(blocks):
            for vertex in block if isinstance(block, Sequence) else (block,):
                if vertex not in range(len(number)) or number[vertex] >= 0:
                    raise DiagramError(
                        "the blocks are not a partition of the vertices",
                        got=f"vertex {vertex!r} outside the rows, or twice",
                        expected=f"each of 0..{len(number) - 1} in one block",
                        step="check the list of blocks",
                    )
                number[vertex] = i
        if -1 in number:
            raise DiagramError(
                "the blocks are not a partition of the vertices",
                got=f"vertex {number.index(-1)} in no block",
                expected=f"each of 0..{len(number) - 1} in one block",
                step="add it, alone if it is joined to nothing",
            )
        return cls(top, bottom, tuple(number), forms, heads, elements)

    @classmethod
    def from_halves(
        cls, top: HalfDiagram, bottom: HalfDiagram, wires: Sequence[int], forms: Forms = (), elements: Elements = ()
    ) -> Diagram:
        """Join an output half and an input half: bottom wire `j` meets top wire `wires[j]`."""
        own = [block for block in range(bottom.size) if block not in bottom.propagating]
        number = {block: -1 - j for j, block in enumerate(own)}
        number |= {block: top.wires[wires[j]] for j, block in enumerate(bottom.wires)}
        heads = []
        for above, below in zip(top.heads, bottom.heads, strict=True):
            if above.stars:
                continue
            legs = [*above.blocks, *(number[block] for block in below.blocks)]
            if above.wired:
                legs += [block for block in top.wires if top.block_labels[block] == above.label]
            heads.append((above.label, len(legs) + above.loose, tuple(legs)))
        growth = (*top.growth, *(number[block] for block in bottom.growth))
        return cls(top.labels, bottom.labels, growth, forms, tuple(heads), elements)

    @classmethod
    def identity(
        cls, labels: Iterable[str] | str, *, groups: Mapping[str, object] | None = None, **bindings: object
    ) -> Diagram:
        """Return the identity map on axes with these labels; groups with a form are named as in `parse`."""
        labels = row(labels)
        return cls(labels, labels, (*range(len(labels)), *range(len(labels))), bound_forms(groups, bindings, labels))

    @classmethod
    def parse(cls, text: str, *, groups: Mapping[str, object] | None = None, **bindings: object) -> Diagram:
        """Read the text form: labels, a colon, blocks separated by bars; bottom vertices carry a prime.

        Args:
            text: such as `"p p -> p: 1 1' | 2'"`.
            groups: the groups of labels, as a dictionary; labels may also be given as keywords. Only groups with a form
                have to be named, as in `m=ek.Lorentz`.
        """
        from equikit.diagrams._text import parse_diagram

        return parse_diagram(text, groups, bindings)

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
        return blocks_of(self.growth)

    @property
    def block_labels(self) -> tuple[str, ...]:
        """The label of each block, without a star if the block joins a vector and a dual vector."""
        return labels_of(self.labels, self.growth)

    @property
    def num_wires(self) -> int:
        """The number of wires, the blocks that join the two rows; the rank of the map is the product of their sizes."""
        return len(set(self.growth[: len(self.top)]) & set(self.growth[len(self.top) :]))

    @property
    def halves(self) -> tuple[HalfDiagram, HalfDiagram, tuple[int, ...]]:
        """The output half, the input half, and for each wire of the input half its wire of the output half."""
        split = len(self.top)
        above, below = self.growth[:split], self.growth[split:]
        shared = set(above) & set(below)
        renumbered = dict(zip(below, canonical(below), strict=True))
        upper: list[Head] = []
        lower: list[Head] = []
        for label, count, legs in self.heads:
            up = tuple(sorted(block for block in legs if block in above and block not in shared))
            down = tuple(sorted(renumbered[block] for block in legs if block in below and block not in shared))
            rest = len(legs) - len(up) - len(down), count - len(legs)
            at_top = len(up) > len(down)
            upper.append(Head(label, up, len(down if at_top else up), at_top, *rest))
            lower.append(Head(label, down, len(down if at_top else up), not at_top, *rest))
        marks = tuple(sorted(renumbered[block] for block in shared))
        for label, _, _ in self.elements:
            stars = axes_of(label, self.top, self.bottom)
            for row_labels, row_growth, found in ((self.top, above, upper), (self.bottom, canonical(below), lower)):
                own = tuple(b for b, name in zip(row_growth, row_labels, strict=True) if base(name) == label)
                found.append(Head(label, own, len(own), False, stars=stars))
        upper.sort()
        lower.sort()
        top = HalfDiagram(self.top, above, tuple(sorted(shared)), tuple(upper))
        bottom = HalfDiagram(self.bottom, canonical(below), marks, tuple(lower))
        original = {new: old for old, new in renumbered.items()}
        return top, bottom, tuple(top.wires.index(original[block]) for block in bottom.wires)

    def _key(self) -> tuple[Any, ...]:
        top, bottom, wires = self.halves
        pairs = zip(top.heads, bottom.heads, strict=True)
        kinds = [(head.label, len(head.blocks), len(other.blocks)) for head, other in pairs]
        core = tuple(top.block_labels[block] for block in top.wires)
        numbers = [(label, number) for label, _, number in self.elements]
        return self.top, self.bottom, self.forms, len(kinds), -len(wires), core, kinds, bottom, top, wires, numbers

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Diagram):
            return NotImplemented
        return self._key() < other._key()

    def __str__(self) -> str:
        from equikit.diagrams._text import format_diagram

        return format_diagram(self)

    def __repr__(self) -> str:
        bound = {label: str(form) for label, form in self.forms}
        for label, legs, blocks in self.heads:
            single = len(blocks) == legs and all(len(self.blocks[block]) == 1 for block in blocks)
            bound[label] = f"S{bound[label]}" if label in bound else f"{'SO' if single else 'A'}({legs})"
        bound |= {label: repr(group) for label, group, _ in self.elements}
        if not all(is_keyword(label, call_of(Diagram.parse)) for label in bound):
            groups = ", ".join(f"{label!r}: {what}" for label, what in sorted(bound.items()))
            return f'Diagram.parse("{self}", groups={{{groups}}})'
        return f'Diagram.parse("{self}"{"".join(f", {label}={what}" for label, what in sorted(bound.items()))})'

    # Notebooks show the HTML, an image of the SVG picture; exports to LaTeX take the TikZ picture. There is no
    # _repr_svg_: exports to LaTeX convert SVG with Inkscape, and fail without it, whatever else there is.
    def _repr_html_(self) -> str:
        from equikit.draw import diagram_svg, image  # draw is built on diagrams; only the pictures import it

        return image(diagram_svg(self), str(self))

    def _repr_latex_(self) -> str:
        from equikit.draw import diagram_tikz, latex

        return latex(diagram_tikz(self), str(self))

    def matrix(self, n: int | Mapping[str, int], *, basis: str = "diagram") -> np.ndarray:
        r"""Return the map as a dense integer matrix, rows and columns in row-major order of the indices.

        Args:
            n: the size of every label, or a dictionary from label to size.
            basis: `"diagram"`, or `"orbit"` for the map that is 1 only where different blocks have different indices.

        Returns:
            int64 `[n^l, n^k]`.

        Raises:
            OptionError: if the basis is unknown.
            ShapeError: if a label has no size.
            TooLargeError: if the matrix would exceed 4 GiB.

        Cost: time and memory \(n^{k+l}\).
        """
        from equikit.diagrams._dense import diagram_matrix

        return diagram_matrix(self, n, basis=basis)

    def factor(self) -> Factorization:
        """Factor the diagram into permutation, planar diagram and permutation; see `equikit.diagrams.factor`."""
        from equikit.diagrams.algebra._factor import factor

        return factor(self)
