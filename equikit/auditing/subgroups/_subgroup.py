"""Subgroups as values: a name, generators, a Lie algebra, and the group of this package that layers take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from equikit.groups import Group, MatrixGroup


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A subgroup of the group of one label.

    Attributes:
        name: such as `"SO(3)"`, `"SO(2) about (0, 0, 1)"` or `"S({0, 1, 2})"`.
        of: the group of the label.
        generators: elements that generate it, together with the Lie algebra.
        lie_algebra: a basis of its Lie algebra, matrices `[n, n]`.
        order: the number of elements; `None` if it is infinite or not counted.
        largest: whether a larger subgroup is excluded, because all elements were tried, or because it is the group.
        family: the group of this package with this name, if there is one.
    """

    name: str
    of: Group
    generators: tuple[np.ndarray, ...] = field(default=(), repr=False)
    lie_algebra: tuple[np.ndarray, ...] = field(default=(), repr=False)
    order: int | None = None
    largest: bool = True
    family: Group | None = field(default=None, repr=False)

    @property
    def dimension(self) -> int:
        """The dimension of the Lie algebra; zero for finite groups."""
        return len(self.lie_algebra)

    @property
    def group(self) -> Group:
        """The subgroup as a group that layers take: one of a family, or a `MatrixGroup`."""
        if self.family is not None:
            return self.family
        matrices = [self.of.matrix(element) for element in self.generators]
        if not matrices and not self.lie_algebra:
            return MatrixGroup(n=self.of.n, name=self.name)
        return MatrixGroup(matrices, lie_algebra=self.lie_algebra, name=self.name)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Kept(Mapping[str, Subgroup]):
    """A product of subgroups, one for each label; as text, their names.

    A function that commutes with the elements of each label commutes with all their products. A larger subgroup that is
    no product, such as one of pairs of elements that only act together, is not looked for.

    Attributes:
        subgroups: the subgroup of each label.
    """

    subgroups: Mapping[str, Subgroup]

    def __getitem__(self, label: str) -> Subgroup:
        return self.subgroups[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.subgroups)

    def __len__(self) -> int:
        return len(self.subgroups)

    def __str__(self) -> str:
        return " × ".join(map(str, self.subgroups.values())) or "no group"

    def __repr__(self) -> str:
        return f"<{self}>"
