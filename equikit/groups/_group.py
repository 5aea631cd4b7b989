"""Base classes of the values that axis labels are bound to: groups that act on the axis, and plain axes."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np

from equikit._checks import LARGEST_COUNT, count, count_text, integer, refuse_if_more, shown
from equikit._errors import GroupAttributeError, GroupError, ShapeError, TooLargeError
from equikit.groups._elements import too_many
from equikit.groups._random import NumPyRandom, Random

if TYPE_CHECKING:
    from equikit.groups._branching import Branching
    from equikit.groups._form import Form

MOST_POINTS = 1_000_000
"""The largest number of points of a permutation: larger ones would take seconds."""

MOST_COUNTED = 10_000
"""The largest number of points for which permutations are counted: counts have tens of thousands of digits."""

MOST_WIDE = 10_000
"""The largest number of rows of a dense integer matrix, which takes 0.8 GB."""

Blocks = Literal["any", "even", "pair", "small", "single", "whole"]
Elements = Literal["permutations", "signed permutations", "matrices"]


def checked_size(owner: str, size: object) -> int:
    """Return the size of a group as a Python integer, or raise `GroupError` with the name of its class."""
    number = integer(size)
    if number is not None and 0 <= number < LARGEST_COUNT:
        return number
    most = f", below {count_text(LARGEST_COUNT)}" if number is not None and number > 0 else ""
    raise GroupError(
        f"{owner} needs a whole number of points",
        got=shown(size),
        expected=f"an integer, zero or more{most}",
        step=f"write for example {owner}(4)",
    )


def refuse_if_wide(what: str, rows: int) -> None:
    """Raise `TooLargeError` if a square matrix has too many rows for a dense array."""
    step = "use a smaller n; layers need no matrix of an element"
    refuse_if_more(f"the matrix of {what} would not fit in memory", rows, MOST_WIDE, "rows", step)


def namespace(array: Any) -> Any:
    """Return the module with the functions of a NumPy or JAX array."""
    return np if isinstance(array, np.ndarray) else array.__array_namespace__()


def refuse_misfit(element: str, size: int, array: Any, axis: int) -> None:
    """Raise `ShapeError` if an axis of an array does not have the size of a group element."""
    place = integer(axis)
    if place is None or not -array.ndim <= place < array.ndim or array.shape[place] != size:
        raise ShapeError(
            f"the {element} does not fit the axis",
            got=f"size {size}, axis {shown(axis)} of an array of shape {tuple(array.shape)}",
            expected=f"an axis of size {size}",
            step="draw the element for the size of the axis, or name another axis",
        )


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Group(ABC):
    """A group that acts linearly on an axis of `n` entries.

    If `n` is `None`, the group is *free*: it denotes the whole family, and the arrays determine `n` at run time. A
    subclass is a family. It has to define the generators and the action of an element; all other attributes and methods
    have defaults, which the family may override. Families of permutations derive from `PermutationGroup`, which needs
    only the generators. Groups are ordered by family, then by size, with free groups first.

    Attributes:
        n: the number of entries of the axis.
        family: the name of the family.
        blocks: which blocks the diagrams of the family have: `"any"` blocks, `"even"` numbers of vertices, `"pair"`s,
            `"small"` blocks of one or two vertices, or `"single"` vertices, each joined to one of the other row or
            none; `"whole"` for groups without diagrams, with one tensor on all axes.
        elements_are: the format of elements: `"permutations"`, int64 `[n]` that move entry i to position `g[i]`;
            `"signed permutations"`, int64 `[n]` with each of 1 to n up to sign; or `"matrices"` `[n, n]`.
        permutes: whether elements only permute entries, up to sign, so that absent entries can be masked.
        special: whether the family is the subgroup of determinant one in a larger family, such as SO in O.
        has_dual: whether vectors and dual vectors differ, so that a label may have a star.
        is_complex: whether the group acts on complex arrays only.
        is_real: whether the group acts on real arrays only.
        most_points: the largest size of an element; larger ones would take seconds.
        has_pseudotensors: whether features may have factors of the determinant, `"x~"`.
        needs_head: whether every diagram has a Levi-Civita tensor.
    """

    n: int | None = None
    family: ClassVar[str] = ""
    blocks: ClassVar[Blocks] = "any"
    elements_are: ClassVar[Elements] = "matrices"
    permutes: ClassVar[bool] = False
    special: ClassVar[bool] = False
    has_dual: ClassVar[bool] = False
    is_complex: ClassVar[bool] = False
    is_real: ClassVar[bool] = False
    most_points: ClassVar[int] = MOST_POINTS
    has_pseudotensors: ClassVar[bool] = False
    needs_head: ClassVar[bool] = False

    def __new__(cls, *arguments: object, **keywords: object) -> Self:
        if inspect.isabstract(cls):
            raise GroupError(
                f"{cls.__name__} is a base class of groups, not a group",
                got=f"{cls.__name__}(...)",
                expected="a family of groups, or a subclass that defines its generators",
                step="write ek.MatrixGroup([np.eye(3)[[1, 2, 0]]]), with your permutations as matrices",
            )
        return object.__new__(cls)

    def __init_subclass__(cls, **keywords: Any) -> None:
        super(Group, cls).__init_subclass__(**keywords)
        if "__dataclass_params__" in vars(cls):  # the class with slots that `dataclass` makes of the first one
            cls.__setattr__ = _refuse_change  # type: ignore[method-assign]  # its own fails in subclasses

    def __post_init__(self) -> None:
        if self.n is not None:
            object.__setattr__(self, "n", self.checked(self.n))

    if not TYPE_CHECKING:  # type checkers would allow every attribute

        def __getattr__(self, name):
            """Raise `GroupError` for a field without a value, and the error of any other attribute again."""
            if name in {field.name for field in fields(self)}:
                raise GroupAttributeError(
                    f"the constructor of {type(self).__name__} does not set {name!r}",
                    got="an __init__ without the one of the base class",
                    expected="a constructor that ends with a group",
                    step=f"call super().__init__(...) in {type(self).__name__}.__init__",
                )
            return object.__getattribute__(self, name)

    @property
    def form(self) -> Form | None:
        """The form that joins two axes of one row; `None` for the identity matrix."""
        return None

    @property
    def free(self) -> Group | None:
        """The free group that has the same maps at the size of this group; `None` if maps depend on the size."""
        try:
            family = type(self)()
        except (GroupError, TypeError):  # a group that needs a size, or generators
            return None
        return family if family.n is None and family.form == self.form else None

    @property
    def keeps_norm(self) -> bool:
        """Whether elements are orthogonal or unitary matrices, which preserve the norm of a vector."""
        return self.form is None

    @property
    def is_finite(self) -> bool:
        """Whether the group is finite, judged by its class: given generators may generate infinitely many elements."""
        return False

    @property
    def has_haar(self) -> bool:
        """Whether uniform sampling needs no list of elements: the group is compact and defines `draw`."""
        return self.keeps_norm and type(self).draw is not Group.draw

    @property
    def legs(self) -> int:
        """The number of legs of the Levi-Civita tensor that the group preserves; 0 for most groups."""
        return 0

    @property
    def branching(self) -> Branching | None:
        """The branching rules of a bound group, which `count_walks` uses; `None` if they are unknown."""
        return None

    def independent(self, order: int) -> bool:
        """Whether the diagrams of a bound group on this many vertices are linearly independent."""
        return True

    def defining_orders(self, n: int) -> tuple[int, ...] | None:
        """Orders of invariant tensors that together are preserved only by the group; `None` if they are unknown."""
        return None

    @property
    def reflects(self) -> bool:
        """Whether elements can have determinant -1, so that pseudotensors and tensors differ."""
        return self.has_pseudotensors and not self.special and self.n != 0

    @property
    def twisted(self) -> Group:
        """A stand-in for the group whose equivariant maps gain an extra factor of the determinant.

        Raises:
            GroupError: if the group has no pseudotensors, or is free, because these maps depend on n.
        """
        raise GroupAttributeError(
            f"{self} has no pseudotensors",
            got=str(self),
            expected="O(n) or O(p, q), whose elements have determinants 1 and -1",
            step="leave the determinant out",
        )

    @classmethod
    def checked(cls, n: object) -> int:
        """Return a size that the family supports, or raise `GroupError`."""
        return checked_size(cls.__name__, n)

    def _arguments(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self) if field.init)

    def __str__(self) -> str:
        name = type(self).__name__
        return name if self.n is None else f"{name}({', '.join(map(str, self._arguments()))})"

    __repr__ = __str__

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Group):
            return NotImplemented
        return self._sort_key() < other._sort_key()

    def _sort_key(self) -> tuple[Any, ...]:
        return type(self).__name__, -1 if self.n is None else self.n, self._arguments()

    def _size(self, n: int | None, most: int | None = None) -> int:
        """Return the bound size, or the given size for a free group; at most `most`."""
        fits = n is None or self.n is None or integer(n) == self.n
        size = self.n if n is None or self.n is not None else self.checked(n)
        if size is None or not fits:
            raise GroupAttributeError(
                f"the size of {self} is not settled",
                got=f"n={shown(n)}",
                expected="n for a free group, nothing else for a bound one",
                step=f"pass n=4, or write {type(self).__name__}(4)" if self.n is None else f"pass n={self.n}",
            )
        if most is not None and size > most:
            raise TooLargeError(
                f"{self} is too large for arrays of its elements",
                got=f"n={size:,}",
                expected=f"n up to {most:,}",
                step="use a smaller n; layers need no element of the group",
            )
        return size

    @abstractmethod
    def generators(self, n: int | None = None) -> list[np.ndarray]:
        """List elements that generate the group."""

    def draw(self, random: Random, n: int) -> Any:
        """Sample an element from the uniform (Haar) distribution, using random arrays of NumPy or JAX.

        By default, list the elements of a finite group and choose one of them.

        Args:
            random: the source of random arrays; `random.space` is the module of array functions.
            n: the size.
        """
        elements = self.elements(n)
        return random.space.asarray(elements)[random.integer(len(elements))]

    def random_element(self, generator: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Sample an element: uniformly from a compact group, otherwise from a distribution of small elements."""
        size = self._size(n, self.most_points)
        element = self.draw(NumPyRandom(generator, np.complex128 if self.is_complex else np.float64), size)
        return np.asarray(element)

    @abstractmethod
    def matrix(self, element: np.ndarray) -> np.ndarray:
        """Return the matrix of an element's action, `[n, n]`."""

    def order(self, n: int | None = None) -> int | None:
        """Return the number of elements; `None` if it is infinite, or unknown without a list of the elements."""
        return None

    def elements(self, n: int | None = None, *, most: int = 5040) -> np.ndarray:
        """List every element of a finite group once, `[elements, ...]`, starting with the identity.

        Args:
            n: the size, for a free group.
            most: the largest allowed number of elements.

        Returns:
            Elements as `random_element` returns them, stacked: int64 `[elements, n]` for permutations, signed or not,
            and `[elements, n, n]` for matrices, int64 if the generators are. The array is read-only.

        Raises:
            GroupError: if the group is not finite.
            TooLargeError: if it has more elements than allowed.

        Cost: one product for each element and generator; the result is cached.

        Example:
            >>> from equikit import Z
            >>> Z(3).elements().tolist()
            [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
        """
        size, allowed = self._size(n, MOST_POINTS), count("most", most, least=1, example=5040)
        if not self.is_finite:
            raise GroupError(
                f"the elements of {self} cannot be listed",
                got=str(self),
                expected="a finite group: Z, D, S, A, H, or a MatrixGroup without Lie algebra",
                step="use a finite group, or draw elements of this one with random_element",
            )
        return _listed(self, size, allowed)

    def _closure(self, n: int, most: int) -> np.ndarray:
        """Return all products of the generators of a finite group."""
        raise NotImplementedError(f"{type(self).__name__}._closure")

    def __add__(self, other: Group) -> Group:
        """Return the direct sum, in which both groups act on their own block of the axis: `O(2) + O(1)`."""
        from equikit.groups.families._direct_sum import DirectSum  # DirectSum derives from Group

        return DirectSum(self, other)

    def __radd__(self, other: object) -> Group:
        """Return the direct sum, or raise `GroupError` for anything that is not a group."""
        return Group.__add__(cast(Group, other), self)  # which refuses it

    @property
    def dual(self) -> Group:
        r"""The dual representation, which acts on an axis with a star.

        Raises:
            GroupError: if vectors and dual vectors of the group are the same.
        """
        from equikit.groups._dual import Dual  # Dual derives from Group

        return Dual(self)

    def invariants(self, stars: tuple[bool, ...]) -> np.ndarray:
        """Return a basis of the invariant tensors, for groups without diagrams; `stars` marks the dual axes."""
        raise NotImplementedError(f"{type(self).__name__}.invariants")

    def count_invariants(self, order: int, dual: int = 0) -> int:
        """Return the dimension of the invariant tensors, for groups without diagrams."""
        raise NotImplementedError(f"{type(self).__name__}.count_invariants")

    def inverse_matrix(self, matrix: Any) -> Any:
        r"""Return the inverse of matrices of the group, `[..., n, n]`, NumPy or JAX arrays.

        The inverse is \(\eta^{-1} g^T \eta\) if the group preserves a form, or the conjugate transpose if it preserves
        norms. For matrices that are only approximately in the group, such as learned ones, it is equally approximate.
        """
        space = namespace(matrix)
        transposed = space.swapaxes(matrix, -1, -2)
        if self.form is not None:
            form = space.asarray(self.form.matrix(matrix.shape[-1]), dtype=matrix.dtype)
            return form.T @ transposed @ form
        return space.conj(transposed) if self.keeps_norm else space.linalg.inv(matrix)

    def dual_element(self, element: np.ndarray) -> np.ndarray:
        """Return the matrix of an element in the dual representation.

        Raises:
            GroupError: if vectors and dual vectors of the group are the same.
        """
        raise NotImplementedError(f"{type(self).__name__}.dual_element, for {self.dual}")  # or `dual` raises

    @abstractmethod
    def act(self, element: np.ndarray, array: Any, axis: int) -> Any:
        """Apply an element to one axis of a NumPy or JAX array."""


