"""Apply the elements of the symmetry group to parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.specifications._leaves import batch_of
from equikit.weightspace.specifications._tensors import Tensor, join, split, tensors_of
from equikit.weightspace.specifications._terms import Element, Leaf
from equikit.weightspace.tracing._nesting import Nested


def checked_element(element: Any, pairs: Nested, groups: Mapping[str, int]) -> Element:
    """Check that an element maps permuted labels to permutations, and return it.

    Raises:
        OptionError: if an entry is not a permutation of its label; the error names the label.
    """
    _checks.instance("element", element, Mapping, "spec.random_element(key=jax.random.key(0))")  # type: ignore[type-abstract]
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
                step="draw one: spec.random_element(key=jax.random.key(0))",
            )
    return dict(element)


def moved(leaves: Sequence[Leaf], pairs: Nested, element: Element, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Permute arrays `[*batch, *shape]`, by name; the permutations of an element may be traced.

    Nested labels are permuted first, by one permutation for each index of the outer label, or one for all.
    """
    within = dict(pairs)
    found = {}
    for leaf in leaves:
        if not element.keys() & set(leaf.labels):
            found[leaf.name] = arrays[leaf.name]
            continue
        tensors = split((leaf,), {leaf.name: jnp.asarray(arrays[leaf.name])[..., None]})
        for tensor in tensors_of(leaf):
            # Permute nested labels before their outer labels.
            for place in sorted(range(len(tensor.labels)), key=lambda at: tensor.labels[at] not in within):
                if tensor.labels[place] in element:
                    tensors[tensor.name] = _moved(tensors[tensor.name], tensor, place, within, element)
        found[leaf.name] = join((leaf,), tensors)[leaf.name][..., 0]
    return found


def _moved(array: Any, tensor: Tensor, place: int, within: Mapping[str, str], element: Element) -> Any:
    """Permute a tensor `[*batch, *axes, 1]` along one of its axes."""
    label = tensor.labels[place]
    start = array.ndim - 1 - len(tensor.labels)
    order = _inverse(element[label])
    if order.ndim == 1:
        return jnp.take(array, order, axis=start + place)
    first, second = start + tensor.labels.index(within[label]), start + place
    others = [axis for axis in range(array.ndim) if axis not in (first, second)]
    index = jnp.expand_dims(order if first < second else order.T, others)
    return jnp.take_along_axis(array, index, axis=second)


def augmented(
    leaves: Sequence[Leaf],
    pairs: Nested,
    permuted: Sequence[str],
    sizes: Mapping[str, int],
    key: jax.Array,
    arrays: Mapping[str, Any],
    masks: Mapping[str, Any],
) -> dict[str, jax.Array]:
    """Apply an independent random element to each network of a batch `[*batch, *shape]`; absent neurons stay."""
    within, batch = dict(pairs), batch_of(leaves, arrays)

    def one(key: jax.Array, own: dict[str, jax.Array], there: dict[str, jax.Array]) -> dict[str, jax.Array]:
        element: dict[str, Any] = {}
        for number, label in enumerate(permuted):
            several = (sizes[within[label]],) if label in within else ()
            indices = jnp.broadcast_to(jnp.arange(sizes[label]), (*several, sizes[label]))
            draw = jax.random.fold_in(key, number)
            if label in there:
                element[label] = _permuted(draw, there[label], indices.shape)
            else:
                element[label] = jax.random.permutation(draw, indices, axis=-1, independent=True)
        return moved(leaves, pairs, element, own)

    flat = {leaf.name: jnp.reshape(arrays[leaf.name], (math.prod(batch), *leaf.shape)) for leaf in leaves}
    there = {label: jnp.reshape(mask, (math.prod(batch), -1)) for label, mask in masks.items()}
    drawn = jax.vmap(one)(jax.random.split(key, math.prod(batch)), flat, there)
    return {leaf.name: drawn[leaf.name].reshape((*batch, *leaf.shape)) for leaf in leaves}


def _permuted(key: jax.Array, there: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return permutations `[*shape]` of the indices in a mask `[n]`, which keep all others."""
    own = jnp.broadcast_to(there, shape)
    drawn = jnp.argsort(jnp.where(own, jax.random.uniform(key, shape), jnp.inf), axis=-1)  # present ones come first
    first = jnp.argsort(~own, axis=-1, stable=True)
    return jnp.where(own, jnp.take_along_axis(drawn, jnp.argsort(first, axis=-1), axis=-1), jnp.arange(shape[-1]))


def _inverse(places: Any) -> Any:
    return jnp.argsort(places, axis=-1) if isinstance(places, jax.Array) else np.argsort(places, axis=-1)
