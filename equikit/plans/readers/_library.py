"""The array operations that a reading of a plan needs, in any library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

Array = Any
"""An array of the library, or a node of a graph that stands for one."""
Size = Any
"""The size of an axis: a number, or a node of a graph that stands for one."""

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Library(ABC):
    """The operations of a library on arrays.

    A reading never asks for the shape of an array: it knows each size from the labels. So a library can also record
    the operations.

    Attributes:
        functions: the module with the functions that NumPy and PyTorch have in common.
    """

    functions: ClassVar[Any]

    @abstractmethod
    def permuted(self, x: Array, order: Sequence[int]) -> Array:
        """Permute all axes."""

    @abstractmethod
    def embedded(self, x: Array, first: int, second: int, shape: Sequence[Size]) -> Array:
        """Insert an axis at `second`, zero unless both indices are equal; `shape` is the shape of the result."""

    @abstractmethod
    def constant(self, values: np.ndarray, like: Array) -> Array:
        """Return a constant in the dtype of an array."""

    @abstractmethod
    def zeros(self, shape: Sequence[Size], like: Array) -> Array:
        """Return zeros in the dtype of an array."""

    @abstractmethod
    def cast(self, x: Array, like: Array) -> Array:
        """Cast to the dtype of an array."""

    @abstractmethod
    def at_least_one(self, size: Size) -> Size:
        """Return the size of an axis, or one for an empty axis."""

    @abstractmethod
    def taken(self, x: Array, index: np.ndarray) -> Array:
        """Take the entries of the first axis with these indices."""

    @abstractmethod
    def multiplied(self, x: Array, matrix: Array) -> Array:
        """Multiply the last axis by a matrix."""

    def contracted(self, operands: Sequence[tuple[Array, Sequence[int]]], result: Sequence[int]) -> Array:
        """Compute an einsum of arrays whose axes are numbered letters."""
        sides = [",".join("".join(LETTERS[i] for i in letters) for _, letters in operands)]
        sides.append("".join(LETTERS[i] for i in result))
        return self.functions.einsum("->".join(sides), *(array for array, _ in operands))

    def joined(self, parts: Sequence[Array], axis: int) -> Array:
        """Concatenate arrays."""
        return parts[0] if len(parts) == 1 else self.functions.concatenate(tuple(parts), axis)

    def diagonal(self, x: Array, first: int, second: int, axes: int) -> Array:
        """Take the diagonal of two of some axes; it stays at the first one."""
        last = axes - 2
        order = (*range(first), last, *range(first, last))
        return self.permuted(self.functions.diagonal(x, 0, first, second), order)

    def inserted(self, x: Array, axis: int, shape: Sequence[Size]) -> Array:
        """Insert an axis along which the array is constant; `shape` is the result's."""
        return self.broadcast(x[(slice(None),) * axis + (None,)], shape)

    def broadcast(self, x: Array, shape: Sequence[Size]) -> Array:
        """Broadcast to a shape."""
        return self.functions.broadcast_to(x, tuple(shape))

    def part(self, x: Array, axis: int, start: Size, stop: Size) -> Array:
        """Return a part of an axis."""
        return x[(slice(None),) * axis + (slice(start, stop),)]

    def where(self, keep: Array, x: Array) -> Array:
        """Set entries to zero, except where `keep` is true."""
        return self.functions.where(keep, x, 0)
