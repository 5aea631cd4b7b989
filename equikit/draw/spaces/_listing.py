"""A space as a compact text listing, shared among its pairs of terms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from equikit import _checks
from equikit._checks import count_text
from equikit._errors import OptionError
from equikit.diagrams import Diagram, HomSpace, MultilinearSpace
from equikit.draw._text import block_word
from equikit.draw.spaces._on_support import ZERO, OnSupport, on_support
from equikit.signatures import Term, base

if TYPE_CHECKING:
    from equikit.supports import Support


@dataclass(frozen=True, slots=True)
class Section:
    """The shown part of the space between one input term and one output term.

    Attributes:
        space: the space of the pair.
        source, target: its terms.
        count: the number of its diagrams.
        shown: the first of them.
    """

    space: HomSpace
    source: Term
    target: Term
    count: int
    shown: tuple[Diagram, ...]

    @property
    def left_out(self) -> int:
        """The number of diagrams that are not shown."""
        return self.count - len(self.shown)

    @property
    def counted(self) -> str:
        """The number of diagrams; of maps if the group of a label has numbered tensors in place of diagrams."""
        if not any(diagram.elements for diagram in self.shown):
            return plural(self.count, "diagram")
        return plural(self.count, "map" if self.space.multiplicity == 1 else "invariant tensor")

    @property
    def title(self) -> str:
        """The terms, as in a signature."""
        return f"{self.source} -> {self.target}"


def plural(count: int, what: str) -> str:
    """Write a count with a noun: `1 diagram`, `2 diagrams`."""
    return f"{count_text(count)} {what}{'' if count == 1 else 's'}"


def shares(counts: Sequence[int], most: int) -> list[int]:
    """Divide `most` places: each gets what it needs, or an equal share of what the smaller ones leave.

    Example:
        >>> shares([1, 15, 203], 20)
        [1, 9, 10]
    """
    result = [0] * len(counts)
    order = sorted(range(len(counts)), key=lambda i: (counts[i], i))
    for done, i in enumerate(order):
        result[i] = min(counts[i], most // (len(counts) - done))
        most -= result[i]
    return result


def checked_space(space: object) -> HomSpace:
    """Return a space of linear maps, or raise `OptionError`."""
    if isinstance(space, MultilinearSpace):
        raise OptionError(
            "only spaces of linear maps are drawn as a whole",
            got=space,
            expected="a signature with inputs separated by +, no sym and no alt",
            step="draw its diagrams one by one, [ek.draw.diagram_svg(one) for one in space.diagrams]",
        )
    return _checks.instance("space", space, HomSpace, 'ek.hom("p -> p", p=ek.S)')


def sections(space: HomSpace, most: int) -> list[Section]:
    """Return the pairs of terms of a space, with at most `most` diagrams shown in total."""
    pairs = space.pairs
    # Not len(), which rejects a count that does not fit in a machine word.
    counts = [pair.diagrams.__len__() for pair in pairs]
    return [
        Section(
            pair,
            pair.signature.inputs[0],
            pair.signature.outputs[0],
            count,
            tuple(itertools.islice(pair.diagrams, share)) if share else (),
        )
        for pair, count, share in zip(pairs, counts, shares(counts, _checks.count("most", most)), strict=True)
    ]


def blocks_text(diagram: Diagram) -> str:
    """Write the blocks as in the text form of a diagram, without the labels."""
    return str(diagram).rpartition(":")[2].strip() or "no blocks"


def wires_text(diagram: Diagram) -> str:
    """Write the number of wires; nothing if only a tensor joins the rows, because its lines look like wires."""
    return f"wires: {diagram.num_wires}" if diagram.num_wires or not (diagram.heads or diagram.elements) else ""


def dimension_text(space: HomSpace) -> str:
    """Write the dimension, and the n from which it holds if a group is free."""
    sizes, groups = space.signature.sizes, space.signature.groups
    inputs, outputs = space.signature.inputs, space.signature.outputs
    free = [label for label, _ in space.signature.bindings if label in groups and sizes[label] is None]
    if not (free and inputs and outputs):
        return f"dimension {count_text(space.dim)}"
    orders = {
        label: sum(max(sum(base(x) == label for x in term.labels) for term in side) for side in (inputs, outputs))
        for label in free
    }
    sign = {label: "n" if len({*map(base, groups)}) == 1 else f"n_{label}" for label in free}
    return f"dimension {count_text(space.dim)} where " + ", ".join(f"{sign[label]} ≥ {orders[label]}" for label in free)


def _table(section: Section, there: OnSupport | None) -> Iterator[str]:
    """Yield the lines of a section: number, wires, block letters of output and input, blocks."""
    words = [
        (block_word(diagram.growth[: len(diagram.top)]), block_word(diagram.growth[len(diagram.top) :]))
        for diagram in section.shown
    ]
    first = max([len(above) for above, _ in words], default=0)
    second = max([len(below) for _, below in words], default=0)
    digits = len(str(max(len(words) - 1, 0)))
    notes = [wires_text(diagram) for diagram in section.shown]
    noted = max(map(len, notes), default=0)
    for i, (diagram, note, (above, below)) in enumerate(zip(section.shown, notes, words, strict=True)):
        letters = f"{above:>{first}} <- {below:<{second}}"
        zero = there is not None and there.is_zero(section, i)
        line = f"  {i:>{digits}}  {note:<{noted}}{'  ' if noted else ''}{letters}  {blocks_text(diagram)}"
        yield line + f"  {ZERO}" * zero
    if section.left_out:
        yield (
            f"  and {count_text(section.left_out)} more"
            if words
            else f"  {plural(section.left_out, 'diagram')}, not shown"
        )


def space_text(space: HomSpace, most: int = 60, *, support: Support | None = None) -> str:
    """List the diagrams of a space, one per line.

    A line has the number of the diagram in `space.diagrams` (in `space.pairs[i].diagrams` if there are several terms),
    the number of wires, which are the blocks that join the rows, the block letters of the output and of the input, and
    the blocks. If only an invariant tensor joins the rows, the line has no number of wires; `^` marks the legs of a
    Levi-Civita tensor, and `#` numbers the tensors of a group without diagrams.

    Args:
        space: the space.
        most: the most diagrams to list, shared among the pairs of terms; the number of omitted diagrams is stated.
        support: mark the maps that are zero on a support, as `equikit.nn.Linear.active` says.

    Returns:
        Lines joined by newlines.

    Raises:
        OptionError: if the maps are not linear, `most` is not a nonnegative integer, or the support does not fit.

    Cost: the cost of computing the listed diagrams.

    Example:
        >>> from equikit import S, hom
        >>> print(space_text(hom("p -> p", p=S)))
        hom("p -> p", p=S): dimension 2 where n ≥ 2
          0  wires: 1  a <- a  1 1'
          1  wires: 0  a <- b  1 | 1'
    """
    lines = [f"{checked_space(space)}: {dimension_text(space)}"]
    parts = sections(space, most)
    there = on_support(space, parts, support)
    if there is not None:
        lines.append(there.note(parts))
    for section in parts:
        copies = section.space.multiplicity
        times = f", {plural(copies, 'map')} each" if copies != 1 else ""
        if len(parts) > 1 or times:
            lines.append(f"{section.title}: {section.counted}{times}")
        lines += _table(section, there)
    return "\n".join(lines)
