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

from equikit._errors import TooLargeError, explain
from equikit.diagrams._count import count_coloured
from equikit.diagrams._dense import refuse_if_large
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._growth import Limits, canonical_array, refuse_if_long
from equikit.diagrams._half import HalfDiagram, half_arrays, iter_halves


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


def cores(top: tuple[str, ...], bottom: tuple[str, ...], limits: Limits = ()) -> tuple[tuple[str, ...], ...]:
    """The cores that diagrams between two rows can have within the limits, longest first, then by labels."""
    limit = {label: most for label, most in limits if most is not None}
    most = {
        label: min(count, Counter(top)[label], limit.get(label, count))
        for label, count in sorted(Counter(bottom).items())
    }
    choices = itertools.product(*(range(count + 1) for count in most.values()))
    found = (
        tuple(itertools.chain(*([label] * c for label, c in zip(most, counts, strict=True)))) for counts in choices
    )
    return tuple(sorted(found, key=lambda core: (-len(core), core)))


@dataclass(frozen=True, slots=True)
class Core:
    """The diagrams with one core: all pairs of an input half and an output half that fit, with all wirings.

    Attributes:
        labels: the labels of the wires, sorted; their number is the propagating number.
        tops, bottoms: the output and input halves, in order.
        wires: the label-keeping permutations of the wires.
        allowed: for each input half, the output halves with which the limits on blocks are kept.
    """

    labels: tuple[str, ...]
    tops: tuple[HalfDiagram, ...]
    bottoms: tuple[HalfDiagram, ...]
    wires: tuple[tuple[int, ...], ...]
    allowed: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """The number of diagrams."""
        return sum(map(len, self.allowed)) * len(self.wires)


def _fits(top: HalfDiagram, bottom: HalfDiagram, limits: Limits) -> bool:
    if all(most is None for _, most in limits):
        return True
    total = Counter(top.block_labels) + Counter(bottom.block_labels)
    total.subtract(top.core)
    return all(most is None or total[label] <= most for label, most in limits)


@dataclass(frozen=True, slots=True)
class Diagrams(Sequence[Diagram]):
    """The diagrams from a bottom row to a top row, in canonical order, with at most so many blocks of each label.

    A sequence that makes diagrams as they are asked for: `len` counts without enumerating, iteration is lazy. An index
    or a slice costs the enumeration up to it. Python's `len` ends at 2**63, `count_all` does not.

    Attributes:
        top, bottom: the labels of the rows.
        limits: for each label the largest number of blocks, `None` for no limit.
    """

    top: tuple[str, ...]
    bottom: tuple[str, ...]
    limits: Limits = ()

    @property
    def count_all(self) -> int:
        """The number of diagrams, however large."""
        return count_coloured(self.top + self.bottom, self.limits)

    def __len__(self) -> int:
        return self.count_all

    def __bool__(self) -> bool:
        return self.count_all > 0

    def __iter__(self) -> Iterator[Diagram]:
        for core in cores(self.top, self.bottom, self.limits):
            for below in iter_halves(self.bottom, core, self.limits):
                for above in iter_halves(self.top, core, self.limits):
                    if _fits(above, below, self.limits):
                        for wiring in iter_wires(core):
                            yield Diagram.from_halves(above, below, wiring)

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
        blocks = Counter(item.block_labels)
        return all(most is None or blocks[label] <= most for label, most in self.limits)

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

        Cost: that of writing the array.
        """
        order = len(self.top) + len(self.bottom)
        refuse_if_long(self.top + self.bottom)
        refuse_if_large("the array of all diagrams", self.count_all * order, 1)
        parts = [self._core_array(core) for core in cores(self.top, self.bottom, self.limits)]
        return np.concatenate([np.zeros((0, order), np.int8), *parts])

    def _core_array(self, core: tuple[str, ...]) -> np.ndarray:
        top, bottom = (half_arrays(row, core, self.limits) for row in (self.top, self.bottom))
        wires = np.array(list(iter_wires(core)), np.int64)  # [wirings, wires]
        allowed = np.ones((len(bottom.growth), len(top.growth)), bool)
        for label, most in self.limits:
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
    for labels in cores(diagrams.top, diagrams.bottom, diagrams.limits):
        tops = tuple(iter_halves(diagrams.top, labels, diagrams.limits))
        bottoms = tuple(iter_halves(diagrams.bottom, labels, diagrams.limits))
        allowed = tuple(
            tuple(t for t, top in enumerate(tops) if _fits(top, bottom, diagrams.limits)) for bottom in bottoms
        )
        core = Core(labels, tops, bottoms, tuple(iter_wires(labels)), allowed)
        if core.count:
            result.append(core)
    assert sum(core.count for core in result) == len(diagrams), "the halves do not add up to the diagrams"
    return tuple(result)
