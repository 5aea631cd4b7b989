"""Multiplicities of irreps in a space of tensors, counted by characters."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Literal, get_args

from equikit import _checks

Symmetry = Literal["sym", "alt"]
Weights = dict[int, int]
"""The weights of a representation with their multiplicities: its character on rotations about one axis."""
SYMMETRIES: tuple[Symmetry | None, ...] = (None, *get_args(Symmetry))

MOST_ORDER = 500
"""The largest order for which irreps are counted: the numbers have hundreds of digits."""


def weights(order: int, symmetry: Symmetry | None) -> Weights:
    """Return the weights of the tensors of an order: sums of weights -1, 0 and 1 of vectors, one for each axis.

    They count all words in the three weights, multisets, or sets of them.
    """
    _checks.refuse_if_more(
        "the order is too large to count irreps", order, MOST_ORDER, "axes", "use tensors of lower order"
    )
    if symmetry is not None:
        most = order if symmetry == "sym" else 1
        return Counter(
            up - down
            for down, up in itertools.product(range(most + 1), repeat=2)
            if 0 <= order - down - up <= most  # the number of weights 0
        )
    found = Counter({0: 1})
    for _ in range(order):
        longer: Counter[int] = Counter()
        for weight, number in found.items():
            for shift in (-1, 0, 1):
                longer[weight + shift] += number
        found = longer
    return found


def count_irreps(order: int, symmetry: Symmetry | None = None) -> dict[int, int]:
    r"""Count each irrep of SO(3) in the tensors of an order, by degree, without absent ones.

    The irrep of degree l has the weights -l, ..., l once each, so its multiplicity is the number of
    weights l minus the number of weights l + 1. The count does not use the coupling paths of `decompose`.

    Args:
        order: the number of axes, each of size three.
        symmetry: `None` for all tensors, `"sym"` for symmetric ones, `"alt"` for alternating ones.

    Returns:
        From degree to multiplicity.

    Raises:
        OptionError: if the order is not a nonnegative integer, or the symmetry is unknown.

    Cost: proportional to the square of the order.

    Example:
        >>> count_irreps(3), count_irreps(3, "sym"), count_irreps(3, "alt")
        ({0: 1, 1: 3, 2: 2, 3: 1}, {1: 1, 3: 1}, {0: 1})

    Source:
        Weyl, The classical groups, chapter VII, on characters of the orthogonal groups.
    """
    order = _checks.count("order", order)
    found = weights(order, _checks.choice("symmetry", symmetry, SYMMETRIES))
    counts = {degree: found.get(degree, 0) - found.get(degree + 1, 0) for degree in range(order + 1)}
    return {degree: count for degree, count in counts.items() if count}
