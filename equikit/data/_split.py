"""Random parts of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import OptionError


def split(rows: Any, parts: Sequence[float], *, seed: int = 0) -> list[Any]:
    """Split a data set at random, reproducibly for a seed.

    Args:
        rows: a tree of arrays with one row per example, or a list of examples.
        parts: the share of each part, such as `(0.8, 0.1, 0.1)`; they sum to one.
        seed: seed of the order.

    Returns:
        The parts, in the form of `rows`. Rounded shares differ from the exact ones by less than one row.

    Raises:
        OptionError: if shares are negative or do not sum to one, or there are no rows.

    Cost: one copy.

    Example:
        >>> train, test = split((np.arange(10), np.arange(10) ** 2), (0.8, 0.2))
        >>> len(train[0]), len(test[0]), bool(np.all(train[0] ** 2 == train[1]))
        (8, 2, True)
    """
    shares = _checks.numbers("parts", parts, least=0.0, example=0.5)
    if abs(sum(shares) - 1) > 1e-6:
        raise OptionError(
            "parts= must sum to one",
            got=f"{_checks.shown(parts)}, with sum {sum(shares):g}",
            expected="shares such as (0.8, 0.1, 0.1)",
            step="write parts=(0.8, 0.1, 0.1)",
        )
    count = len(rows) if isinstance(rows, list) else len(jax.tree.leaves(rows)[0])
    order = np.random.default_rng(_checks.count("seed", seed)).permutation(count)
    ends = np.round(np.cumsum(shares)[:-1] * count).astype(int)
    chosen = np.split(order, ends)
    if isinstance(rows, list):
        return [[rows[i] for i in part] for part in chosen]
    return [jax.tree.map(lambda array, part=part: array[part], rows) for part in chosen]
