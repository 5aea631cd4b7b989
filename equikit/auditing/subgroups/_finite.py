"""Subgroups of finite groups whose elements are all tried, and their names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from equikit.auditing._describe import cycles, describe
from equikit.auditing._elements import product, same
from equikit.auditing.subgroups._single import Single
from equikit.auditing.subgroups._subgroup import Subgroup
from equikit.groups import A, D, Group, S, Z


def kept_of_list(single: Single, elements: Sequence[np.ndarray]) -> Subgroup:
    """Return the subgroup of all elements with which a function commutes; the identity is the first element."""
    chosen = [elements[0], *(element for element in elements[1:] if single.keeps(element))]
    return named(single.group, closed(single.group, chosen))


def closed(group: Group, chosen: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the elements that permute the chosen ones by multiplication.

    They form a subgroup. Since the identity is among the chosen elements, the subgroup contains no others; if these are
    a subgroup themselves, it contains all. It is smaller only if rounding has misjudged an element.
    """

    def has(element: np.ndarray) -> bool:
        return any(same(group, element, other) for other in chosen)

    if len(chosen) == math.factorial(group.n or 0) or len(chosen) == group.order():
        return list(chosen)
    return [one for one in chosen if all(has(product(group, one, two)) for two in chosen)]


def generated(group: Group, generators: Sequence[np.ndarray], most: int) -> int | None:
    """Return the number of products of generators, or `None` if there are more than `most`."""
    found: list[np.ndarray] = [group.elements()[0]] if not generators else []
    edge = [np.asarray(product(group, generators[0], _inverse(group, generators[0])))] if generators else []
    while edge:
        found += edge
        if len(found) > most:
            return None
        new: list[np.ndarray] = []
        for element in (product(group, g, e) for e in edge for g in generators):
            if not any(same(group, element, other) for other in (*found, *new)):
                new.append(element)
        edge = new
    return len(found)
