"""The terms of a specification: the index set of each axis of a parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Element = dict[str, np.ndarray]
"""A permutation p of the indices of each label: entry i moves to position p[i]."""


@dataclass(frozen=True, order=True)
class Symbol:
    """An axis with one label.

    Attributes:
        label: the name of the index set.
        size: number of indices.
    """

    label: str
    size: int

    def __str__(self) -> str:
        return self.label

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels in it."""
        return (self.label,)


@dataclass(frozen=True, order=True)
class Product:
    """An axis whose indices are tuples, such as several axes flattened by reshape; the first factor varies slowest."""

    factors: tuple[Simple, ...]

    def __str__(self) -> str:
        return f"({' '.join(map(str, self.factors))})"

    @property
    def size(self) -> int:
        """Number of indices."""
        return math.prod(factor.size for factor in self.factors)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels in it."""
        return tuple(label for factor in self.factors for label in factor.labels)


@dataclass(frozen=True, order=True)
class Sum:
    """An axis that is the concatenation of other axes."""

    parts: tuple[Simple, ...]

    def __str__(self) -> str:
        return f"({' + '.join(map(str, self.parts))})"

    @property
    def size(self) -> int:
        """Number of indices."""
        return sum(part.size for part in self.parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels in it."""
        return tuple(label for part in self.parts for label in part.labels)


@dataclass(frozen=True, order=True)
class Indexed:
    """An axis whose labels depend on the indices along other axes, such as in layers stacked for a scan.

    Attributes:
        over: the positions of these other axes in the array.
        counts: the sizes of these other axes.
        members: one expression for each combination of their indices, in row-major order.
    """

    over: tuple[int, ...]
    counts: tuple[int, ...]
    members: tuple[Simple, ...]

    def __str__(self) -> str:
        texts = list(map(str, self.members))
        return "|".join(texts if len(texts) <= SHOWN else [*texts[: SHOWN - 1], "..", texts[-1]])

    @property
    def size(self) -> int:
        """Number of indices."""
        return self.members[0].size

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels in it."""
        return tuple(dict.fromkeys(label for member in self.members for label in member.labels))

    def at(self, place: int, index: int) -> Expression:
        """Return the expression of this axis after the array is indexed along axis `place`, which disappears."""
        axis = self.over.index(place)
        left = tuple(one - (one > place) for one in self.over if one != place)
        inner = math.prod(self.counts[axis + 1 :])
        block = inner * self.counts[axis]
        found = tuple(member for number, member in enumerate(self.members) if number % block // inner == index)
        return Indexed(left, self.counts[:axis] + self.counts[axis + 1 :], found) if left else found[0]


SHOWN = 4
"""The largest number of members that are printed."""

Simple = Symbol | Product | Sum
"""The index set of an axis, if it does not depend on indices along other axes."""
Expression = Simple | Indexed
"""The index set of an axis."""


def without(axes: tuple[Expression, ...], place: int, index: int) -> tuple[Expression, ...]:
    """Return the remaining axes of an array that is indexed along axis `place`."""
    found = []
    for number, axis in enumerate(axes):
        if number == place:
            continue
        if isinstance(axis, Indexed) and place in axis.over:
            found.append(axis.at(place, index))
        elif isinstance(axis, Indexed):
            found.append(replace(axis, over=tuple(one - (one > place) for one in axis.over)))
        else:
            found.append(axis)
    return tuple(found)


@dataclass(frozen=True, order=True)
class Leaf:
    """One array of the parameters.

    Attributes:
        name: its path, joined by slashes.
        axes: an expression for each axis.
    """

    name: str
    axes: tuple[Expression, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return tuple(axis.size for axis in self.axes)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of all axes."""
        return tuple(label for axis in self.axes for label in axis.labels)