def _refuse_change(group: Any, name: str, value: Any) -> None:
    """Raise `GroupAttributeError`: only fields are in copies and comparisons of groups, and fields do not change."""
    written = f'object.__setattr__(self, "{name}", {name})'
    new = name not in {field.name for field in fields(group)}
    raise GroupAttributeError(
        f"a group cannot store {name!r}" if new else f"{name!r} of a group cannot change",
        got=f"{name} = {shown(value)}",
        expected="a field of a frozen dataclass, which its constructor sets",
        step=f'write "{name}: object = None" in your class, @dataclass(frozen=True, init=False, repr=False) above it, '
        f"and {written} in its __init__"
        if new
        else f"in __init__, write {written}",
    )


@functools.lru_cache(maxsize=64)
def _listed(group: Group, n: int, most: int) -> np.ndarray:
    known = group.order(n)
    if known is not None and known > most:
        raise too_many(str(group), f"{count_text(known)} elements on an axis of size {n}", most)
    elements = group._closure(n, most)
    elements.setflags(write=False)  # the cached array is shared
    return elements


@dataclass(frozen=True, slots=True, order=True)
class Fixed:
    """A plain axis of a known size, on which no group acts; layers mix its entries like channels.

    Args:
        size: number of entries, zero or more.

    Raises:
        GroupError: if `size` is not a whole number, zero or more.

    Example:
        >>> Fixed(784)
        Fixed(784)
    """

    size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", checked_size("Fixed", self.size))

    def __str__(self) -> str:
        return f"Fixed({self.size})"

    __repr__ = __str__
