"""What is kept as a value: a name, generators, a Lie algebra, and the group of this package that layers take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from equikit._errors import UnknownLabelError
from equikit.auditing._elements import algebra, same
from equikit.groups import Group, MatrixGroup, Subgroup, subgroup

ROUNDED = 1e-12
"""The rounding of a fraction in float64."""

MOST_DENOMINATOR = 12
"""The largest denominator of an exact matrix."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptGroup:
    """The subgroup of the group of one label that a function keeps.

    Attributes:
        name: such as `"SO(3)"`, `"SO(2) about (0, 0, 1)"` or `"S({0, 1, 2})"`.
        of: the group of the label.
        generators: elements that generate it, together with the Lie algebra.
        lie_algebra: a basis of its Lie algebra, matrices `[n, n]`; rounded to fractions if the function keeps the
            group of the rounded matrices too.
        largest: whether a larger subgroup is excluded: it is the whole group, all elements were tried, or the group is
            connected.
        family: the group of this package with this name, if there is one.
        tolerance: the noise of the Lie algebra, which is found in the precision of the function.
    """

    name: str
    of: Group
    generators: tuple[np.ndarray, ...] = field(default=(), repr=False)
    lie_algebra: tuple[np.ndarray, ...] = field(default=(), repr=False)
    largest: bool = True
    family: Group | None = field(default=None, repr=False)
    tolerance: float = field(default=1e-10, repr=False)

    @property
    def dimension(self) -> int:
        """The dimension of the Lie algebra; zero for finite groups."""
        return len(self.lie_algebra)

    @property
    def is_whole(self) -> bool:
        """Whether the function keeps the group of the label."""
        return self.family == self.of

    @property
    def group(self) -> Group:
        """The subgroup as a group that layers take: one of a family, or a `MatrixGroup`."""
        if self.family is not None:
            return self.family
        matrices, algebra = [self.of.matrix(element) for element in self.generators], [*self.lie_algebra]
        exact = [fractions(matrix, ROUNDED) for matrix in (*matrices, *algebra)]
        if all(matrix is not None for matrix in exact):
            matrices, algebra = exact[: len(matrices)], exact[len(matrices) :]
            return MatrixGroup(matrices, lie_algebra=algebra, n=self.of.n, name=self.name)
        return MatrixGroup(matrices, lie_algebra=algebra, n=self.of.n, tolerance=self.tolerance, name=self.name)

    def __group__(self) -> Group:
        """Return the group that a label is bound to."""
        return self.group

    @property
    def subgroup(self) -> Subgroup:
        """The subgroup of a finite group, as it is in `equikit.discover.subgroups(group)`.

        Raises:
            GroupError: if the group of the label is not finite.
            TooLargeError: if it has more than 1000 elements.
        """
        every = subgroup(self.of, [0]).group.elements(most=1000)  # the first call refuses other groups
        places = [next(i for i, g in enumerate(every) if same(self.of, g, one)) for one in self.generators]
        return subgroup(self.of, places)

    def __str__(self) -> str:
        if self.largest:
            return self.name
        trivial = not self.generators and not self.lie_algebra
        return f"{self.name}, as far as was tried" if trivial else f"at least {self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Kept(Mapping[str, KeptGroup]):
    """A product of subgroups, one for each label; as text, their names.

    A function that commutes with the elements of each label commutes with all their products. A larger subgroup that is
    no product, such as one of pairs of elements that only act together, is not looked for.

    Attributes:
        groups: the subgroup of each label.
    """

    groups: Mapping[str, KeptGroup]

    def __getitem__(self, label: str) -> KeptGroup:
        if label not in self.groups:
            raise UnknownLabelError(
                "the audit has no such label",
                got=repr(label),
                expected=", ".join(map(repr, self.groups)) or "no label, since no group acts",
                step=f"write kept[{next(iter(self.groups))!r}]" if self.groups else "name a group in the audit",
            )
        return self.groups[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        return " × ".join(map(str, self.groups.values())) or "no group acts"

    def __repr__(self) -> str:
        return f"<{self}>"


def whole(group: Group) -> KeptGroup:
    """Return a group that is kept completely."""
    return KeptGroup(str(group), group, tuple(group.generators()), tuple(algebra(group)), family=group)


def nothing(group: Group, *, largest: bool = True) -> KeptGroup:
    """Return the trivial subgroup."""
    return KeptGroup("the trivial group", group, largest=largest)


def fractions(matrix: np.ndarray, noise: float) -> Any:
    """Return a matrix of fractions with small denominators, at most the noise away; `None` if there is none."""
    if np.iscomplexobj(matrix):
        return None
    near = [[Fraction(float(x)).limit_denominator(MOST_DENOMINATOR) for x in row] for row in matrix]
    return near if np.max(np.abs(np.array(near, float) - matrix), initial=0.0) <= noise else None
