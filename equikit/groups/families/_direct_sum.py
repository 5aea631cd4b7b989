"""The direct sum of representations: a product of groups, each acting on its own block of an axis."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from equikit._checks import shown
from equikit._errors import GroupError
from equikit.groups._group import Blocks, Fixed, Group
from equikit.groups._random import NumPyRandom, Random
from equikit.groups.families._linear import MOST_ROWS, MatrixElements, inverse_transposed
from equikit.groups.invariants._null_space import MOST_ENTRIES, Action, invariant_tensors, refuse_if_many

TOLERANCE = 1e-10
"""Singular values up to this count as zero in the null space of a part with inexact matrices."""


@dataclass(frozen=True, slots=True, repr=False, init=False)
class DirectSum(MatrixElements):
    r"""The product of groups acting on \(\mathbb{R}^{n_1} \oplus \mathbb{R}^{n_2} \oplus \dots\), as in `O(2) + O(1)`.

    Each part acts on its own block of entries, in the order given: elements are block-diagonal matrices. The group has
    no diagrams. An invariant tensor is a product of invariant tensors of the parts, on one block for every axis; it is
    exact if the matrices of all parts are.

    Args:
        parts: bound groups; sums among them are flattened.

    Raises:
        GroupError: if there is no part, or a part is not a bound group.

    Example:
        >>> from equikit import O, hom
        >>> O(2) + O(1), hom("x -> x", x=O(2) + O(1)).dim, hom("x x -> x x", x=O(2) + O(1)).dim
        (O(2) + O(1), 2, 10)

    Cost: null spaces with \(n_i^m\) unknowns for m axes in total, and the entries of the tensors.
    """

    parts: tuple[Group, ...] = field(default=())
    family: ClassVar[str] = "direct sum"
    blocks: ClassVar[Blocks] = "whole"
    has_dual: ClassVar[bool] = True

    def __init__(self, *parts: Group) -> None:
        flat = tuple(itertools.chain(*((p.parts if isinstance(p, DirectSum) else (p,)) for p in parts)))
        for part in flat or (None,):
            _refuse_part(part)
        object.__setattr__(self, "n", sum(part.n or 0 for part in flat))
        object.__setattr__(self, "parts", flat)

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts)) if len(self.parts) > 1 else f"DirectSum({self.parts[0]!r})"

    def _sort_key(self) -> tuple[Any, ...]:
        return *Group._sort_key(self)[:2], tuple(part._sort_key() for part in self.parts)

    @property
    def is_complex(self) -> bool:  # type: ignore[override]  # a class variable in other groups
        """Whether a part acts on complex arrays only."""
        return any(part.is_complex for part in self.parts)

    @property
    def is_real(self) -> bool:  # type: ignore[override]
        """Whether a part acts on real arrays only."""
        return any(part.is_real for part in self.parts)

    @property
    def keeps_norm(self) -> bool:
        """Whether all parts preserve norms."""
        return all(part.keeps_norm for part in self.parts)

    @property
    def is_finite(self) -> bool:
        """Whether all parts are finite."""
        return all(part.is_finite for part in self.parts)

    @property
    def has_haar(self) -> bool:
        """Whether all parts can be sampled uniformly; then so can their product, part by part."""
        return all(part.has_haar for part in self.parts)

    @property
    def blocks_of_entries(self) -> tuple[slice, ...]:
        """The entries of the axis on which each part acts."""
        ends = list(itertools.accumulate((part.n or 0 for part in self.parts), initial=0))
        return tuple(slice(*pair) for pair in itertools.pairwise(ends))

    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List the generators of each part, with the identity on the other blocks."""
        size = self._size(n, MOST_ROWS)
        pairs = zip(self.parts, self.blocks_of_entries, strict=True)
        return [
            _placed(np.eye(size, dtype=np.int64), part.matrix(g), at) for part, at in pairs for g in part.generators()
        ]

    def lie_algebra(self, n: int | None = None) -> list[np.ndarray]:
        """List the Lie algebra of each part, with zero on the other blocks."""
        size = self._size(n, MOST_ROWS)
        pairs = zip(self.parts, self.blocks_of_entries, strict=True)
        return [_placed(np.zeros((size, size), np.int64), m, at) for part, at in pairs for m in _algebra(part)]

    def order(self, n: int | None = None) -> int | None:
        """Return the product of the numbers of elements of the parts, if they are known."""
        orders = [part.order() for part in self.parts]
        known = [order for order in orders if order is not None]
        return math.prod(known) if len(known) == len(orders) else None

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element of every part from its Haar distribution, `[n, n]`."""
        return _diagonal(
            random.space, [_as_matrix(random, part, part.draw(random, part.n or 0)) for part in self.parts]
        )

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Sample an element of every part, `[n, n]`, as the part does: uniformly if it is compact."""
        self._size(n, MOST_ROWS)
        blocks = [part.matrix(part.random_element(generator)) for part in self.parts]
        kind = NumPyRandom(generator, np.complex128 if self.is_complex else np.float64).dtype
        return np.asarray(_diagonal(np, [block.astype(kind) for block in blocks]))

    def dual_element(self, element: np.ndarray) -> np.ndarray:
        """Return the inverse transpose, by which an element acts on an axis with a star."""
        return inverse_transposed(self.matrix(element))

    def invariants(self, stars: tuple[bool, ...]) -> np.ndarray:
        """Return a basis of the invariant tensors, `[count, n, ..., n]`: one axis for each of `stars`, dual if true.

        Returns:
            int64 if the matrices of all parts are exact, otherwise float64 or complex128. Every tensor is supported on
            one block for each axis.

        Raises:
            TooLargeError: if a tensor has too many entries.
        """
        return _invariants(self, stars)

    def count_invariants(self, order: int, dual: int = 0) -> int:
        """Return the dimension of the invariant tensors with `order` axes, `dual` of them dual.

        It is the sum, over the ways to distribute the axes over the blocks, of the product of the dimensions.
        """
        return _count(self.parts, order - dual, dual)


