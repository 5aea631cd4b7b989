"""All diagrams of a Hom space as a lazy sequence, grouped by core."""

from __future__ import annotations

import functools
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from equikit._errors import OptionError, TooLargeError, explain
from equikit.diagrams._basis import in_basis, keeps_rules
from equikit.diagrams._count import count_coloured
from equikit.diagrams._dense import refuse_if_large
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._growth import Limits, canonical_array, refuse_if_long
from equikit.diagrams._half import HalfDiagram, Head, half_arrays, iter_halves
from equikit.diagrams._rules import Groups, block_limits, forms_of, group_of, matching_parts
from equikit.groups import Group


def iter_wires(core: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the permutations of the wires of a core that keep labels, in lexicographic order."""
    groups = [list(places) for _, places in itertools.groupby(range(len(core)), key=core.__getitem__)]

    def extend(head: tuple[int, ...], group: int) -> Iterator[tuple[int, ...]]:  # product() would list them first
        if group == len(groups):
            yield head
            return
        for part in itertools.permutations(groups[group]):
            yield from extend(head + part, group + 1)

    return extend((), 0)


@dataclass(frozen=True, slots=True, order=True)
class HeadKind:
    """How the legs of a Levi-Civita tensor are shared out.

    Attributes:
        label: the label of the legs.
        above, below: legs that lie in one row only.
        wired: legs that lie in both.
        loose: legs that are summed over.
    """

    label: str
    above: int
    below: int
    wired: int
    loose: int

    def row(self, top: bool) -> Head:
        """The part in one row, with placeholders for its blocks."""
        own, other = (self.above, self.below) if top else (self.below, self.above)
        applied = (self.above > self.below) == top
        return Head(self.label, tuple(range(own)), other if applied else own, applied, self.wired, self.loose)


CoreKey = tuple[tuple[str, ...], tuple[HeadKind, ...]]
"""The labels of the wires, sorted, and the heads."""


def _head_kinds(group: Group, label: str, above: int, below: int, wires: int) -> Iterator[HeadKind | None]:
    """No head, or a head, for a label with so many vertices in the rows of which so many wires are made."""
    yield None
    if not group.legs:
        return
    any_block = group.blocks == "any"
    for loose in (0, 1) if any_block else (0,):
        wired = wires if any_block else 0
        for down in range(group.legs - loose - wired + 1):
            up = group.legs - loose - wired - down
            if down <= below - wires and up <= above - wires:
                yield HeadKind(label, up, down, wired, loose)


def cores(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups = ()) -> tuple[CoreKey, ...]:
    """The cores that diagrams between two rows can have: those without heads first, longest first, then by labels."""
    limit = {label: most for label, most in block_limits(groups) if most is not None}
    above, below = Counter(top), Counter(bottom)
    options = []
    for label in sorted({*top, *bottom}):
        most = min(above[label], below[label], limit.get(label, len(top)))
        options.append(
            [
                ((label,) * wires, kind)
                for wires in range(most + 1)
                for kind in _head_kinds(group_of(groups, label), label, above[label], below[label], wires)
            ]
        )
    found = [
        (tuple(itertools.chain(*(labels for labels, _ in parts))), tuple(kind for _, kind in parts if kind is not None))
        for parts in itertools.product(*options)
    ]
    return tuple(sorted(found, key=lambda core: (len(core[1]), -len(core[0]), *core)))


@dataclass(frozen=True, slots=True)
class Core:
    """The diagrams with one core: all pairs of an input half and an output half that fit, with all wirings.

    Attributes:
        labels: the labels of the wires, sorted; their number is the propagating number.
        tops, bottoms: the output and input halves, in order.
        wires: the label-keeping permutations of the wires.
        allowed: for each input half, the output halves with which some wiring is a diagram of the space.
        holes: the wirings that are none, as numbers of an input half, an output half and a wiring.
        heads: the Levi-Civita tensors between the rows.
    """

    labels: tuple[str, ...]
    tops: tuple[HalfDiagram, ...]
    bottoms: tuple[HalfDiagram, ...]
    wires: tuple[tuple[int, ...], ...]
    allowed: tuple[tuple[int, ...], ...]
    holes: frozenset[tuple[int, int, int]] = frozenset()
    heads: tuple[HeadKind, ...] = ()

    @property
    def count(self) -> int:
        """The number of diagrams."""
        return sum(map(len, self.allowed)) * len(self.wires) - len(self.holes)


def _fits(top: HalfDiagram, bottom: HalfDiagram, limits: Limits) -> bool:
    if all(most is None for _, most in limits):
        return True
    total = Counter(top.block_labels) + Counter(bottom.block_labels)
    labels = top.block_labels
    total.subtract(labels[block] for block in top.wires)
    return all(most is None or total[label] <= most for label, most in limits)


def _parities_fit(top: HalfDiagram, bottom: HalfDiagram, wiring: tuple[int, ...], groups: Groups) -> bool:
    """Whether every wire joins parts that make an allowed block."""
    sizes = [[len(half.blocks[block]) for block in half.wires] for half in (top, bottom)]
    return all(
        matching_parts(group_of(groups, bottom.core[j]), sizes[0][up], sizes[1][j]) for j, up in enumerate(wiring)
    )


@dataclass(frozen=True, slots=True)
class Diagrams(Sequence[Diagram]):
    """The diagrams from a bottom row to a top row that form a basis, in canonical order.

    A sequence that makes diagrams as they are asked for: `len` counts without enumerating, iteration is lazy. An index
    or a slice costs the enumeration up to it. Python's `len` ends at 2**63, `count_all` does not.

    Attributes:
        top, bottom: the labels of the rows.
        groups: the group of each label; a label that is not named carries the free symmetric group.
        every: take dependent diagrams too, where n is small.
    """

    top: tuple[str, ...]
    bottom: tuple[str, ...]
    groups: Groups = ()
    every: bool = False

    @property
    def count_all(self) -> int:
        """The number of diagrams, however large."""
        return count_coloured(self.top + self.bottom, self.groups)

    def __len__(self) -> int:
        return self.count_all

    def __bool__(self) -> bool:
        return self.count_all > 0

    def __iter__(self) -> Iterator[Diagram]:
        limits, forms = block_limits(self.groups), forms_of(self.groups, self.top + self.bottom)
        for core, kinds in cores(self.top, self.bottom, self.groups):
            up, down = (tuple(kind.row(top) for kind in kinds) for top in (True, False))
            for below in iter_halves(self.bottom, core, self.groups, down):
                for above in iter_halves(self.top, core, self.groups, up):
                    if _fits(above, below, limits):
                        for wiring in iter_wires(core):
                            if self._plain or _parities_fit(above, below, wiring, self.groups):
                                diagram = Diagram.from_halves(above, below, wiring, forms)
                                if self._plain or self.every or in_basis(diagram, self.groups):
                                    yield diagram

    @property
    def _plain(self) -> bool:
        """Whether all labels allow any blocks, and none has a Levi-Civita tensor."""
        return all(group.blocks == "any" and not group.legs for _, group in self.groups)

    @overload
    def __getitem__(self, index: int) -> Diagram: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Diagram, ...]: ...
    def __getitem__(self, index: int | slice) -> Diagram | tuple[Diagram, ...]:
        if isinstance(index, slice):
            wanted = range(self.count_all)[index]
            if wanted.step < 0:
                return self[wanted[-1] : wanted[0] + 1 : -wanted.step][::-1] if wanted else ()
            return tuple(itertools.islice(self, wanted.start, wanted.stop, wanted.step))
        place = range(self.count_all)[index]  # raises IndexError, and counts from the end where negative
        if place >= sys.maxsize:
            raise TooLargeError(
                explain(
                    "the diagram is too far down the list to be reached",
                    got=f"number {place:,}",
                    expected=f"below {sys.maxsize:,}",
                    step="take one from the front, or make it with Diagram.from_blocks",
                )
            )
        return next(itertools.islice(self, place, None))

    def __reversed__(self) -> Iterator[Diagram]:
        return reversed(tuple(self))

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The place of a diagram; `ValueError` where it is not in the sequence. Costs the enumeration up to it."""
        if value in self:
            places = range(self.count_all)[start:stop]
            for place, diagram in enumerate(self):
                if place >= places.stop:
                    break
                if place in places and diagram == value:
                    return place
        raise ValueError(f"{value!r} is not among the diagrams")

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, Diagram) or (item.top, item.bottom) != (self.top, self.bottom):
            return False
        return keeps_rules(item, self.groups) and (self.every or in_basis(item, self.groups))

    def __repr__(self) -> str:
        shown = [str(diagram) for diagram in itertools.islice(self, 3)]
        return f"<{self.count_all:,} diagrams: {'; '.join(shown)}{'; ...' if self.count_all > 3 else ''}>"

    @property
    def cores(self) -> tuple[Core, ...]:
        """The diagrams grouped by core; what a plan is made from."""
        return _grouped(self)

    def array(self) -> np.ndarray:
        """All diagrams at once, as restricted growth strings in canonical order.

        Returns:
            int8 `[count, l + k]`: the block of each vertex, top row first.

        Raises:
            TooLargeError: if the array would pass 4 GiB.

        Cost: that of writing the array; where groups other than the symmetric one act, that of the enumeration.
        """
        order = len(self.top) + len(self.bottom)
        refuse_if_long(self.top + self.bottom)
        refuse_if_large("the array of all diagrams", self.count_all * order, 1)
        if any(group.legs for _, group in self.groups):
            raise OptionError(
                explain(
                    "block numbers alone do not tell diagrams with a Levi-Civita tensor apart",
                    got=f"groups {', '.join(str(group) for _, group in self.groups)}",
                    expected="groups other than SO and A",
                    step="iterate over the diagrams",
                )
            )
        if not self._plain:
            return np.array([diagram.growth for diagram in self], np.int8).reshape(-1, order)
        parts = [self._core_array(core) for core, _ in cores(self.top, self.bottom, self.groups)]
        return np.concatenate([np.zeros((0, order), np.int8), *parts])

    def _core_array(self, core: tuple[str, ...]) -> np.ndarray:
        limits = block_limits(self.groups)
        top, bottom = (half_arrays(row, core, limits) for row in (self.top, self.bottom))
        wires = np.array(list(iter_wires(core)), np.int64)  # [wirings, wires]
        allowed = np.ones((len(bottom.growth), len(top.growth)), bool)
        for label, most in limits:
            if most is not None and label in {*self.top, *self.bottom}:
                zero = np.zeros(1, np.int64)
                total = bottom.blocks.get(label, zero)[:, None] + top.blocks.get(label, zero)[None, :]
                allowed &= total - core.count(label) <= most
        below, above = np.nonzero(allowed)
        # Number blocks: those of the top half, then one a wire-less block of the bottom half.
        block_of_wire = np.zeros((len(top.growth), len(core)), np.int64)
        for vertex in range(len(self.top)):
            wired = np.flatnonzero(top.wire[:, vertex] >= 0)
            block_of_wire[wired, top.wire[wired, vertex]] = top.growth[wired, vertex]
        joined = block_of_wire[above][:, wires]  # [pairs, wirings, wires]
        codes = np.empty((len(above), len(wires), len(self.top) + len(self.bottom)), np.int8)
        codes[..., : len(self.top)] = top.growth[above][:, None, :]
        for vertex in range(len(self.bottom)):
            wire, closed = bottom.wire[below, vertex], bottom.closed[below, vertex]
            column = codes[..., len(self.top) + vertex]
            if len(core):
                place = np.broadcast_to(np.maximum(wire, 0)[:, None, None], (*column.shape, 1)).astype(np.int64)
                column[...] = np.take_along_axis(joined, place, axis=2)[..., 0]
            free = wire < 0
            column[free] = (len(self.top) + closed[free])[:, None]
        rows = codes.reshape(codes.shape[0] * codes.shape[1], codes.shape[2])
        return canonical_array(rows, len(self.top) + len(self.bottom))


