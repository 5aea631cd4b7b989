"""All subgroups of a finite group, ordered by inclusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import OptionError, TooLargeError
from equikit.groups._group import Group
from equikit.groups.subgroups._subgroup import Subgroup, checked_finite, made, type_of
from equikit.groups.subgroups._table import Table, extended, generated, mask_of, read_positions, table_of


@dataclass(frozen=True, slots=True)
class SubgroupLattice:
    """All subgroups of a finite group.

    Attributes:
        group: the group.
        classes: conjugacy classes of subgroups, ordered by the order of their subgroups.
        covers: pairs (i, j) of positions in `subgroups`, where i is a maximal subgroup of j.
    """

    group: Group
    classes: tuple[tuple[Subgroup, ...], ...]
    covers: tuple[tuple[int, int], ...] = field(repr=False)

    @property
    def subgroups(self) -> tuple[Subgroup, ...]:
        """All subgroups, class by class: the trivial one first, the group last."""
        return tuple(one for each in self.classes for one in each)

    def __len__(self) -> int:
        return sum(map(len, self.classes))

    def __iter__(self) -> Iterator[Subgroup]:
        return iter(self.subgroups)

    def __repr__(self) -> str:
        return f"<{len(self)} subgroups of {self.group} in {len(self.classes)} classes>"

    def below(self, subgroup: Subgroup) -> tuple[Subgroup, ...]:
        """Return the maximal subgroups of a subgroup: one step down."""
        place, every = self._place(subgroup), self.subgroups
        return tuple(every[low] for low, high in self.covers if high == place)

    def above(self, subgroup: Subgroup) -> tuple[Subgroup, ...]:
        """Return the smallest subgroups that contain a subgroup and more: one step up."""
        place, every = self._place(subgroup), self.subgroups
        return tuple(every[high] for low, high in self.covers if low == place)

    def neighbors(self, subgroup: Subgroup) -> tuple[Subgroup, ...]:
        """Return the subgroups one step down or up: the moves of a local search on the lattice.

        Source:
            Dong et al., Symmetry-aware robot design with structured subgroups, arXiv:2306.00036, section 4.
        """
        return *self.below(subgroup), *self.above(subgroup)

    def largest(self, elements: object) -> Subgroup:
        """Return the largest subgroup inside a set of elements; of several, the first.

        Args:
            elements: positions in `group.elements()`, or a mask with a boolean for each element. The identity counts
                as given.

        Raises:
            OptionError: if these are not positions of elements.
        """
        order = self.subgroups[-1].order
        allowed = mask_of(read_positions(elements, order), order) | 1
        return max((one for one in self if one.mask & ~allowed == 0), key=lambda one: one.order)

    def smallest(self, elements: object) -> Subgroup:
        """Return the smallest subgroup that contains a set of elements, which they generate.

        Args:
            elements: positions in `group.elements()`, or a mask with a boolean for each element.

        Raises:
            OptionError: if these are not positions of elements.

        Example:
            >>> from equikit import D
            >>> subgroup_lattice(D(6)).smallest([1]).name  # the rotation by one corner
            'Z(6)'
        """
        order = self.subgroups[-1].order
        needed = mask_of(read_positions(elements, order), order)
        return min((one for one in self if needed & ~one.mask == 0), key=lambda one: one.order)

    def graph(self) -> Any:
        """Return the covers as a `networkx.DiGraph` with edges from maximal subgroups to the groups above them.

        Nodes are the subgroups, with the attributes `name`, `order` and `conjugacy`, the position of their class.

        Example:
            >>> from equikit import D
            >>> graph = subgroup_lattice(D(4)).graph()
            >>> graph.number_of_nodes(), graph.number_of_edges()
            (10, 15)
        """
        import networkx as nx  # groups need NumPy alone

        graph, every = nx.DiGraph(), self.subgroups
        for conjugacy, members in enumerate(self.classes):
            for one in members:
                graph.add_node(one, name=one.name, order=one.order, conjugacy=conjugacy)
        graph.add_edges_from((every[low], every[high]) for low, high in self.covers)
        return graph

    def _repr_html_(self) -> str:
        from equikit.draw import image, lattice_svg  # drawings are above groups

        return image(lattice_svg(self), repr(self))

    def _repr_latex_(self) -> str:
        from equikit.draw import latex, lattice_tikz

        return latex(lattice_tikz(self), repr(self))

    def _place(self, subgroup: Subgroup) -> int:
        every = self.subgroups
        if subgroup not in every:
            raise OptionError(
                "this is not a subgroup in the lattice",
                got=_checks.shown(subgroup),
                expected=f"a subgroup of {self.group}",
                step="pick one of lattice.subgroups",
            )
        return every.index(subgroup)


def subgroup_lattice(group: Group, *, most: int = 2000) -> SubgroupLattice:
    r"""List all subgroups of a finite group.

    Every subgroup is generated by elements of prime power order. The search starts with the trivial subgroup, adds one
    such element at a time, and does so for one subgroup of each conjugacy class.

    Args:
        group: a finite group of at most 1000 elements.
        most: the largest allowed number of subgroups.

    Returns:
        The lattice; \(D_n\) for n ≥ 3 has \(\tau(n) + \sigma(n)\) subgroups, the number and the sum of the divisors
        of n.

    Raises:
        GroupError: if the group is not finite, or has no size.
        TooLargeError: if it has more than 1000 elements, or more subgroups than allowed.

    Cost: a closure for each class of subgroups and each cyclic subgroup of prime power order; 0.1 s for S(5), a few
        seconds for S(6). Inclusions take the cube of the number of subgroups.

    Example:
        >>> from equikit import D
        >>> lattice = subgroup_lattice(D(6))
        >>> len(lattice), [str(one) for one in lattice.below(lattice.subgroups[-1])]
        (16, ['D(2)', 'D(2)', 'D(2)', 'Z(6)', 'D(3)', 'D(3)'])
    """
    allowed = _checks.count("most", most, least=1, example=2000)
    table = table_of(checked_finite(group))
    classes = []
    for members in _classes(str(group), table, allowed):
        alike = [(one, generated(table, one)[1]) for one in members]
        name = type_of(group, table, members[0])
        classes.append(tuple(made(group, table, *one, len(members), name) for one in alike))
    return SubgroupLattice(group, tuple(classes), _covers([one for each in classes for one in each], len(table)))


def _classes(owner: str, table: Table, most: int) -> list[list[np.ndarray]]:
    """List the conjugacy classes of subgroups, each subgroup as its sorted elements."""
    steps = _cyclic(table)
    trivial = np.zeros(1, np.int64)
    found, seen = [[trivial]], {mask_of(trivial, len(table))}
    edge: list[tuple[np.ndarray, tuple[int, ...]]] = [(trivial, ())]
    for members, generators in edge:  # grows by one subgroup of each new class
        for added in steps:
            if added in members:
                continue
            larger = extended(table, members, generators, added)
            if mask_of(larger, len(table)) in seen:
                continue
            alike = np.unique(np.sort(table.conjugates(larger), axis=1), axis=0)
            seen |= {mask_of(one, len(table)) for one in alike}
            found.append([*alike])
            edge.append((larger, (*generators, added)))
            if len(seen) > most:
                raise TooLargeError(
                    f"{owner} has too many subgroups to list",
                    got=f"more than {most:,}",
                    expected=f"at most {most:,}",
                    step="use a smaller group, or a larger most=",
                )
    return sorted(found, key=lambda alike: (len(alike[0]), len(alike), alike[0].tolist()))


def _cyclic(table: Table) -> list[int]:
    """Return a generator of each cyclic subgroup of prime power order, small orders first."""
    kept: dict[int, int] = {}
    for element in np.argsort(table.orders, kind="stable").tolist():
        order = int(table.orders[element])
        prime = next((p for p in range(2, order + 1) if order % p == 0), 1)
        while prime > 1 and order % prime == 0:
            order //= prime
        if prime > 1 and order == 1:
            powers = extended(table, np.zeros(1, np.int64), (), element)
            kept.setdefault(mask_of(powers, len(table)), element)
    return [*kept.values()]


def _covers(subgroups: list[Subgroup], order: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of a maximal subgroup and the subgroup above it."""
    bits = np.zeros((len(subgroups), order), np.float32)
    for place, one in enumerate(subgroups):
        bits[place, one.positions] = 1
    sizes = np.array([one.order for one in subgroups])
    inside = (bits @ bits.T == sizes[:, None]) & (sizes[:, None] < sizes)
    between = inside.astype(np.float32) @ inside.astype(np.float32) > 0
    return tuple((int(low), int(high)) for low, high in np.argwhere(inside & ~between))
