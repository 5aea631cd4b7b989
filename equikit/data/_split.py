"""Random parts of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import OptionError, ShapeError


def split(rows: Any, parts: Sequence[float], *, seed: int = 0) -> list[Any]:
    """Split a data set at random, reproducibly for a seed.

    Args:
        rows: a tuple or dictionary of arrays with one row per example, or of lists with one entry per example, or one
            such array or list.
        parts: the share of each part, such as `(0.8, 0.1, 0.1)`; they sum to one.
        seed: seed of the order.

    Returns:
        The parts, in the form of `rows`. Rounded shares differ from the exact ones by less than one row.

    Raises:
        OptionError: if shares are negative or do not sum to one, or there are no examples.
        ShapeError: if arrays and lists have different numbers of examples, or the data have no rows.

    Cost: one copy.

    Example:
        >>> train, test = split((np.arange(10), np.arange(10) ** 2), (0.8, 0.2))
        >>> len(train[0]), len(test[0]), bool(np.all(train[0] ** 2 == train[1]))
        (8, 2, True)
    """
    shares = _checks.numbers("parts", parts, least=0.0, example=(0.5, 0.5))
    if abs(sum(shares) - 1) > 1e-6:
        raise OptionError(
            "parts= must sum to one",
            got=f"{_checks.shown(parts)}, with sum {sum(shares):g}",
            expected="shares such as (0.8, 0.1, 0.1)",
            step="write parts=(0.8, 0.1, 0.1)",
        )
    leaves = jax.tree.leaves(rows, is_leaf=_is_list)
    for part in leaves:
        if not _is_list(part) and not getattr(part, "shape", ()):
            raise ShapeError(
                "the data are not arrays or lists with an entry for each example",
                got=_checks.shown(part, 60),
                expected="arrays with one row per example, or lists with one entry per example",
                step="pass a list or an array of the examples",
            )
    counts = {len(part) for part in leaves}
    if len(counts) != 1:
        raise ShapeError(
            "the parts of the data have different numbers of examples",
            got=", ".join(map(str, sorted(counts))) or "no data",
            expected="one number of examples",
            step="give each example one row in every array",
        )
    count = _checks.count("the number of examples", counts.pop(), least=1)
    order = np.random.default_rng(_checks.count("seed", seed)).permutation(count)
    ends = np.round(np.cumsum(shares)[:-1] * count).astype(int)
    return [jax.tree.map(partial(_taken, chosen), rows, is_leaf=_is_list) for chosen in np.split(order, ends)]


def _is_list(node: object) -> bool:
    return isinstance(node, list)


def _taken(chosen: np.ndarray, part: Any) -> Any:
    return [part[i] for i in chosen] if isinstance(part, list) else part[chosen]
