"""The terms of a specification: what each axis of a parameter is an axis of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Element = dict[str, np.ndarray]
"""For each label a permutation of its indices: entry i moves to place p[i]."""


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

    def places(self, element: Element) -> Any:
        """Where every index goes, `[size]`; an array of JAX where the element is traced."""
        return element.get(self.label, np.arange(self.size))


@dataclass(frozen=True, order=True)
class Product:
    """An axis whose indices are tuples, as reshape makes it of several axes; the first factor changes slowest."""

    factors: tuple[Expression, ...]

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

    def places(self, element: Element) -> Any:
        """Where every index goes, `[size]`; an array of JAX where the element is traced."""
        found = np.zeros(1, np.intp)
        for factor in self.factors:
            found = (found[:, None] * factor.size + factor.places(element)).ravel()
        return found


@dataclass(frozen=True, order=True)
class Sum:
    """An axis that holds others one after another, as concatenate makes it."""

    parts: tuple[Expression, ...]

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

    def places(self, element: Element) -> Any:
        """Where every index goes, `[size]`; an array of JAX where the element is traced."""
        starts = np.cumsum([0, *(part.size for part in self.parts)])
        places = [start + part.places(element) for start, part in zip(starts, self.parts, strict=False)]
        if any(isinstance(some, jax.Array) for some in places):
            return jnp.concatenate(places)
        return np.concatenate(places)


Expression = Symbol | Product | Sum
"""What an axis is an axis of."""


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
        """Its shape."""
        return tuple(axis.size for axis in self.axes)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of all axes."""
        return tuple(label for axis in self.axes for label in axis.labels)
