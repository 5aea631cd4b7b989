"""The orthogonal groups, of a definite or an indefinite metric, and the groups of determinant one in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from equikit._errors import GroupError
from equikit.groups._form import Form
from equikit.groups._group import MOST_POINTS, Blocks, Group, checked_size
from equikit.groups.families._linear import MOST_ALGEBRA, MOST_ROWS, MatrixElements, cayley, haar

BOOST = 0.25
"""Scale of random elements of a non-compact group, which has no uniform distribution."""


@dataclass(frozen=True, slots=True, repr=False, init=False)
class O(MatrixElements):  # noqa: E742  # the name of the group
    r"""The orthogonal group \(O(n)\), or \(O(p, q)\): matrices with \(g^T \eta g = \eta\), acting on \(\mathbb{R}^n\).

    The metric is \(\eta = \mathrm{diag}(1, \dots, 1, -1, \dots, -1)\) with p times one and q times minus one, so
    `O(1, 3)` is the Lorentz group with time first. Features are vectors with upper indices; a pair of input axes is
    joined by η.

    Args:
        p: the dimension, or the number of positive directions; none for the free group.
        q: the number of negative directions.

    Raises:
        GroupError: if p or q is not a whole number, zero or more.

    Example:
        >>> O(3), O(1, 3), O()
        (O(3), O(1, 3), O)
    """

    negative: int = field(default=0)
    family: ClassVar[str] = "orthogonal"
    blocks: ClassVar[Blocks] = "pair"

    def __init__(self, p: int | None = None, q: int = 0) -> None:
        name = type(self).__name__
        if p is None and q:
            raise GroupError(
                f"{name} with negative directions needs the positive ones too",
                got=f"p=None, q={q}",
                expected="both numbers",
                step=f"write {name}(1, 3)",
            )
        negative = checked_size(name, q)
        object.__setattr__(self, "negative", negative)
        object.__setattr__(self, "n", None if p is None else checked_size(name, p) + negative)

    def __str__(self) -> str:
        if self.n is None or not self.negative:
            return Group.__str__(self)
        return f"{type(self).__name__}({self.n - self.negative}, {self.negative})"

    __repr__ = __str__

    def _sort_key(self) -> tuple[str, int, int]:
        return *Group._sort_key(self)[:2], self.negative

    @property
    def form(self) -> Form | None:
        """The metric, where it is not the identity matrix."""
        return Form("metric", self.n - self.negative, self.negative) if self.negative and self.n else None

    def metric(self, n: int | None = None) -> np.ndarray:
        """The diagonal of the metric, int64 `[n]`."""
        size = self._size(n, MOST_POINTS)
        return np.repeat(np.array([1, -1]), [size - self.negative, self.negative])

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List reflections, one of each sign of the metric, which generate the group with its Lie algebra."""
        size = self._size(n, MOST_ROWS)
        places = [0] * (size > self.negative) + [size - 1] * (self.negative > 0)
        return [_reflection(size, [place]) for place in places]

    def lie_algebra(self, n: int | None = None) -> list[np.ndarray]:
        """List the rotations and boosts of all pairs of axes."""
        self._size(n, MOST_ALGEBRA)
        metric = self.metric(n)
        found = []
        for i in range(len(metric)):
            for j in range(i):
                matrix = np.zeros((len(metric), len(metric)), np.int64)
                matrix[i, j], matrix[j, i] = metric[i], -metric[j]
                found.append(matrix)
        return found

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw an element, float64 `[n, n]`: from the Haar distribution, or where the metric is not definite, whose
        group is not compact, a boost of moderate size with a rotation, and random reflections."""
        size, metric = self._size(n, MOST_ROWS), self.metric(n)
        if not self.negative:
            return haar(generator, size)
        positive = size - self.negative
        turn = np.zeros((size, size))
        turn[:positive, :positive], turn[positive:, positive:] = (haar(generator, m) for m in (positive, self.negative))
        noise = BOOST * generator.normal(size=(size, size)) / max(1.0, np.sqrt(size / 4))
        return cayley(metric[:, None] * (noise - noise.T) / 2) @ turn


@dataclass(frozen=True, slots=True, repr=False, init=False)
class SO(O):
    r"""The special orthogonal group \(SO(n)\), or \(SO(p, q)\): the elements of `O` with determinant one.

    Always bound: which maps commute depends on n, through the Levi-Civita tensor.

    Args:
        p: the dimension, or the number of positive directions.
        q: the number of negative directions.

    Raises:
        GroupError: if p or q is missing or not a whole number, zero or more.

    Example:
        >>> SO(3), SO(1, 3)
        (SO(3), SO(1, 3))
    """

    family: ClassVar[str] = "special orthogonal"

    def __init__(self, p: int | None = None, q: int = 0) -> None:
        if p is None:
            raise GroupError(
                "SO needs a size: its maps depend on it",
                got="SO",
                expected="SO(n), or SO(p, q)",
                step="write SO(3); O without a size serves every n",
            )
        O.__init__(self, p, q)

    @property
    def legs(self) -> int:
        """One for each axis: the determinant is one."""
        assert self.n is not None
        return self.n

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List what generates the group with its Lie algebra: where the metric is not definite, a double reflection."""
        size = self._size(n, MOST_ROWS)
        return [_reflection(size, [0, size - 1])] if 0 < self.negative < size else []

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw an element as `O` does, with the last axis reflected where the determinant is minus one."""
        element = O.random_element(self, generator, n)
        if len(element) and np.linalg.det(element) < 0:
            element[:, -1] *= -1
        return element


def _reflection(size: int, places: list[int]) -> np.ndarray:
    matrix = np.eye(size, dtype=np.int64)
    matrix[places, places] = -1
    return matrix


Lorentz = O(1, 3)
"""The Lorentz group with time first and metric diag(1, -1, -1, -1)."""
