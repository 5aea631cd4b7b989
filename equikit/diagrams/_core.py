"""Cores: the small tensors between reduction and expansion, and the diagrams that share one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from equikit.diagrams._half import HalfDiagram, Head
from equikit.diagrams.counting._growth import Limits
from equikit.diagrams.counting._rules import (
    Groups,
    axes_of,
    block_limits,
    group_of,
    headed_labels,
    matching_parts,
    whole_labels,
)
from equikit.groups import Group
from equikit.signatures import base


def iter_wires(core: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the permutations of a core's wires that preserve labels, in lexicographic order."""
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
    """How many legs of a Levi-Civita tensor lie in each row.

    Attributes:
        label: the label of the legs.
        above, below: legs that lie in one row only.
        wired: legs that lie in both rows.
        loose: legs that are summed over.
        stars: for a tensor of a group without diagrams, which of its axes carry the dual, the top row first.
    """

    label: str
    above: int
    below: int
    wired: int = 0
    loose: int = 0
    stars: tuple[bool, ...] = ()

    def row(self, top: bool) -> Head:
        """Return the part in one row, with placeholders for its blocks."""
        own, other = (self.above, self.below) if top else (self.below, self.above)
        if self.stars:
            return Head(self.label, tuple(range(own)), own, False, stars=self.stars)
        applied = (self.above > self.below) == top
        return Head(self.label, tuple(range(own)), other if applied else own, applied, self.wired, self.loose)


CoreKey = tuple[tuple[str, ...], tuple[HeadKind, ...]]
"""The labels of the wires, sorted, and the heads."""


def _head_kinds(group: Group, label: str, above: int, below: int, wires: int) -> Iterator[HeadKind | None]:
    """Yield `None` and all possible heads of a label with `above` and `below` vertices, joined by `wires` wires."""
    if not group.needs_head:
        yield None
    if not group.legs:
        return
    any_block = group.blocks == "any"
    for loose in (0, 1) if any_block else (0,):
        wired = wires if any_block else 0
        rest = group.legs - loose - wired
        for down in range(max(0, rest - (above - wires)), min(rest, below - wires) + 1):
            yield HeadKind(label, rest - down, down, wired, loose)


def cores(top: tuple[str, ...], bottom: tuple[str, ...], groups: Groups = ()) -> tuple[CoreKey, ...]:
    """List the cores of diagrams between two rows: first those without heads, longest first, then by labels."""
    limit = {label: most for label, most in block_limits(groups) if most is not None}
    above, below = Counter(top), Counter(bottom)
    options: list[list[tuple[tuple[str, ...], HeadKind | None]]] = []
    whole = whole_labels(groups, (*top, *bottom))
    for label, _ in whole:
        stars = axes_of(label, top, bottom)
        up = sum(base(other) == label for other in top)
        options.append([((), HeadKind(label, up, len(stars) - up, stars=stars))])
    for label in sorted({*top, *bottom, *headed_labels(groups)}):
        if group_of(groups, label).blocks == "whole":
            continue
        most = min(above[label], below[label], limit.get(label, len(top)))
        options.append(
            [
                ((label,) * wires, kind)
                for wires in range(most + 1)
                for kind in _head_kinds(group_of(groups, label), label, above[label], below[label], wires)
            ]
        )
    found = [
        (
            tuple(itertools.chain(*(labels for labels, _ in parts))),
            tuple(sorted(kind for _, kind in parts if kind is not None)),
        )
        for parts in itertools.product(*options)
    ]
    return tuple(sorted(found, key=lambda core: (len(core[1]), -len(core[0]), *core)))


@dataclass(frozen=True, slots=True)
class Core:
    """The diagrams with one core: all compatible pairs of an input half and an output half, with all wirings.

    Attributes:
        labels: the labels of the wires, sorted; their number is `Diagram.num_wires`.
        tops, bottoms: the output and input halves, in order.
        wires: the permutations of the wires that preserve labels.
        allowed: for each input half, the output halves to which some wiring joins it.
        holes: the wirings that are not diagrams of the space, as numbers of an input half, an output half and a wiring.
        heads: the tensors between the rows.
        copies: the number of diagrams of a wiring: one for each invariant tensor of groups without diagrams.
    """

    labels: tuple[str, ...]
    tops: tuple[HalfDiagram, ...]
    bottoms: tuple[HalfDiagram, ...]
    wires: tuple[tuple[int, ...], ...]
    allowed: tuple[tuple[int, ...], ...]
    holes: frozenset[tuple[int, int, int]] = frozenset()
    heads: tuple[HeadKind, ...] = ()
    copies: int = 1

    @property
    def count(self) -> int:
        """The number of diagrams."""
        return (sum(map(len, self.allowed)) * len(self.wires) - len(self.holes)) * self.copies


def fits(top: HalfDiagram, bottom: HalfDiagram, limits: Limits) -> bool:
    if all(most is None for _, most in limits):
        return True
    total = Counter(top.block_labels) + Counter(bottom.block_labels)
    labels = top.block_labels
    total.subtract(labels[block] for block in top.wires)
    return all(most is None or total[label] <= most for label, most in limits)


def parities_fit(top: HalfDiagram, bottom: HalfDiagram, wiring: tuple[int, ...], groups: Groups) -> bool:
    """Whether the parts at both ends of every wire form an allowed block."""
    sizes = [[len(half.blocks[block]) for block in half.wires] for half in (top, bottom)]
    return all(
        matching_parts(group_of(groups, bottom.core[j]), sizes[0][up], sizes[1][j]) for j, up in enumerate(wiring)
    )
