"""All diagrams of a Hom space as a lazy sequence, grouped by core."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from equikit._checks import count_text, refuse_if_more
from equikit._errors import OptionError
from equikit.diagrams._core import Core, cores, fits, iter_wires, parities_fit
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._half import half_arrays, iter_halves
from equikit.diagrams.bases._basis import in_basis, keeps_rules
from equikit.diagrams.counting._count import count_colored
from equikit.diagrams.counting._effort import (
    LOOKED_UP,
    MOST_HALVES,
    MOST_JOINED,
    MOST_LISTED,
    MOST_PAIRS,
    count_halves,
    count_joined,
    refuse_if_unlistable,
    refuse_if_unreachable,
)
from equikit.diagrams.counting._growth import FEWER, MOST_ROWS, canonical_array, refuse_if_long
from equikit.diagrams.counting._rules import Groups, axes_of, block_limits, forms_of, whole_labels
from equikit.groups import Group
from equikit.signatures import Signature, Term, base


@dataclass(frozen=True, slots=True)
class Diagrams(Sequence[Diagram]):
    """The diagrams from a bottom row to a top row that form a basis, in canonical order.

    A lazy sequence: `len` counts without enumeration, and an index or a slice costs the enumeration up to it. Python's
    `len` is limited to 2**63; `count_all` is not.

    Attributes:
        top, bottom: the labels of the rows.
        groups: the group of each label; other labels carry the free symmetric group.
        every: whether to include dependent diagrams, if n is small.
    """

    top: tuple[str, ...]
    bottom: tuple[str, ...]
    groups: Groups = ()
    every: bool = False

    @property
    def count_all(self) -> int:
        """The number of diagrams, however large."""
        return count_colored(self.top, self.bottom, self.groups)

    def __len__(self) -> int:
        return self.count_all

    def __bool__(self) -> bool:
        return self.count_all > 0

    def __iter__(self) -> Iterator[Diagram]:
        whole = bool(whole_labels(self.groups, self.top + self.bottom))
        for diagram in self.bare():
            yield from self._with_elements(diagram) if whole else [diagram]

    def bare(self) -> Iterator[Diagram]:
        """The diagrams without the invariant tensors of groups without diagrams, each once."""
        limits, forms = block_limits(self.groups), forms_of(self.groups, self.top + self.bottom)
        dependent = self.dependent and not self.every
        if (dependent or self._even) and not self.count_all:
            return  # none of possibly millions is in the basis, or has blocks of even sizes
        for core, kinds in cores(self.top, self.bottom, self.groups):
            up, down = (tuple(kind.row(top) for kind in kinds) for top in (True, False))
            for below in iter_halves(self.bottom, core, self.groups, down):
                for above in iter_halves(self.top, core, self.groups, up):
                    if fits(above, below, limits):
                        for wiring in iter_wires(core):
                            if not self._even or parities_fit(above, below, wiring, self.groups):
                                diagram = Diagram.from_halves(above, below, wiring, forms)
                                if not dependent or in_basis(diagram, self.groups):
                                    yield diagram

    @property
    def _element_counts(self) -> list[tuple[str, Group, int]]:
        """The labels whose groups have no diagrams, with the number of invariant tensors on their axes."""
        found = []
        for label, group in whole_labels(self.groups, self.top + self.bottom):
            axes = axes_of(label, self.top, self.bottom)
            found.append((label, group, group.count_invariants(len(axes), sum(axes))))
        return found

    @property
    def elements(self) -> Iterator[tuple[tuple[str, Group, int], ...]]:
        """The choices of an invariant tensor for each label whose group has no diagrams; one empty choice for none."""
        return _choices(self._element_counts)

    def _with_elements(self, diagram: Diagram) -> Iterator[Diagram]:
        return (replace(diagram, elements=choice) for choice in self.elements)

    @property
    def _plain(self) -> bool:
        """Whether all labels allow any blocks, and none has a Levi-Civita tensor."""
        return all(group.blocks == "any" and not group.legs for _, group in self.groups)

    @property
    def _even(self) -> bool:
        """Whether a label needs blocks of even sizes, so that some halves cannot be joined."""
        return any(group.blocks == "even" for _, group in self.groups)

    @property
    def dependent(self) -> bool:
        """Whether the diagrams of a label are dependent, so that a basis of them is chosen."""
        labels = [*map(base, self.top + self.bottom)]
        return any(not group.independent(labels.count(label)) for label, group in self.groups)

    @overload
    def __getitem__(self, index: int) -> Diagram: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Diagram, ...]: ...
    def __getitem__(self, index: int | slice) -> Diagram | tuple[Diagram, ...]:
        if isinstance(index, slice):
            wanted = range(self.count_all)[index]
            if wanted.step < 0:
                return self[wanted[-1] : wanted[0] + 1 : -wanted.step][::-1] if wanted else ()
            refuse_if_unlistable(wanted.stop if wanted else 0)
            return tuple(itertools.islice(self, wanted.start, wanted.stop, wanted.step))
        place = range(self.count_all)[index]  # raises IndexError, and counts from the end if negative
        refuse_if_unreachable(place)
        return next(itertools.islice(self, place, None))

    def __reversed__(self) -> Iterator[Diagram]:
        refuse_if_unlistable(self.count_all)
        return reversed(tuple(self))

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the position of a diagram, or raise `ValueError`. Costs the enumeration up to it."""
        if value in self:
            places = range(self.count_all)[start:stop]
            for place, diagram in enumerate(self):
                if place >= places.stop:
                    break
                refuse_if_unreachable(place)
                if place in places and diagram == value:
                    return place
        raise ValueError(f"{value!r} is not among the diagrams")

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, Diagram) or (item.top, item.bottom) != (self.top, self.bottom):
            return False
        return keeps_rules(item, self.groups) and (self.every or in_basis(item, self.groups))

    def __repr__(self) -> str:
        shown = [str(diagram) for diagram in itertools.islice(self, 3)]
        return f"<{count_text(self.count_all)} diagrams: {'; '.join(shown)}{'; ...' if self.count_all > 3 else ''}>"

    def refuse_if_many(self) -> None:
        """Raise `TooLargeError` if the diagrams cannot be grouped by core in a few seconds."""
        what, rows = "there are too many diagrams to be grouped by core", (self.top, self.bottom, self.groups)
        refuse_if_more(what, count_halves(*rows), MOST_HALVES, "half diagrams", FEWER)
        refuse_if_more(what, count_joined(*rows, wired=False), MOST_PAIRS, "pairs of half diagrams", FEWER)
        if self._even or self.dependent or any(most is not None for _, most in block_limits(self.groups)):
            joined = count_joined(*rows) * (LOOKED_UP if self.dependent else 1)
            refuse_if_more(what, joined, MOST_JOINED, "pairs of half diagrams with a wiring", FEWER)

    @property
    def cores(self) -> tuple[Core, ...]:
        """The diagrams grouped by core, from which a plan is made."""
        return _grouped(self)

    def array(self) -> np.ndarray:
        """Return all diagrams as restricted growth strings in canonical order.

        Returns:
            int8 `[count, l + k]`: the block of each vertex, top row first.

        Raises:
            TooLargeError: if there are too many diagrams, ten million if all groups are symmetric.

        Cost: the cost of writing the array; for groups other than the symmetric group, the cost of the enumeration.
        """
        order = len(self.top) + len(self.bottom)
        refuse_if_long(self.top + self.bottom)
        most = MOST_ROWS if self._plain else MOST_LISTED
        refuse_if_more("the array of all diagrams has too many rows", self.count_all, most, "diagrams", FEWER)
        if any(group.legs or group.blocks == "whole" for _, group in self.groups):
            raise OptionError(
                "block numbers alone do not tell the diagrams of these groups apart",
                got=f"groups {', '.join(str(group) for _, group in self.groups)}",
                expected="groups without Levi-Civita tensors, and with diagrams",
                step="iterate over the diagrams",
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
        # Number blocks: first the blocks of the top half, then the blocks of the bottom half that have no wire.
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


def pair_diagrams(signature: Signature, source: Term | None, target: Term) -> Diagrams:
    """Return the diagrams of the maps from one term, or from the trivial representation, to one term."""
    own = signature.pair(source or Term("", ()), target)
    top, bottom = (tuple(label for label in term.labels if label in own.groups) for term in (target, own.inputs[0]))
    return Diagrams(top, bottom, own.between(own.inputs[0], target))


def _choices(counts: Sequence[tuple[str, Group, int]]) -> Iterator[tuple[tuple[str, Group, int], ...]]:
    """Yield one number for each label, the last one fastest; lazily, because there can be millions."""
    if not counts:
        yield ()
        return
    *others, (label, group, count) = counts
    for choice in _choices(others):
        yield from ((*choice, (label, group, number)) for number in range(count))


@functools.lru_cache(maxsize=8192)
def _grouped(diagrams: Diagrams) -> tuple[Core, ...]:
    result = []
    groups, limits = diagrams.groups, block_limits(diagrams.groups)
    diagrams.refuse_if_many()
    if not diagrams.count_all:
        return ()  # half diagrams that join to nothing are not listed
    forms = forms_of(groups, diagrams.top + diagrams.bottom)
    dependent = diagrams.dependent
    copies = math.prod(count for _, _, count in diagrams._element_counts)
    for labels, kinds in cores(diagrams.top, diagrams.bottom, groups):
        tops, bottoms = (
            tuple(iter_halves(row, labels, groups, tuple(kind.row(row_is_top) for kind in kinds)))
            for row, row_is_top in ((diagrams.top, True), (diagrams.bottom, False))
        )
        wires = tuple(iter_wires(labels))
        fitting = [tuple(t for t, top in enumerate(tops) if fits(top, bottom, limits)) for bottom in bottoms]
        holes: set[tuple[int, int, int]] = set()
        if diagrams._even or dependent:
            for b, bottom in enumerate(bottoms):
                joined = []
                for t in fitting[b]:
                    kept = [
                        parities_fit(tops[t], bottom, wiring, groups)
                        and (not dependent or in_basis(Diagram.from_halves(tops[t], bottom, wiring, forms), groups))
                        for wiring in wires
                    ]
                    if any(kept):
                        joined.append(t)
                        holes.update((b, t, w) for w, there in enumerate(kept) if not there)
                fitting[b] = tuple(joined)
        core = Core(labels, tops, bottoms, wires, tuple(fitting), frozenset(holes), kinds, copies)
        if core.count:
            result.append(core)
    assert sum(core.count for core in result) == diagrams.count_all, "the halves do not add up to the diagrams"
    return tuple(result)
