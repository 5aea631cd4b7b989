"""Means of networks that are aligned first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from equikit._errors import OptionError, explain
from equikit.weightspace._align import align
from equikit.weightspace._specification import Specification


def merge(trees: Sequence[Any], spec: Specification, *, rounds: int = 8, seed: int = 0, restarts: int = 0) -> Any:
    """The mean of several networks, each of them aligned with the mean of the others until nothing changes.

    The sum of the inner products of all pairs grows with every change. Running averages of batch normalisation are
    means like all else, and do not fit the network that comes out: its activations vary less than those of the networks
    it is the mean of. Run the merged model over data in training mode before it is used.

    Args:
        trees: parameters, trees of arrays.
        spec: the symmetry of all of them.
        rounds: the most passes over all networks.
        seed, restarts: as for `align`.

    Returns:
        A tree like each of them.

    Raises:
        OptionError: if there are no networks.

    Cost: an alignment for every network and round.

    Source:
        Ainsworth, Hayase and Srinivasa, Git Re-Basin, arXiv:2209.04836, appendix A.10 (merging many models). On running
        averages: Jordan et al., REPAIR, arXiv:2211.08403.
    """
    current = list(trees)
    if not current:
        raise OptionError(
            explain(
                "there is nothing to merge", got="no trees", expected="one or more", step="pass [params_a, params_b]"
            )
        )
    generator = np.random.default_rng(seed)
    for _ in range(rounds if len(current) > 1 else 0):
        changed = False
        for number in generator.permutation(len(current)):
            others = [tree for place, tree in enumerate(current) if place != number]
            current[number], matching = align(
                mean(others), current[number], spec, restarts=restarts, seed=seed, with_info=True
            )
            changed |= any(np.any(p != np.arange(p.shape[-1])) for p in matching.element.values())
        if not changed:
            break
    return mean(current)


def mean(trees: Sequence[Any]) -> Any:
    """The mean of trees of arrays."""
    return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]) / len(leaves), *trees)
