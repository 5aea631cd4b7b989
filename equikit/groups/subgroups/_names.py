"""The isomorphism type of a small group, read from its multiplication table."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np

from equikit.groups.subgroups._table import Table, extended, generated, mask_of

MOST_LETTERS = 7
"""Symmetric and alternating groups of fewer letters are recognized: larger ones have no table."""

SIMPLE = {168: "PSL(2,7)", 504: "PSL(2,8)", 660: "PSL(2,11)"}
"""The simple groups of at most 1000 elements, besides Z and A, by their order."""


def name_of(table: Table) -> str:
    """Name a group: Z, S, A, D, Q(8), PSL(2,q), a direct product, a semidirect one with a cyclic group, or its order.

    Abelian groups are products of cyclic groups, where each order divides the next. The names of symmetric and
    alternating groups follow from the number of elements of each order, which determines these groups among all of
    their order.

    Args:
        table: of the group.

    Returns:
        Such as `"Z(2) x S(4)"`. Names with `:` are true, but other groups may have the same one.
    """
    order, counts = len(table), Counter(table.orders.tolist())
    if counts.keys() >= {order}:
        return f"Z({order})"
    if np.array_equal(table.products, table.products.T):
        return " x ".join(f"Z({factor})" for factor in _invariant_factors(order, counts))
    for letters in range(3, MOST_LETTERS):
        for kind, even in (("S", False), ("A", True)):
            if counts == _counts_of_permutations(letters, even=even):
                return f"{kind}({letters})"
    half = order // 2
    if order % 2 == 0 and half > 2 and half in counts and _is_dihedral(table, half):
        return f"D({half})"
    if order == 8:
        return "Q(8)"
    return _product(table) or f"order {order}"


def _invariant_factors(order: int, counts: Counter[int]) -> list[int]:
    """Return the invariant factors of an abelian group from the number of its elements of each order."""
    factors: list[int] = []
    for prime in (p for p in range(2, order + 1) if order % p == 0 and all(p % q for q in range(2, p))):
        ranks, power = list[int](), prime
        while order % power == 0:
            killed = sum(count for element, count in counts.items() if power % element == 0)
            ranks.append(round(math.log(killed, prime)) - sum(ranks))
            power *= prime
        # ranks[i] factors are divisible by prime**(i + 1)
        exponents = [sum(rank > place for rank in ranks) for place in range(max(ranks))]
        factors += [1] * (len(exponents) - len(factors))
        for place, exponent in enumerate(exponents):
            factors[place] *= prime**exponent
    return sorted(factors)


def _partitions(n: int, largest: int | None = None) -> list[tuple[int, ...]]:
    top = n if largest is None else min(n, largest)
    return [()] if n == 0 else [(part, *rest) for part in range(top, 0, -1) for rest in _partitions(n - part, part)]


def _counts_of_permutations(letters: int, *, even: bool) -> Counter[int]:
    """Count the permutations, or the even ones, by their order."""
    counts = Counter[int]()
    for cycles in _partitions(letters):
        if not even or (letters - len(cycles)) % 2 == 0:
            same = math.prod(length**many * math.factorial(many) for length, many in Counter(cycles).items())
            counts[math.lcm(*cycles)] += math.factorial(letters) // same
    return counts


def _is_dihedral(table: Table, half: int) -> bool:
    """Whether all elements outside the powers of some element of order `half` have order two."""
    for turn in np.flatnonzero(table.orders == half).tolist():
        powers = extended(table, np.zeros(1, np.int64), (), turn)
        if np.all(np.delete(table.orders, powers) == 2):
            return True
    return False


def normal_subgroups(table: Table) -> list[np.ndarray]:
    """List all normal subgroups but the trivial one and the group, small ones first.

    They are products of the normal closures of single elements.
    """
    every, size = table.conjugates(np.arange(len(table))), len(table)
    kinds = np.unique(np.min(every, axis=0))
    closures = (generated(table, np.unique(every[:, element]))[0] for element in kinds.tolist())
    single = {mask_of(members, size): members for members in closures}
    found, edge = dict(single), [*single]
    for mask in edge:  # grows by the products that are new
        for other, members in single.items():
            if other & ~mask:
                product = np.unique(table.products[np.ix_(found[mask], members)])
                joined = mask_of(product, size)
                if joined not in found:
                    found[joined] = product
                    edge.append(joined)
    proper = (members for members in found.values() if 1 < len(members) < len(table))
    return sorted(proper, key=lambda members: (len(members), members.tolist()))


def _product(table: Table) -> str | None:
    """Name a group that is a direct product, or a semidirect product with a cyclic group; `None` for others."""
    order, normal = len(table), normal_subgroups(table)
    if not normal:
        return SIMPLE[order]
    for one, other in combinations(normal, 2):
        if len(one) * len(other) == order and len(np.intersect1d(one, other)) == 1:
            names = [(len(part), name_of(table.restricted(part))) for part in (one, other)]
            return " x ".join(name for _, name in sorted(names))
    for kernel in reversed(normal):
        for element in np.flatnonzero(table.orders * len(kernel) == order).tolist():
            powers = extended(table, np.zeros(1, np.int64), (), element)
            if len(np.intersect1d(kernel, powers)) == 1:
                inner = name_of(table.restricted(kernel))
                return f"{f'({inner})' if ' ' in inner else inner} : Z({len(powers)})"
    return None