@functools.lru_cache(maxsize=512)
def _grouped(diagrams: Diagrams) -> tuple[Core, ...]:
    result = []
    groups, limits = diagrams.groups, block_limits(diagrams.groups)
    forms = forms_of(groups, diagrams.top + diagrams.bottom)
    for labels, kinds in cores(diagrams.top, diagrams.bottom, groups):
        tops, bottoms = (
            tuple(iter_halves(row, labels, groups, tuple(kind.row(row_is_top) for kind in kinds)))
            for row, row_is_top in ((diagrams.top, True), (diagrams.bottom, False))
        )
        wires = tuple(iter_wires(labels))
        fitting = [tuple(t for t, top in enumerate(tops) if _fits(top, bottom, limits)) for bottom in bottoms]
        holes: set[tuple[int, int, int]] = set()
        if not diagrams._plain:
            for b, bottom in enumerate(bottoms):
                for t in fitting[b]:
                    kept = [
                        _parities_fit(tops[t], bottom, wiring, groups)
                        and in_basis(Diagram.from_halves(tops[t], bottom, wiring, forms), groups)
                        for wiring in wires
                    ]
                    if not any(kept):
                        fitting[b] = tuple(other for other in fitting[b] if other != t)
                    else:
                        holes.update((b, t, w) for w, there in enumerate(kept) if not there)
        core = Core(labels, tops, bottoms, wires, tuple(fitting), frozenset(holes), kinds)
        if core.count:
            result.append(core)
    assert sum(core.count for core in result) == len(diagrams), "the halves do not add up to the diagrams"
    return tuple(result)
