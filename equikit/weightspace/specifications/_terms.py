"""The terms of a specification: the index set of each axis of a parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Element = dict[str, np.ndarray]
"""For each label a permutation of its indices: entry i moves to position p[i]."""


@dataclass(frozen=True, order=True)
class Symbol:
    """An axis with one label.

    Attributes:
        label: its name.
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
    """An axis whose indices are tuples, such as reshape makes of several axes; the first factor is the slowest."""

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
    """An axis that concatenates others."""

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
    """An axis that has other labels for each index of other axes of the array, such as layers stacked for a scan.

    Attributes:
        over: the places of these axes.
        counts: their sizes.
        members: an expression for each combination of their indices, the last of which changes fastest.
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
        """Return the expression at one index along one of the axes, which is removed from the array."""
        axis = self.over.index(place)
        left = tuple(one - (one > place) for one in self.over if one != place)
        inner = math.prod(self.counts[axis + 1 :])
        block = inner * self.counts[axis]
        found = tuple(member for number, member in enumerate(self.members) if number % block // inner == index)
        return Indexed(left, self.counts[:axis] + self.counts[axis + 1 :], found) if left else found[0]


SHOWN = 4
"""The most members that are printed."""

Simple = Symbol | Product | Sum
"""The index set of an axis, if it does not depend on indices along other axes."""
Expression = Simple | Indexed
"""The index set of an axis."""


def without(axes: tuple[Expression, ...], place: int, index: int) -> tuple[Expression, ...]:
    """Return the axes of an array at one index along one of them."""
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
