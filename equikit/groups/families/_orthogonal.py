"""The orthogonal groups of a definite or an indefinite metric, and their subgroups of determinant one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NoReturn

import numpy as np

from equikit._errors import GroupAttributeError, GroupError
from equikit.groups._branching import Branching, of_orthogonal
from equikit.groups._form import Form
from equikit.groups._group import MOST_POINTS, Blocks, Group, checked_size
from equikit.groups._random import NumPyRandom, Random, haar
from equikit.groups.families._linear import MOST_ALGEBRA, MOST_ROWS, MatrixElements, cayley

BOOST = 0.25
"""The scale of random elements of noncompact groups, which have no uniform distribution."""


@dataclass(frozen=True, slots=True, repr=False, init=False)
class O(MatrixElements):  # noqa: E742  # the name of the group
    r"""The orthogonal group \(O(n)\), or \(O(p, q)\): matrices with \(g^T \eta g = \eta\), acting on \(\mathbb{R}^n\).

    The metric is \(\eta = \mathrm{diag}(1, \dots, 1, -1, \dots, -1)\) with p ones and q minus ones, so `O(1, 3)` is the
    Lorentz group with time first. Features are vectors with upper indices; η contracts pairs of input axes.

    Args:
        p: the dimension, or the number of positive directions; omit it for the free group.
        q: the number of negative directions.

    Raises:
        GroupError: if p or q is not a whole number, zero or more.

    Example:
        >>> O(3), O(1, 3), O()
        (O(3), O(1, 3), O)
    """

    negative: int = field(default=0)
    family: ClassVar[str] = "orthogonal"
    most_finite: ClassVar[int] = 1
    blocks: ClassVar[Blocks] = "pair"
    is_real: ClassVar[bool] = True
    has_pseudotensors: ClassVar[bool] = True

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

    def _arguments(self) -> tuple[int | None, ...]:
        return (self.n - self.negative, self.negative) if self.n is not None and self.negative else (self.n,)

    def __call__(self, *_: object) -> NoReturn:
        """Raise `GroupError`: a group with a size, such as `Lorentz`, is not called again."""
        name = "Lorentz" if self == Lorentz else str(self)
        raise GroupError(
            f"{name} is a group and has a size: it cannot be called",
            got=f"{name}(...)",
            expected=f"{name} alone, or a family with a size",
            step=f"write ek.{name} without arguments" + ("; other signs are ek.O(1, 4)" if self.negative else ""),
        )

    def _sort_key(self) -> tuple[Any, ...]:
        return *Group._sort_key(self)[:2], self.negative

    @property
    def form(self) -> Form | None:
        """The metric, unless it is the identity matrix."""
        return Form("metric", self.n - self.negative, self.negative) if self.negative and self.n else None

    @property
    def twisted(self) -> Group:
        r"""A stand-in for the group in maps with \(f(g x) = \det(g)\, g f(x)\), which have a Levi-Civita tensor.

        Raises:
            GroupError: if the group is free: the Levi-Civita tensor has n legs.
        """
        if not self.reflects:
            return self
        if self.n is None:
            raise GroupAttributeError(
                "maps that change their sign under reflections depend on n",
                got=f"the free group {self}, and an odd number of determinants in input and output together",
                expected="a group with a size",
                step="write O(3) in place of O; if only the bias is such a map, write use_bias=False",
            )
        return PseudoO(self.n - self.negative, self.negative)

    @property
    def branching(self) -> Branching:
        """Partitions with at most n boxes in their first two columns."""
        return of_orthogonal(self._size(None))

    def independent(self, order: int) -> bool:
        """Whether 2n ≥ order, and no diagram has an antisymmetric tensor with more than n legs, which is zero.

        Source:
            Brauer, On algebras which are connected with the semisimple continuous groups, 1937.
        """
        if self.n is None:
            return True
        if self.legs and order > self.n and (order - self.n) % 2 == 0:
            return False
        return order % 2 == 1 or 2 * self.n >= order

    def defining_orders(self, n: int) -> tuple[int, ...]:
        """Two: the metric; for the special group also n: the determinant."""
        return (2, n) if self.special else (2,)

    def metric(self, n: int | None = None) -> np.ndarray:
        """Return the diagonal of the metric, int64 `[n]`."""
        size = self._size(n, MOST_POINTS)
        return np.repeat(np.array([1, -1]), [size - self.negative, self.negative])

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a reflection for each sign of the metric; with the Lie algebra they generate the group."""
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

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element from the Haar distribution, `[n, n]`, for a definite metric."""
        return haar(random, n)

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Sample an element, float64 `[n, n]`: from the Haar distribution, or for an indefinite metric, whose group is
        not compact, a product of a moderate boost, a rotation and random reflections."""
        size, metric = self._size(n, MOST_ROWS), self.metric(n)
        if not self.negative:
            return Group.random_element(self, generator, n)
        positive, random = size - self.negative, NumPyRandom(generator)
        turn = np.zeros((size, size))
        turn[:positive, :positive], turn[positive:, positive:] = (haar(random, m) for m in (positive, self.negative))
        noise = BOOST * random.normal(size, size) / max(1.0, np.sqrt(size / 4))
        return cayley(metric[:, None] * (noise - noise.T) / 2) @ turn


