"""`Info`, the diagnostics of a frame, and the combination of diagnostics of several frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from equikit.numerics import rounding
from equikit.symmetrization.engine._element import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Info:
    r"""Diagnostics of a frame, one entry for each sample; `None` for quantities that a method does not have.

    Attributes:
        size: number of elements; float32 if it may exceed integers.
        degenerate: whether the elements are not equivariant for this input.
        refused: whether the input is rejected because it is degenerate.
        gap: the smallest gap between neighboring eigenvalues (or keys) that determine the frame, over the largest;
            NaN if a network or energy did not return finite numbers.
        rank: the dimension that the input spans.
        ties: the number of entries with the same keys as an earlier entry.
        doubt: a first-order error bound of the entries of \(g^{-1} \delta g\), where \(\delta g\) is the error of g due
            to rounding of the input and in the computation. It is zero for permutations, and infinite if rounding may
            have decided a discrete choice. An input is degenerate if its doubt exceeds `most_doubt`.
        more: other quantities by name, such as scores and matrices for losses. Repeated names are numbered: "matrix",
            "matrix 2". Sampled elements add a leading axis of samples; a method that follows one with several elements
            has an axis of these elements.
        exact: whether all elements are listed, for batches in which elements of other inputs were sampled.
        standard_error: of the average, for each output, if elements were sampled; an upper estimate if samples of one
            method are combined with all elements of another.
    """

    size: Array
    degenerate: Array
    refused: Array
    gap: Array | None = None
    rank: Array | None = None
    ties: Array | None = None
    doubt: Array | None = None
    exact: Array | None = None
    more: dict[str, Array] = field(default_factory=dict)
    standard_error: dict[str, Array] = field(default_factory=dict)


def of_some(info: Info, used: Array) -> Info:
    """Return the diagnostics of a frame; inputs that do not use it get the values of an exact frame."""

    def where(entry: Array | None, unused: float | bool) -> Any:
        return None if entry is None else jnp.where(used, entry, unused)

    return replace(
        info,
        size=where(info.size, 0),
        degenerate=info.degenerate & used,
        refused=info.refused & used,
        gap=where(info.gap, jnp.inf),
        ties=where(info.ties, 0),
        doubt=where(info.doubt, 0),
    )


def of_both(one: Info, two: Info) -> Info:
    """Return the diagnostics of a frame and its fallback together."""

    def either(name: str, choose: Callable[[Array, Array], Array]) -> Array | None:
        mine, theirs = getattr(one, name), getattr(two, name)
        return choose(mine, theirs) if mine is not None and theirs is not None else theirs if mine is None else mine

    return replace(
        one,
        size=one.size + two.size,
        degenerate=one.degenerate | two.degenerate,
        refused=one.refused | two.refused,
        gap=either("gap", jnp.minimum),
        ties=either("ties", jnp.maximum),
        doubt=either("doubt", jnp.maximum),
    )


def of_products(first: Info, later: Info, used: Array) -> Info:
    """Return the diagnostics of products of two frames, without `exact`, which the caller adds.

    Args:
        first: diagnostics of the first frame, `[*batch]`.
        later: diagnostics of the later frames, `[first, *batch]`.
        used: whether the first element has a nonzero weight, `[first, *batch]`.
    """

    def worst(name: str) -> Array | None:
        mine, theirs = getattr(first, name), getattr(later, name)
        if theirs is None:
            return mine
        if name == "gap":
            least = jnp.min(jnp.where(used, theirs, jnp.inf), axis=0)
            return least if mine is None else jnp.minimum(mine, least)
        most = jnp.max(jnp.where(used, theirs, 0), axis=0)
        if mine is None or name == "rank":
            return most if mine is None else mine
        return mine + most if name == "ties" else jnp.maximum(mine, most)

    return Info(
        size=jnp.sum(jnp.where(used, later.size, 0), axis=0),
        doubt=worst("doubt"),
        degenerate=first.degenerate | jnp.any(later.degenerate & used, axis=0),
        refused=first.refused | jnp.any(later.refused & used, axis=0),
        gap=worst("gap"),
        rank=worst("rank"),
        ties=worst("ties"),
        more=merged_more(first.more, _without_one(later.more) if used.shape[0] == 1 else later.more),
    )


def _without_one(more: Mapping[str, Array]) -> dict[str, Array]:
    """Remove the axis of the single earlier element, which follows the axis of samples if there is one."""
    return {name: array[0] if array.shape[0] == 1 else array[:, 0] for name, array in more.items()}


def merged_more(one: Mapping[str, Array], two: Mapping[str, Array]) -> dict[str, Array]:
    """Return the quantities of two methods; a repeated name is numbered: "matrix", "matrix 2"."""
    found = dict(one)
    for place, value in two.items():
        name, number = place.partition(" ")[0], 1
        while (place := name if number == 1 else f"{name} {number}") in found:
            number += 1
        found[place] = value
    return found


def settled(weights: Array, info: Info) -> Array:
    """Return the weights, NaN for refused inputs, because a compiled program cannot raise an error."""
    return jnp.where(info.refused, jnp.nan, weights)


def most_doubt(dtype: Any) -> float:
    """Return the doubt above which inputs are degenerate: a quarter of the root of the rounding unit, 9e-5 in float32.

    In half precision it is sixteen times the rounding unit, which is larger.
    """
    return max(math.sqrt(rounding(dtype)) / 4, 16 * rounding(dtype))


def standard_tolerance(tolerance: float | None, dtype: Any) -> float:
    """Return the relative gap below which eigenvalues count as equal: by default, the root of the rounding unit."""
    if tolerance is not None:
        return tolerance
    return math.sqrt(rounding(dtype))
