"""Choose which features of aligned networks to keep apart: those whose activations agree least."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit.weightspace.alignment._activations import correlations
from equikit.weightspace.alignment._losses import checked_inputs
from equikit.weightspace.merging._widen import Widened
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._tensors import tensors_of
from equikit.weightspace.specifications._terms import Indexed

Scores = dict[str, np.ndarray]
"""For each label, how well the features of each index agree, from -1 to 1."""


def checked_batches(batches: Any) -> list[tuple[Any, ...]]:
    """Return each batch as a tuple of inputs, after checking that correlations over the data are defined."""
    data = checked_inputs(batches)
    sizes = [[np.shape(leaf) for leaf in jax.tree.leaves(inputs)] for inputs in data]
    _checks.count(
        "the number of examples in batches",
        sum(max((size[0] for size in some if size), default=1) for some in sizes),
        least=2,
        step="pass more examples: features are compared by correlations",
    )
    return data


def scores(
    spec: Specification, apply: Callable[..., Any], trees: Sequence[Any], batches: Sequence[tuple[Any, ...]]
) -> Scores:
    """Return the mean correlation of activations by label and index: over all arrays of the program, and all pairs."""
    found: dict[str, list[np.ndarray]] = {}
    for one, two in combinations(trees, 2):
        for labels, each in correlations(spec, apply, one, two, batches):
            for label in {*labels} & {*spec.groups}:
                if labels.count(label) == 1:
                    own = labels.index(label)
                    mean = each.mean(axis=tuple(place for place in range(each.ndim) if place != own))
                    found.setdefault(label, []).append(mean)
    return {label: np.mean(found[label], axis=0) for label in spec.groups if label in found}


def groups_of(spec: Specification, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the labels in groups that need the same size, such as layers that are stacked in one array."""
    group = {label: {label} for label in labels}
    for leaf in spec.leaves:
        for axis in leaf.axes:
            if isinstance(axis, Indexed):
                for together in zip(*(member.labels for member in axis.members), strict=True):
                    joined = set().union(*(group[label] for label in together if label in group))
                    group |= dict.fromkeys(joined, joined)
    return list(dict.fromkeys(tuple(sorted(some)) for some in group.values()))


def worst(score: np.ndarray, count: int) -> tuple[int, ...]:
    """Return the indices with the lowest scores, ascending."""
    return tuple(sorted(np.argsort(score, kind="stable")[:count].tolist()))


def parameters(spec: Specification, wide: Mapping[str, Widened]) -> int:
    """Return the number of parameters of a network with wide labels."""

    def size(label: str, before: int) -> int:
        return len(wide[label].indices) if label in wide else before

    tensors = [tensor for leaf in spec.leaves for tensor in tensors_of(leaf)]
    return sum(math.prod(size(axis.label, axis.size) for axis in tensor.axes) for tensor in tensors)


def within_budget(
    spec: Specification, found: Scores, groups: Sequence[tuple[str, ...]], networks: int, most: float
) -> dict[str, int]:
    """Return how many indices of each label to keep: the lowest scores of all labels, up to a number of parameters."""
    order = np.sort(np.concatenate([np.sort(found[label]) for some in groups for label in some]))

    def counts(number: int) -> dict[str, int]:
        bound = order[number - 1] if number else -math.inf
        each = {some: max(int(np.sum(found[label] <= bound)) for label in some) for some in groups}
        return {label: count for some, count in each.items() for label in some}

    def fits(number: int) -> bool:
        kept = {
            label: Widened(spec.sizes[label], tuple(range(count)), networks) for label, count in counts(number).items()
        }
        return parameters(spec, kept) <= most

    low, high = 0, len(order)  # the largest number that fits: the size grows with the number
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return counts(low)
