"""Which neurons padded networks have."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._array_checks import by_label
from equikit._errors import DTypeError
from equikit._masks import masked
from equikit.weightspace.specifications._tensors import join, labels_of, split
from equikit.weightspace.specifications._terms import Leaf


def labels_in(mask: Any, sizes: Mapping[str, int]) -> list[str]:
    """Return the labels that have a mask, which may be padded."""
    return [label for label in mask if label in sizes] if isinstance(mask, Mapping) else []


def checked_masks(
    mask: Any, sizes: Mapping[str, int], permuted: Collection[str], batch: Sequence[int]
) -> dict[str, jax.Array]:
    """Return booleans `[*batch, n]` for each label of `mask`, a dictionary, or an array if one label is permuted.

    Raises:
        OptionError, DTypeError, ShapeError: if a label is unknown, or a mask is not such an array.
    """
    alone = mask is not None and not isinstance(mask, Mapping) and len(permuted) == 1
    given = dict.fromkeys(permuted, mask) if alone else mask
    found, step = {}, "take the masks that pad returns"
    for label, one in by_label("mask", given, next(iter([*permuted, *sizes]), "h0")).items():
        _checks.choice("mask", label, [*sizes], step="look at spec.sizes", code='mask={{"{1}": mask}}')
        if getattr(one, "dtype", None) != np.dtype(bool):
            raise DTypeError(
                f"the mask for {label!r} is not an array of booleans",
                got=f"dtype {one.dtype}" if hasattr(one, "dtype") else f"an object of type {type(one).__name__}",
                expected="booleans, true for neurons that are present",
                step=step,
            )
        found[label] = jnp.asarray(_checks.shaped(f"the mask for {label!r}", one, (*batch, sizes[label]), step=step))
    return found


def present(
    leaves: tuple[Leaf, ...], arrays: Mapping[str, jax.Array], masks: Mapping[str, jax.Array], batch: int
) -> dict[str, jax.Array]:
    """Set what absent neurons hold in arrays `[*batch, *shape, channels]` to zero, NaN included."""
    if not masks:
        return dict(arrays)
    labels = labels_of(leaves)
    cut = split(leaves, arrays)
    return join(leaves, {name: masked(array, labels[name], masks, batch) for name, array in cut.items()})
