"""Moving parameters by the elements of their group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError
from equikit.weightspace._leaves import batch_of
from equikit.weightspace._nesting import Nested
from equikit.weightspace._tensors import join, split, tensors_of
from equikit.weightspace._terms import Element, Leaf


def checked_element(element: Any, pairs: Nested, groups: Mapping[str, int]) -> Element:
    """Permutations of labels that are permuted.

    Raises:
        OptionError: if they are not, naming the label.
    """
    if not isinstance(element, Mapping):
        raise OptionError(
            "this is no element of the group",
            got=type(element).__name__,
            expected="a dictionary of labels to permutations",
            step="draw one: spec.random_element(jax.random.key(0))",
        )
    within = dict(pairs)
    for label, places in element.items():
        size = groups.get(label, 0)
        shapes = [(size,)] + ([(groups[within[label]], size)] if label in within else [])
        fits = label in groups and getattr(places, "shape", None) in shapes
        if fits and not isinstance(places, jax.core.Tracer):
            fits = bool(np.all(np.sort(np.asarray(places), axis=-1) == np.arange(size)))
        if not fits:
            raise OptionError(
                f"no element of the group has this for {label!r}",
                got=f"{places!r:.60}",
                expected=f"a permutation of {size} indices, an array of shape {' or '.join(map(str, shapes))}"
                if label in groups
                else f"one of the labels {', '.join(map(repr, groups))}",
                step="draw one: spec.random_element(jax.random.key(0))",
            )
    return dict(element)


def moved(leaves: Sequence[Leaf], pairs: Nested, element: Element, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Arrays `[*batch, *shape]` by name, moved; the permutations of an element may be traced.

    Nested labels come first, by one permutation for each index of the other label, or one for all.
    """
    several = {label: places for label, places in element.items() if places.ndim == 2}
    rest = {label: places for label, places in element.items() if label not in several}
    found = {}
    for leaf in leaves:
        array = arrays[leaf.name]
        for inner, outer in pairs:
            if inner in several and inner in leaf.labels:
                array = _moved_within(leaf, array, inner, outer, several[inner])
        start = array.ndim - len(leaf.axes)
        for place, axis in enumerate(leaf.axes):
            if any(label in rest for label in axis.labels):
                array = jnp.take(array, _inverse(axis.places(rest)), axis=start + place)
        found[leaf.name] = array
    return found


def augmented(
    leaves: Sequence[Leaf],
    pairs: Nested,
    permuted: Sequence[str],
    sizes: Mapping[str, int],
    key: jax.Array,
    arrays: Mapping[str, Any],
) -> dict[str, jax.Array]:
    """Arrays `[*batch, *shape]` by name, each network of the batch moved by a random element of its own."""
    within, batch = dict(pairs), batch_of(leaves, arrays)

    def one(key: jax.Array, own: dict[str, jax.Array]) -> dict[str, jax.Array]:
        element: dict[str, Any] = {}
        for number, label in enumerate(permuted):
            several = (sizes[within[label]],) if label in within else ()
            indices = jnp.broadcast_to(jnp.arange(sizes[label]), (*several, sizes[label]))
            draw = jax.random.fold_in(key, number)
            element[label] = jax.random.permutation(draw, indices, axis=-1, independent=True)
        return moved(leaves, pairs, element, own)

    flat = {leaf.name: jnp.reshape(arrays[leaf.name], (math.prod(batch), *leaf.shape)) for leaf in leaves}
    drawn = jax.vmap(one)(jax.random.split(key, math.prod(batch)), flat)
    return {leaf.name: drawn[leaf.name].reshape(*batch, *leaf.shape) for leaf in leaves}


def _moved_within(leaf: Leaf, array: Any, inner: str, outer: str, places: Any) -> jax.Array:
    """By one permutation of the inner label for each index of the outer, `[outer, inner]`."""
    order = _inverse(places)
    tensors = split((leaf,), {leaf.name: jnp.asarray(array)[..., None]})
    for tensor in tensors_of(leaf):
        if inner in tensor.labels:
            one = tensors[tensor.name]
            start = one.ndim - 1 - len(tensor.labels)
            first, second = (start + tensor.labels.index(label) for label in (outer, inner))
            others = [place for place in range(one.ndim) if place not in (first, second)]
            index = jnp.expand_dims(order if first < second else order.T, others)
            tensors[tensor.name] = jnp.take_along_axis(one, index, axis=second)
    return join((leaf,), tensors)[leaf.name][..., 0]


def _inverse(places: Any) -> Any:
    return jnp.argsort(places, axis=-1) if isinstance(places, jax.Array) else np.argsort(places, axis=-1)
