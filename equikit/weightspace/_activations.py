"""What two networks compute from the same data, as arrays whose axes have labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError
from equikit.weightspace._evaluation import Seen, evaluated, labeled
from equikit.weightspace._specification import Specification

DATA = "data"
"""The label of axes of activations that nothing permutes."""


@dataclass(frozen=True)
class Activations:
    """Arrays of both networks that depend on the data.

    Attributes:
        labels: for each array that is kept, the labels of its axes.
        one, two: the arrays, of the two networks.
    """

    labels: dict[str, tuple[str, ...]]
    one: dict[str, jax.Array]
    two: dict[str, jax.Array]


def _standardized(array: jax.Array, labels: tuple[str, ...]) -> jax.Array:
    """Of mean zero and length one over the data, for each index of the labels: products are correlations."""
    data = tuple(place for place, label in enumerate(labels) if label == DATA)
    wide = _over_largest(array.astype(jnp.promote_types(array.dtype, jnp.float32)), data)
    centered = wide - wide.mean(axis=data, keepdims=True) if data else wide
    centered = _over_largest(centered, data)
    length = jnp.sqrt(jnp.sum(centered**2, axis=data, keepdims=True))
    return centered / jnp.where(length > 0, length, 1)


def _over_largest(array: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Over the largest entry along some axes, so that squares neither overflow nor vanish."""
    largest = jnp.max(jnp.abs(array), axis=axes, keepdims=True, initial=0)
    return array / jnp.where(largest > 0, largest, 1)


def _masked(array: jax.Array, labels: tuple[str, ...]) -> jax.Array:
    """Where the data have minus infinity at all indices of the labels, as logits of attention that are masked have."""
    return jnp.all(
        array == -jnp.inf, axis=[place for place, label in enumerate(labels) if label != DATA], keepdims=True
    )


def activations(
    spec: Specification, apply: Callable[..., Any], one: Any, two: Any, inputs: tuple[Any, ...]
) -> Activations:
    """All arrays that depend on the data and have an axis with a label, of both networks.

    Raises:
        OptionError: if one of them is not finite; data that are minus infinity at all indices of labels are masked.
    """
    program = labeled(spec.leaves, spec.groups, apply, one, inputs)
    names = {axis.root: label for label, axis in program.axes.items()}
    seen: tuple[list[Seen], list[Seen]] = [], []
    for params, its in zip((one, two), seen, strict=True):
        evaluated(program, params, inputs, its.append)
    found = Activations({}, {}, {})
    for mine, other in zip(*seen, strict=True):
        labels = tuple(names.get(axis, DATA) for axis in mine.axes)
        if set(labels) - {DATA}:
            name = f"{len(found.labels)}"
            found.labels[name] = labels
            masked = _masked(mine.array, labels) & _masked(other.array, labels)
            found.one[name], found.two[name] = (
                _standardized(jnp.where(masked, 0, array), labels) for array in (mine.array, other.array)
            )
    for side, arrays in (("params_a", found.one), ("params_b", found.two)):
        for name, array in arrays.items():
            _refuse_not_finite(side, array, found.labels[name])
    return found


def _refuse_not_finite(side: str, array: jax.Array, labels: tuple[str, ...]) -> None:
    if not np.all(np.isfinite(np.asarray(array))):
        raise OptionError(
            f"{side} compute activations that are no numbers",
            got=f"infinite entries, or not a number, in an array {list(array.shape)} with axes {', '.join(labels)}",
            expected="finite activations for all data",
            step="see whether the data are finite, or training diverged; or write how='weights'",
        )
