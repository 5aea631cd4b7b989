"""The dual of a group's representation, for axes whose label has a star."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equikit._checks import instance
from equikit._errors import GroupAttributeError, GroupError
from equikit.groups._group import Blocks, Group


@dataclass(frozen=True, slots=True, repr=False, init=False)
class Dual(Group):
    r"""The dual representation of a group: the same elements, each acting by \(g^{-T}\).

    `group.dual` returns it; a star in a signature denotes it, `"u u* -> "`.

    Attributes:
        of: the group.
    """

    of: Group = field(init=False)

    def __init__(self, of: Group) -> None:
        instance("of", of, Group, "ek.GL(3)", error=GroupError)  # type: ignore[type-abstract]
        if not of.has_dual:
            raise GroupAttributeError(
                f"{of} has no dual of its own",
                got=f"the dual of {of}",
                expected="a group that tells dual vectors apart: U, GL or MatrixGroup",
                step=f"use {of} itself, which is its own dual",
            )
        object.__setattr__(self, "of", of)
        object.__setattr__(self, "n", of.n)

    def __str__(self) -> str:
        return f"{self.of}*"

    __repr__ = __str__

    def _sort_key(self) -> tuple[Any, ...]:
        return *self.of._sort_key(), 1

    @property
    def blocks(self) -> Blocks:  # type: ignore[override]  # a class variable in other groups
        """The blocks of the group."""
        return self.of.blocks

    @property
    def family(self) -> str:  # type: ignore[override]
        """The family of the group."""
        return self.of.family

    @property
    def is_complex(self) -> bool:  # type: ignore[override]
        """Whether the group acts on complex arrays."""
        return self.of.is_complex

    @property
    def permutes(self) -> bool:  # type: ignore[override]
        """Whether elements only permute entries: the dual is then the representation itself."""
        return self.of.permutes

    @property
    def keeps_norm(self) -> bool:
        """Whether the group preserves norms; then its dual does too."""
        return self.of.keeps_norm

    @property
    def is_finite(self) -> bool:
        """Whether the group is finite."""
        return self.of.is_finite

    def independent(self, order: int) -> bool:
        """Whether the diagrams of the group on this many vertices are linearly independent."""
        return self.of.independent(order)

    @property
    def dual(self) -> Group:
        """The group itself."""
        return self.of

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List the generators of the group."""
        return self.of.generators(n)

    def order(self, n: int | None = None) -> int | None:
        """Count the elements of the group."""
        return self.of.order(n)

    def _closure(self, n: int, most: int) -> np.ndarray:
        return self.of._closure(n, most)

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Sample an element of the group."""
        return self.of.random_element(generator, n)

    def matrix(self, element: np.ndarray) -> np.ndarray:
        """Return the matrix by which an element acts."""
        return self.of.dual_element(element)

    def dual_element(self, element: np.ndarray) -> np.ndarray:
        """Return the matrix by which an element acts in the group."""
        return self.of.matrix(element)

    def act(self, element: np.ndarray, array: Any, axis: int) -> Any:
        """Apply an element to one axis of a NumPy or JAX array."""
        return self.of.act(self.of.dual_element(element), array, axis)