@dataclass(frozen=True, slots=True, repr=False, init=False)
class SO(O):
    r"""The special orthogonal group \(SO(n)\), or \(SO(p, q)\): the elements of `O` with determinant one.

    Always bound: the equivariant maps depend on n, through the Levi-Civita tensor.

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
    special: ClassVar[bool] = True

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
        """One leg for each of the n indices, because the determinant is one."""
        assert self.n is not None
        return self.n

    @property
    def branching(self) -> Branching:
        """The branching of O(n), whose determinant is trivial here."""
        n = self._size(None)
        return replace(of_orthogonal(n), larger=O(n - self.negative, self.negative), determinant=(1,) * n)

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List a double reflection for an indefinite metric; with the Lie algebra it generates the group."""
        size = self._size(n, MOST_ROWS)
        return [_reflection(size, [0, size - 1])] if 0 < self.negative < size else []

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element from the Haar distribution; reflect the last axis if the determinant is -1."""
        matrix, space = haar(random, n), random.space
        return matrix * space.where(space.arange(n) == n - 1, space.sign(space.linalg.det(matrix)), 1) if n else matrix

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Sample an element as `O` does; reflect the last axis if the determinant is -1."""
        element = O.random_element(self, generator, n)
        if len(element) and np.linalg.det(element) < 0:
            element[:, -1] *= -1
        return element


@dataclass(frozen=True, slots=True, repr=False, init=False)
class PseudoO(O):
    r"""A stand-in for O(n) or O(p, q) in maps with \(f(g x) = \det(g)\, g f(x)\); `O.twisted` returns it.

    The maps that commute with rotations are the direct sum of these odd maps and the even maps, which commute with all
    of O(n): each map is the sum of its even and odd parts under a reflection. Diagrams without a Levi-Civita tensor
    span the even maps, and diagrams with one span the odd maps.
    """

    needs_head: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{self.twisted}~"

    __repr__ = __str__

    @property
    def twisted(self) -> Group:
        """The group O(n) or O(p, q), because the square of the determinant is one."""
        assert self.n is not None
        return O(self.n - self.negative, self.negative)

    def independent(self, order: int) -> bool:
        """Whether no diagram has an antisymmetric tensor with more than n legs, which is zero."""
        assert self.n is not None
        return order <= self.n or (order - self.n) % 2 == 1

    @property
    def legs(self) -> int:
        """One leg for each of the n indices."""
        assert self.n is not None
        return self.n

    @property
    def branching(self) -> Branching:
        """The branching of SO(n), in which only the determinant counts."""
        assert self.n is not None
        return SO(self.n - self.negative, self.negative).branching


def _reflection(size: int, places: list[int]) -> np.ndarray:
    matrix = np.eye(size, dtype=np.int64)
    matrix[places, places] = -1
    return matrix


Lorentz = O(1, 3)
"""The Lorentz group with time first and metric diag(1, -1, -1, -1)."""
