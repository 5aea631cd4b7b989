"""A subgroup of a finite group as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups._group import Group
from equikit.groups.families._finite import D
from equikit.groups.families._matrix import MatrixGroup
from equikit.groups.subgroups._names import name_of
from equikit.groups.subgroups._table import Table, generated, mask_of, read_positions, table_of


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A subgroup of a finite group.

    Attributes:
        group: the whole group; elements are positions in `group.elements()`.
        mask: the elements, as an integer with bit i for element i.
        order: the number of elements.
        name: the isomorphism type, such as `"Z(3)"` or `"Z(2) x S(4)"`. A subgroup of a dihedral group with a
            reflection is `"D(k)"`, also for k of 1 and 2; without reflections it is `"Z(k)"`. A semidirect product is
            written with a colon, and a group that is not recognized by its order.
        generators: few elements that generate it.
        conjugates: the number of subgroups that are conjugate to it, itself included.
    """

    group: Group
    mask: int
    order: int = field(compare=False)
    name: str = field(compare=False)
    generators: tuple[int, ...] = field(compare=False)
    conjugates: int = field(compare=False)

    @property
    def positions(self) -> np.ndarray:
        """The positions of the elements in `group.elements()`, sorted, int64 `[order]`."""
        return np.array([place for place in range(self.mask.bit_length()) if self.mask >> place & 1], np.int64)

    @property
    def is_normal(self) -> bool:
        """Whether all conjugates are the subgroup itself."""
        return self.conjugates == 1

    def elements(self) -> np.ndarray:
        """Return the elements as `group.elements()` has them."""
        found: np.ndarray = self.group.elements()[self.positions]
        return found

    def contains(self, other: Subgroup) -> bool:
        """Whether all elements of another subgroup of the same group are in this one."""
        return self.group == other.group and other.mask & ~self.mask == 0

    def as_group(self) -> MatrixGroup:
        """Return the subgroup as a group that layers accept, with the matrices of its generators.

        Example:
            >>> from equikit import D, hom
            >>> rotations = subgroup(D(4), [1])
            >>> rotations.name, hom("x -> x", x=rotations.as_group()).dim
            ('Z(4)', 4)
        """
        elements = self.group.elements()
        matrices = [self.group.matrix(elements[place]) for place in self.generators]
        return MatrixGroup(matrices, n=self.group.n, name=self.name)

    def __group__(self) -> MatrixGroup:
        """Return the group that a label is bound to."""
        return self.as_group()

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{self.name} of order {self.order} in {self.group}>"


def checked_finite(group: object) -> Group:
    """Return a group of a known size, or raise `OptionError` or `GroupError`."""
    known = _checks.instance("group", group, Group, "ek.D(6)")  # type: ignore[type-abstract]  # none is made
    if known.n is None:
        raise GroupError(
            f"{known} has no size yet",
            got=str(known),
            expected="a finite group of known size",
            step=f"write {known}(4)",
        )
    return known


def subgroup(group: Group, elements: object) -> Subgroup:
    """Return the subgroup that elements of a finite group generate, with its name.

    Args:
        group: a finite group of at most 1000 elements.
        elements: positions in `group.elements()`, or a mask with a boolean for each element.

    Returns:
        The subgroup. It has more elements than given if these are not closed under products.

    Raises:
        GroupError: if the group is not finite, or has no size.
        TooLargeError: if it has more than 1000 elements.
        OptionError: if `elements` are not positions of elements.

    Cost: a product for each pair of elements of the group; the table of products is cached.

    Example:
        >>> from equikit import D
        >>> found = subgroup(D(6), [2, 7])
        >>> found.name, found.order, found.is_normal
        ('D(3)', 6, True)
    """
    table = table_of(checked_finite(group))
    members, generators = generated(table, read_positions(elements, len(table)))
    moved = np.sort(table.conjugates(members), axis=1)
    return made(group, table, members, generators, len(np.unique(moved, axis=0)), type_of(group, table, members))


def made(
    group: Group, table: Table, members: np.ndarray, generators: tuple[int, ...], conjugates: int, name: str
) -> Subgroup:
    """Return a subgroup as a value."""
    return Subgroup(group, mask_of(members, len(table)), len(members), name, generators, conjugates)


def type_of(group: Group, table: Table, members: np.ndarray) -> str:
    """Name a subgroup: in a dihedral group by whether it has reflections, otherwise by its isomorphism type."""
    size = group.n or 0
    if isinstance(group, D) and size > 2:
        corners = group.elements()[members]
        turns = (corners[:, 1] - corners[:, 0]) % size == 1
        return f"Z({len(members)})" if np.all(turns) else f"D({len(members) // 2})"
    return name_of(table.restricted(members))
