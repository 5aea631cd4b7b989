"""Arrays of several networks in one wider array, where some indices of a label belong to one network alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from equikit.weightspace.specifications._tensors import Axes, Tensor, join, opened, split, tensors_of
from equikit.weightspace.specifications._terms import Leaf, Product, Symbol
from equikit.weightspace.tracing._roles import Roles


@dataclass(frozen=True)
class Widened:
    """A label after some of its indices are kept apart.

    The first n indices belong to the label itself: the mean of all networks, or, where an index is kept, the first
    network. The kept indices of the second network follow, then the kept indices of the third.

    Attributes:
        size: the number n of indices before.
        kept: the indices that are kept apart, ascending.
        networks: the number of networks.
    """

    size: int
    kept: tuple[int, ...]
    networks: int

    @property
    def indices(self) -> np.ndarray:
        """For each index of the wide label, the index before."""
        return np.concatenate([np.arange(self.size), *[np.array(self.kept, np.intp)] * (self.networks - 1)])

    @property
    def members(self) -> np.ndarray:
        """Whether an index is of a network, `[networks, wide]`."""
        found = np.ones((self.networks, len(self.indices)), bool)
        found[1:, list(self.kept)] = False
        found[:, self.size :] = np.repeat(np.eye(self.networks, dtype=bool)[:, 1:], len(self.kept), axis=1)
        return found


Wide = Mapping[str, Widened]
"""The labels with kept indices."""


def origins(axes: Axes, own: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield, for every piece of an array, which axis of the array each of its axes comes from."""
    inside = opened(axes)
    if inside is None:
        yield own
        return
    place, pieces = inside
    axis = axes[place]
    if isinstance(axis, Product):
        middle = (own[place],) * len(axis.factors)
    else:
        middle = () if isinstance(axis, Symbol) else own[place : place + 1]
    for inner in pieces:
        yield from origins(inner, own[:place] + middle + own[place + 1 :])


def widened(leaf: Leaf, arrays: Sequence[Any], roles: Roles, wide: Wide, shares: Sequence[float]) -> np.ndarray | None:
    r"""Return one parameter of several networks as one, or `None` if none of its labels has kept indices.

    Where network s has the share \(c_s\), and \(O_s, A_s\) say whether the indices along outputs, and along all axes,
    are of network s, an entry is \(\sum_s c_s A_s W_s / \sum_s c_s O_s\). So a feature that is kept reads its own
    network alone; one that is merged reads the mean of what the networks give it.

    Args:
        leaf: the labels of the axes.
        arrays: the array of each network.
        roles: what the program does with each axis: inputs are summed over, all others are outputs.
        wide: the labels with kept indices.
        shares: the coefficients of the networks, with sum 1.
    """
    if not wide.keys() & set(leaf.labels):
        return None
    dtype = np.asarray(arrays[0]).dtype
    # Tensors stay on the host, where arrays of many shapes need no compilation.
    cut: list[Any] = [split((leaf,), {leaf.name: cast(Any, np.asarray(one)[..., None])}) for one in arrays]
    found: dict[str, Any] = {}
    every = origins(leaf.axes, tuple(range(len(leaf.axes))))
    for tensor, own in zip(tensors_of(leaf), every, strict=True):
        inputs = [roles[axis] == "in" for axis in own]
        its = [np.asarray(one[tensor.name][..., 0]) for one in cut]
        found[tensor.name] = _tensor(tensor, its, inputs, wide, shares)[..., None]
    return np.asarray(join((leaf,), found)[leaf.name])[..., 0].astype(dtype)


def _tensor(
    tensor: Tensor, arrays: Sequence[np.ndarray], inputs: Sequence[bool], wide: Wide, shares: Sequence[float]
) -> np.ndarray:
    rank, count = len(tensor.axes), len(arrays)
    of_all, of_outputs = (np.ones((count, *[1] * rank), bool) for _ in range(2))
    for place, label in enumerate(tensor.labels):
        if label in wide:
            arrays = [np.take(one, wide[label].indices, axis=place) for one in arrays]
            members = wide[label].members
            members = members.reshape(count, *[members.shape[1] if axis == place else 1 for axis in range(rank)])
            of_all = of_all & members
            of_outputs = of_outputs if inputs[place] else of_outputs & members
    kind = np.promote_types(np.float64, arrays[0].dtype) if arrays[0].dtype.kind in "fc" else np.dtype(np.float64)
    weights = np.asarray(shares).reshape(count, *[1] * rank)
    total = sum(np.where(of_all[number], shares[number] * one.astype(kind), 0) for number, one in enumerate(arrays))
    share = np.sum(weights * of_outputs, axis=0)
    found: np.ndarray = total / np.where(share > 0, share, 1)
    return found