def _refuse_part(part: object) -> None:
    """Raise `GroupError` if a part is not a group with a size and matrices."""
    usable = isinstance(part, Group) and part.n is not None and part.family not in ("", "dual")
    if usable and isinstance(part, Group) and (part.is_finite or hasattr(part, "lie_algebra")):
        return
    free = part if isinstance(part, Group | type) else None
    name = getattr(free, "__name__", str(free)) if free is not None else "O"
    raise GroupError(
        "a direct sum needs groups with a size",
        got=shown(part),
        expected="bound groups, such as O(2) + O(1)",
        step=f"write Trivial({part.size})" if isinstance(part, Fixed) else f"write for example {name}(2)",
    )


def _placed(matrix: np.ndarray, block: np.ndarray, at: slice) -> np.ndarray:
    """Return a matrix with one diagonal block replaced."""
    found = matrix.astype(np.result_type(matrix, block))
    found[at, at] = block
    return found


def _algebra(part: Group) -> list[np.ndarray]:
    """Return the Lie algebra of a part: nothing for a finite group."""
    return part.lie_algebra() if isinstance(part, MatrixElements) else []


def _as_matrix(random: Random, part: Group, element: Any) -> Any:
    """Return an element as a matrix of the source of random arrays."""
    space = random.space
    if part.elements_are == "matrices":
        return space.asarray(element, dtype=random.dtype)
    signed = part.elements_are == "signed permutations"
    places, signs = (space.abs(element) - 1, space.sign(element)) if signed else (element, 1)
    return ((places == space.arange(part.n)[:, None]) * signs).astype(random.dtype)


def _diagonal(space: Any, blocks: Sequence[Any]) -> Any:
    """Return a block-diagonal matrix."""
    rows = [
        [block if i == j else space.zeros((len(row), len(block)), block.dtype) for j, block in enumerate(blocks)]
        for i, row in enumerate(blocks)
    ]
    return space.concatenate([space.concatenate(row, axis=1) for row in rows])


@functools.lru_cache(maxsize=256)
def _of_part(part: Group, stars: tuple[bool, ...]) -> np.ndarray:
    """Return a basis of the invariant tensors of one part."""
    if part.n == 0:  # only a tensor without axes has an entry
        return np.ones((int(not stars), *(0,) * len(stars)), np.int64)
    if part.blocks == "whole":
        return part.invariants(stars)
    given, algebra = [part.matrix(g) for g in part.generators()], _algebra(part)
    pairs = tuple((g, _inverse_transposed(g)) for g in given), tuple((m, -m.T) for m in algebra)
    return invariant_tensors(str(part), Action(part.n or 0, *pairs), stars, TOLERANCE)


def _inverse_transposed(matrix: np.ndarray) -> np.ndarray:
    """Return the dual of a generator, with integer entries if the generator has them."""
    found = inverse_transposed(matrix)
    return np.rint(found).astype(np.int64) if matrix.dtype.kind == "i" else found


def _patterns(group: DirectSum, order: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield for each choice of a block for every axis the axes of every part."""
    for chosen in itertools.product(range(len(group.parts)), repeat=order):
        yield tuple(tuple(i for i, part in enumerate(chosen) if part == p) for p in range(len(group.parts)))


@functools.lru_cache(maxsize=128)
def _invariants(group: DirectSum, stars: tuple[bool, ...]) -> np.ndarray:
    order, size = len(stars), group.n or 0
    refuse_if_many(str(group), group.count_invariants(order, sum(stars)) * size**order, MOST_ENTRIES)
    found: list[np.ndarray] = [np.zeros((0, *(size,) * order), np.int64)]
    for axes in _patterns(group, order):
        factors = [_of_part(p, tuple(stars[i] for i in own)) for p, own in zip(group.parts, axes, strict=True)]
        product = np.ones((1,), np.int64)
        for factor in factors:  # [count, ...] times [more, ...]: [count * more, ..., ...]
            outer = np.multiply.outer(product, factor)
            outer = np.moveaxis(outer, product.ndim, 1)
            product = outer.reshape(len(product) * len(factor), *outer.shape[2:])  # blocks can be empty
        places = [place for own in axes for place in own]
        block = product.transpose(0, *(1 + np.argsort(places)))
        where = {i: group.blocks_of_entries[p] for p, own in enumerate(axes) for i in own}
        tensors = np.zeros((len(block), *(size,) * order), block.dtype)
        tensors[(slice(None), *(where[i] for i in range(order)))] = block
        found.append(tensors)
    tensors = np.concatenate(found)
    tensors.setflags(write=False)  # the cached array is shared
    return tensors


def _count(parts: Sequence[Group], plain: int, dual: int) -> int:
    """Count the invariant tensors of several parts with numbers of plain and of dual axes."""
    if not parts:
        return int(plain == dual == 0)
    return sum(
        math.comb(plain, a) * math.comb(dual, d) * count * _count(parts[1:], plain - a, dual - d)
        for a in range(plain + 1)
        for d in range(dual + 1)
        if (count := _count_part(parts[0], a, d))
    )


def _count_part(part: Group, plain: int, dual: int) -> int:
    if part.blocks == "whole" and part.n:
        return part.count_invariants(plain + dual, dual)
    return len(_of_part(part, (False,) * plain + (True,) * dual))
