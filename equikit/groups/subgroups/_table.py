"""Multiplication tables of finite groups: elements are their positions in `group.elements()`."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from equikit._errors import OptionError, TooLargeError
from equikit.groups._group import Group

MOST_ORDER = 1000
"""The largest order of a group with a table: the table has the square of this number of entries."""

APART = 1e-8
"""Keys of elements must differ by more than this, relative to their size: far above the rounding of a product."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The multiplication table of a group whose elements are the numbers from 0, the identity.

    Attributes:
        products: `products[a, b]` is the element a b, int64 `[order, order]`.
        inverses: the inverse of each element.
        orders: the order of each element.
    """

    products: np.ndarray
    inverses: np.ndarray
    orders: np.ndarray

    def __len__(self) -> int:
        return len(self.products)

    def conjugates(self, positions: np.ndarray) -> np.ndarray:
        """Return x a x^-1 for every element x and some elements a, `[order, positions]`."""
        moved: np.ndarray = self.products[self.products[:, positions], self.inverses[:, None]]
        return moved

    def restricted(self, positions: np.ndarray) -> Table:
        """Return the table of a subgroup, whose elements are renumbered; `positions` is sorted."""
        renumbered = np.zeros(len(self), np.int64)
        renumbered[positions] = np.arange(len(positions))
        inner = renumbered[self.products[np.ix_(positions, positions)]]
        return Table(inner, renumbered[self.inverses[positions]], self.orders[positions])


def from_products(products: np.ndarray) -> Table:
    """Complete a multiplication table whose element 0 is the identity."""
    every = np.arange(len(products))
    power, orders = every.copy(), np.ones(len(products), np.int64)
    while np.any(power):
        orders += power != 0
        power = np.where(power != 0, products[power, every], 0)
    return Table(products, np.argmin(products, axis=1), orders)


@functools.lru_cache(maxsize=32)
def table_of(group: Group) -> Table:
    """Return the multiplication table of a bound finite group.

    Raises:
        GroupError: if the group is not finite.
        TooLargeError: if it has more than 1000 elements.

    Cost: a product for each pair of elements.
    """
    try:
        listed = group.elements(most=MOST_ORDER)
    except TooLargeError as error:
        raise TooLargeError(
            f"{group} has too many elements for a table of products",
            got=error.got,
            expected=f"at most {MOST_ORDER:,}",
            step="use a smaller group, such as a subgroup of it",
        ) from error
    if group.elements_are == "permutations":
        elements = listed
        base = elements[:, : _base(elements)]
        key = _Key(base.astype(np.float64))
        rows = (element[base] for element in elements)
    else:
        elements = np.stack([group.matrix(element) for element in listed])
        key = _Key(_flat(elements))
        rows = (element @ elements for element in elements)
    return from_products(np.stack([key.positions(_flat(row)) for row in rows]))


def _base(elements: np.ndarray) -> int:
    """Return how many points from the first on have different images under different permutations."""
    points = range(elements.shape[1])
    return next((k for k in points if len(np.unique(elements[:, :k], axis=0)) == len(elements)), len(points))


def _flat(elements: np.ndarray) -> np.ndarray:
    """Return real rows, one for each element."""
    flat = elements.reshape(len(elements), -1)
    return np.concatenate([flat.real, flat.imag], axis=1) if np.iscomplexobj(flat) else flat.astype(np.float64)


class _Key:
    """Finds elements by one number each: a projection in which all elements are far apart compared to rounding."""

    def __init__(self, rows: np.ndarray) -> None:
        for seed in range(100):
            self.direction = np.random.default_rng(seed).normal(size=rows.shape[1])
            keys = rows @ self.direction
            self.order = np.argsort(keys)
            ordered = keys[self.order]
            if np.all(np.diff(ordered) > APART * max(1.0, float(np.abs(keys).max(initial=0)))):
                break
        else:  # pragma: no cover - a hundred random projections of at most a thousand distinct points
            raise AssertionError("no projection separates the elements")
        self.between = (ordered[1:] + ordered[:-1]) / 2

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions of elements."""
        found: np.ndarray = self.order[np.searchsorted(self.between, rows @ self.direction)]
        return found


def read_positions(positions: object, order: int) -> np.ndarray:
    """Return sorted positions of elements from positions or from a mask of booleans, or raise `OptionError`."""
    given = np.asarray(positions)
    if given.shape == (0,):
        given = given.astype(np.int64)
    if given.dtype == bool and given.shape == (order,):
        given = np.flatnonzero(given)
    if given.ndim != 1 or given.dtype.kind not in "iu" or np.any((given < 0) | (given >= order)):
        raise OptionError(
            "these are not positions of elements",
            got=f"dtype {given.dtype}, shape {list(given.shape)}",
            expected=f"positions in group.elements(), from 0 to {order - 1}, or a mask of {order} booleans",
            step="list the elements with group.elements()",
        )
    return np.unique(given)


def extended(table: Table, members: np.ndarray, generators: tuple[int, ...], added: int) -> np.ndarray:
    """Return the subgroup that a subgroup and one more element generate, sorted (Dimino's algorithm).

    Args:
        table: of the whole group.
        members: the elements of the subgroup.
        generators: elements that generate it.
        added: the element.
    """
    inside = np.zeros(len(table), bool)
    inside[members] = True
    representatives = [0]
    for representative in representatives:  # grows: the cosets H r are closed under products with all generators
        for generator in (*generators, added):
            product = table.products[representative, generator]
            if not inside[product]:
                inside[table.products[members, product]] = True
                representatives.append(int(product))
    return np.flatnonzero(inside)


def generated(table: Table, positions: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the subgroup that elements generate, and few of them that generate it: elements of high order first."""
    members, generators = np.zeros(1, np.int64), tuple[int, ...]()
    for element in sorted(positions.tolist(), key=lambda a: (-int(table.orders[a]), a)):
        if element not in members:
            members = extended(table, members, generators, element)
            generators = (*generators, element)
    return members, generators


def mask_of(members: np.ndarray, order: int) -> int:
    """Return a set of elements as an integer with a bit for each."""
    bits = np.zeros(order, bool)
    bits[members] = True
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")
